//! What a portal's limits leave, for whoever asks.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{bitrix::exchange::OperatingTime, protocol::types::Millis};

/// What is left at one moment.
#[derive(Clone, Debug)]
pub struct Left {
    /// The budget of requests; `None` without one.
    pub budget: Option<Budget>,
    /// The time budgets of the methods that were called.
    pub methods: Vec<OperatingTime>,
    /// Until when a method rests whose time is used up, in seconds since 1970.
    pub rests_until: Option<f64>,
}

/// The budget of requests.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Requests that are spent and not yet regained.
    pub spent: u64,
    /// Requests that may be spent.
    pub ceiling: u64,
    /// Requests regained a second.
    pub per_second: u64,
    /// Until when nothing is sent, because the portal said that the limit is reached. In seconds since 1970.
    pub held_until: Option<f64>,
}

/// What the portal has said of the time budgets of its methods.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// One for each method; there are a handful.
    methods: Vec<OperatingTime>,
    rests_until: Option<Millis>,
    /// Until when the bridge asks for nothing, or for less, because a limit is used up. By a clock of its own, for whoever
    /// compares it with other moments.
    paused_until: Option<Instant>,
}

impl Limits {
    /// The portal has said how much is used.
    pub fn operating(&self, said: Vec<OperatingTime>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for said in said {
            match inner.methods.iter_mut().find(|known| known.method == said.method) {
                Some(known) => *known = said,
                None => inner.methods.push(said),
            }
        }
    }

    /// The time of a method is used up.
    pub fn rest(&self, until: Millis) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.rests_until = inner.rests_until.max(Some(until));
    }

    /// The portal has said that a limit is used up, and is left alone for so long.
    pub fn pause(&self, span: Millis) {
        let until = Instant::now().checked_add(Duration::from_millis(span.0));
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.paused_until = inner.paused_until.max(until);
    }

    /// When the last such pause ends, or has ended.
    pub fn paused_until(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).paused_until
    }

    /// What is known at `now`.
    pub fn get(&self, now: Millis) -> (Vec<OperatingTime>, Option<Millis>) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.methods.clone(), inner.rests_until.filter(|until| *until > now))
    }
}

/// A span in seconds.
#[expect(clippy::cast_precision_loss, reason = "a span of waiting")]
pub(super) fn seconds(span: Millis) -> f64 {
    span.0 as f64 / 1000.0
}
