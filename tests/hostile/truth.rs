//! What an answer really says, read by a general JSON parser, and what may be claimed of it.
//!
//! It checks claims, not refusals to claim: "unknown" is always allowed, everything else needs a ground in the bytes.

// By their paths: the targets of `fuzz/` take this file in from elsewhere.
#[path = "truth/free.rs"]
mod free;
#[path = "truth/nameless.rs"]
mod nameless;

use std::collections::BTreeSet;

use b24kafka::{
    bitrix::{
        CallError, Exchanged,
        oauth::{RefreshError, Tokens},
    },
    protocol::{
        exchange::{Cleared, Deleted, Exchange, LIST_PAGE, Read, ReadAnswer},
        types::{Body, ProcessId, Row},
    },
};
use secrecy::ExposeSecret as _;
use serde::de::IgnoredAny;
use serde_json::Value;

pub use self::nameless::{check_look, check_removal};

/// What the bytes are.
pub enum Said {
    /// No JSON: nothing may be claimed.
    Nothing,
    /// JSON that the general parser does not take (too deep, a number out of range): nothing can be checked.
    Unclear,
    /// This.
    Tree(Value),
}

pub fn said(body: &[u8]) -> Said {
    match serde_json::from_slice(body) {
        Ok(tree) => Said::Tree(tree),
        Err(_) if std::str::from_utf8(body).is_err() => Said::Nothing,
        Err(_) if serde_json::from_slice::<IgnoredAny>(body).is_err() => Said::Nothing,
        Err(_) => Said::Unclear,
    }
}

/// Holds the outcome of an exchange, answered with status 200, against the body.
pub fn check_exchange(exchange: &Exchange, body: &[u8], outcome: &Result<Exchanged, CallError>) {
    let shown = || format!("{outcome:?}\nof {}", String::from_utf8_lossy(body));
    let tree = match (said(body), outcome) {
        (Said::Nothing, Ok(_)) => panic!("no JSON and yet an answer: {}", shown()),
        (Said::Nothing, Err(error)) => return assert!(!error.refused(), "{}", shown()),
        (Said::Unclear, _) => return,
        (Said::Tree(tree), _) => tree,
    };
    let exchanged = match outcome {
        Ok(exchanged) => exchanged,
        Err(error) => return assert!(!error.refused() || has_code(&tree["error"]), "{}", shown()),
    };
    let (result, errors) = (&tree["result"]["result"], &tree["result"]["result_error"]);
    nameless::check(result, &exchanged.nameless, &shown);
    assert_eq!(exchanged.answer.clears.len(), exchange.clears.len(), "{}", shown());
    for (n, cleared) in exchanged.answer.clears.iter().enumerate() {
        let (said, error) = (&result[format!("c{n}")], &errors[format!("c{n}")]);
        match cleared {
            Cleared::Done => assert!(yes(said) && error.is_null(), "c{n}: {}", shown()),
            Cleared::Refused { .. } => assert!(!error.is_null(), "c{n}: {}", shown()),
            Cleared::Unknown => {}
        }
    }
    match (&exchanged.answer.deleted, exchange.delete) {
        (Deleted::Done { rows }, Some(_)) => {
            assert!(errors["delete"].is_null(), "{}", shown());
            free::check_deleted(&result["delete"], rows, exchanged.nameless.len(), &shown);
        }
        (Deleted::Refused { .. }, Some(_)) => assert!(!errors["delete"].is_null(), "{}", shown()),
        (Deleted::Unknown, Some(_)) | (Deleted::NotAsked, None) => {}
        _ => panic!("an answer to another question: {}", shown()),
    }
    match (&exchanged.answer.read, exchange.read) {
        (ReadAnswer::Reserved { process, rows, .. }, Some(Read::Reserve { .. })) => {
            assert!(errors["get"].is_null(), "{}", shown());
            reserved(&result["get"], process.as_ref(), rows, exchanged.nameless.len(), &shown);
        }
        (ReadAnswer::Listed { rows, more }, Some(Read::Scan { pages, .. })) => {
            listed(result, usize::from(pages), rows, *more, exchanged.nameless.len(), &shown);
        }
        (ReadAnswer::Refused { .. }, Some(Read::Reserve { .. })) => assert!(!errors["get"].is_null(), "{}", shown()),
        (ReadAnswer::Free { rows, more, young, .. }, Some(Read::List { before, pages, .. })) => {
            free::check(result, (before, usize::from(pages)), (rows, *more, young), &shown);
        }
        (ReadAnswer::Refused { .. }, Some(Read::List { .. } | Read::Scan { .. }))
            if exchanged.trouble.as_ref().is_some_and(|trouble| &*trouble.code == "NO_USABLE_ROW") =>
        {
            let page = elements(&result["page0"]).unwrap_or_else(|| panic!("no list: {}", shown()));
            assert!(!page.is_empty(), "there is an end: {}", shown());
        }
        (ReadAnswer::Refused { .. }, Some(Read::List { pages, .. })) => {
            assert!(!errors["page0"].is_null() || !errors[format!("page{pages}")].is_null(), "{}", shown());
        }
        (ReadAnswer::Refused { .. }, Some(Read::Scan { .. })) => assert!(!errors["page0"].is_null(), "{}", shown()),
        (ReadAnswer::Unknown, _) => {}
        _ => panic!("an answer to another question: {}", shown()),
    }
}

fn reserved(get: &Value, process: Option<&ProcessId>, rows: &[Row], without_name: usize, shown: &dyn Fn() -> String) {
    let events = elements(&get["events"]).unwrap_or_else(|| panic!("no list of rows: {}", shown()));
    assert!(rows.is_empty() || process.is_some(), "rows of no reservation: {}", shown());
    if let Some(process) = process {
        assert!(spells(&get["process_id"], process), "{}", shown());
    }
    complete(&events, rows.len(), without_name, shown);
    for row in rows {
        assert!(events.iter().any(|said| tells(said, row)), "row {} is not there: {}", row.id, shown());
    }
}

fn listed(
    result: &Value,
    pages: usize,
    rows: &[(ProcessId, Row)],
    more: bool,
    without_name: usize,
    shown: &dyn Fn() -> String,
) {
    let pages: Vec<_> = (0..pages).map_while(|n| elements(result.get(format!("page{n}"))?)).collect();
    assert!(!pages.is_empty(), "no page: {}", shown());
    assert!(more || pages.last().is_some_and(|last| last.len() < LIST_PAGE), "the scan ends early: {}", shown());
    let taken: Vec<&Value> = if more { Vec::new() } else { pages.iter().flatten().copied().collect() };
    let held: Vec<&Value> = taken.into_iter().filter(|row| row["PROCESS_ID"] != "").collect();
    complete(&held, rows.len(), without_name, shown);
    for (process, row) in rows {
        let mut all = pages.iter().flatten();
        let there = all.any(|said| tells(said, row) && spells(&said["PROCESS_ID"], process));
        assert!(there, "row {} is not there: {}", row.id, shown());
    }
}

/// Every row is either taken or counted as nameless; none disappears.
fn complete(said: &[&Value], taken: usize, without_name: usize, shown: &dyn Fn() -> String) {
    let ids: Vec<u64> = said.iter().filter_map(|row| id(row)).collect();
    let distinct = ids.iter().collect::<BTreeSet<_>>().len();
    let least = distinct + said.len() - ids.len();
    assert!(
        taken + without_name >= least,
        "{taken} rows, {without_name} without a name, at least {least}: {}",
        shown()
    );
}

/// Whether an element says what the row says.
fn tells(said: &Value, row: &Row) -> bool {
    let body = match &row.body {
        Body::Event(event) => {
            let name = said["EVENT_NAME"].as_str().map(str::to_ascii_uppercase);
            name.as_deref() == Some(&*event.name)
                && said["TIMESTAMP_X"] == *event.timestamp_x
                && said["MESSAGE_ID"] == *event.message_id
        }
        Body::Malformed(_) => true,
    };
    body && id(said) == Some(row.id.get())
}

fn id(row: &Value) -> Option<u64> {
    let id = match &row["ID"] {
        Value::String(text) => text.trim().parse::<i64>().ok()?.try_into().ok()?,
        number => number.as_u64()?,
    };
    (id > 0 && i64::try_from(id).is_ok()).then_some(id)
}

fn spells(said: &Value, process: &ProcessId) -> bool {
    match said {
        Value::String(text) => text == process.as_str(),
        Value::Number(number) => number.as_u64().is_none_or(|number| number.to_string() == process.as_str()),
        _ => false,
    }
}

/// The elements of a list, or of what PHP makes of one; `None` for anything that is not even an empty one.
fn elements(list: &Value) -> Option<Vec<&Value>> {
    match list {
        Value::Array(elements) => Some(elements.iter().collect()),
        Value::Object(members) => Some(members.values().collect()),
        Value::Null | Value::Bool(false) => Some(Vec::new()),
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        _ => None,
    }
}

/// Yes in one of the ways in which PHP says it.
pub fn yes(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_u64() == Some(1),
        Value::String(text) => matches!(text.as_str(), "1" | "Y" | "y" | "true"),
        _ => false,
    }
}

pub fn has_code(error: &Value) -> bool {
    error.as_str().is_some_and(|code| !code.is_empty()) || error.is_number()
}

/// Holds the outcome of a refresh, answered with status 200, against the body.
pub fn check_refresh(body: &[u8], outcome: &Result<Tokens, RefreshError>) {
    let shown = || format!("{outcome:?}\nof {}", String::from_utf8_lossy(body));
    let tree = match said(body) {
        Said::Nothing => return assert!(matches!(outcome, Err(RefreshError::Unknown { .. })), "{}", shown()),
        Said::Unclear => return,
        Said::Tree(tree) => tree,
    };
    match outcome {
        Ok(tokens) => {
            assert!(!has_code(&tree["error"]), "{}", shown());
            assert_eq!(tree["access_token"], *tokens.access_token.expose_secret(), "{}", shown());
            assert_eq!(tree["refresh_token"], *tokens.refresh_token.expose_secret(), "{}", shown());
            assert!(!tokens.access_token.expose_secret().is_empty(), "{}", shown());
            assert!(!tokens.refresh_token.expose_secret().is_empty(), "{}", shown());
        }
        Err(RefreshError::Unknown { .. }) => {}
        // The portal stops until somebody acts: it needs the server's word for that.
        Err(_) => assert!(has_code(&tree["error"]) && tree.get("refresh_token").is_none(), "{}", shown()),
    }
}

/// Holds an error of any call, answered with status 200, against the body.
pub fn check_error(body: &[u8], error: &CallError) {
    let ground = match said(body) {
        Said::Nothing => false,
        Said::Unclear => true,
        Said::Tree(tree) => has_code(&tree["error"]),
    };
    assert!(!error.refused() || ground, "{error:?} of {}", String::from_utf8_lossy(body));
}

/// A list was read only where there is one, or what PHP makes of an empty one.
pub fn check_list<T>(body: &[u8], outcome: Result<Vec<T>, CallError>) -> Option<CallError> {
    match (outcome, said(body)) {
        (Ok(found), Said::Tree(tree)) => {
            let there = elements(&tree["result"]).unwrap_or_else(|| panic!("no list: {tree}"));
            // Only a key that is there twice makes the tree smaller than what was walked.
            assert!(found.len() <= there.len() || tree["result"].is_object(), "{tree}");
            None
        }
        (Ok(_), Said::Nothing) => panic!("no JSON and yet an answer: {}", String::from_utf8_lossy(body)),
        (Ok(_), Said::Unclear) => None,
        (Err(error), _) => Some(error),
    }
}

/// Holds the answer to `feature.get` against the body; gives back the error, if it is one.
pub fn check_feature(body: &[u8], outcome: Result<bool, CallError>) -> Option<CallError> {
    match (outcome, said(body)) {
        (Ok(has), Said::Tree(tree)) => {
            let result = &tree["result"];
            let value = result.get("value").unwrap_or(result);
            assert!(!value.is_null() && !value.is_array() && !value.is_object(), "{tree}");
            assert_eq!(has, yes(value), "{tree}");
            None
        }
        (Ok(_), Said::Nothing) => panic!("no JSON and yet an answer: {}", String::from_utf8_lossy(body)),
        (Ok(_), Said::Unclear) => None,
        (Err(error), _) => Some(error),
    }
}
