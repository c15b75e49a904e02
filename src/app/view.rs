//! What the admin listener shows, computed from what the parts know at the moment of the question.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use secrecy::SecretString;
use tokio::{sync::watch, time::Instant};

use super::{changes::Changes, health, patience::Patience, portrait};
use crate::{
    fleet::{self, portal::Portal, roster::Roster},
    http::admin::{
        Health, View,
        log::{Change, Logged},
        refusal::Refusal,
    },
    kafka::producer::Producer,
    metrics::{Metrics, labels::ProduceFailure},
    protocol::types::PortalId,
    registry::Registry,
    telemetry,
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

    /// The portals that there are now, and what can be done to them; `None` until they are started.
    pub(super) fn roster(&self) -> Option<&Roster> {
        self.0.get()
    }

    fn get(&self) -> Arc<[Arc<Portal>]> {
        self.roster().map(Roster::all).unwrap_or_default()
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
    /// The registry.
    pub registry: Registry,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The portals.
    pub portals: Portals,
    /// Whether the process's loops turn.
    pub heart: Heart,
    /// For calls that change something.
    pub token: Option<SecretString>,
    /// Whether portals may be at plain http addresses.
    pub allow_http: bool,
    /// How long a portal that works well may say nothing.
    pub silence: Duration,
    /// How long rows may wait.
    pub patience: Patience,
}

/// Ties the listener's questions to the parts that know the answers.
pub fn build(sources: Sources) -> Arc<View> {
    let Sources { ready, producer, registry, metrics, portals, heart, token, allow_http, silence, patience } = sources;
    let (shown, counted, one) = (portals.clone(), portals.clone(), portals.clone());
    let changes = Changes::new(portals.clone(), allow_http);
    // Two scrapes at once would both add what neither has seen yet.
    let scrape = Mutex::new(());
    Arc::new(View {
        ready,
        health: {
            let (producer, registry, metrics) = (producer.clone(), registry.clone(), metrics.clone());
            Box::new(move || health::of(&producer, &registry, &counted.get(), (silence, patience), &metrics))
        },
        metrics: Box::new(move || {
            let _one_at_a_time = scrape.lock().unwrap_or_else(PoisonError::into_inner);
            let portals = portals.get();
            fleet::gauge(&portals, &metrics);
            gauge(&metrics, &producer, &health::of(&producer, &registry, &portals, (silence, patience), &metrics));
            metrics.expose().map_err(|error| error.to_string())
        }),
        token,
        portals: Box::new(move || shown.get().iter().map(|portal| portrait::of(portal)).collect()),
        portal: Box::new(move |member_id| {
            let portal = one.roster()?.get(&PortalId::new(member_id)?)?;
            Some(portrait::of(&portal))
        }),
        change: Box::new(move |change| changes.clone().perform(change)),
        log: Box::new(change_log),
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

fn change_log(change: Change) -> Result<Logged, Refusal> {
    let Some(log) = telemetry::running() else {
        return Err(Refusal::conflict("other_log", "this process has a log of another kind"));
    };
    let changed = || {
        // A level that is none changes nothing, the portals neither.
        change.level.iter().try_for_each(|level| log.set_level(level))?;
        change.portals.into_iter().try_for_each(|portals| log.follow(portals.into_iter().collect()))?;
        log.logged()
    };
    let telemetry::Logged { level, portals } = changed().map_err(|error| Refusal::malformed(error.to_string()))?;
    let portals: Vec<String> = portals.into_iter().collect();
    tracing::info!(level, portals = portals.len(), "the log is changed");
    Ok(Logged { level, portals })
}
