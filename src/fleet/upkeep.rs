//! What a portal is to have, kept so: the bindings of its queues. And what it should not have, counted: error rows.
//!
//! An update of the application removes them, a portal may refuse one for now, and an event that is not bound makes no
//! rows: it is lost at the portal before anybody can read it. So they are looked at again daily and after the portal was
//! parked, what failed is tried again with growing waits, and what is missing can be seen from outside.

pub mod wakes;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{
    Parts,
    portal::{Portal, QueuePlan},
};
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
    /// What follows from that.
    pub why: Why,
}

/// Why an event is not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The portal does not know it, or makes no rows of it: it is not asked for again before the application is installed
    /// again.
    Unknown,
    /// The plan of the portal has no queues of their own (`auth_connector`): asked for again daily, and when something may
    /// have changed.
    Unlicensed,
    /// Anything else: tried again.
    Failed,
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

/// Keeps the bindings of one portal, and counts its error rows, until the future is dropped.
pub async fn run(portal: &Portal, parts: &Arc<Parts>) {
    let (session, clock) = (portal.session(), parts.shared.clock);
    let mut told = wakes::Told::default();
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut count_at = clock.now();
    loop {
        let looked = async {
            let complete = bind_all(session, portal.missing(), parts).await;
            // Wake-ups do not depend on that.
            wakes::bind(portal, parts, &mut told).await?;
            let complete = complete?;
            if count_at <= clock.now() {
                count_errors(portal).await?;
                count_at = clock.now().plus(parts.look_again);
            }
            Ok::<bool, Obstacle>(complete)
        };
        // In a box: between two looks lies a day.
        match Box::pin(looked).await {
            Ok(true) => backoff.reset(),
            Ok(false) => backoff.failed(clock.now(), None),
            Err(obstacle) => backoff.failed(clock.now(), obstacle.retry_after),
        }
        let next = backoff.until().unwrap_or_else(|| clock.now().plus(parts.look_again));
        tokio::select! {
            () = clock.sleep_until(next) => {}
            () = session.standing().served_again() => tracing::debug!(portal = %session.portal(), "looking at the bindings again"),
        }
    }
}

/// Counts the rows that somebody has put aside: one request a queue. A plain read does not return them, and what repeats
/// such an event is merged into them, so somebody has to know.
async fn count_errors(portal: &Portal) -> Result<(), Obstacle> {
    for queue in portal.queues() {
        let rows = portal.session().count_errors(queue.connector()).await?;
        let before = queue.status().error_rows().map_or(0, |before| before.rows);
        queue.status().counted(rows);
        if rows > before {
            tracing::warn!(
                portal = %portal.id(), connector = queue.connector().as_str(), rows,
                "rows were put aside at the portal by event.offline.error, and what repeats their events is merged into \
                 them; `b24kafka portals sweep-errors` publishes and removes them",
            );
        }
    }
    Ok(())
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
    let complete = unbound.iter().all(|unbound| unbound.why != Why::Failed);
    let portal = session.portal();
    let mut unlicensed = BTreeSet::new();
    for Unbound { connector, event, code, why } in missing.set(unbound) {
        let connector = connector.as_str();
        match why {
            Why::Unknown => {
                tracing::warn!(
                    %portal, connector, event, code,
                    "the portal does not know this event, or makes no rows of it; it is not bound",
                );
            }
            Why::Unlicensed => {
                unlicensed.insert(connector.to_owned());
            }
            Why::Failed => {
                tracing::error!(%portal, connector, event, code, "an event cannot be bound, so its changes make no rows; trying again");
            }
        }
    }
    for connector in unlicensed {
        tracing::warn!(
            %portal, connector,
            "the plan of the portal has no queues of their own (rest_auth_connector), so nothing is bound to this one",
        );
    }
    Ok(complete)
}

async fn bind(
    session: &Session,
    queue: &QueuePlan,
    known: &[Unbound],
    parts: &Parts,
) -> Result<Vec<Unbound>, Obstacle> {
    let of_queue = |unbound: &&Unbound| unbound.connector == queue.connector && unbound.why == Why::Unknown;
    let mut unbound: Vec<Unbound> = known.iter().filter(of_queue).cloned().collect();
    let hopeless: BTreeSet<&str> = unbound.iter().map(|unbound| unbound.event.as_str()).collect();
    let wanted: Vec<String> = queue.events.iter().filter(|e| !hopeless.contains(e.as_str())).cloned().collect();
    let (client, wanted) = (&parts.client, &wanted);
    let bind =
        |access: Access| async move { client.bind(&access, &queue.connector, wanted, queue.unbind_others).await };
    // It reads what is bound in the request that the call itself pays for, and binds in further ones.
    for _ in wanted.chunks(BATCH_COMMANDS) {
        session.permit().await;
    }
    let bound = session.call(Call::Bind, bind).await?;
    let (portal, connector) = (session.portal(), queue.connector.as_str());
    if !bound.added.is_empty() {
        tracing::info!(%portal, connector, events = ?bound.added, "bound events");
    }
    if !bound.removed.is_empty() {
        tracing::info!(%portal, connector, events = ?bound.removed, "unbound events, as unbind_others says");
    }
    let missing = |event, code: &str, why| {
        let connector = queue.connector.clone();
        Unbound { connector, event, code: code.to_owned(), why }
    };
    unbound.extend(bound.unknown.into_iter().map(|event| missing(event, "ERROR_EVENT_NOT_FOUND", Why::Unknown)));
    unbound.extend(bound.unfit.into_iter().map(|event| missing(event, "ERROR_ARGUMENT", Why::Unknown)));
    unbound.extend(bound.unlicensed.into_iter().map(|event| missing(event, "WRONG_LICENSE", Why::Unlicensed)));
    unbound.extend(bound.failed.into_iter().map(|(event, error)| missing(event, &error.code, Why::Failed)));
    Ok(unbound)
}
