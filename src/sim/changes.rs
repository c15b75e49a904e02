//! Changes of objects: whose queues they go to, and the methods by which an application makes them itself.
//!
//! The simulator keeps no objects: what it knows of a deal is that it has changed. That is enough to show cycle
//! avoidance (protocol reference section 1): a change that the application makes itself does not return to the queue
//! whose connector it names in `auth_connector`.

use std::sync::Arc;

use super::{
    failure::Failure,
    methods::Answer,
    php::Php,
    queue::Change,
    state::{Caller, State},
};

/// Families of methods and the stem of their events.
const OBJECTS: [(&str, &str); 4] = [
    ("crm.deal", "ONCRMDEAL"),
    ("crm.lead", "ONCRMLEAD"),
    ("crm.contact", "ONCRMCONTACT"),
    ("crm.company", "ONCRMCOMPANY"),
];

/// Whose queues an event goes to when the application itself made the change as `by`, or somebody else as `None`.
///
/// The empty connector is no source: a change by a call that names none goes to every queue.
pub fn heard_by(state: &State, event: &str, by: Option<&str>) -> Vec<Arc<str>> {
    let by = by.filter(|connector| !connector.is_empty());
    state.handlers.connectors(event).filter(|connector| Some(*connector) != by).map(Arc::from).collect()
}

/// Executes `crm.deal.update` and its like; `None` if `method` is none of them.
pub fn call(
    state: &mut State,
    now: i64,
    caller: &Caller,
    method: &str,
    params: &Php,
) -> Option<Result<Answer, Failure>> {
    let (family, verb) = method.rsplit_once('.')?;
    let (_, stem) = OBJECTS.iter().find(|(name, _)| *name == family)?;
    let verb = ["add", "update", "delete"].into_iter().find(|known| *known == verb)?;
    let given = params.get("id").or_else(|| params.get("ID")).map(Php::int).filter(|id| *id > 0);
    let id = match (verb, given) {
        ("add", _) => {
            state.objects += 1;
            state.objects
        }
        (_, Some(id)) => id,
        (_, None) => return Some(Err(Failure::argument("ID is not defined or invalid."))),
    };
    let event = format!("{stem}{}", verb.to_ascii_uppercase());
    // An incoming webhook is somebody else, whatever it says.
    let by = (!caller.webhook).then_some(caller.connector.as_str());
    for connector in heard_by(state, &event, by) {
        let data = format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#).into();
        let change = Change { event: event.as_str().into(), data, odd: false, user: Some(1), at: now.div_euclid(1000) };
        state.emit(&connector, change);
        state.unheard += 1;
    }
    Some(Ok(Answer::new(if verb == "add" { id.to_string() } else { "true".to_owned() })))
}
