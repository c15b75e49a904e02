//! How many requests are being answered at the same time: what a client asks of all portals together.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A count, and the most that it ever was.
#[derive(Debug, Default)]
pub(super) struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One request that is being answered.
#[derive(Debug)]
pub(super) struct Answering<'a>(&'a Load);

impl Load {
    /// Counts a request until the guard is dropped.
    pub fn enter(&self) -> Answering<'_> {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(now, Relaxed);
        Answering(self)
    }

    /// The most since this was last asked.
    pub fn take_most(&self) -> usize {
        self.most.swap(self.now.load(Relaxed), Relaxed)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}
