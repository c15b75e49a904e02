//! Rows, readable and malformed.

use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"{"ID":"456","TIMESTAMP_X":"2026-11-24T13:15:30+03:00","EVENT_NAME":"ONCRMDEALUPDATE",
    "EVENT_DATA":{"FIELDS":{"ID":"123"}},"EVENT_ADDITIONAL":{"user_id":"1"},"MESSAGE_ID":"0123456789abcdef0123456789abcdef"}"#;

fn read(json: &str) -> Option<Row> {
    let raw: RawRow<'_> = serde_json::from_str(json).expect(json);
    read_row(&raw, || Some(json))
}

fn event_of(json: &str) -> Event {
    match read(json).expect("a row").body {
        Body::Event(event) => *event,
        Body::Malformed(malformed) => panic!("{}", malformed.detail),
    }
}

fn detail_of(json: &str) -> String {
    match read(json).expect("a row").body {
        Body::Event(event) => panic!("{event:?}"),
        Body::Malformed(malformed) => malformed.detail.into(),
    }
}

#[test]
fn a_good_row_is_an_event() {
    let event = event_of(GOOD);
    assert_eq!((event.entity, event.change, &*event.entity_id), ("crm.deal", Change::Update, "123"));
    assert_eq!((event.changed_at, event.user_id), (1_795_515_330, Some(1)));
    assert_eq!(&*event.data, r#"{"FIELDS":{"ID":"123"}}"#);
    assert_eq!(&*event.timestamp_x, "2026-11-24T13:15:30+03:00");
    assert_eq!(event.key, event_of(&GOOD.replace("UPDATE", "DELETE")).key, "one entity, one key");
    assert_ne!(event.key, event_of(&GOOD.replace("DEAL", "LEAD")).key);
}

#[test]
fn php_habits_are_tolerated() {
    assert_eq!(read(&GOOD.replace("\"456\"", "456")).expect("a row").id.get(), 456);
    assert_eq!(&*event_of(&GOOD.replace("ONCRMDEALUPDATE", "onCrmDealUpdate")).name, "ONCRMDEALUPDATE");
    for empty in ["false", "[]", "[ ]", "null", "{}"] {
        let event = event_of(&GOOD.replace(r#"{"FIELDS":{"ID":"123"}}"#, empty));
        assert_eq!((&*event.data, &*event.entity_id), ("{}", "0123456789abcdef0123456789abcdef"), "{empty}");
    }
    for (additional, user) in [("false", None), ("[]", None), (r#"{"user_id": 7}"#, Some(7)), ("\"x\"", None)] {
        let event = event_of(&GOOD.replace(r#"{"user_id":"1"}"#, additional));
        assert_eq!(event.user_id, user, "{additional}");
        assert_eq!(&*event.additional, additional.replace(' ', ""));
    }
    let event = event_of(
        &GOOD.replace("ONCRMDEALUPDATE", "ONIMCONNECTORLINEDELETE").replace(r#"{"FIELDS":{"ID":"123"}}"#, "5"),
    );
    assert_eq!((&*event.data, &*event.entity_id), ("5", "5"));
    let event = event_of(&GOOD.replace("ONCRMDEALUPDATE", "ONNEWTHING"));
    assert_eq!((event.entity, event.change, &*event.entity_id), ("other", Change::Other, "123"));
}

#[test]
fn a_row_that_cannot_be_read_keeps_its_id_and_its_text() {
    for (from, to, field) in [
        ("\"ONCRMDEALUPDATE\"", "17", "EVENT_NAME"),
        ("\"ONCRMDEALUPDATE\"", "\"\"", "EVENT_NAME"),
        ("\"EVENT_NAME\"", "\"NAME\"", "EVENT_NAME"),
        ("2026-11-24", "0000-00-00", "TIMESTAMP_X"),
        ("\"2026-11-24T13:15:30+03:00\"", "null", "TIMESTAMP_X"),
        (r#"{"FIELDS":{"ID":"123"}}"#, "true", "EVENT_DATA"),
        (r#"{"FIELDS":{"ID":"123"}}"#, "\"text\"", "EVENT_DATA"),
        ("\"EVENT_DATA\"", "\"DATA\"", "EVENT_DATA"),
        ("\"0123456789abcdef0123456789abcdef\"", "5", "MESSAGE_ID"),
    ] {
        let detail = detail_of(&GOOD.replace(from, to));
        assert!(detail.starts_with(field), "{to}: {detail}");
    }
    let row = read(r#"{"ID": "5", "EVENT_DATA": {"auth": {"access_token": "s3cret"}}}"#).expect("a row");
    assert!(matches!(row.body, Body::Malformed(m) if &*m.raw == r#"{"ID":"5","EVENT_DATA":{"auth":"[redacted]"}}"#));
}

#[test]
fn a_row_without_an_id_is_none() {
    for id in ["0", "\"0\"", "-5", "null", "\"x\"", "[]", "1.5", "\"99999999999999999999\""] {
        assert_eq!(read(&GOOD.replace("\"456\"", id)), None, "{id}");
    }
    for json in ["[]", "[1,[2]]", "false", "5", "-5", "1.5", "\"x\"", "null", "{}"] {
        assert_eq!(read(json), None, "{json}");
    }
}

#[test]
fn secrets_never_get_into_an_event() {
    let event = event_of(
        &GOOD
            .replace("\"ID\":\"123\"", "\"ID\":\"123\",\"AUTH\":\"s3cret\"")
            .replace("\"user_id\"", "\"auth\":\"s3cret\",\"user_id\""),
    );
    assert!(!format!("{event:?}").contains("s3cret"));
    assert_eq!(event.user_id, Some(1));
}

proptest! {
    #[test]
    fn no_values_make_it_panic(values in prop::collection::vec("\"[0-9a-z:+T-]{0,26}\"|[0-9]{1,3}|null|\\[\\]|false|\\{\\}", 6)) {
        let json = format!(
            r#"{{"ID":{},"TIMESTAMP_X":{},"EVENT_NAME":{},"EVENT_DATA":{},"EVENT_ADDITIONAL":{},"MESSAGE_ID":{}}}"#,
            values[0], values[1], values[2], values[3], values[4], values[5]
        );
        if let Ok(raw) = serde_json::from_str::<RawRow<'_>>(&json) {
            let _ = read_row(&raw, || None);
        }
    }
}
