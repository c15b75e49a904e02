//! What a failed call is counted as, and what it means for the exchange that it was.

use super::Obstacle;
use crate::{
    bitrix::error::{CallError, Trouble},
    metrics::labels::CallOutcome,
    protocol::{
        exchange::{Answer, Cleared, Deleted, Exchange, ReadAnswer},
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
