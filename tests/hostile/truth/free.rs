//! What may be claimed of a listing of free rows, and of a deletion.
//!
//! A deletion takes a range, so a listing must never claim a range in which something lies that it has not told of.

use b24kafka::protocol::{
    exchange::LIST_PAGE,
    types::{PortalTime, Row},
};
use serde_json::Value;

use super::{complete, elements, id, tells};

/// Holds a listing of `pages` pages and one of young rows against the results.
pub fn check(
    result: &Value,
    (before, pages): (PortalTime, usize),
    (rows, more, young): (&[Row], bool, &[Row]),
    shown: &dyn Fn() -> String,
) {
    let old: Vec<_> = (0..pages).map_while(|n| elements(result.get(format!("page{n}"))?)).collect();
    assert!(!old.is_empty(), "no page: {}", shown());
    let young_page = result.get(format!("page{pages}")).and_then(elements);
    let young_page = young_page.unwrap_or_else(|| panic!("no young rows: {}", shown()));
    let last = old.iter().position(|page| page.len() < LIST_PAGE);
    assert!(more || last.is_some(), "the listing ends early: {}", shown());
    for (of, pages, is_old) in [(rows, old.as_slice(), true), (young, &[young_page][..], false)] {
        assert!(of.is_sorted_by(|a, b| a.id < b.id), "{}", shown());
        for row in of {
            let free = |said: &&Value| tells(said, row) && said["PROCESS_ID"] == "";
            assert!(pages.iter().flatten().any(free), "row {} is not there, or not free: {}", row.id, shown());
            assert!(row.changed_at().is_none_or(|at| (at < before.seconds) == is_old), "row {}: {}", row.id, shown());
        }
    }
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
    let known = |id: u64| rows.iter().chain(young).any(|row| row.id.get() == id);
    let range = first.id.get()..=last.id.get();
    for page in &old {
        let inside: Vec<_> = page.iter().map(|said| id(said).is_some_and(|id| range.contains(&id))).collect();
        let from = inside.iter().position(|inside| *inside);
        let to = inside.iter().rposition(|inside| *inside);
        let (Some(from), Some(to)) = (from, to) else { continue };
        for said in &page[from..=to] {
            assert!(id(said).is_some_and(known), "{said} lies in the range and is not told of: {}", shown());
        }
    }
}

/// Holds what a deletion has brought against its result.
pub fn check_deleted(result: &Value, rows: &[Row], without_name: usize, shown: &dyn Fn() -> String) {
    let events = elements(&result["events"]).unwrap_or_else(|| panic!("no list of rows: {}", shown()));
    complete(&events, rows.len(), without_name, shown);
    for row in rows {
        assert!(events.iter().any(|said| tells(said, row)), "row {} is not there: {}", row.id, shown());
    }
}
