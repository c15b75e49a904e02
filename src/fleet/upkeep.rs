//! What a portal is to have, kept so: the bindings of its queues.
//!
//! An update of the application removes them, a portal may refuse one for now, and an event that is not bound makes no
//! rows: it is lost at the portal before anybody can read it. So they are looked at again daily and after the portal was
//! parked, what failed is tried again with growing waits, and what is missing can be seen from outside.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{Parts, portal::QueuePlan};
use crate::{
    bitrix::client::Access,
    metrics::labels::Call,
    protocol::{
        exchange::BATCH_COMMANDS,
        pace::Backoff,
        types::{Connector, Millis},
    },
    runner::session::{Obstacle, Session},
};

/// The span between looks while all is as it should be.
const EVERY: Millis = Millis::secs(24 * 3600);
/// First and longest wait before what failed is tried again.
const RETRY: (Millis, Millis) = (Millis::secs(10), Millis::secs(3600));

/// An event that a queue should have and has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbound {
    /// Which queue.
    pub connector: Connector,
    /// Which event.
    pub event: String,
    /// What the portal said.
    pub code: String,
    /// The portal does not know the event; trying again would not help.
    pub unknown: bool,
}

/// What is missing, for whoever asks.
#[derive(Debug, Default)]
pub struct Missing {
    unbound: Mutex<Vec<Unbound>>,
    /// Events that the portal did not know may be known by now.
    reconsider: AtomicBool,
}

impl Missing {
    /// What is missing now.
    pub fn get(&self) -> Vec<Unbound> {
        self.unbound.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next look asks for every event, those too that the portal did not know: it was installed again.
    pub fn reconsider(&self) {
        self.reconsider.store(true, Relaxed);
    }

    /// Puts what is missing now; returns what was not missing before.
    fn set(&self, missing: Vec<Unbound>) -> Vec<Unbound> {
        let mut present = self.unbound.lock().unwrap_or_else(PoisonError::into_inner);
        let news = missing.iter().filter(|unbound| !present.contains(unbound)).cloned().collect();
        *present = missing;
        news
    }
}

/// Keeps the bindings of one portal until the future is dropped.
pub async fn run(session: &Session, missing: &Missing, parts: &Arc<Parts>) {
    if parts.queues.iter().all(|queue| queue.events.is_empty()) {
        return std::future::pending().await;
    }
    let clock = parts.shared.clock;
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let hint = match bind_all(session, missing, parts).await {
            Ok(true) => {
                backoff.reset();
                None
            }
            Ok(false) => {
                backoff.failed(clock.now(), None);
                None
            }
            Err(obstacle) => {
                backoff.failed(clock.now(), obstacle.retry_after);
                obstacle.retry_after
            }
        };
        let next = backoff.until().unwrap_or_else(|| clock.now().plus(hint.unwrap_or(EVERY)));
        tokio::select! {
            () = clock.sleep_until(next) => {}
            () = session.standing().served_again() => tracing::debug!(portal = %session.portal(), "looking at the bindings again"),
        }
    }
}

/// Binds what is missing in every queue. Returns whether nothing is left that trying again could mend.
async fn bind_all(session: &Session, missing: &Missing, parts: &Parts) -> Result<bool, Obstacle> {
    let mut unbound = Vec::new();
    let all = missing.reconsider.load(Relaxed);
    let known = if all { Vec::new() } else { missing.get() };
    for queue in parts.queues.iter().filter(|queue| !queue.events.is_empty()) {
        unbound.extend(bind(session, queue, &known, parts).await?);
    }
    if all {
        missing.reconsider.store(false, Relaxed);
    }
    let complete = unbound.iter().all(|unbound| unbound.unknown);
    let portal = session.portal();
    for Unbound { connector, event, code, unknown } in missing.set(unbound) {
        let connector = connector.as_str();
        if unknown {
            tracing::warn!(%portal, connector, event, "the portal does not know this event; it is not bound");
        } else {
            tracing::error!(%portal, connector, event, code, "an event cannot be bound, so its changes make no rows; trying again");
        }
    }
    Ok(complete)
}

async fn bind(
    session: &Session,
    queue: &QueuePlan,
    known: &[Unbound],
    parts: &Parts,
) -> Result<Vec<Unbound>, Obstacle> {
    let of_queue = |unbound: &&Unbound| unbound.connector == queue.connector && unbound.unknown;
    let mut unbound: Vec<Unbound> = known.iter().filter(of_queue).cloned().collect();
    let hopeless: BTreeSet<&str> = unbound.iter().map(|unbound| unbound.event.as_str()).collect();
    let wanted: Vec<String> = queue.events.iter().filter(|e| !hopeless.contains(e.as_str())).cloned().collect();
    let client = &parts.client;
    let wanted = &wanted;
    let bind = |access: Access| async move { client.bind(&access, &queue.connector, wanted).await };
    // It reads what is bound in the request that the call itself pays for, and binds in further ones.
    for _ in wanted.chunks(BATCH_COMMANDS) {
        session.permit().await;
    }
    let bound = session.call(Call::Bind, bind).await?;
    if !bound.added.is_empty() {
        let connector = queue.connector.as_str();
        tracing::info!(portal = %session.portal(), connector, events = ?bound.added, "bound events");
    }
    let missing = |event, code: &str, unknown| {
        let connector = queue.connector.clone();
        Unbound { connector, event, code: code.to_owned(), unknown }
    };
    unbound.extend(bound.unknown.into_iter().map(|event| missing(event, "ERROR_EVENT_NOT_FOUND", true)));
    unbound.extend(bound.failed.into_iter().map(|(event, error)| missing(event, &error.code, false)));
    Ok(unbound)
}
