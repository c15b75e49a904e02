//! What can be told of a queue at any time: written by its runner, read by whoever is asked.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use super::{clock::unix_seconds, limits::seconds};
use crate::protocol::{nameless::Nameless, pace::WakeUps, queue::Queue, types::Millis};

/// The state of one queue. Single values are exact; two of them may be of different moments.
#[derive(Debug, Default)]
pub struct Status {
    held: Waiting,
    /// When the last row that was held ceased to be; by a clock that nobody puts right.
    released: Mutex<Option<Instant>>,
    unconfirmed: Waiting,
    stuck: AtomicU64,
    limit: AtomicU32,
    barred: AtomicBool,
    may_hide: AtomicBool,
    closed: AtomicBool,
    /// [`WakeUps`] as a number.
    wake_ups: AtomicU8,
    next: Mutex<Next>,
    read: Mutex<Option<LastRead>>,
    errors: Mutex<Option<ErrorRows>>,
}

/// What a queue is at, or does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// Nobody works it yet, or any more.
    #[default]
    None,
    /// The portal's answer is awaited.
    Answer,
    /// Kafka's acknowledgements are awaited.
    Acknowledgements,
    /// What Kafka did not take is produced again.
    Produce,
    /// What Kafka has acknowledged is cleared.
    Confirm,
    /// The queue is read.
    Read,
}

/// What a queue does next, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Next {
    /// What.
    pub step: Step,
    /// When, in seconds since 1970; `None` while something is awaited.
    pub at: Option<f64>,
}

/// What the last read of a queue has brought.
#[derive(Clone, Copy, Debug)]
pub struct LastRead {
    /// When it was answered, in seconds since 1970.
    pub at: f64,
    /// How many rows came.
    pub rows: usize,
    /// How long the request took, in seconds.
    pub took: f64,
    /// Whether as many rows came as were asked for: there may be more.
    pub full: bool,
}

/// Rows that somebody has put aside at the portal with `event.offline.error`.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRows {
    /// How many there are.
    pub rows: u64,
    /// When they were counted, in seconds since 1970.
    pub counted_at: f64,
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
    /// After a step of the machine at `now`.
    pub fn update(&self, queue: &Queue, nameless: Option<&Nameless>, now: Millis) {
        let (beside, unremoved) = nameless.map_or((0, 0), |nameless| {
            let held = nameless.held().count() as u64;
            (held, nameless.len() as u64 - held)
        });
        let held = queue.ledger().held() + beside;
        if held == 0 && self.held() > 0 {
            *self.released.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        self.held.set(held);
        self.unconfirmed.set((queue.ledger().len() as u64).saturating_sub(queue.ledger().held()) + unremoved);
        self.stuck.store(nameless.map_or(0, |nameless| nameless.stuck() as u64), Relaxed);
        self.limit.store(queue.limit(), Relaxed);
        self.barred.store(queue.is_barred() || nameless.is_some_and(Nameless::is_barred), Relaxed);
        self.may_hide.store(queue.may_hide(), Relaxed);
        self.closed.store(!queue.leaves_published_rows(), Relaxed);
        self.wake_ups.store(queue.wake_ups() as u8, Relaxed);
        let deadline = queue.deadline();
        let step = if queue.on_its_way().is_some() || nameless.is_some_and(Nameless::is_removing) {
            Step::Answer
        } else if queue.ledger().awaits_reports() {
            Step::Acknowledgements
        } else if deadline.is_none() {
            Step::None
        } else if queue.ledger().has_unpublished() {
            Step::Produce
        } else if queue.ledger().has_clearable() {
            Step::Confirm
        } else {
            Step::Read
        };
        let at = deadline.map(|deadline| unix_seconds() + seconds(deadline.since(now)));
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Next { step, at };
    }

    /// A read was answered.
    pub fn read(&self, read: LastRead) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    /// The rows were counted that somebody has put aside.
    pub fn counted(&self, rows: u64) {
        let counted = ErrorRows { rows, counted_at: unix_seconds() };
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
    }

    /// What it does next.
    pub fn next(&self) -> Next {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last read has brought, if there was one.
    pub fn last_read(&self) -> Option<LastRead> {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows that somebody has put aside, if they were counted.
    pub fn error_rows(&self) -> Option<ErrorRows> {
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows that are received and not yet acknowledged.
    pub fn held(&self) -> u64 {
        self.held.rows.load(Relaxed)
    }

    /// Since when rows are held, in seconds since 1970.
    pub fn held_since(&self) -> Option<f64> {
        self.held.since()
    }

    /// Until when the queue had a reason of its own to ask its portal for nothing: it holds rows that Kafka does not have,
    /// or did. `None` if there was none.
    pub fn busy_until(&self) -> Option<Instant> {
        if self.held() > 0 || self.is_barred() {
            return Some(Instant::now());
        }
        *self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows that are acknowledged and not yet known to be cleared.
    pub fn unconfirmed(&self) -> u64 {
        self.unconfirmed.rows.load(Relaxed)
    }

    /// Since when rows wait to be cleared, in seconds since 1970.
    pub fn unconfirmed_since(&self) -> Option<f64> {
        self.unconfirmed.since()
    }

    /// Rows without a usable `ID` that are in the dead letters and cannot be removed at the portal.
    pub fn stuck(&self) -> u64 {
        self.stuck.load(Relaxed)
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

    /// Whether nothing that is free at the portal has been published, as far as the machine knows; not before its first step.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Whether rows may be reserved by a request of ours without our knowing.
    pub fn may_hide(&self) -> bool {
        self.may_hide.load(Relaxed)
    }
}
