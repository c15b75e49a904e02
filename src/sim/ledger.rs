//! What happened at a portal: every row ever emitted and how it left, requests, and misuse.

use std::{collections::BTreeMap, sync::Arc};

use super::row::Hex;

/// How a row left, or that it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// In the queue, reserved by nobody.
    Free,
    /// In the queue, hidden by a reservation.
    Reserved(Hex),
    /// In the queue as an error row (`event.offline.error`).
    Error,
    /// Deleted by `event.offline.clear` of this reservation.
    Cleared(Hex),
    /// Deleted by a `get` with `clear=1`, before the answer was sent.
    Got,
    /// Deleted because a twin of it was made an error row.
    TwinDeleted,
    /// Deleted because of its age.
    Purged,
}

impl Fate {
    /// Whether the row is still in the queue.
    pub const fn is_there(self) -> bool {
        matches!(self, Self::Free | Self::Reserved(_) | Self::Error)
    }
}

/// One row that was emitted.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `ID`.
    pub id: u64,
    /// The queue.
    pub connector: Arc<str>,
    /// `EVENT_NAME`.
    pub event: Arc<str>,
    /// `MESSAGE_ID`.
    pub message: Hex,
    /// `TIMESTAMP_X` in its last state, seconds since 1970.
    pub changed_at: i64,
    /// How many changes were merged into the row after the first.
    pub merged: u32,
    /// `TIMESTAMP_X` in its earlier states, ascending; those of one second once.
    pub earlier: Vec<i64>,
    /// Which of its states, by the number of merged changes, a list has shown last.
    pub shown: Option<u32>,
    /// What became of it.
    pub fate: Fate,
}

/// Every row ever emitted, by `ID`.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
}

/// How many rows met which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows ever emitted.
    pub rows: u64,
    /// Changes ever emitted: rows and what was merged into them.
    pub changes: u64,
    /// Still free.
    pub free: u64,
    /// Still reserved.
    pub reserved: u64,
    /// Still there as error rows.
    pub errors: u64,
    /// Cleared.
    pub cleared: u64,
    /// Deleted by a `get`.
    pub got: u64,
    /// Purged, or deleted as the twin of an error row: lost to everyone.
    pub lost: u64,
}

impl Ledger {
    /// The `ID` that the next new row gets: ids begin at 1 and have no gaps.
    pub fn next_id(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    /// Notes a new row; its id must be [`Ledger::next_id`].
    pub fn open(&mut self, entry: Entry) {
        debug_assert_eq!(entry.id, self.next_id(), "ids have no gaps");
        self.entries.push(entry);
    }

    /// Notes that a change was merged into a row.
    pub fn merge(&mut self, id: u64, at: i64) {
        if let Some(entry) = self.entry_mut(id) {
            entry.merged += 1;
            if entry.changed_at != at {
                entry.earlier.push(entry.changed_at);
            }
            entry.changed_at = at;
        }
    }

    /// Notes that a list has shown rows as they are.
    pub fn show(&mut self, ids: &[u64]) {
        for &id in ids {
            if let Some(entry) = self.entry_mut(id) {
                entry.shown = Some(entry.merged);
            }
        }
    }

    /// Whether somebody can know these rows as they are, because a list has shown them.
    pub fn has_shown(&self, ids: &[u64]) -> bool {
        ids.iter().all(|id| self.entry(*id).is_some_and(|entry| entry.shown == Some(entry.merged)))
    }

    /// Notes what became of rows.
    pub fn settle(&mut self, ids: &[u64], fate: Fate) {
        for &id in ids {
            if let Some(entry) = self.entry_mut(id) {
                entry.fate = fate;
            }
        }
    }

    fn entry_mut(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    /// Every row ever emitted, by `ID`.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// One row.
    pub fn entry(&self, id: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for entry in &self.entries {
            totals.rows += 1;
            totals.changes += 1 + u64::from(entry.merged);
            let place = match entry.fate {
                Fate::Free => &mut totals.free,
                Fate::Reserved(_) => &mut totals.reserved,
                Fate::Error => &mut totals.errors,
                Fate::Cleared(_) => &mut totals.cleared,
                Fate::Got => &mut totals.got,
                Fate::Purged | Fate::TwinDeleted => &mut totals.lost,
            };
            *place += 1;
        }
        totals
    }
}

/// Things that a careful client never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misuse {
    /// `clear` with an empty `id` or `message_id`: it deletes the whole reservation.
    pub empty_clears: u64,
    /// `clear` without any list.
    pub listless_clears: u64,
    /// `get` with `clear=1` that may delete what nobody has seen: without the bounds `<TIMESTAMP_X` and `<=ID`, or with a
    /// row in it that no list has shown as it is. With bounds and after a list it is how one does without
    /// `rest_offline_extended` (protocol reference section 6).
    pub destructive_gets: u64,
    /// Two `get`s awaited at once on one queue.
    pub parallel_gets: u64,
    /// `get` with `process_id` but without `clear`.
    pub careless_rereads: u64,
    /// A refresh with a token that was rotated already.
    pub old_refreshes: u64,
    /// Two refreshes awaited at once.
    pub parallel_refreshes: u64,
    /// Requests above the rate limit.
    pub over_limit: u64,
    /// `event.offline.error`: it silences the object.
    pub error_calls: u64,
}

impl Misuse {
    /// Whether there was none.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// How often the portal was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// HTTP requests to the REST endpoint, whatever became of them.
    pub http: u64,
    /// Requests to the OAuth server.
    pub oauth: u64,
    /// Those of them that a fault let be carried out with no answer that can be read.
    pub unanswered_refreshes: u64,
    /// Calls that were executed per method, commands of a `batch` included.
    pub calls: BTreeMap<String, u64>,
    /// Faults that struck, per kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Wake-up and application calls that were sent, and those that were answered with 2xx.
    pub wakes: (u64, u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_follow_the_fates() {
        let mut ledger = Ledger::default();
        for id in 1..=3 {
            let (connector, event) = ("".into(), "E".into());
            let message = Hex([0; 16]);
            let fate = Fate::Free;
            let (earlier, shown) = (Vec::new(), None);
            ledger.open(Entry { id, connector, event, message, changed_at: 1, merged: 0, earlier, shown, fate });
        }
        ledger.merge(2, 7);
        assert_eq!(ledger.entry(2).unwrap().earlier, [1]);
        ledger.show(&[2, 3]);
        assert!(ledger.has_shown(&[2, 3]) && !ledger.has_shown(&[1, 2]));
        ledger.merge(2, 7);
        assert!(!ledger.has_shown(&[2]), "not as it is now");
        ledger.settle(&[2], Fate::Cleared(Hex([1; 16])));
        ledger.settle(&[3, 99, 0], Fate::Purged);
        let totals = ledger.totals();
        assert_eq!((totals.rows, totals.changes, totals.free, totals.cleared, totals.lost), (3, 5, 1, 1, 1));
        assert_eq!((ledger.entry(2).unwrap().changed_at, ledger.next_id()), (7, 4));
        assert!(ledger.entry(0).is_none() && ledger.entry(4).is_none());
        assert!(ledger.entry(1).unwrap().fate.is_there() && !ledger.entry(2).unwrap().fate.is_there());
    }
}
