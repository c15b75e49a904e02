//! Rows that a queue held when its runner was cut short.
//!
//! They are counted as received and held, and stay reserved at their portal. The next runner of the queue receives them
//! again, and the bridge does not: counted twice, the one half of them would seem to be held for ever. They outlive the
//! portal's entry, since a portal that is parked, or removed, may come back.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::protocol::{
    queue::Fact,
    types::{Connector, Mark, PortalId, RowId},
};

/// What the runners of all queues have left.
#[derive(Debug, Default)]
pub struct Abandoned {
    /// Hardly ever is there anything to look for.
    any: AtomicBool,
    /// At most what one queue may hold, for each.
    rows: Mutex<HashMap<(PortalId, Connector), BTreeSet<RowId>>>,
    /// The same of rows that have no name.
    nameless: Mutex<HashMap<(PortalId, Connector), BTreeSet<Mark>>>,
}

impl Abandoned {
    /// A runner is cut short and leaves these rows, which are counted as held.
    pub fn leave(&self, portal: &PortalId, connector: &Connector, rows: impl Iterator<Item = RowId>) {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return;
        }
        let mut left = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        left.entry((portal.clone(), connector.clone())).or_default().extend(rows);
        self.any.store(true, Relaxed);
    }

    /// The same for rows that have no name.
    pub fn leave_nameless(&self, portal: &PortalId, connector: &Connector, rows: impl Iterator<Item = Mark>) {
        let mut rows = rows.peekable();
        if rows.peek().is_some() {
            let mut left = self.nameless.lock().unwrap_or_else(PoisonError::into_inner);
            left.entry((portal.clone(), connector.clone())).or_default().extend(rows);
        }
    }

    /// Whether a row that has no name was left here; it is taken up again with this.
    pub fn take_up(&self, portal: &PortalId, connector: &Connector, row: Mark) -> bool {
        let mut left = self.nameless.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (portal.clone(), connector.clone());
        let there = left.get_mut(&key).is_some_and(|rows| rows.remove(&row));
        if left.get(&key).is_some_and(BTreeSet::is_empty) {
            left.remove(&key);
        }
        there
    }

    /// A fact as it is to be counted: a row that was left here has been received before.
    pub fn as_counted(&self, portal: &PortalId, connector: &Connector, fact: Fact) -> Fact {
        let Fact::Received { row, recovered, again: false } = fact else { return fact };
        if !self.any.load(Relaxed) {
            return fact;
        }
        let mut left = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (portal.clone(), connector.clone());
        let again = left.get_mut(&key).is_some_and(|rows| rows.remove(&row));
        if left.get(&key).is_some_and(BTreeSet::is_empty) {
            left.remove(&key);
        }
        self.any.store(!left.is_empty(), Relaxed);
        Fact::Received { row, recovered, again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_left_is_received_again_once_and_only_in_its_queue() {
        let abandoned = Abandoned::default();
        let portal = |id| PortalId::new(id).expect("an id");
        let (plain, sync) = (Connector::default(), Connector::new("sync"));
        let id = |id| RowId::new(id).expect("an id");
        let received = |row, again| Fact::Received { row: id(row), recovered: true, again };
        let counted = |portal: &PortalId, connector, row| abandoned.as_counted(portal, connector, received(row, false));
        let (a, b) = (portal("a"), portal("b"));
        assert_eq!(counted(&a, &plain, 1), received(1, false));
        abandoned.leave(&a, &plain, [id(1), id(2)].into_iter());
        abandoned.leave(&b, &plain, std::iter::empty());
        for (portal, connector, row, again) in [
            (&b, &plain, 1, false),
            (&a, &sync, 1, false),
            (&a, &plain, 3, false),
            (&a, &plain, 1, true),
            (&a, &plain, 1, false),
        ] {
            assert_eq!(counted(portal, connector, row), received(row, again));
        }
        assert_eq!(abandoned.as_counted(&a, &plain, Fact::Acknowledged(id(2))), Fact::Acknowledged(id(2)));
        assert_eq!(counted(&a, &plain, 2), received(2, true));
        assert!(abandoned.rows.lock().expect("rows").is_empty() && !abandoned.any.load(Relaxed));
        abandoned.leave_nameless(&a, &plain, [Mark(7)].into_iter());
        for (portal, connector, there) in
            [(&b, &plain, false), (&a, &sync, false), (&a, &plain, true), (&a, &plain, false)]
        {
            assert_eq!(abandoned.take_up(portal, connector, Mark(7)), there);
        }
        assert!(abandoned.nameless.lock().expect("rows").is_empty());
    }
}
