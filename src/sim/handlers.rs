//! `event.bind`, `event.unbind`, `event.get`, `events`: what the application wants to hear of.

use std::sync::OnceLock;

use serde::Deserialize;

use super::{
    failure::Failure,
    methods::Answer,
    php::{Php, quote},
};

/// The event that tells of new rows; bound online.
pub const WAKE_EVENT: &str = "ONOFFLINEEVENT";
/// Events that every application may bind, beside the catalogue; none of them offline.
const OWN_EVENTS: [&str; 4] = ["ONAPPINSTALL", "ONAPPUNINSTALL", "ONAPPUPDATE", WAKE_EVENT];

/// One binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Rows in the queue of a connector.
    Offline {
        /// `EVENT_NAME`.
        event: String,
        /// `auth_connector` of the request that bound it.
        connector: String,
    },
    /// A call to a URL.
    Online {
        /// `EVENT_NAME`.
        event: String,
        /// Where to.
        url: String,
        /// `options[minTimeout]`: at most one call per so many seconds; 0 is one per hit.
        min_timeout: u32,
    },
}

/// The bindings of the application.
#[derive(Clone, Debug, Default)]
pub struct Handlers(Vec<Handler>);

#[derive(Deserialize)]
struct Known {
    event: String,
    pattern: bool,
    offline: bool,
}

/// Whether an event exists, and if so, whether it can be bound offline.
fn known(event: &str) -> Option<bool> {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    let known =
        KNOWN.get_or_init(|| serde_json::from_str(include_str!("../bitrix/catalogue/events.json")).unwrap_or_default());
    if OWN_EVENTS.contains(&event) {
        return Some(false);
    }
    let is = |k: &&Known| {
        let stem = k.event.split('<').next().unwrap_or_default();
        if k.pattern { event.strip_prefix(stem).is_some_and(|id| id.parse::<u32>().is_ok()) } else { k.event == event }
    };
    known.iter().find(is).map(|k| k.offline)
}

/// The answer of `events`: every event that has a fixed name.
pub fn names_json() -> String {
    let all: Vec<Known> = serde_json::from_str(include_str!("../bitrix/catalogue/events.json")).unwrap_or_default();
    let names = all.iter().filter(|k| !k.pattern).map(|k| k.event.as_str()).chain(OWN_EVENTS);
    format!("[{}]", names.map(quote).collect::<Vec<_>>().join(","))
}

impl Handlers {
    /// `event.bind`. The connector is the caller's: the server reads it from the outer request only, so what a command
    /// of a `batch` says about it has no effect.
    pub fn bind(&mut self, params: &Php, connector: &str, connectors_licensed: bool) -> Result<Answer, Failure> {
        let handler = read(params, connector)?;
        if let Handler::Offline { connector, .. } = &handler
            && !connector.is_empty()
            && !connectors_licensed
        {
            return Err(Failure::license());
        }
        if matches!(&handler, Handler::Online { url, .. } if !url.starts_with("http")) {
            return Err(Failure::argument("Argument 'handler' is null or empty"));
        }
        if self.0.iter().any(|known| same(known, &handler)) {
            return Err(Failure::new(400, "ERROR_CORE", "Unable to set event handler: Handler already binded"));
        }
        self.0.push(handler);
        Ok(Answer::new("true"))
    }

    /// `event.unbind`; the connector is the caller's, as in [`Handlers::bind`].
    pub fn unbind(&mut self, params: &Php, connector: &str) -> Result<Answer, Failure> {
        let handler = read(params, connector)?;
        let before = self.0.len();
        self.0.retain(|known| !same(known, &handler));
        Ok(Answer::new(format!(r#"{{"count":{}}}"#, before - self.0.len())))
    }

    /// The answer of `event.get`.
    pub fn json(&self) -> String {
        let entries = self.0.iter().map(|handler| match handler {
            Handler::Offline { event, connector } => {
                format!(r#"{{"event":{},"connector_id":{},"offline":1}}"#, quote(event), quote(connector))
            }
            Handler::Online { event, url, .. } => {
                format!(r#"{{"event":{},"handler":{},"auth_type":"0","offline":0}}"#, quote(event), quote(url))
            }
        });
        format!("[{}]", entries.collect::<Vec<_>>().join(","))
    }

    /// Forgets all bindings, as an update or removal of the application does.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The connectors whose queues an event goes to.
    pub fn connectors<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(move |handler| match handler {
            Handler::Offline { event, connector } if event == name => Some(connector.as_str()),
            _ => None,
        })
    }

    /// Where an online event goes to: URL and `minTimeout`.
    pub fn urls<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, u32)> {
        self.0.iter().filter_map(move |handler| match handler {
            Handler::Online { event, url, min_timeout } if event == name => Some((url.as_str(), *min_timeout)),
            _ => None,
        })
    }
}

fn same(a: &Handler, b: &Handler) -> bool {
    match (a, b) {
        (Handler::Online { event, url, .. }, Handler::Online { event: other, url: to, .. }) => {
            event == other && url == to
        }
        _ => a == b,
    }
}

fn read(params: &Php, connector: &str) -> Result<Handler, Failure> {
    let text = |name: &str| params.get(name).and_then(Php::text).unwrap_or_default();
    let event = text("event").to_ascii_uppercase();
    if event.is_empty() {
        return Err(Failure::argument("Argument 'event' is null or empty"));
    }
    let Some(can_be_offline) = known(&event) else {
        return Err(Failure::new(400, "ERROR_EVENT_NOT_FOUND", "Event not found"));
    };
    if !text("event_type").eq_ignore_ascii_case("offline") {
        let timeout = params.get("options").and_then(|o| o.get("minTimeout")).map_or(1, Php::int);
        let min_timeout = u32::try_from(timeout).unwrap_or(0);
        return Ok(Handler::Online { event, url: text("handler").to_owned(), min_timeout });
    }
    if !can_be_offline {
        return Err(Failure::argument("Offline event cannot be registered for this event"));
    }
    Ok(Handler::Offline { event, connector: connector.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::php::parse_query;

    fn bind(handlers: &mut Handlers, query: &str) -> Result<Answer, Failure> {
        handlers.bind(&parse_query(query), "", true)
    }

    #[test]
    fn what_can_be_bound_is_bound_once() {
        let mut handlers = Handlers::default();
        let code = |result: Result<Answer, Failure>| result.unwrap_err().code;
        assert!(bind(&mut handlers, "event=onCrmDealAdd&event_type=offline").is_ok());
        assert_eq!(code(bind(&mut handlers, "event=ONCRMDEALADD&event_type=offline")), "ERROR_CORE");
        assert!(
            handlers.bind(&parse_query("event=ONCRMDEALADD&event_type=offline&auth_connector=x"), "c", true).is_ok()
        );
        assert!(bind(&mut handlers, "event=ONCRMDYNAMICITEMADD_128&event_type=offline").is_ok());
        assert_eq!(code(bind(&mut handlers, "event=ONNOTHING&event_type=offline")), "ERROR_EVENT_NOT_FOUND");
        assert_eq!(code(bind(&mut handlers, "event=ONAPPINSTALL&event_type=offline")), "ERROR_ARGUMENT");
        assert_eq!(code(bind(&mut handlers, "event=ONCRMDEALADD")), "ERROR_ARGUMENT");
        assert_eq!(code(bind(&mut handlers, "")), "ERROR_ARGUMENT");
        let licence = handlers.bind(&parse_query("event=ONTASKADD&event_type=offline"), "d", false);
        assert_eq!(code(licence), "WRONG_LICENSE");
        assert_eq!(handlers.connectors("ONCRMDEALADD").collect::<Vec<_>>(), ["", "c"]);
    }

    #[test]
    fn a_wake_up_is_bound_online_with_its_time_out() {
        let mut handlers = Handlers::default();
        bind(&mut handlers, "event=ONOFFLINEEVENT&handler=http://h/&options[minTimeout]=5").unwrap();
        bind(&mut handlers, "event=ONOFFLINEEVENT&handler=http://i/").unwrap();
        assert_eq!(handlers.urls(WAKE_EVENT).collect::<Vec<_>>(), [("http://h/", 5), ("http://i/", 1)]);
        let unbound = handlers.unbind(&parse_query("event=ONOFFLINEEVENT&handler=http://h/"), "").unwrap();
        assert_eq!(unbound.json, r#"{"count":1}"#);
        assert!(handlers.json().contains(r#""handler":"http://i/","auth_type":"0","offline":0"#));
    }

    #[test]
    fn the_list_of_events_is_the_catalogue() {
        assert!(names_json().contains("\"ONCRMDEALUPDATE\""));
        assert!(!names_json().contains('<'));
    }
}
