//! Listings of free rows and deletions, odd ones included.

use super::super::{super::Exchanged, read};
use crate::{
    bitrix::client::Answered,
    protocol::{
        exchange::{Delete, Deleted, Exchange, LIST_PAGE, Read, ReadAnswer},
        types::{Hold, MessageId, PortalTime, Row, RowId},
    },
};

/// 2026-11-24T13:15:30+03:00
const BEFORE: PortalTime = PortalTime { seconds: 1_795_515_330, offset: 10_800 };

fn id(n: u64) -> RowId {
    RowId::new(n).expect("positive")
}

fn row(id: &str, time: &str, process: &str) -> String {
    format!(
        r#"{{"ID":{id},"TIMESTAMP_X":"2026-11-24T13:{time}+03:00","EVENT_NAME":"ONCRMDEALUPDATE","EVENT_DATA":{{"FIELDS":{{"ID":"5"}}}},"EVENT_ADDITIONAL":false,"MESSAGE_ID":"m","PROCESS_ID":"{process}","ERROR":"0"}}"#
    )
}

fn old(id: u64) -> String {
    row(&format!("\"{id}\""), "15:00", "")
}

fn young(id: u64) -> String {
    row(&format!("\"{id}\""), "15:30", "")
}

fn page(rows: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", rows.into_iter().collect::<Vec<_>>().join(","))
}

fn list(pages: u8, delete: bool) -> Exchange {
    let delete = delete.then_some(Delete { first: id(1), last: id(9), before: BEFORE, limit: 3 });
    Exchange { clears: Vec::new(), delete, read: Some(Read::List { before: BEFORE, pages, young_after: None }) }
}

/// The answer with these results by key.
fn answer(exchange: &Exchange, results: &[(&str, String)], errors: &str) -> Exchanged {
    let results: Vec<String> = results.iter().map(|(key, json)| format!("\"{key}\":{json}")).collect();
    let body = format!(
        r#"{{"result":{{"result":{{{}}},"result_error":{errors},"result_total":[],"result_next":[],"result_time":[]}},
        "time":{{"duration":1.5,"date_start":"2026-11-24T13:16:00+03:00"}}}}"#,
        results.join(",")
    );
    read(exchange, &Answered::new(200, &body)).expect(&body)
}

fn ids(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.id.get()).collect()
}

/// The ids of the old rows, whether there is more, and the ids of the young ones.
fn free(exchanged: &Exchanged) -> (Vec<u64>, bool, Vec<u64>) {
    match &exchanged.answer.read {
        ReadAnswer::Free { rows, more, young, .. } => (ids(rows), *more, ids(young)),
        other => panic!("{other:?}, {:?}", exchanged.trouble),
    }
}

fn refused(exchanged: &Exchanged) -> &str {
    assert_eq!(exchanged.answer.read, ReadAnswer::Unknown);
    &exchanged.trouble.as_ref().expect("trouble").code
}

#[test]
fn old_and_young_rows_and_the_portals_time() {
    let exchanged = answer(&list(1, false), &[("page0", page([old(3), old(5)])), ("page1", page([young(4)]))], "[]");
    assert_eq!(free(&exchanged), (vec![3, 5], false, vec![4]));
    assert_eq!(exchanged.answer.time, Some(PortalTime { seconds: BEFORE.seconds + 30, offset: 10_800 }));
    assert_eq!((exchanged.answer.deleted, exchanged.trouble), (Deleted::NotAsked, None));
}

#[test]
fn pages_count_up_to_the_first_that_is_not_full_whatever_the_portal_made_of_the_others() {
    let full = |from: u64| page((from..from + LIST_PAGE as u64).map(old));
    // The third page could not refer to a row that the second has not got.
    let results = [("page0", full(1)), ("page1", page([old(60)])), ("page3", page([]))];
    let exchanged = answer(&list(3, false), &results, r#"{"page2":{"error":"ERROR_ARGUMENT"}}"#);
    let (rows, more, _) = free(&exchanged);
    assert_eq!((rows.len(), more, &exchanged.trouble), (51, false, &None));
    let exchanged = answer(&list(3, false), &[("page0", full(1)), ("page3", page([]))], "[]");
    assert_eq!((free(&exchanged).0.len(), free(&exchanged).1), (50, true), "the next listing goes on there");
    let exchanged = answer(&list(3, false), &[("page1", full(1)), ("page3", page([]))], "[]");
    assert_eq!(refused(&exchanged), "NO_RESULT");
    let exchanged = answer(&list(1, false), &[("page0", page([old(1)]))], "[]");
    assert_eq!(refused(&exchanged), "NO_RESULT", "who does not see the young rows does not see all");
}

#[test]
fn a_row_that_cannot_be_told_is_never_between_the_first_and_the_last() {
    let odd = || row("false", "15:00", "");
    for (rows, want, more) in [
        (page([old(1), old(2), odd(), old(4)]), vec![1, 2], true),
        (page([odd(), old(4), old(5)]), vec![4, 5], false),
        (page([odd(), odd()]), vec![], false),
    ] {
        let exchanged = answer(&list(1, false), &[("page0", rows), ("page1", page([]))], "[]");
        assert_eq!(free(&exchanged), (want, more, vec![]));
        assert!(!exchanged.nameless.is_empty());
    }
    let all_odd = page((0..LIST_PAGE).map(|_| odd()));
    let exchanged = answer(&list(1, false), &[("page0", all_odd), ("page1", page([]))], "[]");
    assert!(matches!(exchanged.answer.read, ReadAnswer::Refused { smaller: true, .. }), "{exchanged:?}");
    assert_eq!(&*exchanged.trouble.expect("trouble").code, "NO_USABLE_ROW");
}

#[test]
fn a_free_row_without_a_name_is_taken_hold_of_only_by_a_listing_that_is_believed() {
    let message = "0123456789abcdef0123456789abcdef";
    let odd = |time: &str, process: &str| row("0", time, process).replace("\"m\"", &format!("\"{message}\""));
    let hold = Hold::Free { message: MessageId::new(message).expect("a message"), before: BEFORE };
    let held = |old_rows: String, young_rows: String| {
        let rows = answer(&list(1, false), &[("page0", old_rows), ("page1", young_rows)], "[]").nameless;
        rows.into_iter().map(|row| row.hold).collect::<Vec<_>>()
    };
    assert_eq!(held(page([odd("15:00", ""), old(4)]), page([])), std::slice::from_ref(&hold));
    assert_eq!(
        held(page((0..LIST_PAGE).map(|n| if n == 0 { odd("15:00", "") } else { row("0", "15:00", "") })), page([]))[0],
        hold
    );
    assert_eq!(held(page([old(4)]), page([odd("15:30", "")])), [], "it is old soon");
    assert_eq!(held(page([odd("15:00", ""), odd("15:00", "")]), page([])), [Hold::Nothing, Hold::Nothing]);
    assert_eq!(held(page([odd("no time", "")]), page([])), [Hold::Nothing]);
    for (old_rows, young_rows) in [
        (page([odd("15:00", ""), old(4), old(4)]), page([])),
        (page([odd("15:00", ""), young(4)]), page([])),
        (page([odd("15:30", "")]), page([])),
        (page([odd("15:00", "p")]), page([])),
        (page([odd("15:00", "")]), page([odd("15:00", "")])),
    ] {
        assert_eq!(held(old_rows, young_rows), [], "no ground to remove anything");
    }
}

#[test]
fn a_portal_that_heeds_no_order_or_filter_is_not_believed() {
    let reserved = row("\"2\"", "15:00", "p");
    let odd = || row("false", "15:00", "");
    for (old_rows, young_rows, code) in [
        (page([old(2), old(1)]), page([]), "ODD_ORDER"),
        (page([old(1), old(1)]), page([]), "ODD_ORDER"),
        (page([old(1), old(5), odd(), old(4)]), page([]), "ODD_ORDER"),
        (page([old(1), young(2)]), page([]), "FILTER_NOT_HEEDED"),
        (page([old(1), reserved.clone()]), page([]), "FILTER_NOT_HEEDED"),
        (page([old(1)]), page([old(2)]), "FILTER_NOT_HEEDED"),
        (page([old(1)]), page([reserved]), "FILTER_NOT_HEEDED"),
    ] {
        let exchanged = answer(&list(1, false), &[("page0", old_rows), ("page1", young_rows)], "[]");
        assert_eq!(refused(&exchanged), code);
    }
}

#[test]
fn what_changes_between_the_pages_is_young() {
    let exchanged = answer(&list(1, false), &[("page0", page([old(1), old(2)])), ("page1", page([young(2)]))], "[]");
    assert_eq!(free(&exchanged), (vec![1], false, vec![2]));
}

#[test]
fn a_deletion_is_done_with_its_rows_refused_or_unknown() {
    let listed = [("page0", page([])), ("page1", page([]))];
    let got = |json: &str, errors: &str| {
        let results = [listed[0].clone(), listed[1].clone(), ("delete", json.to_owned())];
        answer(&list(1, true), &results[..if json.is_empty() { 2 } else { 3 }], errors)
    };
    let done = got(&format!(r#"{{"process_id":null,"events":{}}}"#, page([old(9), old(3)])), "[]");
    let Deleted::Done { rows } = &done.answer.deleted else { panic!("{done:?}") };
    assert_eq!((ids(rows), &done.trouble), (vec![3, 9], &None));
    assert_eq!(got(r#"{"process_id":null,"events":[]}"#, "[]").answer.deleted, Deleted::Done { rows: Vec::new() });
    let refused = got("", r#"{"delete":{"error":"OPERATION_TIME_LIMIT"}}"#);
    assert!(matches!(refused.answer.deleted, Deleted::Refused { rests: true, .. }), "{refused:?}");
    assert!(matches!(refused.answer.read, ReadAnswer::Free { .. }));
    for (json, errors) in [
        ("", "[]"),
        ("true", "[]"),
        (r#"{"process_id":null}"#, "[]"),
        (r#"{"process_id":null,"events":true}"#, "[]"),
        (r#"{"events":[],"events":[]}"#, "[]"),
        (r#"{"process_id":null,"events":[]}"#, r#"{"delete":{"error":"ACCESS_DENIED"}}"#),
        ("", r#"{"delete":{"error":"INTERNAL_SERVER_ERROR"}}"#),
    ] {
        let unknown = got(json, errors);
        assert_eq!(unknown.answer.deleted, Deleted::Unknown, "{json} {errors}");
        assert!(unknown.trouble.is_some());
    }
    let lost = got(&format!(r#"{{"process_id":null,"events":[{}]}}"#, row("null", "15:00", "")), "[]");
    assert_eq!((lost.answer.deleted, lost.nameless.len()), (Deleted::Done { rows: Vec::new() }, 1), "and it is told");
}
