//! What the admin listener shows, computed from what the parts know at the moment of the question.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use secrecy::SecretString;
use tokio::sync::watch;

use crate::{
    fleet::{self, portal::Portal},
    http::admin::{Broker, Health, PortalView, QueueView, View},
    kafka::producer::Producer,
    metrics::{
        Metrics,
        labels::{Mode, PortalState, ProduceFailure},
    },
    runner::{Command, clock::unix_seconds},
};

/// Rows that are held for longer than this, in seconds, are not waiting for a slow broker: somebody has to act.
const HELD_PATIENCE: f64 = 120.0;

/// The portals that are shown; empty until they are started.
#[derive(Clone, Default)]
pub struct Portals(Arc<Mutex<Vec<Arc<Portal>>>>);

impl Portals {
    /// These portals are served from now on.
    pub fn set(&self, portals: &[Arc<Portal>]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = portals.to_vec();
    }

    fn get(&self) -> Vec<Arc<Portal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Ties the listener's questions to the parts that know the answers.
pub fn build(
    ready: watch::Receiver<bool>,
    producer: Producer,
    metrics: Arc<Metrics>,
    portals: Portals,
    token: Option<SecretString>,
) -> Arc<View> {
    let shown = portals.clone();
    let queued = producer.clone();
    let counted = portals.clone();
    let polled = portals.clone();
    Arc::new(View {
        ready,
        health: Box::new(move || health(&producer, &counted.get())),
        metrics: Box::new(move || {
            fleet::gauge(&portals.get(), &metrics);
            metrics.producer_queue_messages.set(i64::try_from(queued.queued()).unwrap_or(i64::MAX));
            let fatal = metrics.produce_failures.with_label_values(&[ProduceFailure::Fatal.as_str()]);
            fatal.inc_by(queued.counters().replaced().saturating_sub(fatal.get()));
            metrics.expose().map_err(|error| error.to_string())
        }),
        token,
        poll: Box::new(move |member_id| {
            let all = polled.get();
            let Some(portal) = all.iter().find(|portal| portal.id().as_str() == member_id) else { return false };
            portal.command(Command::Wake);
            true
        }),
        portals: Box::new(move || shown.get().iter().map(show).collect()),
    })
}

fn health(producer: &Producer, portals: &[Arc<Portal>]) -> Health {
    let broker = producer.health();
    let states = PortalState::ALL.iter().map(|state| {
        let is = |portal: &&Arc<Portal>| portal.session().standing().snapshot().state == *state;
        (state.as_str(), portals.iter().filter(is).count() as u64)
    });
    let states: BTreeMap<&'static str, u64> = states.collect();
    let mut problems = Vec::new();
    if !broker.answering {
        problems.push("the Kafka broker does not answer".to_owned());
    }
    if !broker.acknowledging {
        problems.push("the Kafka broker does not acknowledge".to_owned());
    }
    let oldest = portals.iter().filter_map(|portal| portal.held_since()).reduce(f64::min);
    if let Some(held) = oldest.map(|since| unix_seconds() - since).filter(|held| *held > HELD_PATIENCE) {
        problems.push(format!("rows have been waiting {held:.0} s for Kafka to acknowledge them"));
    }
    let parked = states.get(PortalState::Parked.as_str()).copied().unwrap_or_default();
    if parked > 0 && parked == portals.len() as u64 {
        problems.push("every portal is parked".to_owned());
    }
    Health {
        healthy: problems.is_empty(),
        problems,
        broker: Broker {
            answering: broker.answering,
            acknowledging: broker.acknowledging,
            last_answer_seconds: broker.last_answer.map(|ago| ago.as_secs()),
            last_acknowledgement_seconds: broker.last_acknowledgement.map(|ago| ago.as_secs()),
        },
        portals: states,
        rows_held: portals.iter().map(|portal| portal.held()).sum(),
    }
}

fn show(portal: &Arc<Portal>) -> PortalView {
    let standing = portal.session().standing().snapshot();
    let queue = |queue: &fleet::portal::Queue| QueueView {
        connector: queue.connector().as_str().to_owned(),
        held: queue.status().held(),
        limit: queue.status().limit(),
    };
    PortalView {
        member_id: portal.id().to_string(),
        domain: portal.domain().to_owned(),
        state: standing.state.as_str(),
        reason: standing.reason.map(super::super::runner::standing::Reason::as_str),
        advice: standing.reason.map(super::super::runner::standing::Reason::advice),
        mode: Mode::Reserve.as_str(),
        last_error: standing.last_error,
        last_success: standing.last_success,
        queues: portal.queues().iter().map(queue).collect(),
    }
}
