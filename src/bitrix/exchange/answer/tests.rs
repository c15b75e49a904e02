//! Answers of exchanges, odd ones included.

use proptest::prelude::*;

use super::*;
use crate::{
    bitrix::Trouble,
    protocol::{
        exchange::Clear,
        types::{Body, NonEmpty, RowId},
    },
};

fn row(id: u64, process: &str) -> String {
    format!(
        r#"{{"ID":"{id}","TIMESTAMP_X":"2026-11-24T13:15:30+03:00","EVENT_NAME":"ONCRMDEALUPDATE","EVENT_DATA":{{"FIELDS":{{"ID":"{id}"}}}},"EVENT_ADDITIONAL":false,"MESSAGE_ID":"m{id}","PROCESS_ID":"{process}","ERROR":"0"}}"#
    )
}

fn rows(ids: impl Iterator<Item = u64>, process: &str) -> String {
    format!("[{}]", ids.map(|id| row(id, process)).collect::<Vec<_>>().join(","))
}

fn clear() -> Clear {
    Clear {
        process: ProcessId::new("p").expect("process"),
        ids: NonEmpty::new(RowId::new(1).into_iter().collect()).expect("ids"),
    }
}

fn reserve(clears: usize) -> Exchange {
    Exchange { clears: vec![clear(); clears], delete: None, read: Some(Read::Reserve { limit: 50 }) }
}

fn scan(pages: u8) -> Exchange {
    Exchange { clears: vec![], delete: None, read: Some(Read::Scan { after: None, pages }) }
}

fn batch(exchange: &Exchange, result: &str, error: &str) -> Exchanged {
    let body = format!(
        r#"{{"result":{{"result":{result},"result_error":{error},"result_total":[],"result_next":[],
        "result_time":{{"get":{{"duration":0.5,"operating":"12.5","operating_reset_at":1795515400}}}}}},
        "time":{{"duration":1.5,"date_start":"2026-11-24T10:15:30+00:00"}}}}"#
    );
    read(exchange, &Answered::new(200, &body)).expect(&body)
}

fn ids(answer: &ReadAnswer<Row>) -> Vec<u64> {
    match answer {
        ReadAnswer::Reserved { rows, .. } => rows.iter().map(|row| row.id.get()).collect(),
        ReadAnswer::Listed { rows, .. } => rows.iter().map(|(_, row)| row.id.get()).collect(),
        _ => panic!("{answer:?}"),
    }
}

#[test]
fn a_reservation_and_its_clears() {
    let result =
        format!(r#"{{"c0":true,"get":{{"process_id":"p1","events":{}}},"c1":true}}"#, rows([9, 3, 5].into_iter(), ""));
    let exchanged = batch(&reserve(2), &result, "[]");
    assert_eq!(exchanged.answer.clears, [Cleared::Done, Cleared::Done]);
    assert_eq!(ids(&exchanged.answer.read), [3, 5, 9]);
    let ReadAnswer::Reserved { process: Some(process), took, .. } = &exchanged.answer.read else { panic!() };
    assert_eq!((process.as_str(), *took), ("p1", Millis(500)));
    assert_eq!(exchanged.answer.time.map(|time| time.seconds), Some(1_795_515_330));
    let want = OperatingTime { method: "event.offline.get", seconds: 12.5, reset_at: Some(1_795_515_400) };
    assert_eq!((exchanged.operating, exchanged.trouble), (vec![want], None));
}

#[test]
fn empty_maps_of_php() {
    for events in ["[]", "{}", "false", "null_not"] {
        let events = events.replace("null_not", "\"\"");
        let exchanged = batch(&reserve(0), &format!(r#"{{"get":{{"process_id":null,"events":{events}}}}}"#), "[]");
        assert_eq!((ids(&exchanged.answer.read).len(), exchanged.trouble), (0, None), "{events}");
    }
    let exchanged = batch(
        &reserve(0),
        &format!(r#"{{"get":{{"process_id":"p","events":{{"0":{},"7":{}}}}}}}"#, row(1, ""), row(2, "")),
        "[]",
    );
    assert_eq!(ids(&exchanged.answer.read), [1, 2], "a list with gaps is a map");
}

#[test]
fn what_the_answer_does_not_say_is_unknown() {
    let odd = [
        "[]",
        "false",
        "{}",
        r#"{"get":true}"#,
        r#"{"get":[]}"#,
        r#"{"get":{"process_id":"p"}}"#,
        r#"{"get":{"process_id":"p","events":7}}"#,
        r#"{"get":{"process_id":"p","events":true}}"#,
        &format!(r#"{{"get":{{"process_id":null,"events":{}}}}}"#, rows(1..=1, "")),
        &format!(r#"{{"get":{{"process_id":"","events":{}}}}}"#, rows(1..=1, "")),
    ];
    for result in odd {
        let exchanged = batch(&reserve(1), result, "[]");
        assert_eq!(exchanged.answer.read, ReadAnswer::Unknown, "{result}");
        assert_eq!(exchanged.answer.clears, [Cleared::Unknown], "{result}");
        assert_eq!(exchanged.trouble.expect(result).trouble, Trouble::Unknown);
    }
}

#[test]
fn errors_of_single_commands() {
    let error = r#"{"get":{"error":"OPERATION_TIME_LIMIT","error_description":"x"},"c1":{"error":"ERROR_ARGUMENT"},"c2":{"error":"ERROR_CORE"}}"#;
    let exchanged = batch(&reserve(3), r#"{"c0":true}"#, error);
    assert_eq!(exchanged.answer.clears, [Cleared::Done, Cleared::Refused { retry_after: None }, Cleared::Unknown]);
    assert_eq!(exchanged.answer.read, ReadAnswer::Refused { retry_after: Some(Millis::secs(70)), smaller: true });
    assert_eq!(exchanged.trouble.expect("trouble").trouble, Trouble::OperationTime { until: Some(1_795_515_400) });
    let exchanged = batch(&reserve(0), "[]", r#"{"get":{"error":"WRONG_LICENSE"}}"#);
    assert_eq!(exchanged.answer.read, ReadAnswer::Refused { retry_after: None, smaller: false });
    assert_eq!(exchanged.trouble.expect("trouble").trouble, Trouble::Unlicensed);
}

#[test]
fn an_unreadable_row_is_counted_and_a_malformed_one_kept() {
    let result =
        r#"{"get":{"process_id":"p","events":[{"EVENT_NAME":"X"},{"ID":"7","WHAT": 1,"EVENT_DATA":{"auth":1}},5]}}"#;
    let exchanged = batch(&reserve(0), result, "[]");
    assert_eq!((exchanged.nameless.len(), ids(&exchanged.answer.read)), (2, vec![7]));
    let ReadAnswer::Reserved { rows, .. } = exchanged.answer.read else { panic!() };
    let Body::Malformed(malformed) = &rows[0].body else { panic!() };
    assert_eq!(&*malformed.raw, r#"{"ID":"7","WHAT":1,"EVENT_DATA":{"auth":"[redacted]"}}"#);
}

#[test]
fn pages_are_joined_and_doubles_dropped() {
    let result = format!(r#"{{"page0":{},"page1":{}}}"#, rows(1..=50, "p1"), rows(50..=52, "p2"));
    let exchanged = batch(&scan(2), &result, "[]");
    let ReadAnswer::Listed { rows: found, more } = &exchanged.answer.read else { panic!() };
    assert_eq!((found.len(), *more), (52, false));
    assert_eq!((found[0].0.as_str(), found[51].0.as_str()), ("p1", "p2"));
    let full = format!(r#"{{"page0":{},"page1":{}}}"#, rows(1..=50, "p1"), rows(51..=100, "p1"));
    assert!(matches!(batch(&scan(2), &full, "[]").answer.read, ReadAnswer::Listed { more: true, .. }));
    assert!(matches!(
        batch(&scan(2), r#"{"page0":[],"page1":[]}"#, "[]").answer.read,
        ReadAnswer::Listed { more: false, .. }
    ));
}

#[test]
fn a_scan_keeps_what_it_has_before_a_page_that_failed() {
    let result = format!(r#"{{"page0":{},"page2":{}}}"#, rows(1..=50, "p"), rows(101..=150, "p"));
    let exchanged = batch(&scan(3), &result, r#"{"page1":{"error":"QUERY_LIMIT_EXCEEDED"}}"#);
    assert_eq!(ids(&exchanged.answer.read), (1..=50).collect::<Vec<_>>());
    assert!(matches!(exchanged.answer.read, ReadAnswer::Listed { more: true, .. }));
    assert_eq!(exchanged.trouble.expect("trouble").trouble, Trouble::RateLimited);
    let exchanged = batch(&scan(1), "[]", r#"{"page0":{"error":"ACCESS_DENIED"}}"#);
    assert!(matches!(exchanged.answer.read, ReadAnswer::Refused { .. }));
}

#[test]
fn free_rows_are_not_recovered_and_no_scan_goes_in_circles() {
    let result = format!(r#"{{"page0":[{},{}]}}"#, row(1, ""), row(2, "p"));
    assert_eq!(ids(&batch(&scan(1), &result, "[]").answer.read), [2]);
    let result = format!(r#"{{"page0":{}}}"#, rows(1..=50, ""));
    let exchanged = batch(&scan(1), &result, "[]");
    assert_eq!(exchanged.answer.read, ReadAnswer::Refused { retry_after: Some(STILL), smaller: true });
    assert_eq!(&*exchanged.trouble.expect("trouble").code, "NO_USABLE_ROW");
}

#[test]
fn a_reservation_with_a_number_for_its_id_is_ours_too() {
    let number = |json: &str| json.replace("\"PROCESS_ID\":\"12\"", "\"PROCESS_ID\":12");
    let exchanged = batch(&scan(1), &format!(r#"{{"page0":[{},{}]}}"#, number(&row(1, "12")), row(2, "p")), "[]");
    let ReadAnswer::Listed { rows: found, .. } = &exchanged.answer.read else { panic!("{exchanged:?}") };
    assert_eq!(found.iter().map(|(process, _)| process.as_str()).collect::<Vec<_>>(), ["12", "p"]);
    let got = batch(&reserve(0), &format!(r#"{{"get":{{"process_id":12,"events":[{}]}}}}"#, row(1, "")), "[]");
    let ReadAnswer::Reserved { process: Some(process), .. } = &got.answer.read else { panic!("{got:?}") };
    assert_eq!((process.as_str(), ids(&got.answer.read)), ("12", vec![1]));
}

#[test]
fn a_reserved_row_that_cannot_be_used_is_counted() {
    for odd in ["null", "false", "true", "{}", "[\"p\"]", "1.5", "1e3", "\"\\ud800\""] {
        let odd_row = row(1, "p").replace("\"PROCESS_ID\":\"p\"", &format!("\"PROCESS_ID\":{odd}"));
        let exchanged = batch(&scan(1), &format!(r#"{{"page0":[{odd_row},{}]}}"#, row(2, "p")), "[]");
        assert_eq!((exchanged.nameless.len(), ids(&exchanged.answer.read)), (1, vec![2]), "{odd}");
        let result = format!(r#"{{"get":{{"process_id":{odd},"events":[{}]}}}}"#, row(1, ""));
        assert_eq!(batch(&reserve(0), &result, "[]").answer.read, ReadAnswer::Unknown, "{odd}");
    }
    let absent = row(1, "p").replace(",\"PROCESS_ID\":\"p\"", "");
    let exchanged = batch(&scan(1), &format!(r#"{{"page0":[{absent},{},5]}}"#, row(2, "")), "[]");
    assert_eq!((exchanged.nameless.len(), ids(&exchanged.answer.read)), (2, vec![]), "a free row is not ours to count");
}

#[test]
fn a_reserved_row_without_a_name_is_taken_hold_of_by_its_message_if_no_other_has_it() {
    let message = |n: u64| format!("{n:032x}");
    let odd = |n: u64, of: u64, process: &str| {
        row(n, process)
            .replace(&format!("\"ID\":\"{n}\",\"T"), "\"T")
            .replace(&format!("m{n}\""), &format!("{}\"", message(of)))
    };
    let held = |result: &str, exchange: &Exchange| {
        let rows = batch(exchange, result, "[]").nameless;
        rows.into_iter().map(|row| row.hold).collect::<Vec<_>>()
    };
    let by = |process: &str, n: u64| Hold::Reserved {
        process: ProcessId::new(process).expect("a process"),
        message: MessageId::new(&message(n)).expect("a message"),
    };
    let got = |rows: &str| format!(r#"{{"get":{{"process_id":"p","events":[{rows}]}}}}"#);
    let two = format!("{},{}", odd(1, 1, ""), odd(2, 2, ""));
    assert_eq!(held(&got(&two), &reserve(0)), [by("p", 1), by("p", 2)]);
    let twins = format!("{},{}", odd(1, 1, ""), odd(2, 1, ""));
    assert_eq!(held(&got(&twins), &reserve(0)), [Hold::Nothing, Hold::Nothing]);
    let page = format!(r#"{{"page0":[{},{}]}}"#, odd(1, 1, "p"), odd(2, 2, "q"));
    assert_eq!(held(&page, &scan(1)), [by("p", 1), by("q", 2)]);
    assert_eq!(held(&got(&row(1, "").replace("\"1\",\"T", "0,\"T")), &reserve(0)), [Hold::Nothing], "m1 is no message");
    let marks = |result: &str, exchange: &Exchange| batch(exchange, result, "[]").nameless[0].mark;
    let same = marks(&got(&odd(1, 1, "")), &reserve(0));
    assert_eq!(
        marks(&format!(r#"{{"page0":[{}]}}"#, odd(1, 1, "p")), &scan(1)),
        same,
        "a get and a scan show the same row"
    );
    assert_ne!(marks(&format!(r#"{{"page0":[{}]}}"#, odd(1, 1, "q")), &scan(1)), same);
}

#[test]
fn what_an_answer_says_twice_is_not_believed() {
    let free = rows(1..=1, "");
    let get = format!(r#""get":{{"process_id":"p","events":{free}}}"#);
    for result in [
        format!(r#"{{{get},"get":{{"process_id":"p","events":[]}}}}"#),
        format!(r#"{{"get":{{"process_id":"p","events":{free},"events":[]}}}}"#),
        format!(r#"{{"get":{{"process_id":"p","events":{free},"process_id":"q"}}}}"#),
    ] {
        assert_eq!(batch(&reserve(0), &result, "[]").answer.read, ReadAnswer::Unknown, "{result}");
    }
    let page = format!(r#"{{"page0":{},"page0":[]}}"#, rows(1..=1, "p"));
    assert_eq!(batch(&scan(1), &page, "[]").answer.read, ReadAnswer::Unknown);
    for clears in [r#"{"c0":true,"c0":false}"#, r#"{"c0":false,"c0":true}"#] {
        assert_eq!(batch(&reserve(1), clears, "[]").answer.clears, [Cleared::Unknown], "{clears}");
    }
    let refused = r#"{"get":{"error":"ERROR_ARGUMENT"},"c0":{"error":"ERROR_ARGUMENT"}}"#;
    let exchanged = batch(&reserve(1), &format!(r#"{{"c0":true,{get}}}"#), refused);
    assert_eq!((exchanged.answer.read, exchanged.answer.clears), (ReadAnswer::Unknown, vec![Cleared::Unknown]));
    let page = batch(&scan(1), &format!(r#"{{"page0":{}}}"#, rows(1..=1, "p")), &refused.replace("get", "page0"));
    assert_eq!(page.answer.read, ReadAnswer::Unknown);
}

#[test]
fn a_field_that_a_row_has_twice_is_not_believed() {
    let twice = |field: &str| row(1, "p").replacen('{', &format!("{{\"{field}\":\"7\","), 1);
    for field in ["ID", "PROCESS_ID"] {
        let exchanged = batch(&scan(1), &format!(r#"{{"page0":[{},{}]}}"#, twice(field), row(9, "p")), "[]");
        assert_eq!((exchanged.nameless.len(), ids(&exchanged.answer.read)), (1, vec![9]), "{field}");
    }
    for field in ["TIMESTAMP_X", "EVENT_NAME", "EVENT_DATA", "EVENT_ADDITIONAL", "MESSAGE_ID"] {
        let exchanged = batch(&scan(1), &format!(r#"{{"page0":[{}]}}"#, twice(field)), "[]");
        let ReadAnswer::Listed { rows: found, .. } = &exchanged.answer.read else { panic!("{field}") };
        assert!(matches!(found[0].1.body, Body::Malformed(_)), "{field}");
    }
}

#[test]
fn a_truncated_answer_is_unknown_wherever_it_ends() {
    let body = format!(
        r#"{{"result":{{"result":{{"get":{{"process_id":"p","events":{}}}}},"result_error":[]}}}}"#,
        rows(1..=3, "")
    );
    for end in 0..body.len() {
        let error = read(&reserve(0), &Answered::new(200, &body[..end])).expect_err("truncated");
        assert_eq!(error.trouble, Trouble::Unknown, "{end}");
        assert_eq!(error.answer::<Row>(&reserve(2)).clears, [Cleared::Unknown; 2]);
    }
    assert!(read(&reserve(0), &Answered::new(200, &body)).is_ok());
}

#[test]
fn depth_is_harmless() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (from, to) in [
        ("{\"FIELDS\":{\"ID\":\"1\"}}", deep.clone()),
        ("\"m1\"", deep.clone()),
        ("\"ERROR\":\"0\"", format!("\"X\":{deep}")),
    ] {
        let result = format!(r#"{{"get":{{"process_id":"p","events":[{}]}}}}"#, row(1, "").replace(from, &to));
        assert_eq!(ids(&batch(&reserve(0), &result, "[]").answer.read), [1]);
    }
    let exchanged = batch(&reserve(1), &format!(r#"{{"c0":{deep},"get":{deep}}}"#), &deep);
    assert_eq!(exchanged.answer.read, ReadAnswer::Unknown);
}

fn odd_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::json!(null)),
        any::<bool>().prop_map(Into::into),
        (-2..60_i64).prop_map(Into::into),
        "[a-zA-Z0-9_]{0,6}".prop_map(Into::into),
    ];
    const NAMES: [&str; 13] = [
        "result",
        "result_error",
        "result_time",
        "result_next",
        "get",
        "page0",
        "c0",
        "process_id",
        "events",
        "error",
        "ID",
        "EVENT_DATA",
        "time",
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((prop::sample::select(&NAMES[..]), inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(result in odd_json(), inner in odd_json(), get in odd_json()) {
        for body in [
            serde_json::json!({ "result": result }),
            serde_json::json!({ "result": { "result": inner, "result_error": result } }),
            serde_json::json!({ "result": { "result": { "get": get, "page0": get, "c0": inner } , "result_time": inner} }),
        ] {
            for exchange in [reserve(1), scan(2)] {
                if let Ok(exchanged) = read(&exchange, &Answered::new(200, &body.to_string())) {
                    prop_assert_eq!(exchanged.answer.clears.len(), exchange.clears.len());
                }
            }
        }
    }
}
