//! One record as one line of JSON, for programs: everything that lies in Kafka, the value as it was written.

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use crate::{cli::output::printable_json, kafka::consumer::Message};

/// The members in their order; `timestamp` is in milliseconds since 1970.
#[derive(Serialize)]
struct Document<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    key: Option<Bytes<'a>>,
    headers: Headers<'a>,
    value: Option<Value<'a>>,
}

/// JSON as it is, other text as a string, the rest as [`Bytes`].
#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Json(&'a RawValue),
    Bytes(Bytes<'a>),
}

/// A string, or `{"hex": "00ff"}` where the bytes are no UTF-8.
#[derive(Serialize)]
#[serde(untagged)]
enum Bytes<'a> {
    Text(&'a str),
    Hex { hex: String },
}

/// An object in the order of the headers; of a name that is repeated, an array.
struct Headers<'a>(&'a [(String, Vec<u8>)]);

/// The line, without its end.
pub(super) fn render(message: &Message) -> String {
    let document = Document {
        topic: &message.topic,
        partition: message.partition,
        offset: message.offset,
        timestamp: message.timestamp,
        key: message.key.as_deref().map(Bytes::new),
        headers: Headers(&message.headers),
        value: message.value.as_deref().map(Value::new),
    };
    // Plain data into memory cannot fail.
    let json = serde_json::to_string(&document).unwrap_or_default();
    // Breaks can come from a foreign value only, where they stand between two tokens.
    printable_json(&json.replace(['\n', '\r'], " "))
}

impl<'a> Value<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        serde_json::from_slice(bytes).map_or_else(|_| Self::Bytes(Bytes::new(bytes)), Self::Json)
    }
}

impl<'a> Bytes<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Hex { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (at, (name, value)) in self.0.iter().enumerate() {
            if self.0[..at].iter().any(|(known, _)| known == name) {
                continue;
            }
            let all: Vec<Bytes<'_>> =
                self.0[at..].iter().filter(|(other, _)| other == name).map(|(_, value)| Bytes::new(value)).collect();
            if all.len() == 1 {
                map.serialize_entry(name, &Bytes::new(value))?;
            } else {
                map.serialize_entry(name, &all)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tap::seen::tests::{PORTAL, message, record};

    #[test]
    fn the_value_is_what_was_written() {
        let line = render(&message(Some(&record()), &[("ce_id", "1"), ("x", "a"), ("x", "b")]));
        let begin = format!(
            r#"{{"topic":"bitrix24.crm.deal","partition":3,"offset":17,"timestamp":1795515332500,"key":"{PORTAL}:456","headers":{{"ce_id":"1","x":["a","b"]}},"value":{{"member_id":"#
        );
        assert!(line.starts_with(&begin), "{line}");
        assert!(line.ends_with(r#""data":{"b":1,"a":1.10}}}"#), "order and numbers are kept: {line}");
    }

    #[test]
    fn foreign_values_stay_on_their_line() {
        let value = |message: &Message| {
            let line = render(message);
            assert!(!line.contains(['\n', '\r', '\u{9b}', '\u{1b}']), "{line:?}");
            serde_json::from_str::<serde_json::Value>(&line).expect("JSON")["value"].clone()
        };
        assert_eq!(value(&message(Some("{\r\n\"a\":\n\"\u{9b}\"}"), &[])), serde_json::json!({ "a": "\u{9b}" }));
        assert_eq!(value(&message(Some("a\n\u{1b}[2J"), &[])), "a\n\u{1b}[2J");
        assert_eq!(value(&message(None, &[])), serde_json::Value::Null);
        let bytes = Message { value: Some(vec![0, 255]), ..message(None, &[]) };
        assert_eq!(value(&bytes), serde_json::json!({ "hex": "00ff" }));
    }
}
