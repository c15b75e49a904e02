//! How often and how much: back-off, the adaptive limit, the idle schedule, and the portal's request budget.

mod idle;

use serde::{Deserialize, Serialize};

pub use self::idle::{IdleSchedule, WakeUps};
use super::{
    exchange::{LIST_PAGE, SCAN_PAGES},
    types::Millis,
};

/// The longest wait that a hint of the portal or of the edge can ask for.
pub const HINT_CAP: Millis = Millis::secs(3600);

/// Waits that double from `first` to `cap` with each failure in a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Backoff {
    first: Millis,
    cap: Millis,
    wait: Option<Millis>,
    until: Option<Millis>,
}

impl Backoff {
    /// Not waiting. `first` is the wait after one failure.
    pub const fn new(first: Millis, cap: Millis) -> Self {
        Self { first, cap, wait: None, until: None }
    }

    /// Something failed. A hint beats our own wait; [`HINT_CAP`] beats the hint.
    pub fn failed(&mut self, now: Millis, hint: Option<Millis>) {
        let wait = self.wait.map_or(self.first, |wait| wait.plus(wait).min(self.cap));
        self.wait = Some(wait);
        self.until = Some(now.plus(hint.map_or(wait, |hint| hint.min(HINT_CAP))));
    }

    /// Something worked.
    pub fn reset(&mut self) {
        self.wait = None;
        self.until = None;
    }

    /// The present wait is cut short, its length is remembered.
    pub fn cut(&mut self) {
        self.until = None;
    }

    /// When the next try may be made; `None` at once.
    pub fn until(&self) -> Option<Millis> {
        self.until
    }

    /// Whether a try may be made.
    pub fn is_over(&self, now: Millis) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// Moves the origin of time to `now`, for the model.
    #[cfg(test)]
    pub fn rebase(&mut self, now: Millis) {
        self.until = self.until.map(|until| until.since(now));
    }
}

/// A `get` that takes the portal longer than this is slow, and the next one asks for less.
pub const SLOW: Millis = Millis::secs(2);

/// How many rows the next `get` asks for: doubles while answers come back full and quick, halves on trouble.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AdaptiveLimit {
    min: u32,
    max: u32,
    limit: u32,
}

/// Where the limit starts: the server's own default (protocol reference section 2).
const START: u32 = 50;

impl AdaptiveLimit {
    /// Bounds of at least 1; a `max` below `min` is raised to it.
    pub fn new(min: u32, max: u32) -> Self {
        let min = min.max(1);
        let max = max.max(min);
        Self { min, max, limit: START.clamp(min, max) }
    }

    /// Rows to ask for.
    pub fn get(&self) -> u32 {
        self.limit
    }

    /// The most that is ever asked for.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// A `get` came back with `rows` rows after `took` at the portal.
    pub fn answered(&mut self, rows: usize, took: Millis) {
        if took >= SLOW {
            self.lower();
        } else if rows >= self.limit as usize {
            self.limit = self.limit.saturating_mul(2).min(self.max);
        }
    }

    /// A `get` timed out, or its budget of operating time is used up.
    pub fn lower(&mut self) {
        self.limit = (self.limit / 2).max(self.min);
    }
}

/// How many pages a scan asks for: as many as fit, fewer after an answer that did not come, since rows may be so large
/// that a full answer is larger than what is read of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanPages {
    most: u8,
    pages: u8,
}

impl ScanPages {
    /// For a queue that holds `rows` rows at most.
    pub fn new(rows: usize) -> Self {
        let most = u8::try_from(rows / LIST_PAGE).unwrap_or(SCAN_PAGES).clamp(1, SCAN_PAGES);
        Self { most, pages: most }
    }

    /// Pages to ask for, at least 1.
    pub fn get(&self) -> u8 {
        self.pages
    }

    /// An answer came.
    pub fn answered(&mut self) {
        self.pages = self.pages.saturating_mul(2).min(self.most);
    }

    /// No answer came, or the method's time is used up.
    pub fn lower(&mut self) {
        self.pages = (self.pages / 2).max(1);
    }
}

/// How many pages a listing asks for: each is a command of its own, so more than one only while answers come back full.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ListPages {
    most: u8,
    pages: u8,
}

impl ListPages {
    /// For a queue that takes `rows` rows at most from one listing.
    pub fn new(rows: usize) -> Self {
        Self { most: u8::try_from(rows / LIST_PAGE).unwrap_or(SCAN_PAGES).clamp(1, SCAN_PAGES), pages: 1 }
    }

    /// Pages to ask for, at least 1.
    pub fn get(&self) -> u8 {
        self.pages
    }

    /// An answer came after `took` at the portal; `full` if there is more.
    pub fn answered(&mut self, full: bool, took: Millis) {
        if full && took < SLOW {
            self.pages = self.pages.saturating_mul(2).min(self.most);
        } else {
            self.lower();
        }
    }

    /// No answer came, or the method's time is used up.
    pub fn lower(&mut self) {
        self.pages = (self.pages / 2).max(1);
    }
}

/// The request limit of a cloud portal: a counter that goes up by one a request, drains at a rate, and must not pass its
/// ceiling (protocol reference section 3). Shared by all queues of a portal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    ceiling: u64,
    per_second: u64,
    /// In thousandths of a request, at `at`.
    level: u64,
    at: Millis,
    /// The portal said that the limit is reached: nothing is sent before this time.
    held_until: Millis,
}

impl Bucket {
    /// Empty. `ceiling` requests at once, `per_second` in the long run.
    ///
    /// One request of the ceiling is left to clocks that differ; other applications of the same source share it too,
    /// and for them there is [`Bucket::exhausted`].
    pub const fn new(ceiling: u64, per_second: u64) -> Self {
        Self { ceiling: ceiling.saturating_sub(1), per_second, level: 0, at: Millis(0), held_until: Millis(0) }
    }

    /// Takes one request out of the budget, or says when it can be tried again.
    ///
    /// # Errors
    /// The time at which the budget allows one request.
    pub fn take(&mut self, now: Millis) -> Result<(), Millis> {
        if self.held_until > now {
            return Err(self.held_until);
        }
        self.level = self.level.saturating_sub(now.since(self.at).0.saturating_mul(self.per_second));
        self.at = now;
        let over = (self.level + 1000).saturating_sub(self.ceiling.max(1) * 1000);
        if over > 0 {
            return Err(now.plus(Millis(over.div_ceil(self.per_second.max(1)))));
        }
        self.level += 1000;
        Ok(())
    }

    /// The portal's limit has become known: what was spent stays spent.
    pub fn resize(&mut self, known: &Self) {
        (self.ceiling, self.per_second) = (known.ceiling, known.per_second);
    }

    /// How much of the budget is used, from 0 to 1.
    pub fn used(&self, now: Millis) -> f64 {
        if self.held_until > now {
            return 1.0;
        }
        let level = self.level.saturating_sub(now.since(self.at).0.saturating_mul(self.per_second));
        #[expect(clippy::cast_precision_loss, reason = "a budget is some hundred requests")]
        let used = level as f64 / (self.ceiling.max(1) * 1000) as f64;
        used.min(1.0)
    }

    /// What is spent of the budget at `now` and what it holds, in whole requests, and until when nothing is sent because the
    /// portal said so.
    pub fn spent(&self, now: Millis) -> (u64, u64, Option<Millis>) {
        let level = self.level.saturating_sub(now.since(self.at).0.saturating_mul(self.per_second));
        (level.div_ceil(1000), self.ceiling, Some(self.held_until).filter(|until| *until > now))
    }

    /// How many requests a second it regains.
    pub fn per_second(&self) -> u64 {
        self.per_second
    }

    /// The portal refused a request although the budget allowed it: somebody else spends from it too.
    pub fn exhausted(&mut self, now: Millis, hold: Millis) {
        self.level = self.ceiling * 1000;
        self.at = now;
        self.held_until = self.held_until.max(now.plus(hold));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_cap_and_forgets_on_success() {
        let mut backoff = Backoff::new(Millis(100), Millis(350));
        let mut waits = Vec::new();
        for _ in 0..4 {
            backoff.failed(Millis(1000), None);
            waits.push(backoff.until().expect("waiting").since(Millis(1000)).0);
        }
        assert_eq!(waits, [100, 200, 350, 350]);
        backoff.reset();
        assert!(backoff.is_over(Millis(0)));
    }

    #[test]
    fn a_hint_beats_the_back_off_and_the_cap_beats_the_hint() {
        let mut backoff = Backoff::new(Millis(100), Millis(350));
        backoff.failed(Millis(0), Some(Millis(5)));
        assert_eq!(backoff.until(), Some(Millis(5)));
        backoff.failed(Millis(0), Some(Millis::secs(100_000)));
        assert_eq!(backoff.until(), Some(HINT_CAP));
    }

    #[test]
    fn the_limit_grows_while_answers_are_full_and_quick() {
        let mut limit = AdaptiveLimit::new(50, 1000);
        let mut asked = Vec::new();
        for _ in 0..6 {
            asked.push(limit.get());
            limit.answered(limit.get() as usize, Millis(10));
        }
        assert_eq!(asked, [50, 100, 200, 400, 800, 1000]);
        limit.answered(1000, SLOW);
        assert_eq!(limit.get(), 500);
        limit.answered(499, Millis(10));
        assert_eq!(limit.get(), 500, "an answer that is not full says nothing about the portal's strength");
        for _ in 0..10 {
            limit.lower();
        }
        assert_eq!(limit.get(), 50);
    }

    #[test]
    fn the_bucket_never_passes_its_ceiling_and_keeps_its_rate() {
        let (mut bucket, mut now, mut sent) = (Bucket::new(50, 2), Millis(0), Vec::new());
        while now < Millis::secs(100) {
            match bucket.take(now) {
                Ok(()) => sent.push(now),
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        assert_eq!(sent.iter().filter(|at| at.0 == 0).count(), 49, "a burst of the ceiling less one");
        assert_eq!(sent.len(), 49 + 2 * 100 - 1, "then two a second");
        let shares = [now, now.plus(Millis(12_250)), now.plus(Millis::secs(100))].map(|at| bucket.used(at));
        assert!(shares[0] > 0.97 && (shares[1] - shares[0] + 0.5).abs() < 0.01, "half of it flows off: {shares:?}");
        assert!(shares[2].abs() < f64::EPSILON, "an idle portal has all of it: {shares:?}");
    }

    #[test]
    fn a_refusal_by_the_portal_holds_everybody() {
        let mut bucket = Bucket::new(50, 2);
        assert_eq!(bucket.spent(Millis(0)), (0, 49, None));
        bucket.exhausted(Millis(0), Millis(3000));
        assert_eq!(bucket.spent(Millis(1000)), (47, 49, Some(Millis(3000))), "it drains by two a second");
        assert_eq!(bucket.take(Millis(10)), Err(Millis(3000)));
        assert!((bucket.used(Millis(10)) - 1.0).abs() < f64::EPSILON);
        assert_eq!(bucket.take(Millis(3000)), Ok(()));
    }
}
