//! What can be seen of a record that may be anybody's: the bridge's own, a tombstone, a dead letter, something foreign.
//!
//! Nothing here fails. The value tells first, since it survives tools that drop headers; the headers tell the rest, since
//! a tombstone has nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::kafka::consumer::Message;

/// What a record tells about itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// What it is.
    pub kind: Kind,
    /// The entity.
    pub entity: Option<String>,
    /// `add`, `update`, `delete` or `other`.
    pub change: Option<String>,
    /// The entity's id.
    pub entity_id: Option<String>,
    /// The event's name.
    pub event: Option<String>,
    /// The portal.
    pub member_id: Option<String>,
    /// The connector, if it is not the plain one.
    pub connector: Option<String>,
    /// The row.
    pub row_id: Option<String>,
    /// When the change was made, at the portal.
    pub changed_at: Option<Timestamp>,
    /// It may have been produced before.
    pub redelivery: bool,
    /// A newer change may have gone before it.
    pub late: bool,
}

/// What a record is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// The record of a row.
    Record,
    /// The bridge's by its headers, but its value is not.
    Unreadable,
    /// A null value.
    Tombstone,
    /// A row that could not become a record.
    DeadLetter {
        /// `too_large`, `invalid_record` or `malformed_row`.
        reason: String,
        /// Why, in words.
        detail: String,
        /// Where it would have gone.
        topic: Option<String>,
    },
    /// Nothing that the bridge writes.
    #[default]
    Foreign,
}

/// The members of a JSON object, each still text: one of a wrong type spoils only itself.
#[derive(Default)]
struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl Seen {
    /// Looks at a record.
    pub fn new(message: &Message) -> Self {
        let value = Object::parse(message.value.as_deref().unwrap_or_default());
        let header = |name: &str| header(message, name);
        let kind = Kind::new(message, &value);
        let row: Object<'_> = value.object("row");

        let source = header("ce_source").and_then(|source| source.strip_prefix("/bitrix24/"));
        let (portal, connector) = source.map_or((None, None), |source| match source.split_once('/') {
            Some((portal, connector)) => (Some(portal), Some(connector)),
            None => (Some(source), None),
        });
        let subject = header("ce_subject").and_then(|subject| subject.split_once('/'));
        let change = header("ce_type")
            .filter(|kind| !kind.starts_with("com.bitrix24.other."))
            .and_then(|kind| kind.rsplit_once('.'))
            .map(|(_, change)| change);
        let key = message.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let id = header("ce_id").or(key.filter(|_| matches!(kind, Kind::DeadLetter { .. })));
        let time = |text: &str| text.parse::<Timestamp>().ok();

        let text = |found: Option<String>, other: Option<&str>| found.or_else(|| other.map(str::to_owned));
        Self {
            entity: text(value.get("entity"), subject.map(|(entity, _)| entity)),
            change: text(value.get("change"), change),
            entity_id: text(value.get("entity_id"), subject.map(|(_, id)| id)),
            event: text(value.get("event").or_else(|| row.get("EVENT_NAME")), header("b24_event")),
            member_id: text(value.get("member_id"), portal),
            connector: text(value.get("connector"), connector).filter(|connector| !connector.is_empty()),
            row_id: text(value.get::<u64>("row_id").map(|id| id.to_string()), id.and_then(|id| id.split(':').nth(1))),
            changed_at: value
                .get("changed_at")
                .or_else(|| row.get("TIMESTAMP_X"))
                .and_then(|text: String| time(&text))
                .or_else(|| header("ce_time").and_then(time)),
            redelivery: header("b24_redelivery") == Some("1"),
            late: header("b24_late") == Some("1"),
            kind,
        }
    }
}

impl Kind {
    fn new(message: &Message, value: &Object<'_>) -> Self {
        if message.value.is_none() {
            return Self::Tombstone;
        }
        let reason = header(message, "b24_reason").map(str::to_owned);
        if let Some(reason) = reason.or_else(|| value.get("reason").filter(|_| value.0.contains_key("row"))) {
            let detail = value.get("detail").unwrap_or_default();
            return Self::DeadLetter { reason, detail, topic: value.get("topic") };
        }
        if value.get::<String>("member_id").is_some() && value.get::<String>("event").is_some() {
            return Self::Record;
        }
        let ours = header(message, "ce_source").is_some_and(|source| source.starts_with("/bitrix24/"));
        if ours { Self::Unreadable } else { Self::Foreign }
    }
}

impl<'a> Object<'a> {
    fn parse(json: &'a [u8]) -> Self {
        serde_json::from_slice(json).map(Self).unwrap_or_default()
    }

    fn get<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        self.0.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    fn object(&self, name: &str) -> Self {
        self.0.get(name).map(|raw| Self::parse(raw.get().as_bytes())).unwrap_or_default()
    }
}

/// The text of a header.
fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    let (_, value) = message.headers.iter().find(|(known, _)| known == name)?;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const PORTAL: &str = "a223c6b3710f85df22e9377d6c4f7553";

    pub fn message(value: Option<&str>, headers: &[(&str, &str)]) -> Message {
        Message {
            topic: "bitrix24.crm.deal".into(),
            partition: 3,
            offset: 17,
            timestamp: Some(1_795_515_332_500),
            key: Some(format!("{PORTAL}:456").into_bytes()),
            value: value.map(|value| value.as_bytes().to_vec()),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
        }
    }

    pub fn record() -> String {
        format!(
            r#"{{"member_id":"{PORTAL}","domain":"example.bitrix24.com","connector":"","event":"ONCRMDEALUPDATE","entity":"crm.deal","change":"update","entity_id":"123","changed_at":"2026-11-24T10:15:30Z","user_id":1,"row_id":456,"message_id":"0","data":{{"b":1,"a":1.10}}}}"#
        )
    }

    pub fn headers() -> [(&'static str, &'static str); 5] {
        [
            ("ce_id", "a223c6b3710f85df22e9377d6c4f7553:456:1795515330"),
            ("ce_source", "/bitrix24/a223c6b3710f85df22e9377d6c4f7553/sync"),
            ("ce_type", "com.bitrix24.crm.deal.delete"),
            ("ce_subject", "crm.deal/123"),
            ("ce_time", "2026-11-24T10:15:30Z"),
        ]
    }

    #[test]
    fn value_and_headers_tell_the_same() {
        let (value, header) = (Seen::new(&message(Some(&record()), &[])), Seen::new(&message(None, &headers())));
        assert_eq!((&value.kind, &header.kind), (&Kind::Record, &Kind::Tombstone));
        assert_eq!((value.change.as_deref(), header.change.as_deref()), (Some("update"), Some("delete")));
        assert_eq!((value.connector.as_deref(), header.connector.as_deref()), (None, Some("sync")));
        for seen in [&value, &header] {
            assert_eq!(seen.member_id.as_deref(), Some(PORTAL));
            assert_eq!((seen.entity.as_deref(), seen.entity_id.as_deref()), (Some("crm.deal"), Some("123")));
            assert_eq!(seen.row_id.as_deref(), Some("456"));
            assert_eq!(seen.changed_at.map(Timestamp::as_second), Some(1_795_515_330));
        }
    }

    #[test]
    fn a_dead_letter_tells_its_row() {
        let letter = format!(
            r#"{{"reason":"malformed_row","detail":"no name","topic":null,"member_id":"{PORTAL}","connector":"","row":{{"EVENT_NAME":7,"TIMESTAMP_X":"2026-11-24T13:15:30+03:00"}}}}"#
        );
        let seen = Seen::new(&message(Some(&letter), &[]));
        let kind = Kind::DeadLetter { reason: "malformed_row".into(), detail: "no name".into(), topic: None };
        assert_eq!((seen.kind, seen.row_id.as_deref(), seen.event), (kind, Some("456"), None));
        assert_eq!(seen.changed_at.map(Timestamp::as_second), Some(1_795_515_330));
    }

    #[test]
    fn whatever_comes_is_something() {
        for value in ["", "{", "[1]", "5", "null", "{\"member_id\":5}", "\u{1b}[2J", &"[".repeat(100_000)] {
            assert_eq!(Seen::new(&message(Some(value), &[])).kind, Kind::Foreign);
            assert_eq!(Seen::new(&message(Some(value), &headers())).kind, Kind::Unreadable);
        }
        let other = [("ce_type", "com.bitrix24.other.onmyapp.thing"), ("ce_time", "soon"), ("ce_id", "x")];
        let seen = Seen::new(&message(Some("{}"), &other));
        assert_eq!((seen.change, seen.changed_at, seen.row_id), (None, None, None));
    }
}
