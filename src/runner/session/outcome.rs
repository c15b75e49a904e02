//! What a failed call is counted as, and what it means for the exchange that it was.

use super::Obstacle;
use crate::{
    bitrix::error::{CallError, Trouble},
    metrics::labels::CallOutcome,
    protocol::{
        conditional::{MARGIN, bears_out},
        exchange::{Answer, Cleared, Deleted, Exchange, Read, ReadAnswer},
        types::Row,
    },
};

/// How a failed call is counted.
pub(super) fn outcome_of(error: &CallError) -> CallOutcome {
    match error.trouble {
        Trouble::Unauthorized { .. } => CallOutcome::Unauthorized,
        Trouble::RateLimited | Trouble::OperationTime { .. } => CallOutcome::Limited,
        Trouble::Unknown => CallOutcome::Unknown,
        _ => CallOutcome::Refused,
    }
}

/// Why an answer without an error brings nothing all the same, if so.
pub(super) fn useless(exchange: &Exchange, answer: &Answer<Row>) -> Option<&'static str> {
    match (exchange.read, &answer.read) {
        (Some(Read::List { .. }), ReadAnswer::Free { .. }) if answer.time.is_none() => Some(
            "the answer to a listing does not tell the portal's own time (time.date_start), so it cannot be believed",
        ),
        (Some(Read::List { before, .. }), ReadAnswer::Free { .. }) if !bears_out(before, answer.time, MARGIN) => {
            Some("the portal's own time contradicts its listing, so it cannot be believed")
        }
        _ => None,
    }
}

/// The answer to an exchange that failed as a whole.
pub(super) fn failed(exchange: &Exchange, obstacle: &Obstacle) -> Answer<Row> {
    let &Obstacle { refused, retry_after, smaller, .. } = obstacle;
    let (cleared, deleted, read) = if refused {
        (
            Cleared::Refused { retry_after },
            Deleted::Refused { retry_after, rests: smaller },
            ReadAnswer::Refused { retry_after, smaller },
        )
    } else {
        (Cleared::Unknown, Deleted::Unknown, ReadAnswer::Unknown)
    };
    let deleted = exchange.delete.map_or(Deleted::NotAsked, |_| deleted);
    let read = exchange.read.map_or(ReadAnswer::NotAsked, |_| read);
    Answer { clears: vec![cleared; exchange.clears.len()], deleted, read, time: None }
}
