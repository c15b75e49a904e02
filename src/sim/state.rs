//! Everything that one portal knows. Whoever holds it holds the portal's lock; nothing here waits.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::Instant;

use super::{
    failure::Failure,
    faults::{Faults, Level, Trouble},
    handlers::Handlers,
    ledger::{Entry, Fate, Ledger, Misuse, Requests},
    limits::{Limits, Usage},
    methods::Answer,
    queue::{Change, Queue},
    row::{Hex, Zone},
    tokens::Tokens,
};

/// Time between two looks for rows that are too old, in seconds.
const PURGE_EVERY: i64 = 3600;

/// Who calls.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// `auth_connector` of the outer request.
    pub connector: String,
    /// Whether it is an incoming webhook, which may not use offline events.
    pub webhook: bool,
    /// Whether its token is an ordinary employee's.
    pub employee: bool,
}

/// The state of one portal.
#[derive(Debug)]
pub struct State {
    /// `member_id`.
    pub member_id: String,
    /// The queues by connector.
    pub queues: BTreeMap<Arc<str>, Queue>,
    /// Every row ever emitted.
    pub ledger: Ledger,
    /// Careless calls.
    pub misuse: Misuse,
    /// Requests.
    pub requests: Requests,
    /// The application's tokens.
    pub tokens: Tokens,
    /// The secret that handler calls carry.
    pub application_token: String,
    /// Bindings.
    pub handlers: Handlers,
    /// `feature.get`.
    pub features: BTreeMap<String, bool>,
    /// Whether the application's user is an administrator.
    pub admin: bool,
    /// The licence family that `app.info` tells.
    pub license: String,
    /// What is allowed.
    pub limits: Limits,
    /// What is used of it.
    pub usage: Usage,
    /// Scripted faults.
    pub faults: Faults,
    /// The portal's dice.
    pub rng: SmallRng,
    /// The portal's time zone.
    pub zone: Zone,
    /// Awaited `get`s per connector, by number: since when another one is awaited beside it.
    pub awaited: HashMap<String, BTreeMap<u64, Option<Instant>>>,
    /// The number of the last awaited `get`.
    pub awaited_so_far: u64,
    /// Awaited refreshes.
    pub refreshing: u32,
    /// The id of the last object that the application added.
    pub objects: i64,
    /// Rows that the application's own calls made and that nobody was woken for yet.
    pub unheard: i64,
    /// The event whose rows are shown without their `ID`.
    pub nameless: Option<String>,
    /// Filters by `MESSAGE_ID` are not heeded.
    pub deaf: bool,
    next_purge: i64,
}

impl State {
    /// A portal with an empty queue, every feature, no limits, and one pair of tokens.
    pub fn new(index: usize, seed: u64, zone_minutes: i32, now: i64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let member_id = Hex(rng.random()).to_string();
        let application_token = Hex(rng.random()).to_string();
        let mut tokens = Tokens::new(index);
        tokens.issue(now, &mut rng);
        let features = ["rest_offline_extended", "rest_auth_connector"].map(|code| (code.to_owned(), true));
        Self {
            member_id,
            queues: BTreeMap::new(),
            ledger: Ledger::default(),
            misuse: Misuse::default(),
            requests: Requests::default(),
            tokens,
            application_token,
            handlers: Handlers::default(),
            features: features.into(),
            admin: true,
            license: "pro100".to_owned(),
            limits: Limits::UNLIMITED,
            usage: Usage::default(),
            faults: Faults::default(),
            rng,
            zone: Zone::new(zone_minutes),
            awaited: HashMap::new(),
            awaited_so_far: 0,
            refreshing: 0,
            objects: 0,
            unheard: 0,
            nameless: None,
            deaf: false,
            next_purge: 0,
        }
    }

    /// Puts a change into a queue and the ledger; returns the id of its row.
    pub fn emit(&mut self, connector: &Arc<str>, change: Change) -> u64 {
        let queue = match self.queues.get_mut(connector) {
            Some(queue) => queue,
            None => self.queues.entry(connector.clone()).or_default(),
        };
        let fresh = self.ledger.next_id();
        let (event, at) = (change.event.clone(), change.at);
        let id = queue.emit(change, fresh);
        if id == fresh {
            let message = queue.rows(&[id]).next().map_or(Hex([0; 16]), |row| row.message);
            let connector = connector.clone();
            let (earlier, shown, fate) = (Vec::new(), None, Fate::Free);
            self.ledger.open(Entry { id, connector, event, message, changed_at: at, merged: 0, earlier, shown, fate });
        } else {
            self.ledger.merge(id, at);
        }
        id
    }

    /// The queue of a caller, with the rest of the state that its methods need.
    pub fn queue(&mut self, connector: &str) -> &mut Queue {
        if !self.queues.contains_key(connector) {
            self.queues.insert(connector.into(), Queue::default());
        }
        self.queues.entry(connector.into()).or_default()
    }

    /// Drops what is too old, now and then, or at once with `force`.
    pub fn purge(&mut self, now: i64, force: bool) {
        let seconds = now / 1000;
        if !force && seconds < self.next_purge {
            return;
        }
        self.next_purge = seconds + PURGE_EVERY;
        for queue in self.queues.values_mut() {
            let old = queue.purge(seconds);
            self.ledger.settle(&old, Fate::Purged);
        }
    }

    /// What strikes, if anything, noted in the request counts.
    pub fn strike(&mut self, methods: &[&str], level: Level) -> Option<Trouble> {
        let trouble = self.faults.strike(methods, level, &mut self.rng)?;
        *self.requests.faults.entry(trouble.name()).or_default() += 1;
        Some(trouble)
    }

    /// Counts a request against the rate limit.
    pub fn admit(&mut self, now: i64) -> Result<(), Failure> {
        if self.usage.admit(&self.limits, now) {
            return Ok(());
        }
        self.misuse.over_limit += 1;
        Err(Failure::by_code("QUERY_LIMIT_EXCEEDED"))
    }

    /// Whether the plan has a feature.
    pub fn has(&self, feature: &str) -> bool {
        self.features.get(feature).copied().unwrap_or(false)
    }

    /// Rows in all queues: normal free ones, error rows, reserved ones.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.queues.values().map(Queue::counts).fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
    }

    /// Rows as an answer shows them.
    pub fn render(&mut self, connector: &str, ids: &[u64], full: bool) -> String {
        let mut out = String::with_capacity(ids.len() * 230 + 2);
        out.push('[');
        if let Some(queue) = self.queues.get(connector) {
            for (n, row) in queue.rows(ids).enumerate() {
                if n > 0 {
                    out.push(',');
                }
                let nameless = self.nameless.as_deref() == Some(&*row.event);
                row.write(&mut out, &mut self.zone, full, nameless);
            }
        }
        out.push(']');
        out
    }

    /// Charges a call and tells how long it took, without what a fault slowed it down by.
    pub fn charge(&mut self, method: &str, now: i64, slow: Duration, answer: &Result<Answer, Failure>) -> Duration {
        let rows = answer.as_ref().map_or(0, |a| a.rows);
        let took = self.limits.cost.0 + self.limits.cost.1 * u32::try_from(rows).unwrap_or(u32::MAX);
        self.usage.charge(method, now, took + slow);
        took
    }
}
