//! What `/health` says: computed from progress, not from "connected".
//!
//! A problem concerns the whole and makes it unhealthy; a warning concerns some of the portals, and the others are served.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    fleet::portal::Portal,
    http::admin::{Broker, Health},
    kafka::producer::Producer,
    metrics::labels::PortalState,
    runner::{clock::unix_seconds, standing::Snapshot},
};

/// Rows that are held for longer than this, in seconds, are not waiting for a slow broker: somebody has to act.
const HELD_PATIENCE: f64 = 120.0;
/// Rows that wait for longer than this, in seconds, to be cleared: more than any pause of a method's time budget of ten
/// minutes.
const UNCONFIRMED_PATIENCE: f64 = 900.0;

/// The state of the whole. `silence` is how long a portal that works well may say nothing.
pub fn of(producer: &Producer, portals: &[Arc<Portal>], silence: Duration) -> Health {
    let broker = producer.health();
    let seen: Vec<Snapshot> = portals.iter().map(|portal| portal.session().standing().snapshot()).collect();
    let count = |state| seen.iter().filter(|seen| seen.state == state).count() as u64;
    let states: BTreeMap<&'static str, u64> =
        PortalState::ALL.iter().map(|state| (state.as_str(), count(*state))).collect();
    let (rows_held, rows_unconfirmed) = portals
        .iter()
        .fold((0, 0), |(held, unconfirmed), portal| (held + portal.held(), unconfirmed + portal.unconfirmed()));
    // What somebody has decided not to serve is no trouble.
    let portals: Vec<&Arc<Portal>> = portals.iter().filter(|portal| portal.is_served()).collect();
    let seen: Vec<Snapshot> = portals.iter().map(|portal| portal.session().standing().snapshot()).collect();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    if !broker.answering {
        problems.push("the Kafka broker does not answer".to_owned());
    }
    if !broker.acknowledging {
        problems.push("the Kafka broker does not acknowledge".to_owned());
    }
    let now = unix_seconds();
    let waited = |since: fn(&Portal) -> Option<f64>, patience: f64| {
        let oldest = portals.iter().filter_map(|portal| since(portal)).reduce(f64::min);
        oldest.map(|since| now - since).filter(|waited| *waited > patience)
    };
    if let Some(held) = waited(Portal::held_since, HELD_PATIENCE) {
        problems.push(format!("rows have been waiting {held:.0} s for Kafka to acknowledge them"));
    }
    let barred = portals.iter().filter(|portal| portal.queues().iter().any(|queue| queue.status().is_barred())).count();
    if barred > 0 {
        problems.push(format!("rows of {} wait for a topic that cannot be written; the log names it", some(barred)));
    }
    let silent =
        |seen: &Snapshot| seen.state != PortalState::Parked && seen.silent_since.max(0.0) + silence.as_secs_f64() < now;
    let silent = seen.iter().filter(|seen| silent(seen)).count();
    let parked = seen.iter().filter(|seen| seen.state == PortalState::Parked).count();
    match (parked, silent, portals.len()) {
        (0, 0, _) => {}
        (parked, 0, all) if parked == all => problems.push("every portal is parked".to_owned()),
        (0, silent, all) if silent == all => problems.push("no portal answers as it should".to_owned()),
        (parked, silent, all) if parked + silent >= all => {
            problems.push("no portal is served: each is parked or does not answer as it should".to_owned());
        }
        (parked, silent, _) => {
            warnings.extend((parked > 0).then(|| format!("{} parked", are(parked))));
            warnings.extend((silent > 0).then(|| format!("{} not answering as it should", are(silent))));
        }
    }
    let unbound = portals.iter().filter(|portal| !portal.missing().get().is_empty()).count();
    if unbound > 0 {
        warnings.push(format!("{} missing bindings, so changes there make no rows", are(unbound)));
    }
    if let Some(waited) = waited(Portal::unconfirmed_since, UNCONFIRMED_PATIENCE) {
        warnings.push(format!("rows that Kafka has acknowledged have been waiting {waited:.0} s to be cleared"));
    }
    Health {
        healthy: problems.is_empty(),
        problems,
        warnings,
        broker: Broker {
            answering: broker.answering,
            acknowledging: broker.acknowledging,
            last_answer_seconds: broker.last_answer.map(|ago| ago.as_secs()),
            last_acknowledgement_seconds: broker.last_acknowledgement.map(|ago| ago.as_secs()),
        },
        portals: states,
        rows_held,
        rows_unconfirmed,
    }
}

fn some(portals: usize) -> String {
    if portals == 1 { "one portal".to_owned() } else { format!("{portals} portals") }
}

fn are(portals: usize) -> String {
    if portals == 1 { "one portal is".to_owned() } else { format!("{portals} portals are") }
}
