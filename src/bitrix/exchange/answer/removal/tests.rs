//! Looks and removals, odd ones included.

use super::*;
use crate::protocol::types::{MessageId, Millis, PortalTime, ProcessId};

const MESSAGE: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn message() -> MessageId {
    MessageId::new(MESSAGE).expect("a message")
}

fn free() -> Hold {
    Hold::Free { message: message(), before: PortalTime { seconds: 1_795_515_330, offset: 0 } }
}

fn reserved() -> Hold {
    Hold::Reserved { process: ProcessId::new("p").expect("a process"), message: message() }
}

fn row(message: &str, time: &str) -> String {
    format!(
        r#"{{"TIMESTAMP_X":"2026-11-24T13:{time}+03:00","EVENT_NAME":"ONTASKUPDATE","EVENT_DATA":{{"a":1}},"EVENT_ADDITIONAL":false,"MESSAGE_ID":"{message}","PROCESS_ID":"","ERROR":"0"}}"#
    )
}

fn answered(result: &str, errors: &str) -> Answered {
    let body = format!(
        r#"{{"result":{{"result":{result},"result_error":{errors},"result_total":[],"result_next":[],"result_time":{{"gone1":{{"operating":"1.5"}}}}}}}}"#
    );
    Answered::new(200, &body)
}

/// The mark of the row as a listing shows it.
fn mark(row: &str) -> Mark {
    nameless(&serde_json::from_str(row).expect("a row"), "", Hold::Nothing, Some(row)).mark
}

#[test]
fn a_row_is_there_as_it_was_or_it_is_not_touched() {
    let was = row(MESSAGE, "15:00");
    let with_id = was.replacen('{', r#"{"ID":"7","#, 1);
    let look = |page: &str, errors: &str| {
        let result = if page.is_empty() { "[]".to_owned() } else { format!(r#"{{"page0":{page}}}"#) };
        looked(&[(mark(&was), free())], &answered(&result, errors)).expect("an answer")
    };
    assert_eq!(look(&format!("[{was}]"), "[]"), [None]);
    assert_eq!(look(&format!("[{with_id}]"), "[]"), [None], "it says the same");
    assert_eq!(look("[]", "[]"), [Some(Removal::Elsewhere)], "it is gone");
    assert_eq!(
        look(&format!("[{}]", row(MESSAGE, "15:01")), "[]"),
        [Some(Removal::Elsewhere)],
        "it is another one now"
    );
    for odd in [format!("[{}]", row(OTHER, "15:00")), format!("[{was},{was}]"), "[{}]".to_owned()] {
        assert_eq!(look(&odd, "[]"), [Some(Removal::Impossible)], "the condition is not heeded: {odd}");
    }
    assert_eq!(look("", "[]"), [Some(Removal::Unknown)]);
    let limit = r#"{"page0":{"error":"QUERY_LIMIT_EXCEEDED"}}"#;
    assert_eq!(look("", limit), [Some(Removal::Refused { retry_after: None })]);
    assert_eq!(look("", r#"{"page0":{"error":"ERROR_ARGUMENT"}}"#), [Some(Removal::Impossible)]);
}

#[test]
fn a_removal_is_done_with_what_it_brought_refused_impossible_or_unknown() {
    let remove = |result: &str, errors: &str| {
        read(&[(Mark(1), reserved()), (Mark(2), free())], &answered(result, errors)).expect("an answer")
    };
    let gone = row(MESSAGE, "15:00");
    let done = remove(&format!(r#"{{"r0":true,"gone1":{{"process_id":null,"events":[{gone}]}}}}"#), "[]");
    assert_eq!((done.outcomes, done.trouble), (vec![Removal::Done, Removal::Done], None));
    let [brought] = done.brought.as_slice() else { panic!("{:?}", done.brought) };
    assert_eq!((brought.mark, &brought.hold), (mark(&gone), &Hold::Gone));
    assert!(brought.content.raw.contains(MESSAGE) && brought.content.changed_at.is_some());
    assert_eq!(done.operating[0].method, "event.offline.get");
    let nothing = remove(r#"{"r0":true,"gone1":{"process_id":null,"events":[]}}"#, "[]");
    assert_eq!((nothing.outcomes[1], nothing.brought.len()), (Removal::Elsewhere, 0));
    let unknown = remove("[]", "[]");
    assert_eq!(unknown.outcomes, [Removal::Unknown, Removal::Unknown]);
    for odd in [r#"{"gone1":{"events":true}}"#, r#"{"gone1":true}"#, r#"{"gone1":{"events":[]},"gone1":{"events":[]}}"#]
    {
        assert_eq!(remove(odd, "[]").outcomes[1], Removal::Unknown, "{odd}");
    }
    let errors = r#"{"r0":{"error":"ERROR_ARGUMENT"},"gone1":{"error":"OPERATION_TIME_LIMIT"}}"#;
    let refused = remove("[]", errors);
    assert_eq!(refused.outcomes, [Removal::Impossible, Removal::Refused { retry_after: None::<Millis> }]);
    assert!(refused.trouble.is_some());
}
