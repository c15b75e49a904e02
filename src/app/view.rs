//! What the admin listener shows, computed from what the parts know at the moment of the question.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use secrecy::SecretString;
use tokio::{sync::watch, time::Instant};

use super::health;
use crate::{
    fleet::{self, portal::Portal, roster::Roster},
    http::admin::{Health, Polled, PortalView, QueueView, UnboundView, View},
    kafka::producer::Producer,
    metrics::{
        Metrics,
        labels::{Mode, PortalState, ProduceFailure},
    },
    runner::standing::Reason,
};

/// The heart beats this often, and a process whose heart has not beaten for that long hangs.
const BEAT: Duration = Duration::from_secs(1);
const HANGS: Duration = Duration::from_secs(15);

/// The portals that are shown; none until they are started.
#[derive(Clone, Default)]
pub struct Portals(Arc<OnceLock<Roster>>);

impl Portals {
    /// These portals are there from now on.
    pub fn set(&self, roster: &Roster) {
        // They are started once in the life of a process.
        let _ = self.0.set(roster.clone());
    }

    fn get(&self) -> Arc<[Arc<Portal>]> {
        self.0.get().map(Roster::all).unwrap_or_default()
    }
}

/// When the loop that every task of the process shares last turned.
#[derive(Clone, Debug)]
pub struct Heart(Arc<Mutex<Instant>>);

impl Default for Heart {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Heart {
    /// Beats until it is dropped.
    pub async fn beat(self) {
        let mut ticks = tokio::time::interval(BEAT);
        loop {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ticks.tick().await;
        }
    }

    fn beats(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < HANGS
    }
}

/// What the answers are computed from.
pub struct Sources {
    /// The latch of `/ready`.
    pub ready: watch::Receiver<bool>,
    /// The producer.
    pub producer: Producer,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The portals.
    pub portals: Portals,
    /// Whether the process's loops turn.
    pub heart: Heart,
    /// For calls that change something.
    pub token: Option<SecretString>,
    /// How long a portal that works well may say nothing.
    pub silence: Duration,
}

/// Ties the listener's questions to the parts that know the answers.
pub fn build(sources: Sources) -> Arc<View> {
    let Sources { ready, producer, metrics, portals, heart, token, silence } = sources;
    let (shown, counted, polled) = (portals.clone(), portals.clone(), portals.clone());
    // Two scrapes at once would both add what neither has seen yet.
    let scrape = Mutex::new(());
    Arc::new(View {
        ready,
        health: {
            let (producer, metrics) = (producer.clone(), metrics.clone());
            Box::new(move || health::of(&producer, &counted.get(), silence, &metrics))
        },
        metrics: Box::new(move || {
            let _one_at_a_time = scrape.lock().unwrap_or_else(PoisonError::into_inner);
            let portals = portals.get();
            fleet::gauge(&portals, &metrics);
            gauge(&metrics, &producer, &health::of(&producer, &portals, silence, &metrics));
            metrics.expose().map_err(|error| error.to_string())
        }),
        token,
        poll: Box::new(move |member_id| polled.get().iter().find(|p| p.id().as_str() == member_id).map(poll)),
        portals: Box::new(move || shown.get().iter().map(show).collect()),
        live: Box::new(move || heart.beats()),
    })
}

/// Sets what the producer and `/health` know at the moment of a scrape.
fn gauge(metrics: &Metrics, producer: &Producer, health: &Health) {
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    metrics.healthy.set(i64::from(health.healthy));
    metrics.broker_up.set(i64::from(health.broker.answering && health.broker.acknowledging));
    metrics.portals_silent.set(gauge(health.portals_silent));
    metrics.producer_queue_messages.set(gauge(producer.queued() as u64));
    let statistics = producer.statistics();
    metrics.producer_queue_bytes.set(gauge(statistics.queued_bytes()));
    metrics.brokers_connected.set(gauge(statistics.connected()));
    metrics.broker_round_trip.set(statistics.round_trip_seconds());
    let (fatal, errors) =
        (metrics.produce_failures.with_label_values(&[ProduceFailure::Fatal.as_str()]), &metrics.broker_request_errors);
    fatal.inc_by(producer.counters().replaced().saturating_sub(fatal.get()));
    errors.inc_by(statistics.errors().saturating_sub(errors.get()));
}

fn poll(portal: &Arc<Portal>) -> Polled {
    let before = portal.session().standing().snapshot();
    portal.resume();
    let message = match before.state {
        PortalState::Parked => "it was parked; it is tried again now",
        PortalState::Starting => "it is being started; that is tried again now",
        _ => "its queues are polled now",
    };
    Polled { state: before.state.as_str(), reason: before.reason.map(Reason::as_str), message }
}

fn show(portal: &Arc<Portal>) -> PortalView {
    let standing = portal.session().standing().snapshot();
    let queue = |queue: &fleet::portal::Queue| QueueView {
        connector: queue.connector().as_str().to_owned(),
        held: queue.status().held(),
        unconfirmed: queue.status().unconfirmed(),
        limit: queue.status().limit(),
        barred: queue.status().is_barred(),
    };
    let unbound = portal.missing().get().into_iter().map(|unbound| UnboundView {
        connector: unbound.connector.as_str().to_owned(),
        event: unbound.event,
        code: unbound.code,
    });
    PortalView {
        member_id: portal.id().to_string(),
        domain: portal.domain().to_string(),
        state: standing.state.as_str(),
        reason: standing.reason.map(Reason::as_str),
        advice: standing.reason.map(Reason::advice),
        mode: Mode::Reserve.as_str(),
        last_error: standing.last_error,
        last_success: standing.last_success,
        unbound: unbound.collect(),
        queues: portal.queues().iter().map(queue).collect(),
    }
}
