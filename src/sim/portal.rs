//! The handle of one portal: what tests, the demo and the benchmark may do to it and ask of it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use secrecy::SecretString;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    changes,
    faults::Fault,
    generate::Generator,
    ledger::{Ledger, Misuse, Requests, Totals},
    limits::Limits,
    queue::Change,
    state::State,
    wake,
};

/// A portal. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Portal(pub(super) Arc<Shared>);

/// How full a portal's queues are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that a `get` could return.
    pub free: usize,
    /// Rows that are hidden by a reservation.
    pub reserved: usize,
    /// Error rows.
    pub errors: usize,
}

/// What the server and the handles of a portal share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) endpoint: String,
    pub(super) domain: String,
    pub(super) clock: Clock,
    pub(super) state: Mutex<State>,
    /// Rung after every request and every change from outside.
    pub(super) changed: Notify,
    /// Rung when there is a new row.
    pub(super) hit: Notify,
    /// New rows that nobody was woken for yet.
    pub(super) hits: AtomicI64,
}

/// The portal's clock: the system's at the start, the runtime's since then, and what it was put forward by.
#[derive(Debug)]
pub(super) struct Clock {
    origin: i64,
    started: Instant,
    ahead: AtomicI64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = i64::try_from(now.as_millis()).unwrap_or(0);
        Self { origin, started: Instant::now(), ahead: AtomicI64::new(0) }
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(0);
        self.origin + passed + self.ahead.load(Ordering::Relaxed)
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the handlers of wake-ups told of new rows.
    pub(super) fn ring(&self, rows: i64) {
        if rows > 0 {
            self.hits.fetch_add(rows, Ordering::Relaxed);
            self.hit.notify_one();
        }
    }
}

impl Portal {
    /// `member_id`.
    pub fn member_id(&self) -> String {
        self.0.lock().member_id.clone()
    }

    /// `client_endpoint`: the URL that a method's name is appended to.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// The host and port of the endpoint.
    pub fn domain(&self) -> &str {
        &self.0.domain
    }

    /// The newest access token.
    pub fn access_token(&self) -> SecretString {
        self.0.lock().tokens.access().into()
    }

    /// The current refresh token.
    pub fn refresh_token(&self) -> SecretString {
        self.0.lock().tokens.refresh().into()
    }

    /// Has an ordinary employee open the application: the refresh token that his browser is given. The administrator's
    /// pair lives on.
    pub fn employee_token(&self) -> SecretString {
        let now = self.0.clock.now();
        let mut state = self.0.lock();
        let State { tokens, rng, .. } = &mut *state;
        tokens.issue_employee(now, rng).refresh.into()
    }

    /// Every pair of access and refresh token that was issued, the oldest first, the last thousand at least.
    pub fn issued_tokens(&self) -> Vec<(SecretString, SecretString)> {
        let state = self.0.lock();
        state.tokens.issued().map(|pair| (pair.access.as_str().into(), pair.refresh.as_str().into())).collect()
    }

    /// A code as an administrator finds it in the browser's address after authorizing the application by hand. It can be
    /// exchanged for tokens once, within half a minute.
    pub fn authorization_code(&self) -> SecretString {
        let now = self.0.clock.now();
        let mut state = self.0.lock();
        let State { tokens, rng, .. } = &mut *state;
        tokens.issue_code(now, rng).into()
    }

    /// What calls to handlers carry as `auth[application_token]`.
    pub fn application_token(&self) -> SecretString {
        self.0.lock().application_token.as_str().into()
    }

    /// Puts a change straight into the queue of a connector, bound or not. `data` is JSON; empty, `{}` and `[]`
    /// become `false`, as on the server. Returns the id of its row.
    pub fn emit(&self, event: &str, data: &str, connector: &str) -> u64 {
        let (mut id, connector) = (0, Arc::from(connector));
        self.emit_all(std::iter::once((Arc::from(event), Box::from(data))), &connector, &mut |new| id = new);
        id
    }

    /// Puts a row that no portal should have into the queue of a connector. Behind its `ID` it shows `members`, those of a
    /// JSON object, in the place of time, name, data, author and message. Returns its id.
    pub fn emit_odd(&self, members: &str, connector: &str) -> u64 {
        let at = self.0.clock.now().div_euclid(1000);
        let change = Change { event: "".into(), data: members.into(), odd: true, user: None, at };
        let id = self.0.lock().emit(&Arc::from(connector), change);
        self.0.ring(1);
        self.0.changed.notify_waiters();
        id
    }

    /// Puts many changes into the queue of a connector under one lock; returns how many rows that made.
    pub fn emit_many(&self, changes: impl IntoIterator<Item = (Arc<str>, Box<str>)>, connector: &str) -> u64 {
        let before = self.0.lock().ledger.next_id();
        self.emit_all(changes.into_iter(), &Arc::from(connector), &mut |_| {});
        self.0.lock().ledger.next_id() - before
    }

    fn emit_all(
        &self,
        changes: impl Iterator<Item = (Arc<str>, Box<str>)>,
        connector: &Arc<str>,
        each: &mut dyn FnMut(u64),
    ) {
        let mut state = self.0.lock();
        let at = self.0.clock.now().div_euclid(1000);
        let mut count = 0;
        for (event, data) in changes {
            let data = if matches!(&*data, "" | "{}" | "[]") { "false".into() } else { data };
            each(state.emit(connector, Change { event, data, odd: false, user: Some(1), at }));
            count += 1;
        }
        drop(state);
        self.0.ring(count);
        self.0.changed.notify_waiters();
    }

    /// A change as somebody at the portal makes it: it goes to every queue whose connector has bound the event, save
    /// the one named in `by`, if the application itself made the change (protocol reference section 1).
    pub fn change(&self, event: &str, data: &str, by: Option<&str>) -> Vec<u64> {
        let heard_by = changes::heard_by(&self.0.lock(), event, by);
        heard_by.iter().map(|connector| self.emit(event, data, connector)).collect()
    }

    /// `n` realistic changes of a limited set of objects in the plain queue, so that some of them merge. The same
    /// seed makes the same changes. Returns how many rows that made.
    pub fn generate(&self, n: usize, seed: u64) -> u64 {
        let objects = u32::try_from(n / 4).unwrap_or(u32::MAX).max(10);
        self.emit_many(Generator::new(seed, objects).take(n), "")
    }

    /// `rows` rows of realistic changes in the plain queue, all of different objects.
    pub fn backlog(&self, rows: usize, seed: u64) -> u64 {
        self.emit_many(Generator::distinct(seed).take(rows), "")
    }

    /// Every row ever emitted and what became of it.
    pub fn ledger(&self) -> Ledger {
        self.0.lock().ledger.clone()
    }

    /// The sums of the ledger.
    pub fn totals(&self) -> Totals {
        self.0.lock().ledger.totals()
    }

    /// How full the queues are.
    pub fn counts(&self) -> Counts {
        let (free, errors, reserved) = self.0.lock().counts();
        Counts { free, reserved, errors }
    }

    /// Careless calls so far.
    pub fn misuse(&self) -> Misuse {
        self.0.lock().misuse
    }

    /// Requests so far.
    pub fn requests(&self) -> Requests {
        self.0.lock().requests.clone()
    }

    /// Adds a scripted fault.
    pub fn add_fault(&self, fault: Fault) {
        self.0.lock().faults.add(fault);
    }

    /// Ends all scripted faults.
    pub fn clear_faults(&self) {
        self.0.lock().faults.clear();
    }

    /// Lets all access tokens expire now.
    pub fn expire_tokens(&self) {
        let now = self.0.clock.now();
        self.0.lock().tokens.expire(now);
    }

    /// Forgets all tokens: calls answer `invalid_token`, refreshes `invalid_grant`.
    pub fn revoke_tokens(&self) {
        self.0.lock().tokens.revoke();
    }

    /// Installs the application anew without calling anybody: there is a fresh pair of tokens, whatever was before.
    pub fn reinstall(&self) {
        let now = self.0.clock.now();
        let mut state = self.0.lock();
        let State { tokens, rng, .. } = &mut *state;
        tokens.issue(now, rng);
    }

    /// How long access tokens live that are issued from now on, and whether the token before the last one may still be
    /// used to refresh.
    pub fn set_token_life(&self, life: Duration, lenient: bool) {
        let mut state = self.0.lock();
        (state.tokens.life, state.tokens.lenient) = (life, lenient);
    }

    /// Gives or takes a feature of the plan: `rest_offline_extended`, `rest_auth_connector`.
    pub fn set_feature(&self, code: &str, on: bool) {
        self.0.lock().features.insert(code.to_owned(), on);
    }

    /// Whether the application's user is an administrator.
    pub fn set_admin(&self, admin: bool) {
        self.0.lock().admin = admin;
    }

    /// The licence family that `app.info` tells: `basic`, `std`, `pro100`, `ent250`, `selfhosted`...
    pub fn set_license(&self, family: &str) {
        self.0.lock().license = family.to_owned();
    }

    /// Shows the rows of one event without their `ID` from now on; of none with `None`.
    pub fn hide_ids(&self, event: Option<&str>) {
        self.0.lock().nameless = event.map(str::to_owned);
    }

    /// Whether filters by `MESSAGE_ID` are heeded from now on.
    pub fn heed_messages(&self, heeds: bool) {
        self.0.lock().deaf = !heeds;
    }

    /// Sets the limits.
    pub fn set_limits(&self, limits: Limits) {
        self.0.lock().limits = limits;
    }

    /// Removes all bindings, as an update of the application does.
    pub fn forget_bindings(&self) {
        self.0.lock().handlers.clear();
    }

    /// Puts the portal's clock forward: tokens expire, limits recover, old rows are purged.
    pub fn advance(&self, by: Duration) {
        self.0.clock.ahead.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::Relaxed);
        let now = self.0.clock.now();
        self.0.lock().purge(now, true);
        self.0.changed.notify_waiters();
    }

    /// Waits until the counts are as wanted; `false` if that takes longer than `limit`.
    pub async fn wait_until(&self, limit: Duration, wanted: impl Fn(Counts) -> bool) -> bool {
        let reached = async {
            loop {
                let changed = self.0.changed.notified();
                if wanted(self.counts()) {
                    return;
                }
                changed.await;
            }
        };
        timeout(limit, reached).await.is_ok()
    }

    /// Waits until no row is left, neither free nor reserved nor in error; `false` if that takes longer than `limit`.
    pub async fn wait_until_empty(&self, limit: Duration) -> bool {
        self.wait_until(limit, |counts| counts == Counts::default()).await
    }

    /// Calls a handler with `ONAPPINSTALL` and a fresh pair of tokens. Returns the HTTP status.
    pub async fn send_install(&self, url: &str) -> Result<u16, wake::WakeError> {
        wake::send_install(&self.0, url).await
    }

    /// Opens the application's install page as an administrator's browser does within the portal, with a fresh pair of
    /// tokens. Returns the HTTP status and the page.
    pub async fn open_install_page(&self, url: &str) -> Result<(u16, String), wake::WakeError> {
        wake::open_install_page(&self.0, url).await
    }

    /// Calls a handler with `ONAPPUNINSTALL`; bindings and tokens are gone then. Returns the HTTP status.
    pub async fn send_uninstall(&self, url: &str) -> Result<u16, wake::WakeError> {
        wake::send_uninstall(&self.0, url).await
    }

    /// Calls a handler with `ONOFFLINEEVENT`, rows or not. Returns the HTTP status.
    pub async fn send_wake(&self, url: &str) -> Result<u16, wake::WakeError> {
        wake::send_wake(&self.0, url).await
    }
}
