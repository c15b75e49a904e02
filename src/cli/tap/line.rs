//! One record as one line for a person.
//!
//! ```text
//! 2026-11-24 13:15:30  update  crm.deal/123              a223c6b3…  row 456  lag 2s  bitrix24.crm.deal[3]@17
//! ```

use jiff::{Timestamp, tz::TimeZone};

use super::{
    PORTAL_HEAD,
    seen::{Kind, Seen},
};
use crate::{
    cli::output::{clock, printable},
    kafka::consumer::Message,
};

/// The longest name that is shown whole, in characters.
const NAME: usize = 64;
/// How much is shown of a text that explains, in characters.
const WORDS: usize = 200;
/// How much is shown of what nobody can explain, in characters.
const GLIMPSE: usize = 60;
/// Width of the column of changes: the longest is `update`.
const CHANGE_WIDTH: usize = 6;
/// Width of the column of entities and their ids, which most of them fit.
const SUBJECT_WIDTH: usize = 24;

/// The line, without its end. The time is the change's, or, where that is not known, the record's.
pub(super) fn render(message: &Message, seen: &Seen, zone: &TimeZone) -> String {
    let recorded = message.timestamp.and_then(|time| Timestamp::from_millisecond(time).ok());
    let time = seen.changed_at.or(recorded);
    let mut parts = vec![time.map_or_else(|| format!("{:19}", "at no time"), |time| clock(time, zone))];
    if seen.kind == Kind::Foreign {
        parts.push(foreign(message));
    } else {
        parts.push(format!("{:CHANGE_WIDTH$}", change(seen)));
        parts.push(format!("{:SUBJECT_WIDTH$}", subject(seen)));
        parts.extend(seen.member_id.as_deref().map(portal));
        parts.extend(seen.connector.as_deref().map(|name| format!("connector {}", printable(name, NAME))));
        parts.extend(seen.row_id.as_deref().map(|id| format!("row {}", printable(id, NAME))));
        parts
            .extend(seen.changed_at.zip(recorded).map(|(changed, recorded)| format!("lag {}", lag(changed, recorded))));
    }
    parts.extend(marks(seen));
    parts.push(format!("{}[{}]@{}", printable(&message.topic, NAME), message.partition, message.offset));
    parts.join("  ")
}

fn change(seen: &Seen) -> String {
    match (&seen.kind, &seen.change) {
        (Kind::DeadLetter { .. }, _) => "dead".to_owned(),
        (_, Some(change)) => printable(change, NAME),
        (_, None) => "other".to_owned(),
    }
}

/// Entity and id; an event of no known entity by its name.
fn subject(seen: &Seen) -> String {
    let id = seen.entity_id.as_deref().unwrap_or("?");
    match (seen.entity.as_deref(), seen.event.as_deref()) {
        (Some("other") | None, Some(event)) => printable(event, NAME),
        (Some(entity), _) => format!("{}/{}", printable(entity, NAME), printable(id, NAME)),
        (None, None) => "?".to_owned(),
    }
}

/// A `member_id` by its beginning, which tells portals apart for the eye; a short one whole.
fn portal(member_id: &str) -> String {
    let limit = if member_id.chars().count() <= PORTAL_HEAD + 1 { PORTAL_HEAD + 1 } else { PORTAL_HEAD };
    printable(member_id, limit)
}

/// From the change to its record. The portal's clock counts whole seconds and may go ahead of ours.
fn lag(changed: Timestamp, recorded: Timestamp) -> String {
    let seconds = recorded.as_second().saturating_sub(changed.as_second());
    let sign = if seconds < 0 { "-" } else { "" };
    let seconds = seconds.unsigned_abs();
    match seconds {
        0..60 => format!("{sign}{seconds}s"),
        60..3600 => format!("{sign}{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{sign}{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{sign}{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn marks(seen: &Seen) -> Vec<String> {
    let mut marks = Vec::new();
    match &seen.kind {
        Kind::Tombstone => marks.push("tombstone".to_owned()),
        Kind::Unreadable => marks.push("unreadable value".to_owned()),
        Kind::DeadLetter { reason, detail, topic } => {
            marks.push(format!("{}: {}", printable(reason, NAME), printable(detail, WORDS)));
            marks.extend(topic.as_deref().map(|topic| format!("meant for {}", printable(topic, NAME))));
        }
        Kind::Record | Kind::Foreign => {}
    }
    for (marked, mark) in [(seen.redelivery, "redelivery"), (seen.late, "late")] {
        if marked {
            marks.push(mark.to_owned());
        }
    }
    marks
}

fn foreign(message: &Message) -> String {
    let glimpse = |bytes: &[u8]| {
        // No more is looked at than can be shown.
        let head = &bytes[..bytes.len().min(4 * (GLIMPSE + 1))];
        printable(&String::from_utf8_lossy(head), GLIMPSE)
    };
    let key = message.key.as_deref().map_or_else(|| "no key".to_owned(), |key| format!("key {}", glimpse(key)));
    let value = message.value.as_deref().unwrap_or_default();
    format!("foreign record, {key}, {} bytes: {}", value.len(), glimpse(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tap::seen::tests::{PORTAL, headers, message, record};

    fn line(message: &Message) -> String {
        let line = render(message, &Seen::new(message), &TimeZone::fixed(jiff::tz::offset(3)));
        assert!(!line.contains(char::is_control), "{line:?}");
        line
    }

    #[test]
    fn a_record_is_one_readable_line() {
        let plain = message(Some(&record()), &[]);
        assert_eq!(
            line(&plain),
            "2026-11-24 13:15:30  update  crm.deal/123              a223c6b3…  row 456  lag 2s  bitrix24.crm.deal[3]@17"
        );
        let value = record().replace("\"connector\":\"\"", "\"connector\":\"sync\"");
        let marked = message(Some(&value), &[("b24_redelivery", "1"), ("b24_late", "1")]);
        assert!(line(&marked).contains("  connector sync  row 456  lag 2s  redelivery  late  bitrix24"), "{marked:?}");
    }

    #[test]
    fn tombstones_and_what_is_no_record_are_named() {
        let tombstone = line(&message(None, &headers()));
        assert!(tombstone.contains("delete  crm.deal/123  ") && tombstone.contains("  tombstone  "), "{tombstone}");
        let bare = line(&message(None, &[]));
        assert!(bare.contains("  other   ?  ") && bare.contains("  tombstone  "), "{bare}");
        let broken = line(&message(Some("{"), &headers()));
        assert!(broken.contains("  unreadable value  "), "{broken}");
        let foreign = line(&message(Some("hello\u{1b}[2J"), &[]));
        let expected = format!("13:15:32  foreign record, key {PORTAL}:456, 9 bytes: hello\\u{{1b}}[2J  bitrix24");
        assert!(foreign.contains(&expected), "{foreign}");
        let none = Message { timestamp: None, key: None, value: Some(vec![0xff; 9000]), ..message(None, &[]) };
        assert!(
            line(&none).starts_with("at no time           foreign record, no key, 9000 bytes: "),
            "{}",
            line(&none)
        );
    }

    #[test]
    fn a_dead_letter_tells_why_and_where() {
        let letter = format!(
            r#"{{"reason":"too_large","detail":"it is\n2 MB","topic":"bitrix24.crm.deal","member_id":"{PORTAL}","connector":"","row":{{"ID":"456","EVENT_NAME":"ONCRMDEALUPDATE"}}}}"#
        );
        let line = line(&message(Some(&letter), &[("ce_subject", "crm.deal/123")]));
        assert!(line.contains("dead    crm.deal/123  "), "{line}");
        assert!(line.contains("row 456  too_large: it is\\u{a}2 MB  meant for bitrix24.crm.deal  "), "{line}");
    }

    #[test]
    fn a_lag_is_as_coarse_as_it_is_long() {
        let after = |seconds| lag(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).expect("a time"));
        assert_eq!(
            [-5, 0, 59, 61, 3_660, 90_000].map(after),
            ["-5s", "0s", "59s", "1m01s", "1h01m", "1d01h"].map(str::to_owned)
        );
    }

    #[test]
    fn an_event_of_no_entity_is_named() {
        let value = record().replace("crm.deal", "other").replace("ONCRMDEALUPDATE", "ONMYAPP:THING");
        let line = line(&message(Some(&value), &[]));
        assert!(line.contains("  ONMYAPP:THING  "), "{line}");
        assert_eq!((portal("123456789"), portal("1234567890")), ("123456789".into(), "12345678…".into()));
    }
}
