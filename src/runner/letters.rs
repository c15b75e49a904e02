//! The last dead letters, for whoever looks: which row of which portal, when and why. Holds no data of a row.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::clock::unix_seconds;
use crate::protocol::types::{PortalId, Refusal, RowId};

/// How many are remembered: a page that people read; all of them are in the topic.
const KEPT: usize = 50;
/// Characters of an event's name that are kept; real ones are far shorter.
const NAME: usize = 100;

/// One dead letter that Kafka has acknowledged.
#[derive(Clone, Debug)]
pub struct Letter {
    /// When, in seconds since 1970.
    pub at: f64,
    /// Whose row.
    pub portal: PortalId,
    /// Which row; `None` if it came without a usable `ID`.
    pub row: Option<RowId>,
    /// `EVENT_NAME`; `None` if the row could not be read.
    pub event: Option<String>,
    /// Why.
    pub reason: Refusal,
}

/// The last ones.
#[derive(Debug, Default)]
pub struct Letters(Mutex<VecDeque<Letter>>);

impl Letters {
    /// One more, just now.
    pub fn note(&self, portal: &PortalId, row: impl Into<Option<RowId>>, event: Option<&str>, reason: Refusal) {
        let event = event.map(|name| name.chars().take(NAME).collect());
        let letter = Letter { at: unix_seconds(), portal: portal.clone(), row: row.into(), event, reason };
        let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        letters.truncate(KEPT - 1);
        letters.push_front(letter);
    }

    /// Newest first.
    pub fn last(&self) -> Vec<Letter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_newest_first_and_names_are_cut() {
        let letters = Letters::default();
        let portal = PortalId::new("a1").expect("an id");
        for row in 1..=60 {
            let row = RowId::new(row).expect("positive");
            letters.note(&portal, row, Some(&"Ü".repeat(200)), Refusal::TooLarge);
        }
        let last = letters.last();
        assert_eq!((last.len(), last[0].row, last[49].row), (50, RowId::new(60), RowId::new(11)));
        assert_eq!(last[0].event.as_deref(), Some("Ü".repeat(100).as_str()));
    }
}
