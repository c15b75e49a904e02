//! Rows that came without a usable id: what is believed of them, and their removal at the portal.

use std::sync::atomic::Ordering::Relaxed;

use super::{Call, Obstacle, Session};
use crate::{
    bitrix::nameless::Removed,
    protocol::{
        conditional::{MARGIN, bears_out},
        exchange::{Answer, Exchange, Read},
        types::{Connector, Hold, Mark, NamelessRow, Removal, Row},
    },
};

/// What became of rows that were to be removed.
#[derive(Debug, Default)]
pub struct Removals {
    /// One outcome per row.
    pub outcomes: Vec<(Mark, Removal)>,
    /// Rows that were deleted, as they were at that moment.
    pub brought: Vec<NamelessRow>,
}

impl Session {
    /// Those of an answer; none that was listed under a condition which the portal's own time does not bear out, since a
    /// deletion would name that condition.
    pub(super) fn nameless(
        &self,
        connector: &Connector,
        exchange: &Exchange,
        answer: &Answer<Row>,
        mut rows: Vec<NamelessRow>,
    ) -> Vec<NamelessRow> {
        self.came(connector, rows.len());
        if let Some(Read::List { before, .. }) = exchange.read
            && !bears_out(before, answer.time, MARGIN)
        {
            rows.retain(|row| !matches!(row.hold, Hold::Free { .. }));
        }
        rows
    }

    /// An answer had so many of them. It may have them again.
    pub(super) fn came(&self, connector: &Connector, rows: usize) {
        if rows == 0 {
            return;
        }
        let count = rows as u64;
        self.nameless.fetch_add(count, Relaxed);
        self.metrics.rows_unreadable.inc_by(count);
        let connector = connector.as_str();
        tracing::warn!(portal = %self.portal, connector, rows, "rows came without a usable id");
    }

    /// How many have come since the start of this process, each time that they came.
    pub fn rows_unreadable(&self) -> u64 {
        self.nameless.load(Relaxed)
    }

    /// Removes rows at the portal whose dead letters are acknowledged. Free ones are looked at first.
    pub async fn remove(&self, connector: &Connector, rows: Vec<(Mark, Hold)>) -> Removals {
        let mut removals = Removals::default();
        let (free, mut rest): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(_, hold)| matches!(hold, Hold::Free { .. }));
        if !free.is_empty() {
            let look = |access| {
                let free = &free;
                async move { self.client.look(&access, connector, free).await }
            };
            match self.call(Call::Exchange, look).await {
                Ok(looked) => {
                    for ((mark, hold), outcome) in free.iter().cloned().zip(looked) {
                        match outcome {
                            Some(outcome) => removals.outcomes.push((mark, outcome)),
                            None => rest.push((mark, hold)),
                        }
                    }
                }
                Err(obstacle) => removals.outcomes.extend(free.iter().map(|(mark, _)| (*mark, refused(&obstacle)))),
            }
        }
        if rest.is_empty() {
            return removals;
        }
        let remove = |access| {
            let rest = &rest;
            async move { self.client.remove(&access, connector, rest).await }
        };
        match self.call(Call::Exchange, remove).await {
            Ok(Removed { outcomes, brought, trouble, operating }) => {
                self.limits.operating(operating);
                if let Some(trouble) = trouble {
                    let (portal, connector) = (&self.portal, connector.as_str());
                    tracing::warn!(%portal, connector, error = %trouble, "a row without a usable id is not removed");
                }
                removals.outcomes.extend(rest.iter().map(|(mark, _)| *mark).zip(outcomes));
                removals.brought = brought;
            }
            Err(obstacle) => removals.outcomes.extend(rest.iter().map(|(mark, _)| (*mark, failed(&obstacle)))),
        }
        removals
    }
}

/// A look changes nothing, whatever became of it.
fn refused(obstacle: &Obstacle) -> Removal {
    Removal::Refused { retry_after: obstacle.retry_after }
}

fn failed(obstacle: &Obstacle) -> Removal {
    if obstacle.refused { refused(obstacle) } else { Removal::Unknown }
}
