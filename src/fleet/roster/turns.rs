//! One change of a portal at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::protocol::types::PortalId;

/// Whose turn it is, for each portal that is being changed.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<PortalId, Weak<Turn<()>>>>);

impl Turns {
    /// Waits for all changes of this portal that have asked before; the turn lasts until the guard is dropped.
    pub async fn of(&self, id: &PortalId) -> OwnedMutexGuard<()> {
        let turn = self.find(id);
        turn.lock_owned().await
    }

    fn find(&self, id: &PortalId) -> Arc<Turn<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(id).and_then(Weak::upgrade) {
            return turn;
        }
        // As many entries as there are changes under way, and those that ended since the last look.
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(id.clone(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_of_one_portal_wait_for_each_other_and_leave_nothing_behind() {
        let turns = Turns::default();
        let (one, two) = (PortalId::new("a1").expect("an id"), PortalId::new("b2").expect("an id"));
        let first = turns.of(&one).await;
        let _other = turns.of(&two).await;
        assert!(turns.find(&one).try_lock().is_err(), "its turn is taken");
        drop(first);
        assert!(turns.find(&one).try_lock().is_ok());
        for n in 0..100 {
            drop(turns.of(&PortalId::new(&format!("c{n}")).expect("an id")).await);
        }
        assert!(turns.0.lock().expect("whole").len() <= 3);
    }
}
