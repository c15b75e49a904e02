//! How a portal's plan allows its queues to be read, known to all of them at once.
//!
//! A plan can be raised and lowered at any time. That it was lowered shows in a reservation that is refused. That it was
//! raised shows only if somebody asks, since without reservations everything goes on to work.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::{Notify, watch};

use crate::protocol::types::Mode;

/// The mode of all queues of a portal.
#[derive(Debug)]
pub struct Licence {
    mode: watch::Sender<Mode>,
    /// Told when somebody wants it to be looked at; for one task.
    doubt: Notify,
    /// What is free at the portal may have been published: its queues have been read without reservations.
    open: AtomicBool,
}

impl Licence {
    /// Reserving, until the portal says otherwise. `open` if it was read without reservations before.
    pub fn new(open: bool) -> Self {
        Self { mode: watch::Sender::new(Mode::default()), doubt: Notify::new(), open: AtomicBool::new(open) }
    }

    /// Whether what is free at the portal may have been published.
    pub fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// Whether what is free at the portal may have been published.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Relaxed);
    }

    /// The mode now.
    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Tells of every change.
    pub fn follow(&self) -> watch::Receiver<Mode> {
        self.mode.subscribe()
    }

    /// The plan asks for this mode. Returns whether that is new.
    pub fn set(&self, mode: Mode) -> bool {
        self.mode.send_if_modified(|present| std::mem::replace(present, mode) != mode)
    }

    /// The plan may have changed: it is looked at soon, whenever that was due.
    pub fn reconsider(&self) {
        self.doubt.notify_one();
    }

    /// Waits until the plan is to be looked at; for one task.
    pub async fn in_doubt(&self) {
        self.doubt.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_news_once() {
        let licence = Licence::new(false);
        let mut followed = licence.follow();
        assert!(!licence.set(Mode::Reserve) && licence.set(Mode::Conditional) && !licence.set(Mode::Conditional));
        assert!(followed.has_changed().expect("alive"));
        assert_eq!((*followed.borrow_and_update(), licence.mode()), (Mode::Conditional, Mode::Conditional));
    }
}
