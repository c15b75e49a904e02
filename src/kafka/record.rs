//! Rows become records: a pure function, and the bytes are a contract with consumers.
//!
//! The value of a row is the same bytes each time it is produced; only the headers `b24_redelivery` and `b24_late`
//! tell deliveries apart. Nothing here parses JSON: the data of an event arrives compact and redacted and is copied.

use std::io::Write as _;

use super::template::{Fields, KeyTemplate, TopicTemplate};
use crate::protocol::types::{Connector, Event, PortalId, RowId};

/// The entity of every event that the catalogue does not know.
const UNKNOWN_ENTITY: &str = "other";
/// The `ce_specversion` of all records.
pub(super) const SPEC_VERSION: &str = "1.0";
/// Headers of a record, at most.
const HEADERS: usize = 11;
/// Room for what a value holds beside the data and the prefix; only a guess that saves a copy.
const VALUE_ROOM: usize = 256;
/// Room for the texts of all headers; only a guess that saves a copy.
const HEADER_ROOM: usize = 384;

/// What is handed to the producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it goes; a name that Kafka accepts.
    pub topic: String,
    /// The key, UTF-8.
    pub key: String,
    /// The value, UTF-8 JSON.
    pub value: Vec<u8>,
    /// The headers in order.
    pub headers: Headers,
    /// Whether a record with the same key and headers and a null value follows it.
    pub tombstone: bool,
    /// Whether no other record may be in its batch.
    pub alone: bool,
}

/// Headers with their texts in one buffer: two allocations a record instead of twenty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    ends: Vec<(&'static str, usize)>,
    text: String,
}

/// What is known of this delivery, apart from the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The row may have been produced before.
    pub redelivery: bool,
    /// A row with a higher id of the same queue has been published before it.
    pub late: bool,
}

/// Makes the records of one queue.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub(super) portal: PortalId,
    pub(super) connector: Connector,
    topic: TopicTemplate,
    key: KeyTemplate,
    tombstones: bool,
    /// The beginning of every value, up to the event's name.
    prefix: Vec<u8>,
    pub(super) source: String,
}

impl Headers {
    /// Room for all headers of a record.
    pub fn with_room() -> Self {
        Self { ends: Vec::with_capacity(HEADERS), text: String::with_capacity(HEADER_ROOM) }
    }

    /// Adds one header; `pieces` joined are its value.
    pub fn push(&mut self, name: &'static str, pieces: &[&str]) {
        for piece in pieces {
            self.text.push_str(piece);
        }
        self.ends.push((name, self.text.len()));
    }

    /// Adds one header with its value in lower case behind a prefix.
    fn push_lower(&mut self, name: &'static str, prefix: &str, value: &str) {
        self.text.push_str(prefix);
        self.text.extend(value.chars().map(|c| c.to_ascii_lowercase()));
        self.ends.push((name, self.text.len()));
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |&(name, end)| {
            let value = &self.text[start..end];
            start = end;
            (name, value)
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl Recorder {
    /// For one queue of the portal whose current endpoint's host is `domain` (without a port).
    pub fn new(
        portal: PortalId,
        domain: &str,
        connector: Connector,
        topic: TopicTemplate,
        key: KeyTemplate,
        tombstones: bool,
    ) -> Self {
        let prefix = prefix(&portal, domain, &connector);
        let source = match connector.as_str() {
            "" => format!("/bitrix24/{portal}"),
            connector => format!("/bitrix24/{portal}/{connector}"),
        };
        Self { portal, connector, topic, key, tombstones, prefix, source }
    }

    /// The portal is somewhere else from now on.
    pub fn relocate(&mut self, domain: &str) {
        self.prefix = prefix(&self.portal, domain, &self.connector);
    }

    /// The record of one event.
    pub fn record(&self, id: RowId, event: &Event, marks: Marks) -> Record {
        let fields = self.fields(event);
        let key = self.key.render(fields);
        let time = rfc3339(event.changed_at);
        let mut headers = Headers::with_room();
        self.cloud_event(&mut headers, id, event, &time, &key);
        headers.push("content-type", &["application/json"]);
        headers.push("b24_event", &[&event.name]);
        if marks.redelivery {
            headers.push("b24_redelivery", &["1"]);
        }
        if marks.late {
            headers.push("b24_late", &["1"]);
        }
        Record {
            topic: self.topic.render(fields),
            key,
            value: self.value(id, event, &time),
            headers,
            tombstone: self.tombstones && event.change == crate::protocol::types::Change::Delete,
            alone: false,
        }
    }

    /// The topic of an event's record.
    pub fn topic(&self, event: &Event) -> String {
        self.topic.render(self.fields(event))
    }

    fn fields<'a>(&'a self, event: &'a Event) -> Fields<'a> {
        Fields {
            entity: event.entity,
            event: &event.name,
            member_id: self.portal.as_str(),
            connector: self.connector.as_str(),
            id: &event.entity_id,
        }
    }

    /// The `ce_*` headers of an event.
    pub(super) fn cloud_event(&self, headers: &mut Headers, id: RowId, event: &Event, time: &str, key: &str) {
        headers.push("ce_specversion", &[SPEC_VERSION]);
        headers.push("ce_id", &[self.portal.as_str(), ":", &id.to_string(), ":", &event.changed_at.to_string()]);
        headers.push("ce_source", &[&self.source]);
        if event.entity == UNKNOWN_ENTITY {
            headers.push_lower("ce_type", "com.bitrix24.other.", &event.name);
        } else {
            headers.push("ce_type", &["com.bitrix24.", event.entity, ".", event.change.as_str()]);
        }
        headers.push("ce_subject", &[event.entity, "/", &event.entity_id]);
        headers.push("ce_time", &[time]);
        headers.push("ce_partitionkey", &[key]);
    }

    fn value(&self, id: RowId, event: &Event, time: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.prefix.len() + event.data.len() + VALUE_ROOM);
        out.extend_from_slice(&self.prefix);
        text(&mut out, &event.name);
        text_field(&mut out, b",\"entity\":", event.entity);
        text_field(&mut out, b",\"change\":", event.change.as_str());
        text_field(&mut out, b",\"entity_id\":", &event.entity_id);
        text_field(&mut out, b",\"changed_at\":", time);
        out.extend_from_slice(b",\"user_id\":");
        match event.user_id {
            Some(user) => number(&mut out, user),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"row_id\":");
        number(&mut out, id);
        text_field(&mut out, b",\"message_id\":", &event.message_id);
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(event.data.as_bytes());
        out.push(b'}');
        out
    }
}

/// Seconds since 1970 as RFC 3339 in UTC. What no calendar holds becomes its nearest end.
pub(super) fn rfc3339(seconds: i64) -> String {
    let end = if seconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_second(seconds).unwrap_or(end).to_string()
}

/// A JSON string.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    // Serialising a string into memory cannot fail.
    let _infallible = serde_json::to_writer(out, text);
}

/// How every value begins, up to the event's name.
fn prefix(portal: &PortalId, domain: &str, connector: &Connector) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(128);
    text_field(&mut prefix, b"{\"member_id\":", portal.as_str());
    text_field(&mut prefix, b",\"domain\":", domain);
    text_field(&mut prefix, b",\"connector\":", connector.as_str());
    prefix.extend_from_slice(b",\"event\":");
    prefix
}

/// A member of a JSON object: `name` is spelled out with its comma and colon.
pub(super) fn text_field(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend_from_slice(name);
    text(out, value);
}

fn number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    // Writing into memory cannot fail.
    let _infallible = write!(out, "{number}");
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::protocol::types::{Change, EntityKey};

    pub const PORTAL: &str = "a223c6b3710f85df22e9377d6c4f7553";

    pub fn recorder(connector: &str) -> Recorder {
        Recorder::new(
            PortalId::new(PORTAL).expect("portal"),
            "example.bitrix24.com",
            Connector::new(connector),
            TopicTemplate::parse("bitrix24.{entity}").expect("topic"),
            KeyTemplate::parse("{member_id}:{entity}:{id}").expect("key"),
            true,
        )
    }

    pub fn event() -> Event {
        Event {
            name: "ONCRMDEALUPDATE".into(),
            entity: "crm.deal",
            change: Change::Update,
            entity_id: "123".into(),
            key: EntityKey(1),
            changed_at: 1_795_515_330,
            timestamp_x: "2026-11-24T13:15:30+03:00".into(),
            message_id: "0123456789abcdef0123456789abcdef".into(),
            user_id: Some(1),
            data: r#"{"FIELDS":{"ID":"123"}}"#.into(),
            additional: r#"{"user_id":1}"#.into(),
        }
    }

    pub fn row_id() -> RowId {
        RowId::new(456).expect("row")
    }

    fn value(record: &Record) -> &str {
        std::str::from_utf8(&record.value).expect("UTF-8")
    }

    #[test]
    fn a_record_is_exactly_this() {
        let record = recorder("").record(row_id(), &event(), Marks::default());
        assert_eq!(record.topic, "bitrix24.crm.deal");
        assert_eq!(record.key, "a223c6b3710f85df22e9377d6c4f7553:crm.deal:123");
        assert_eq!(
            value(&record),
            concat!(
                r#"{"member_id":"a223c6b3710f85df22e9377d6c4f7553","domain":"example.bitrix24.com","connector":"","#,
                r#""event":"ONCRMDEALUPDATE","entity":"crm.deal","change":"update","entity_id":"123","#,
                r#""changed_at":"2026-11-24T10:15:30Z","user_id":1,"row_id":456,"#,
                r#""message_id":"0123456789abcdef0123456789abcdef","data":{"FIELDS":{"ID":"123"}}}"#
            )
        );
        assert_eq!(
            record.headers.iter().collect::<Vec<_>>(),
            [
                ("ce_specversion", "1.0"),
                ("ce_id", "a223c6b3710f85df22e9377d6c4f7553:456:1795515330"),
                ("ce_source", "/bitrix24/a223c6b3710f85df22e9377d6c4f7553"),
                ("ce_type", "com.bitrix24.crm.deal.update"),
                ("ce_subject", "crm.deal/123"),
                ("ce_time", "2026-11-24T10:15:30Z"),
                ("ce_partitionkey", "a223c6b3710f85df22e9377d6c4f7553:crm.deal:123"),
                ("content-type", "application/json"),
                ("b24_event", "ONCRMDEALUPDATE"),
            ]
        );
        assert!(!record.tombstone);
    }

    #[test]
    fn an_unknown_event_has_its_own_type() {
        let event =
            Event { name: "ONMYAPP.Ü:THING".into(), entity: "other", change: Change::Other, user_id: None, ..event() };
        let record = recorder("my sync").record(row_id(), &event, Marks { redelivery: true, late: true });
        let headers: Vec<_> = record.headers.iter().collect();
        assert!(headers.contains(&("ce_type", "com.bitrix24.other.onmyapp.Ü:thing")), "{headers:?}");
        assert!(headers.contains(&("ce_source", &format!("/bitrix24/{PORTAL}/my sync"))), "{headers:?}");
        assert_eq!(headers[headers.len() - 2..], [("b24_redelivery", "1"), ("b24_late", "1")]);
        assert!(value(&record).contains(r#""user_id":null,"#) && value(&record).contains(r#""connector":"my sync""#));
        assert_eq!(record.topic, "bitrix24.other");
    }

    #[test]
    fn a_redelivery_has_the_same_value_and_foreign_text_is_escaped() {
        let event = Event { name: "ON\"X\n".into(), entity_id: "a\\b".into(), ..event() };
        let first = recorder("").record(row_id(), &event, Marks::default());
        let again = recorder("").record(row_id(), &event, Marks { redelivery: true, late: false });
        assert_eq!(first.value, again.value);
        let json: serde_json::Value = serde_json::from_slice(&first.value).expect("JSON");
        assert_eq!((&json["event"], &json["entity_id"]), (&"ON\"X\n".into(), &"a\\b".into()));
    }

    #[test]
    fn only_a_delete_is_followed_by_a_tombstone() {
        let event = Event { change: Change::Delete, ..event() };
        assert!(recorder("").record(row_id(), &event, Marks::default()).tombstone);
        let without = Recorder { tombstones: false, ..recorder("") };
        assert!(!without.record(row_id(), &event, Marks::default()).tombstone);
    }

    #[test]
    fn times_are_utc_with_a_z() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert!(rfc3339(i64::MAX).ends_with('Z') && rfc3339(i64::MIN).ends_with('Z'));
    }
}
