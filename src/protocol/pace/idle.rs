//! When an idle queue polls, and whether wake-ups can be relied on.
//!
//! Without wake-ups the wait doubles from the shorter to the longer time while nothing comes. With them it is the longer
//! one at once: a wake-up polls immediately. They may stop coming without a word, so each poll that finds rows is held
//! against them: rows that nobody announced raise a doubt, and if no wake-up comes within the time that a slow one may
//! take, the queue polls as if there were none, until one comes again.

use serde::{Deserialize, Serialize};

use super::super::types::Millis;

/// How long a wake-up may take to arrive, beyond the pause that is kept between two of them.
pub const LATE: Millis = Millis::secs(10);

/// Whether rows are announced by wake-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WakeUps {
    /// None are bound.
    Unused,
    /// They come, as far as is known.
    Expected,
    /// They should come and do not.
    Missed,
}

impl WakeUps {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Expected => "expected",
            Self::Missed => "missed",
        }
    }
}

/// What is thought of wake-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Trust {
    /// None are bound.
    Unused,
    /// They come. Whether one has announced what the next poll finds.
    Full { announced: bool },
    /// Rows were found that none announced; it may still be on its way until then.
    Doubt { until: Millis },
    /// They have stopped.
    Gone,
}

/// When an idle queue polls.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdleSchedule {
    min: Millis,
    max: Millis,
    wait: Millis,
    next: Millis,
    /// Somebody said that there is something after the last poll was sent: that one may have missed it.
    called: bool,
    /// Least time between two wake-ups.
    pause: Millis,
    trust: Trust,
}

impl IdleSchedule {
    /// Due at once, without wake-ups.
    pub fn new(min: Millis, max: Millis) -> Self {
        let max = max.max(min);
        Self { min, max, wait: min, next: Millis(0), called: false, pause: Millis(0), trust: Trust::Unused }
    }

    /// When the next poll is due.
    pub fn next(&self) -> Millis {
        self.next
    }

    /// Whether rows are announced by wake-ups.
    pub fn wake_ups(&self) -> WakeUps {
        match self.trust {
            Trust::Unused => WakeUps::Unused,
            Trust::Full { .. } | Trust::Doubt { .. } => WakeUps::Expected,
            Trust::Gone => WakeUps::Missed,
        }
    }

    /// Wake-ups are bound, with this pause between two of them at least; or they are not.
    pub fn expect(&mut self, pause: Option<Millis>) {
        self.pause = pause.unwrap_or_default();
        self.trust = match (pause, self.trust) {
            (None, _) => Trust::Unused,
            // What is found first was there before.
            (Some(_), Trust::Unused) => Trust::Full { announced: true },
            (Some(_), known) => known,
        };
    }

    /// A poll has been sent.
    pub fn asked(&mut self) {
        self.called = false;
    }

    /// A poll found something, and there may be more.
    pub fn busy(&mut self, now: Millis) {
        self.wait = self.min;
        self.next = now;
        match self.trust {
            Trust::Full { announced: false } => {
                self.trust = Trust::Doubt { until: now.plus(self.pause).plus(LATE) };
            }
            Trust::Doubt { until } if until <= now => self.trust = Trust::Gone,
            _ => {}
        }
    }

    /// A poll found nothing.
    pub fn idle(&mut self, now: Millis) {
        if self.called {
            self.next = now;
            return;
        }
        self.trust = match self.trust {
            Trust::Full { .. } => Trust::Full { announced: false },
            Trust::Doubt { until } if until <= now => Trust::Gone,
            other => other,
        };
        if matches!(self.trust, Trust::Full { .. }) {
            self.wait = self.max;
        }
        self.next = now.plus(self.wait);
        self.wait = self.wait.plus(self.wait).min(self.max);
    }

    /// A poll found something that is ready at `due` and not yet: whoever announced it was right.
    pub fn later(&mut self, now: Millis, due: Millis) {
        self.next = if self.called { now } else { due };
    }

    /// A wake-up: there is something.
    pub fn wake(&mut self, now: Millis) {
        if matches!(self.trust, Trust::Doubt { .. } | Trust::Gone) {
            self.trust = Trust::Full { announced: true };
        }
        self.poll_now(now);
    }

    /// There may be something for another reason: the queue was taken over, or somebody asks for it.
    pub fn poll_now(&mut self, now: Millis) {
        self.wait = self.min;
        self.next = now;
        self.called = true;
        if let Trust::Full { announced } = &mut self.trust {
            *announced = true;
        }
    }

    /// Moves the origin of time to `now`, for the model.
    #[cfg(test)]
    pub fn rebase(&mut self, now: Millis) {
        self.next = self.next.since(now);
        if let Trust::Doubt { until } = &mut self.trust {
            *until = until.since(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Millis = Millis::secs(1);

    fn schedule() -> IdleSchedule {
        IdleSchedule::new(Millis(1000), Millis(60_000))
    }

    /// One whose wake-ups have been relied on for a while.
    fn relied() -> IdleSchedule {
        let mut idle = schedule();
        idle.expect(Some(PAUSE));
        idle.asked();
        idle.idle(Millis(0));
        idle
    }

    /// A poll that finds rows or nothing.
    fn poll(idle: &mut IdleSchedule, now: Millis, rows: bool) {
        idle.asked();
        if rows { idle.busy(now) } else { idle.idle(now) }
    }

    #[test]
    fn an_idle_queue_polls_less_and_less_often() {
        let mut idle = IdleSchedule::new(Millis(1000), Millis(5000));
        let mut waits = Vec::new();
        for _ in 0..5 {
            poll(&mut idle, Millis(0), false);
            waits.push(idle.next().0);
        }
        assert_eq!(waits, [1000, 2000, 4000, 5000, 5000]);
        idle.wake(Millis(7));
        assert_eq!(idle.next(), Millis(7));
        assert_eq!(idle.wake_ups(), WakeUps::Unused);
    }

    #[test]
    fn with_wake_ups_it_waits_the_longest_time_at_once_and_a_wake_up_polls_now() {
        let mut idle = relied();
        assert_eq!(idle.next(), Millis(60_000));
        idle.wake(Millis(7));
        assert_eq!(idle.next(), Millis(7));
        poll(&mut idle, Millis(8), true);
        poll(&mut idle, Millis(9), true);
        poll(&mut idle, Millis(10), false);
        assert_eq!((idle.next(), idle.wake_ups()), (Millis(60_010), WakeUps::Expected));
    }

    #[test]
    fn a_call_during_a_poll_that_finds_nothing_is_not_forgotten() {
        for wake_ups in [None, Some(PAUSE)] {
            let mut idle = schedule();
            idle.expect(wake_ups);
            idle.asked();
            idle.wake(Millis(5));
            idle.wake(Millis(6));
            idle.idle(Millis(7));
            assert_eq!(idle.next(), Millis(7), "the poll may have been at the portal before the row");
            poll(&mut idle, Millis(8), false);
            assert!(idle.next() > Millis(8), "one more poll, not two");
        }
    }

    #[test]
    fn rows_that_no_wake_up_announces_end_the_trust_and_a_wake_up_restores_it() {
        let mut idle = relied();
        let mut now = Millis::secs(60);
        poll(&mut idle, now, true);
        assert_eq!(idle.wake_ups(), WakeUps::Expected, "it may be on its way");
        let mut waits = Vec::new();
        while idle.wake_ups() == WakeUps::Expected {
            poll(&mut idle, now, false);
            waits.push(idle.next().since(now).0);
            now = idle.next();
        }
        assert_eq!(waits, [1000, 2000, 4000, 8000, 16_000], "looked at closely in the meantime");
        assert!(now > Millis::secs(60).plus(PAUSE).plus(LATE));
        assert_eq!(idle.wake_ups(), WakeUps::Missed);
        poll(&mut idle, now, true);
        poll(&mut idle, now, false);
        assert_eq!(idle.next(), now.plus(Millis(1000)), "as without wake-ups");
        idle.wake(now);
        assert_eq!(idle.wake_ups(), WakeUps::Expected);
        poll(&mut idle, now, false);
        assert_eq!(idle.next(), now.plus(Millis(60_000)));
    }

    #[test]
    fn a_wake_up_that_is_late_ends_the_doubt() {
        let mut idle = relied();
        poll(&mut idle, Millis::secs(60), true);
        poll(&mut idle, Millis::secs(60), false);
        idle.wake(Millis::secs(61));
        poll(&mut idle, Millis::secs(61), false);
        assert_eq!(idle.next(), Millis::secs(121));
        poll(&mut idle, Millis::secs(200), false);
        assert_eq!(idle.wake_ups(), WakeUps::Expected);
    }

    #[test]
    fn the_pause_between_two_wake_ups_is_granted_to_them() {
        let mut idle = schedule();
        idle.expect(Some(Millis::secs(300)));
        poll(&mut idle, Millis(0), false);
        poll(&mut idle, Millis::secs(60), true);
        poll(&mut idle, Millis::secs(360), false);
        assert_eq!(idle.wake_ups(), WakeUps::Expected);
        poll(&mut idle, Millis::secs(370), false);
        assert_eq!(idle.wake_ups(), WakeUps::Missed);
    }

    #[test]
    fn what_is_there_at_a_start_or_asked_for_needs_no_wake_up() {
        let mut idle = schedule();
        idle.poll_now(Millis(0));
        idle.expect(Some(PAUSE));
        poll(&mut idle, Millis(1), true);
        poll(&mut idle, Millis(2), false);
        idle.poll_now(Millis::secs(30));
        poll(&mut idle, Millis::secs(30), true);
        poll(&mut idle, Millis::secs(31), false);
        assert_eq!((idle.next(), idle.wake_ups()), (Millis::secs(91), WakeUps::Expected));
        idle.expect(None);
        poll(&mut idle, Millis::secs(91), true);
        assert_eq!(idle.wake_ups(), WakeUps::Unused);
    }
}
