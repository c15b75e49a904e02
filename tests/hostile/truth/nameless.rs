//! What may be claimed of rows that have no name: what is removed must have been shown, under that very message.

use b24kafka::{
    bitrix::{CallError, nameless::Removed},
    protocol::types::{Hold, NamelessRow, Removal},
};
use serde_json::Value;

use super::{Said, elements, has_code, said, spells, yes};

/// The row of a message, if no other row of the list has it.
fn once<'a>(list: &[&'a Value], message: &str) -> Option<&'a Value> {
    let mut of = list.iter().filter(|row| row["MESSAGE_ID"] == message);
    of.next().copied().filter(|_| of.next().is_none())
}

/// Holds the rows of an exchange that have no name against its results.
pub fn check(result: &Value, rows: &[NamelessRow], shown: &dyn Fn() -> String) {
    let get = elements(&result["get"]["events"]).unwrap_or_default();
    let pages: Vec<_> = (0..3).filter_map(|n| elements(result.get(format!("page{n}"))?)).collect();
    for row in rows {
        let there = match &row.hold {
            Hold::Nothing | Hold::Gone => true,
            Hold::Reserved { process, message } => {
                let got = once(&get, message.as_str()).is_some_and(|_| spells(&result["get"]["process_id"], process));
                let found = |page: &Vec<&Value>| {
                    once(page, message.as_str()).is_some_and(|row| spells(&row["PROCESS_ID"], process))
                };
                got || pages.iter().any(found)
            }
            Hold::Free { message, .. } => {
                pages.iter().any(|page| once(page, message.as_str()).is_some_and(|row| row["PROCESS_ID"] == ""))
            }
        };
        assert!(there, "{row:?} could be another row: {}", shown());
    }
}

/// Holds a look at one free row against the body.
pub fn check_look(message: &str, body: &[u8], outcome: Result<Vec<Option<Removal>>, CallError>) -> Option<CallError> {
    let looked = match outcome {
        Ok(looked) => looked,
        Err(error) => return Some(error),
    };
    let Said::Tree(tree) = said(body) else { return None };
    let page = elements(&tree["result"]["result"]["page0"]);
    let error = &tree["result"]["result_error"]["page0"];
    match looked.as_slice() {
        [Some(Removal::Elsewhere) | None] => {
            let page = page.unwrap_or_else(|| panic!("no list: {tree}"));
            assert!(
                error.is_null() && page.len() <= 1 && page.iter().all(|row| row["MESSAGE_ID"] == message),
                "{tree}"
            );
            assert!(looked[0].is_some() || page.len() == 1, "{tree}");
        }
        [Some(Removal::Refused { .. })] => assert!(!error.is_null(), "{tree}"),
        [Some(Removal::Unknown | Removal::Impossible)] => {}
        [Some(Removal::Done)] => panic!("a look removes nothing: {tree}"),
        _ => panic!("an answer to another question: {looked:?}"),
    }
    None
}

/// Holds a removal, of a reserved row and then of a free one, against the body.
pub fn check_removal(body: &[u8], outcome: Result<Removed, CallError>) -> Option<CallError> {
    let removed = match outcome {
        Ok(removed) => removed,
        Err(error) => return Some(error),
    };
    let Said::Tree(tree) = said(body) else { return None };
    let (result, errors) = (&tree["result"]["result"], &tree["result"]["result_error"]);
    let [clear, deletion] = removed.outcomes.as_slice() else { panic!("{removed:?}") };
    if *clear == Removal::Done {
        assert!(yes(&result["r0"]) && errors["r0"].is_null(), "{tree}");
    }
    if matches!(deletion, Removal::Done | Removal::Elsewhere) {
        let events = elements(&result["gone1"]["events"]).unwrap_or_else(|| panic!("no list: {tree}"));
        assert!(errors["gone1"].is_null(), "{tree}");
        // Only a key that is there twice makes the tree smaller than what was walked.
        assert!(removed.brought.len() >= events.len(), "a row is deleted and forgotten: {tree}");
    }
    for (outcome, error) in [(clear, &errors["r0"]), (deletion, &errors["gone1"])] {
        if matches!(outcome, Removal::Refused { .. }) {
            assert!(has_code(&error["error"]) || has_code(error), "{tree}");
        }
    }
    None
}
