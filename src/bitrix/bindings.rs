//! Bindings: which events a portal puts into which queue. They are desired state, since an update of the application
//! removes them (protocol reference section 2).

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::RawValue;
use url::{Url, form_urlencoded::byte_serialize};

use super::{
    client::{Access, Client},
    error::{CallError, Trouble},
    exchange::BatchRequest,
    features::NoParameters,
    json,
    wire::{Batch, Entries, scalar},
};
use crate::protocol::{exchange::BATCH_COMMANDS, types::Connector};

/// The event that tells an application that a queue is not empty any more.
pub const WAKE_UP: &str = "ONOFFLINEEVENT";

/// One event that is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The event's name, upper case.
    pub event: String,
    /// What happens when it occurs.
    pub target: Target,
}

/// What happens when a bound event occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It becomes a row of this queue.
    Offline {
        /// Which queue.
        connector: Connector,
    },
    /// The portal calls this address.
    Online {
        /// Which one, as the portal spells it.
        handler: String,
    },
}

/// What became of the events that a queue should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Bound already.
    pub existing: Vec<String>,
    /// Bound now.
    pub added: Vec<String>,
    /// Unbound now.
    pub removed: Vec<String>,
    /// The portal does not know them.
    pub unknown: Vec<String>,
    /// The portal knows them and makes no rows of them (`ERROR_ARGUMENT`, protocol reference section 2).
    pub unfit: Vec<String>,
    /// The plan of the portal has no queues of their own (`auth_connector`), so they are not bound.
    pub unlicensed: Vec<String>,
    /// Not bound, and why.
    pub failed: Vec<(String, CallError)>,
}

/// What became of the wake-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoundWakeUp {
    /// Bound now; otherwise they were.
    pub added: bool,
    /// Other addresses that the application has them go to.
    pub others: Vec<String>,
}

impl Client {
    /// Everything that the application has bound.
    ///
    /// # Errors
    /// [`CallError`]; asking again is harmless.
    pub async fn bindings(&self, access: &Access) -> Result<Vec<Binding>, CallError> {
        let answered = self.call(access, "event.get", None, &NoParameters {}).await?;
        let (result, _) = answered.result::<&RawValue>()?;
        Ok(list(result)?.filter_map(|child| binding(child.value)).collect())
    }

    /// The names of all events that the portal knows and the application may bind, upper case.
    ///
    /// # Errors
    /// [`CallError`]; asking again is harmless.
    pub async fn events(&self, access: &Access) -> Result<Vec<String>, CallError> {
        let answered = self.call(access, "events", None, &NoParameters {}).await?;
        let (result, _) = answered.result::<&RawValue>()?;
        let names = list(result)?.filter_map(|child| scalar::text(child.value));
        Ok(names.map(|name| name.to_ascii_uppercase()).collect())
    }

    /// Binds the `events` (upper case) that are missing in the queue of `connector`, and unbinds all others of this queue if
    /// `unbind_others` says so. Reads first what is there, since binding twice is an error.
    ///
    /// # Errors
    /// [`CallError`] if a request as a whole fails; starting over is harmless. What fails for one event is in [`Bound`].
    pub async fn bind(
        &self,
        access: &Access,
        connector: &Connector,
        events: &[String],
        unbind_others: bool,
    ) -> Result<Bound, CallError> {
        let mut bound = Bound::default();
        let wanted: BTreeSet<&str> = events.iter().map(String::as_str).collect();
        if wanted.is_empty() {
            return Ok(bound);
        }
        let target = Target::Offline { connector: connector.clone() };
        let existing = self.bindings(access).await?;
        let is_bound = |event: &str| existing.iter().any(|b| b.event == event && b.target == target);
        let (there, missing): (Vec<&str>, Vec<&str>) = wanted.into_iter().partition(|event| is_bound(event));
        bound.existing = there.into_iter().map(String::from).collect();
        let others: BTreeSet<&str> = existing
            .iter()
            .filter(|b| unbind_others && b.target == target && !events.contains(&b.event))
            .map(|b| b.event.as_str())
            .collect();
        let changes: Vec<(Verb, &str)> =
            missing.into_iter().map(|e| (Verb::Bind, e)).chain(others.into_iter().map(|e| (Verb::Unbind, e))).collect();
        for some in changes.chunks(BATCH_COMMANDS) {
            let commands = some.iter().enumerate().map(|(n, (verb, event))| (format!("b{n}"), verb.command(event)));
            let request = BatchRequest::new(commands.collect());
            let answered = self.call(access, "batch", Some(connector), &request).await?;
            let batch = match answered.result::<Batch<'_, Entries<'_>>>() {
                Ok((batch, _)) => batch,
                // It is the connector that the plan lacks: the portal as a whole may be served.
                Err(error) if error.trouble == Trouble::Unlicensed && !connector.as_str().is_empty() => {
                    let binds = some.iter().filter(|(verb, _)| *verb == Verb::Bind);
                    bound.unlicensed.extend(binds.map(|(_, event)| (*event).to_owned()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (n, (verb, event)) in some.iter().enumerate() {
                bound.sort(*verb, event, verb.outcome(&batch, &format!("b{n}")));
            }
        }
        Ok(bound)
    }

    /// Asks the portal to call `handler` when a queue is no longer empty, at most once per `min_timeout` seconds; 0 is
    /// once per event. Does nothing if that handler is bound already.
    ///
    /// # Errors
    /// [`CallError`]; starting over is harmless.
    pub async fn bind_wake_up(
        &self,
        access: &Access,
        handler: &Url,
        min_timeout: u64,
    ) -> Result<BoundWakeUp, CallError> {
        #[derive(Serialize)]
        struct Bind<'a> {
            event: &'a str,
            handler: &'a str,
            options: Options,
        }
        #[derive(Serialize)]
        struct Options {
            #[serde(rename = "minTimeout")]
            min_timeout: u64,
        }
        let (mut there, mut others) = (false, Vec::new());
        for binding in self.bindings(access).await?.into_iter().filter(|binding| binding.event == WAKE_UP) {
            match binding.target {
                Target::Online { handler: bound } if bound == handler.as_str() => there = true,
                Target::Online { handler: bound } => others.push(bound),
                Target::Offline { .. } => {}
            }
        }
        if there {
            return Ok(BoundWakeUp { added: false, others });
        }
        let bind = Bind { event: WAKE_UP, handler: handler.as_str(), options: Options { min_timeout } };
        let answered = self.call(access, "event.bind", None, &bind).await?;
        let (result, _) = answered.result::<&RawValue>()?;
        if scalar::yes(result.get()) {
            Ok(BoundWakeUp { added: true, others })
        } else {
            Err(CallError::unknown("ODD_RESULT"))
        }
    }
}

impl Bound {
    fn sort(&mut self, verb: Verb, event: &str, outcome: Result<(), CallError>) {
        match (verb, outcome) {
            (Verb::Bind, Ok(())) => self.added.push(event.to_owned()),
            (Verb::Unbind, Ok(())) => self.removed.push(event.to_owned()),
            // What is too much is looked at again with the next round.
            (Verb::Unbind, Err(_)) => {}
            (Verb::Bind, Err(error)) if &*error.code == "ERROR_EVENT_NOT_FOUND" => {
                self.unknown.push(event.to_owned());
            }
            (Verb::Bind, Err(error)) if &*error.code == "ERROR_ARGUMENT" => self.unfit.push(event.to_owned()),
            (Verb::Bind, Err(error)) if error.trouble == Trouble::Unlicensed => self.unlicensed.push(event.to_owned()),
            (Verb::Bind, Err(error)) => self.failed.push((event.to_owned(), error)),
        }
    }
}

/// A list, or what PHP makes of one. Anything else is not taken for an empty one.
fn list(result: &RawValue) -> Result<json::Children<'_>, CallError> {
    match result.get().as_bytes() {
        [b'[' | b'{', ..] | b"false" | b"\"\"" => Ok(json::children(result.get())),
        _ => Err(CallError::unknown("ODD_RESULT")),
    }
}

/// What is done to an event of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Bind,
    Unbind,
}

impl Verb {
    /// The connector is that of the request.
    fn command(self, event: &str) -> String {
        let event: String = byte_serialize(event.as_bytes()).collect();
        let method = match self {
            Self::Bind => "event.bind",
            Self::Unbind => "event.unbind",
        };
        format!("{method}?event={event}&event_type=offline")
    }

    fn outcome(self, batch: &Batch<'_, Entries<'_>>, key: &str) -> Result<(), CallError> {
        if let Some(raw) = batch.result_error.get(key) {
            let code = scalar::text_or_number(json::member(raw, "error").unwrap_or(raw)).unwrap_or_default();
            return Err(CallError::coded(200, &code));
        }
        let result = batch.result.as_ref().and_then(|result| result.get(key));
        let done = match self {
            Self::Bind => result.is_some_and(scalar::yes),
            // How many there were does not matter.
            Self::Unbind => result.is_some_and(|result| json::member(result, "count").is_some()),
        };
        if done { Ok(()) } else { Err(CallError::unknown("NO_RESULT")) }
    }
}

fn binding(raw: &str) -> Option<Binding> {
    let text = |key| json::member(raw, key).and_then(scalar::text_or_number);
    let event = text("event")?.to_ascii_uppercase();
    let target = if json::member(raw, "offline").is_some_and(scalar::yes) {
        Target::Offline { connector: Connector::new(&text("connector_id").unwrap_or_default()) }
    } else {
        Target::Online { handler: text("handler")?.into_owned() }
    };
    Some(Binding { event, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_bindings_are_read() {
        let offline = |connector| Target::Offline { connector: Connector::new(connector) };
        for (raw, want) in [
            (r#"{"event":"ONCRMDEALADD","connector_id":"","offline":1}"#, Some(("ONCRMDEALADD", offline("")))),
            (r#"{"event":"oncrmdealadd","connector_id":"x","offline":"1"}"#, Some(("ONCRMDEALADD", offline("x")))),
            (r#"{"event":"ONTASKADD","connector_id":false,"offline":1}"#, Some(("ONTASKADD", offline("")))),
            (
                r#"{"event":"ONOFFLINEEVENT","handler":"https:\/\/b.example\/e","auth_type":"0","offline":0}"#,
                Some(("ONOFFLINEEVENT", Target::Online { handler: "https://b.example/e".into() })),
            ),
            (r#"{"event":"ONTASKADD","offline":0}"#, None),
            ("false", None),
        ] {
            let want = want.map(|(event, target)| Binding { event: event.into(), target });
            assert_eq!(binding(raw), want, "{raw}");
        }
    }
}
