//! When to look for reservations that nobody holds.
//!
//! A reserved row is invisible to every `get`. It is hidden for good when the process that reserved it died, when the
//! answer of the `get` was lost, or when the `get` was executed after its client had given up (protocol reference
//! section 5). So a scan runs at take-over and after each unknown `get`: at once, and again when the old request must be
//! dead. A slow sweep while the queue is idle catches what nobody thought of.

use serde::{Deserialize, Serialize};

use super::types::{Millis, RowId};

/// The portal ends a request 60 s after it was sent, whatever our own time-out (protocol reference section 3).
pub const REQUEST_LIFE: Millis = Millis::secs(60);
/// For clocks that drift and packets that dawdle.
pub const MARGIN: Millis = Millis::secs(10);

/// The scans of one queue: which are due, and how far the present one has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recovery {
    /// A scan is due from this time on, for a reservation of ours that may be hidden now.
    urgent: Option<Millis>,
    /// The earliest scan of a request that must be dead by then.
    next: Option<Millis>,
    /// The latest one. Two are enough: every scan in between is covered by the latest.
    last: Option<Millis>,
    /// The next sweep.
    sweep: Option<Millis>,
    /// The span between sweeps; `None` never sweeps.
    every: Option<Millis>,
    /// Where the present scan stands.
    progress: Option<Position>,
    /// Until then a `get` of ours whose outcome is unknown may still be executed.
    alive: Option<Millis>,
}

/// Where a scan reads on. A type of its own, since `null` could not tell a scan at its beginning from none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Position {
    /// Behind this row; `None` is the beginning.
    after: Option<RowId>,
}

impl Recovery {
    /// No scan is due yet. `every` is the span between idle sweeps.
    pub fn new(every: Option<Millis>) -> Self {
        Self { urgent: None, next: None, last: None, sweep: None, every, progress: None, alive: None }
    }

    /// The queue was taken over: its former owner may have left reservations, and requests on their way.
    pub fn take_over(&mut self, now: Millis, late_scan: bool) {
        self.progress = None;
        self.add(now);
        if late_scan {
            self.add(now.plus(REQUEST_LIFE).plus(MARGIN));
        }
    }

    /// The outcome of a `get` is unknown, as has been learned now.
    ///
    /// Its life is counted from now: it may have waited for the portal's budget of requests or for a token and may have
    /// left a moment ago, so the time at which it was asked for says nothing.
    pub fn unknown_get(&mut self, now: Millis, late_scan: bool) {
        self.urgent = Some(now);
        // A scan that is under way, waiting for its next page, has not looked for these rows where it has been.
        self.progress = None;
        let dead = now.plus(REQUEST_LIFE).plus(MARGIN);
        self.alive = Some(dead);
        if late_scan {
            self.add(dead);
        }
    }

    /// Whether a request of ours may have reserved rows, or may still, that no scan has looked for since it must be dead.
    pub fn may_hide(&self) -> bool {
        self.urgent.is_some() || self.alive.is_some() || self.progress.is_some()
    }

    fn add(&mut self, due: Millis) {
        match self.next {
            None => self.next = Some(due),
            Some(next) if due < next => {
                self.last = self.last.max(Some(next));
                self.next = Some(due);
            }
            Some(_) => self.last = self.last.max(Some(due)),
        }
    }

    /// Whether a scan has to run before anything else is read.
    pub fn is_due(&self, now: Millis) -> bool {
        self.progress.is_some() || self.due_at().is_some_and(|due| due <= now)
    }

    /// Whether a scan has to run even though the queue is being drained: a reservation of ours may be hidden.
    pub fn is_urgent(&self) -> bool {
        self.urgent.is_some()
    }

    /// When the next scan is due.
    pub fn due_at(&self) -> Option<Millis> {
        if self.progress.is_some() {
            return Some(Millis(0));
        }
        [self.urgent, self.next, self.sweep].into_iter().flatten().min()
    }

    /// Where the scan reads on; begins one if none is under way.
    ///
    /// The due times that have passed are served by a scan that *begins* now; one that comes due while the scan is under
    /// way needs a scan of its own.
    pub fn position(&mut self, now: Millis) -> Option<RowId> {
        if let Some(Position { after }) = self.progress {
            return after;
        }
        let passed = |due: Option<Millis>| due.filter(|due| *due > now);
        self.next = passed(self.next);
        self.last = passed(self.last);
        self.alive = passed(self.alive);
        if self.next.is_none() {
            self.next = self.last.take();
        }
        self.sweep = None;
        self.progress = Some(Position { after: None });
        None
    }

    /// A page was read up to `last`; `more` if rows may follow.
    pub fn advance(&mut self, now: Millis, last: Option<RowId>, more: bool) {
        match (more, last) {
            (true, last @ Some(_)) => self.progress = Some(Position { after: last }),
            _ => {
                self.progress = None;
                self.urgent = None;
                self.sweep = self.every.map(|every| now.plus(every));
            }
        }
    }

    /// A span in which no sweep is needed has begun: rows are flowing.
    pub fn postpone_sweep(&mut self, now: Millis) {
        if self.sweep.is_some() {
            self.sweep = self.every.map(|every| now.plus(every));
        }
    }

    /// Moves the origin of time to `now`, for the model.
    #[cfg(test)]
    pub fn rebase(&mut self, now: Millis) {
        for due in [&mut self.urgent, &mut self.next, &mut self.last, &mut self.sweep, &mut self.alive] {
            *due = due.map(|due| due.since(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Millis = Millis(70_000);

    fn finish(recovery: &mut Recovery, now: Millis) {
        recovery.position(now);
        recovery.advance(now, None, false);
    }

    #[test]
    fn take_over_scans_at_once_and_when_the_former_owner_must_be_silent() {
        let mut recovery = Recovery::new(None);
        recovery.take_over(Millis(5), true);
        assert!(recovery.is_due(Millis(5)));
        finish(&mut recovery, Millis(5));
        assert_eq!(recovery.due_at(), Some(Millis(5).plus(DEAD)));
        finish(&mut recovery, Millis(80_000));
        assert_eq!(recovery.due_at(), None);
    }

    #[test]
    fn a_scan_that_an_unknown_get_falls_into_begins_anew() {
        let mut recovery = Recovery::new(None);
        recovery.take_over(Millis(0), false);
        recovery.position(Millis(0));
        recovery.advance(Millis(10), RowId::new(50), true);
        recovery.unknown_get(Millis(20), true);
        assert_eq!(recovery.position(Millis(30)), None, "its rows may be anywhere");
        recovery.advance(Millis(40), None, false);
        assert!(!recovery.is_urgent());
    }

    #[test]
    fn a_scan_that_comes_due_during_another_runs_after_it() {
        let mut recovery = Recovery::new(None);
        recovery.take_over(Millis(0), true);
        recovery.position(Millis(69_999));
        recovery.advance(Millis(70_001), RowId::new(50), true);
        assert_eq!(recovery.position(Millis(70_002)), RowId::new(50));
        recovery.advance(Millis(70_003), None, false);
        assert!(recovery.is_due(Millis(70_003)), "the late scan began before it was due, so it does not count");
    }

    #[test]
    fn many_unknown_gets_need_two_due_times_only() {
        let mut recovery = Recovery::new(None);
        for sent in [0, 10, 20] {
            recovery.unknown_get(Millis(sent), true);
            finish(&mut recovery, Millis(sent));
        }
        assert_eq!(recovery.due_at(), Some(DEAD));
        finish(&mut recovery, DEAD);
        assert_eq!(recovery.due_at(), Some(DEAD.plus(Millis(20))));
        finish(&mut recovery, DEAD.plus(Millis(20)));
        assert_eq!(recovery.due_at(), None);
    }

    #[test]
    fn the_sweep_comes_back_after_each_scan() {
        let mut recovery = Recovery::new(Some(Millis::secs(600)));
        recovery.take_over(Millis(0), false);
        finish(&mut recovery, Millis(0));
        assert_eq!(recovery.due_at(), Some(Millis::secs(600)));
        recovery.postpone_sweep(Millis::secs(100));
        assert_eq!(recovery.due_at(), Some(Millis::secs(700)));
    }
}
