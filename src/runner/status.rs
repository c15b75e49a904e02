//! What can be told of a queue at any time: written by its runner, read by whoever is asked.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::clock::unix_seconds;
use crate::protocol::{pace::WakeUps, queue::Queue};

/// The state of one queue. Single values are exact; two of them may be of different moments.
#[derive(Debug, Default)]
pub struct Status {
    held: Waiting,
    unconfirmed: Waiting,
    limit: AtomicU32,
    barred: AtomicBool,
    may_hide: AtomicBool,
    /// [`WakeUps`] as a number.
    wake_ups: AtomicU8,
}

/// Rows that wait for something, and since when any does.
#[derive(Debug, Default)]
struct Waiting {
    rows: AtomicU64,
    /// Bits of the time since which there are any; 0 if there is none.
    since: AtomicU64,
}

impl Waiting {
    fn set(&self, rows: u64) {
        let before = self.rows.swap(rows, Relaxed);
        if rows == 0 {
            self.since.store(0, Relaxed);
        } else if before == 0 {
            self.since.store(unix_seconds().to_bits(), Relaxed);
        }
    }

    fn since(&self) -> Option<f64> {
        Some(f64::from_bits(self.since.load(Relaxed))).filter(|since| *since > 0.0)
    }
}

impl Status {
    /// After a step of the machine.
    pub fn update(&self, queue: &Queue) {
        let held = queue.ledger().held();
        self.held.set(held);
        self.unconfirmed.set((queue.ledger().len() as u64).saturating_sub(held));
        self.limit.store(queue.limit(), Relaxed);
        self.barred.store(queue.is_barred(), Relaxed);
        self.may_hide.store(queue.may_hide(), Relaxed);
        self.wake_ups.store(queue.wake_ups() as u8, Relaxed);
    }

    /// Rows that are received and not yet acknowledged.
    pub fn held(&self) -> u64 {
        self.held.rows.load(Relaxed)
    }

    /// Since when rows are held, in seconds since 1970.
    pub fn held_since(&self) -> Option<f64> {
        self.held.since()
    }

    /// Rows that are acknowledged and not yet known to be cleared.
    pub fn unconfirmed(&self) -> u64 {
        self.unconfirmed.rows.load(Relaxed)
    }

    /// Since when rows wait to be cleared, in seconds since 1970.
    pub fn unconfirmed_since(&self) -> Option<f64> {
        self.unconfirmed.since()
    }

    /// How many rows the next `get` asks for.
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Whether rows wait for somebody to mend a topic or a right.
    pub fn is_barred(&self) -> bool {
        self.barred.load(Relaxed)
    }

    /// Whether rows are announced by wake-ups.
    pub fn wake_ups(&self) -> WakeUps {
        let known = [WakeUps::Unused, WakeUps::Expected, WakeUps::Missed];
        let number = self.wake_ups.load(Relaxed);
        known.into_iter().find(|wake_ups| *wake_ups as u8 == number).unwrap_or(WakeUps::Unused)
    }

    /// Whether rows may be reserved by a request of ours without our knowing.
    pub fn may_hide(&self) -> bool {
        self.may_hide.load(Relaxed)
    }
}
