//! Dead letters: what is left of a row that can never become a record.
//!
//! A dead letter holds the row as it is, so that nothing is lost; only when Kafka has refused the row as too large is its
//! data replaced by a digest, its length and its beginning.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::record::{Headers, Record, Recorder, SPEC_VERSION, rfc3339, text, text_field};
use crate::protocol::types::{Body, Event, Malformed, Mark, Refusal, Row, RowId};

/// How much of data that is too large is kept, in bytes (cut at a character).
pub const HEAD_BYTES: usize = 4096;

impl Recorder {
    /// The dead letter of a row, for `dead_letter_topic`.
    ///
    /// `detail` says in words what is wrong with a readable row; a malformed one brings its own.
    pub fn dead_letter(&self, dead_letter_topic: &str, row: &Row, refusal: Refusal, detail: &str) -> Record {
        let key = format!("{}:{}", self.portal, row.id);
        let (headers, value) = match &row.body {
            Body::Event(event) => {
                let mut headers = Headers::with_room();
                headers.push("b24_reason", &[refusal.as_str()]);
                self.cloud_event(&mut headers, row.id, event, &rfc3339(event.changed_at), &key);
                let mut value = Vec::with_capacity(1024);
                text_field(&mut value, b"{\"reason\":", refusal.as_str());
                text_field(&mut value, b",\"detail\":", detail);
                text_field(&mut value, b",\"topic\":", &self.topic(event));
                self.owner(&mut value);
                readable(&mut value, row.id, event, refusal == Refusal::TooLarge);
                value.push(b'}');
                (headers, value)
            }
            Body::Malformed(malformed) => self.malformed(&key, malformed, refusal),
        };
        Record { topic: dead_letter_topic.to_owned(), key, value, headers, tombstone: false, alone: true }
    }

    /// The dead letter of a row that has no name. Its key is what stands for one: the same for the same row, and another
    /// for the next change of the same object.
    pub fn nameless_letter(
        &self,
        dead_letter_topic: &str,
        mark: Mark,
        content: &Malformed,
        refusal: Refusal,
    ) -> Record {
        let key = match self.connector.as_str() {
            "" => format!("{}:{mark}", self.portal),
            connector => format!("{}:{connector}:{mark}", self.portal),
        };
        let (headers, value) = self.malformed(&key, content, refusal);
        Record { topic: dead_letter_topic.to_owned(), key, value, headers, tombstone: false, alone: true }
    }

    fn malformed(&self, key: &str, malformed: &Malformed, refusal: Refusal) -> (Headers, Vec<u8>) {
        let mut headers = Headers::with_room();
        headers.push("b24_reason", &[refusal.as_str()]);
        headers.push("ce_specversion", &[SPEC_VERSION]);
        headers.push("ce_source", &[&self.source]);
        headers.push("ce_partitionkey", &[key]);
        let mut value = Vec::with_capacity(1024);
        text_field(&mut value, b"{\"reason\":", refusal.as_str());
        text_field(&mut value, b",\"detail\":", &malformed.detail);
        value.extend_from_slice(b",\"topic\":null");
        self.owner(&mut value);
        part(&mut value, &malformed.raw, refusal == Refusal::TooLarge);
        value.push(b'}');
        (headers, value)
    }

    fn owner(&self, value: &mut Vec<u8>) {
        text_field(value, b",\"member_id\":", self.portal.as_str());
        text_field(value, b",\"connector\":", self.connector.as_str());
        value.extend_from_slice(b",\"row\":");
    }
}

fn readable(value: &mut Vec<u8>, id: RowId, event: &Event, too_large: bool) {
    text_field(value, b"{\"ID\":", &id.to_string());
    text_field(value, b",\"TIMESTAMP_X\":", &event.timestamp_x);
    text_field(value, b",\"EVENT_NAME\":", &event.name);
    text_field(value, b",\"MESSAGE_ID\":", &event.message_id);
    value.extend_from_slice(b",\"EVENT_DATA\":");
    part(value, &event.data, too_large);
    value.extend_from_slice(b",\"EVENT_ADDITIONAL\":");
    // Holds a user's number and no more; a portal that puts a text there gets no letter that is too large for good.
    part(value, &event.additional, too_large && event.additional.len() > HEAD_BYTES);
    value.push(b'}');
}

/// JSON as it is, or shortened.
fn part(value: &mut Vec<u8>, json: &str, shorten: bool) {
    if shorten {
        shortened(value, json);
    } else {
        value.extend_from_slice(json.as_bytes());
    }
}

fn shortened(value: &mut Vec<u8>, json: &str) {
    let digest = Sha256::digest(json.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing into memory cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    });
    text_field(value, b"{\"sha256\":", &digest);
    value.extend_from_slice(b",\"bytes\":");
    value.extend_from_slice(json.len().to_string().as_bytes());
    value.extend_from_slice(b",\"head\":");
    let end = (0..=HEAD_BYTES.min(json.len())).rev().find(|&at| json.is_char_boundary(at)).unwrap_or(0);
    text(value, &json[..end]);
    value.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::record::tests::{PORTAL, event, recorder, row_id};

    fn letter(body: Body, refusal: Refusal) -> (Record, serde_json::Value) {
        let row = Row { id: row_id(), body };
        let record = recorder("sync").dead_letter("bitrix24.dead-letter", &row, refusal, "the broker said so");
        let json = serde_json::from_slice(&record.value).expect("JSON");
        (record, json)
    }

    #[test]
    fn a_readable_row_is_rebuilt() {
        let (record, _) = letter(Body::Event(Box::new(event())), Refusal::InvalidRecord);
        assert_eq!(record.topic, "bitrix24.dead-letter");
        assert_eq!(record.key, format!("{PORTAL}:456"));
        assert_eq!(
            std::str::from_utf8(&record.value).expect("UTF-8"),
            concat!(
                r#"{"reason":"invalid_record","detail":"the broker said so","topic":"bitrix24.crm.deal","#,
                r#""member_id":"a223c6b3710f85df22e9377d6c4f7553","connector":"sync","row":{"ID":"456","#,
                r#""TIMESTAMP_X":"2026-11-24T13:15:30+03:00","EVENT_NAME":"ONCRMDEALUPDATE","#,
                r#""MESSAGE_ID":"0123456789abcdef0123456789abcdef","EVENT_DATA":{"FIELDS":{"ID":"123"}},"#,
                r#""EVENT_ADDITIONAL":{"user_id":1}}}"#
            )
        );
        let names: Vec<_> = record.headers.iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "b24_reason",
                "ce_specversion",
                "ce_id",
                "ce_source",
                "ce_type",
                "ce_subject",
                "ce_time",
                "ce_partitionkey"
            ]
        );
        assert_eq!(record.headers.iter().next(), Some(("b24_reason", "invalid_record")));
    }

    #[test]
    fn data_that_is_too_large_is_digested_and_cut_at_a_character() {
        let data = format!(r#"{{"T":"{}"}}"#, "ü".repeat(3000));
        let event = Event { data: data.clone().into(), ..event() };
        let (_, json) = letter(Body::Event(Box::new(event)), Refusal::TooLarge);
        let short = &json["row"]["EVENT_DATA"];
        let digest: String = Sha256::digest(data.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(short["sha256"], digest);
        assert_eq!(short["bytes"], data.len());
        let head = short["head"].as_str().expect("head");
        assert!(data.starts_with(head) && (HEAD_BYTES - 3..=HEAD_BYTES).contains(&head.len()), "{}", head.len());
        assert_eq!(json["row"]["EVENT_ADDITIONAL"]["user_id"], 1);
    }

    #[test]
    fn a_malformed_row_is_kept_whole_with_the_headers_that_can_be_made() {
        let malformed = |raw: &str| {
            letter(
                Body::Malformed(Box::new(Malformed {
                    detail: "EVENT_NAME is missing".into(),
                    changed_at: None,
                    raw: raw.into(),
                })),
                Refusal::MalformedRow,
            )
        };
        let (record, json) = malformed(r#"{"ID":"456","EVENT_NAME":null}"#);
        assert_eq!(json["detail"], "EVENT_NAME is missing");
        assert_eq!(json["topic"], serde_json::Value::Null);
        assert_eq!(json["row"], serde_json::json!({"ID": "456", "EVENT_NAME": null}));
        assert_eq!(
            record.headers.iter().collect::<Vec<_>>(),
            [
                ("b24_reason", "malformed_row"),
                ("ce_specversion", "1.0"),
                ("ce_source", &format!("/bitrix24/{PORTAL}/sync")),
                ("ce_partitionkey", &format!("{PORTAL}:456")),
            ]
        );
    }

    #[test]
    fn a_large_malformed_row_is_kept_whole_until_it_is_refused_for_its_size() {
        let raw = format!("[\"{}\"]", "x".repeat(2_000_000));
        let malformed = || {
            Body::Malformed(Box::new(Malformed {
                detail: "no object".into(),
                changed_at: None,
                raw: raw.clone().into(),
            }))
        };
        let (record, _) = letter(malformed(), Refusal::MalformedRow);
        assert!(record.value.len() > 2_000_000);
        let (record, json) = letter(malformed(), Refusal::TooLarge);
        assert!(record.value.len() < 10_000 && json["row"]["bytes"] == 2_000_004);
        assert_eq!((&json["reason"], &json["detail"]), (&"too_large".into(), &"no object".into()));
    }
}
