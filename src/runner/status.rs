//! What can be told of a queue at any time: written by its runner, read by whoever is asked.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::clock::unix_seconds;
use crate::protocol::queue::Queue;

/// The state of one queue. Single values are exact; two of them may be of different moments.
#[derive(Debug, Default)]
pub struct Status {
    held: AtomicU64,
    limit: AtomicU32,
    /// Bits of the time since which rows are held; 0 if none is.
    held_since: AtomicU64,
}

impl Status {
    /// After a step of the machine.
    pub fn update(&self, queue: &Queue) {
        let held = queue.ledger().held();
        let before = self.held.swap(held, Relaxed);
        self.limit.store(queue.limit(), Relaxed);
        if held == 0 {
            self.held_since.store(0, Relaxed);
        } else if before == 0 {
            self.held_since.store(unix_seconds().to_bits(), Relaxed);
        }
    }

    /// Rows that are received and not yet acknowledged.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// How many rows the next `get` asks for.
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Since when rows are held, in seconds since 1970.
    pub fn held_since(&self) -> Option<f64> {
        Some(f64::from_bits(self.held_since.load(Relaxed))).filter(|since| *since > 0.0)
    }
}
