//! Whether a portal can be served, in words that an operator understands.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

use super::clock::unix_seconds;
use crate::{
    metrics::labels::PortalState,
    protocol::{pace::Backoff, types::Millis},
};

/// First and longest wait before a parked portal is tried again.
const PROBES: (Millis, Millis) = (Millis::secs(60), Millis::secs(3600));
/// How many different troubles in a row are remembered; older ones are in the log.
const TROUBLES: usize = 5;

/// When a parked portal is tried again: with waits that double.
#[derive(Clone, Copy, Debug)]
pub struct Probes {
    /// The first wait.
    pub first: Millis,
    /// The longest one.
    pub longest: Millis,
}

impl Default for Probes {
    fn default() -> Self {
        let (first, longest) = PROBES;
        Self { first, longest }
    }
}

/// Why a portal is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its tokens are dead.
    NeedsReinstall,
    /// The application, its user or its secret lacks a right.
    Forbidden,
    /// Its plan lacks what is needed.
    Unlicensed,
    /// Its subscription is not paid.
    Unpaid,
    /// It is closed.
    Deleted,
    /// Its calls are blocked by Bitrix24's support.
    Blocked,
    /// An operator has parked it.
    Operator,
}

impl Reason {
    /// The word in the API and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeedsReinstall => "needs_reinstall",
            Self::Forbidden => "forbidden",
            Self::Unlicensed => "unlicensed",
            Self::Unpaid => "unpaid",
            Self::Deleted => "deleted",
            Self::Blocked => "blocked",
            Self::Operator => "operator",
        }
    }

    /// What to do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NeedsReinstall => "its tokens are no longer accepted: install the application on it again",
            Self::Forbidden => {
                "it refuses the application: check app.client_id and app.client_secret, and that an administrator \
                 installed the application with the scopes it needs"
            }
            Self::Unlicensed => {
                "its plan does not include a call that is needed (queues of their own connector need rest_auth_connector): \
                 raise the plan"
            }
            Self::Unpaid => "its subscription has run out: it has to be paid",
            Self::Deleted => {
                "it is closed: take it out of [[portals]], or remove it with `b24kafka portals remove` if it is not there"
            }
            Self::Blocked => "Bitrix24's support has blocked its REST calls: talk to them",
            Self::Operator => "an operator has parked it: `b24kafka portals resume` serves it again",
        }
    }
}

/// A copy of what is known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The state.
    pub state: PortalState,
    /// Why it is parked, if it is.
    pub reason: Option<Reason>,
    /// What went wrong last; cleared by success. Holds no secret.
    pub last_error: Option<String>,
    /// When a request last worked, in seconds since 1970.
    pub last_success: Option<f64>,
    /// Since when nothing has worked: the last success, or the start. Not by the wall clock, which may be put right.
    pub silent_since: Instant,
}

/// Something that went wrong, and how often in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// When it happened last, in seconds since 1970.
    pub at: f64,
    /// What. Holds no secret.
    pub error: String,
    /// How often in a row.
    pub times: u64,
}

#[derive(Debug)]
struct Inner {
    seen: Snapshot,
    /// The last troubles, the newest last; success does not clear them.
    troubles: Vec<Incident>,
    probe: Backoff,
    /// Somebody has decided that it is not served, whatever calls say that are still under way.
    settled: bool,
}

/// The standing of one portal, shared by its queues.
#[derive(Debug)]
pub struct Standing {
    inner: Mutex<Inner>,
    /// Told when a portal that was parked is served.
    again: Notify,
    /// Told when somebody says that it can be served.
    resumed: Notify,
}

impl Standing {
    /// Not served yet.
    pub fn new(probes: Probes) -> Self {
        let seen = Snapshot {
            state: PortalState::Starting,
            reason: None,
            last_error: None,
            last_success: None,
            silent_since: Instant::now(),
        };
        let inner = Mutex::new(Inner {
            seen,
            troubles: Vec::new(),
            probe: Backoff::new(probes.first, probes.longest),
            settled: false,
        });
        Self { inner, again: Notify::new(), resumed: Notify::new() }
    }

    /// What is known now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().seen.clone()
    }

    /// How long the portal must not be called yet, because it is parked.
    pub fn wait(&self, now: Millis) -> Option<Millis> {
        let inner = self.lock();
        // Only a refusal that parks makes it wait, and success ends the wait.
        inner.probe.until().filter(|until| *until > now).map(|until| until.since(now))
    }

    /// An operator parks the portal: it is not tried again before there is a new standing.
    pub fn hold(&self) {
        self.settle(PortalState::Parked, Some(Reason::Operator));
    }

    /// The portal is given up: the application was uninstalled, or an operator removes it.
    pub fn remove(&self) {
        self.settle(PortalState::Removed, None);
    }

    /// Whether somebody has decided that it is not served.
    pub fn is_settled(&self) -> bool {
        self.lock().settled
    }

    fn settle(&self, state: PortalState, reason: Option<Reason>) {
        let mut inner = self.lock();
        (inner.seen.state, inner.seen.reason, inner.settled) = (state, reason, true);
    }

    /// A request worked. Returns whether the portal was parked until now.
    pub fn served(&self) -> bool {
        let mut inner = self.lock();
        let was_parked = inner.seen.state == PortalState::Parked && !inner.settled;
        let (now, silent_since) = (unix_seconds(), Instant::now());
        let (state, reason) =
            if inner.settled { (inner.seen.state, inner.seen.reason) } else { (PortalState::Active, None) };
        inner.seen = Snapshot { state, reason, last_error: None, last_success: Some(now), silent_since };
        inner.probe.reset();
        if was_parked {
            self.again.notify_one();
        }
        was_parked
    }

    /// A request worked, and what it brought is of no use: nothing keeps the portal from being called, but this is no success.
    pub fn useless(&self, error: &str) {
        let mut inner = self.lock();
        if inner.seen.state == PortalState::Parked && !inner.settled {
            (inner.seen.state, inner.seen.reason) = (PortalState::Active, None);
            inner.probe.reset();
            self.again.notify_one();
        }
        inner.trouble(error.to_owned());
    }

    /// The portal cannot be served for now. Returns how long to wait before it is tried again, and whether it was not
    /// parked for this reason already.
    pub fn park(&self, now: Millis, reason: Reason, error: String) -> (Millis, bool) {
        let mut inner = self.lock();
        let news = inner.seen.reason != Some(reason) && !inner.settled;
        // Several queues meet the same refusal at once: that is one failed probe.
        if inner.probe.is_over(now) {
            inner.probe.failed(now, None);
        }
        if !inner.settled {
            inner.seen.state = PortalState::Parked;
            inner.seen.reason = Some(reason);
        }
        inner.trouble(error);
        let wait = inner.probe.until().map_or(PROBES.0, |until| until.since(now));
        (wait, news)
    }

    /// A request failed in a way that passes.
    pub fn failed(&self, error: String) {
        self.lock().trouble(error);
    }

    /// The last troubles, the newest last.
    pub fn troubles(&self) -> Vec<Incident> {
        self.lock().troubles.clone()
    }

    /// Somebody says that the portal can be served again: it is tried at once.
    pub fn resume(&self) {
        self.lock().probe.cut();
        self.resumed.notify_one();
        self.again.notify_one();
    }

    /// What was bound at the portal may be gone: there is reason to look.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// Waits until the portal is served again after it was parked, somebody says that it can be, or there is another reason
    /// to look at its bindings; for one task.
    pub async fn served_again(&self) {
        self.again.notified().await;
    }

    /// Waits until somebody says that the portal can be served; for one task.
    pub async fn resumed(&self) {
        self.resumed.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn trouble(&mut self, error: String) {
        let at = unix_seconds();
        match self.troubles.last_mut().filter(|last| last.error == error) {
            Some(last) => (last.at, last.times) = (at, last.times.saturating_add(1)),
            None => {
                if self.troubles.len() >= TROUBLES {
                    self.troubles.remove(0);
                }
                self.troubles.push(Incident { at, error: error.clone(), times: 1 });
            }
        }
        self.seen.last_error = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_portal_is_tried_again_more_and_more_slowly() {
        let standing = Standing::new(Probes::default());
        let mut now = Millis(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let (wait, _) = standing.park(now, Reason::Forbidden, "x".into());
            waits.push(wait.0 / 1000);
            assert_eq!(standing.wait(now), Some(wait));
            now = now.plus(wait);
            assert_eq!(standing.wait(now), None);
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
    }

    #[test]
    fn queues_that_meet_the_same_refusal_are_one_probe() {
        let standing = Standing::new(Probes::default());
        assert_eq!(standing.park(Millis(0), Reason::Deleted, "x".into()), (PROBES.0, true));
        assert_eq!(standing.park(Millis(5), Reason::Deleted, "x".into()), (Millis(59_995), false));
    }

    #[test]
    fn what_somebody_has_decided_outlives_calls_that_were_under_way() {
        for (decide, state) in
            [(Standing::hold as fn(&Standing), PortalState::Parked), (Standing::remove, PortalState::Removed)]
        {
            let standing = Standing::new(Probes::default());
            standing.served();
            decide(&standing);
            let decided = standing.snapshot();
            assert_eq!(decided.state, state);
            assert!(!standing.served(), "not served again");
            let (wait, news) = standing.park(Millis(0), Reason::NeedsReinstall, "x".into());
            assert_eq!((standing.wait(Millis(0)), news), (Some(wait), false), "but not called in vain");
            let seen = standing.snapshot();
            assert_eq!((seen.state, seen.reason), (state, decided.reason));
        }
    }

    #[test]
    fn the_last_troubles_are_remembered_and_repetitions_are_counted() {
        let standing = Standing::new(Probes::default());
        for n in 0..8 {
            standing.failed(format!("trouble {}", n / 2));
        }
        for n in 0..4 {
            standing.failed(format!("last {n}"));
        }
        let troubles = standing.troubles();
        let seen: Vec<(&str, u64)> = troubles.iter().map(|trouble| (trouble.error.as_str(), trouble.times)).collect();
        assert_eq!(seen, [("trouble 3", 2), ("last 0", 1), ("last 1", 1), ("last 2", 1), ("last 3", 1)]);
        standing.served();
        assert_eq!((standing.snapshot().last_error, standing.troubles().len()), (None, 5));
    }

    #[test]
    fn an_answer_that_is_of_no_use_unparks_and_is_no_success() {
        let standing = Standing::new(Probes::default());
        standing.park(Millis(0), Reason::Blocked, "x".into());
        standing.useless("of no use");
        let seen = standing.snapshot();
        assert_eq!((seen.state, seen.reason, standing.wait(Millis(1))), (PortalState::Active, None, None));
        assert_eq!((seen.last_error.as_deref(), seen.last_success), (Some("of no use"), None));
        standing.hold();
        standing.useless("of no use");
        assert_eq!(standing.snapshot().state, PortalState::Parked, "somebody has decided that");
    }

    #[test]
    fn success_unparks() {
        let standing = Standing::new(Probes::default());
        standing.park(Millis(0), Reason::Blocked, "x".into());
        assert!(standing.served());
        assert!(!standing.served());
        assert_eq!(standing.wait(Millis(1)), None);
        assert_eq!(standing.snapshot().state, PortalState::Active);
    }
}
