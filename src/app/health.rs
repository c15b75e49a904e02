//! What `/health` says: computed from progress, not from "connected".
//!
//! A problem concerns the whole and makes it unhealthy; a warning concerns some of the portals, and the others are served.
//! [`of`] looks, [`judge`] decides.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::patience::Patience;
use crate::{
    fleet::{portal::Portal, upkeep::Why},
    http::admin::{Broker, Health, Registry},
    kafka::{self, producer::Producer},
    metrics::{
        Metrics,
        labels::{PortalState, Stage},
    },
    registry,
    runner::{clock::unix_seconds, standing::Snapshot},
};

/// What is known of the whole at one moment. Times are seconds since 1970, but for those that the wall clock must not
/// have a say in.
struct Sight {
    now: f64,
    /// The same moment by a clock that nobody puts right.
    moment: Instant,
    /// How long a portal that works well may say nothing.
    silence: Duration,
    patience: Patience,
    broker: kafka::health::Health,
    /// What the last write to the registry failed with, if it did.
    registry: Option<String>,
    /// When any portal last confirmed a clear; 0 if none ever did.
    cleared: f64,
    portals: Vec<Seen>,
}

/// What is known of one portal.
struct Seen {
    /// What somebody has decided not to serve is no trouble.
    served: bool,
    standing: Snapshot,
    /// Until when the bridge itself asked it for nothing; may be ahead.
    left_alone_until: Option<Instant>,
    /// A limit of it is used up, and it is let rest.
    rests: bool,
    held: u64,
    held_since: Option<f64>,
    unconfirmed: u64,
    unconfirmed_since: Option<f64>,
    /// A topic cannot be written.
    barred: bool,
    /// Rows without a usable ID are stuck there.
    stuck: bool,
    /// An event is not bound.
    unbound: bool,
    /// The plan has no queues of their own.
    unlicensed: bool,
}

/// The state of the whole. `silence` is how long a portal that works well may say nothing.
pub fn of(
    producer: &Producer,
    registry: &registry::Registry,
    portals: &[Arc<Portal>],
    (silence, patience): (Duration, Patience),
    metrics: &Metrics,
) -> Health {
    let seen = |portal: &Arc<Portal>| Seen {
        served: portal.is_served(),
        standing: portal.session().standing().snapshot(),
        left_alone_until: portal.left_alone_until(),
        rests: portal.session().paused_until().is_some_and(|until| until > Instant::now()),
        held: portal.held(),
        held_since: portal.held_since(),
        unconfirmed: portal.unconfirmed(),
        unconfirmed_since: portal.unconfirmed_since(),
        barred: portal.queues().iter().any(|queue| queue.status().is_barred()),
        stuck: portal.queues().iter().any(|queue| queue.status().stuck() > 0),
        unbound: portal.missing().get().iter().any(|missing| missing.why != Why::Unlicensed),
        unlicensed: portal.missing().get().iter().any(|missing| missing.why == Why::Unlicensed),
    };
    judge(&Sight {
        now: unix_seconds(),
        moment: Instant::now(),
        silence,
        patience,
        broker: producer.health(),
        registry: registry.trouble(),
        cleared: metrics.last_success_of(Stage::Clear),
        portals: portals.iter().map(seen).collect(),
    })
}

fn judge(sight: &Sight) -> Health {
    let Sight { now, broker, .. } = sight;
    let states = |state: &PortalState| {
        let there = sight.portals.iter().filter(|seen| seen.standing.state == *state).count();
        (state.as_str(), there as u64)
    };
    let portals: Vec<&Seen> = sight.portals.iter().filter(|seen| seen.served).collect();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    if !broker.answering {
        problems.push("the Kafka broker does not answer".to_owned());
    }
    if !broker.acknowledging {
        problems.push("the Kafka broker does not acknowledge".to_owned());
    }
    let waited = |since: fn(&Seen) -> Option<f64>, patience: f64| {
        let oldest = portals.iter().filter_map(|seen| since(seen)).reduce(f64::min);
        oldest.map(|since| now - since).filter(|waited| *waited > patience)
    };
    if let Some(held) = waited(|seen| seen.held_since, sight.patience.held) {
        problems.push(format!("rows have been waiting {held:.0} s for Kafka to acknowledge them"));
    }
    let barred = portals.iter().filter(|seen| seen.barred).count();
    if barred > 0 {
        problems.push(format!("rows of {} wait for a topic that cannot be written; the log names it", some(barred)));
    }
    let silent = portals.iter().filter(|seen| sight.is_silent(seen)).count();
    let parked = portals.iter().filter(|seen| seen.standing.state == PortalState::Parked).count();
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
    warnings.extend(concerns(sight, &portals));
    if let Some(waited) = waited(|seen| seen.unconfirmed_since, sight.patience.unconfirmed) {
        let told = format!("rows that Kafka has acknowledged have been waiting {waited:.0} s to be cleared");
        // As long as some portal clears, the stage works, and a part of the portals is concerned.
        let works = now - sight.cleared <= sight.patience.unconfirmed;
        if works { warnings.push(told) } else { problems.push(format!("{told}, and no portal clears any")) }
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
        registry: Registry { writable: sight.registry.is_none(), trouble: sight.registry.clone() },
        portals: PortalState::ALL.iter().map(states).collect::<BTreeMap<_, _>>(),
        portals_silent: silent as u64,
        rows_held: sight.portals.iter().map(|seen| seen.held).sum(),
        rows_unconfirmed: sight.portals.iter().map(|seen| seen.unconfirmed).sum(),
    }
}

/// What somebody should look at though those portals are served.
fn concerns(sight: &Sight, portals: &[&Seen]) -> Vec<String> {
    let mut warnings = Vec::new();
    let resting = portals.iter().filter(|seen| seen.rests && sight.is_overdue(&seen.standing, None)).count();
    if resting > 0 {
        warnings.push(format!("{} at rest since a limit there is used up", are(resting)));
    }
    let stuck = portals.iter().filter(|seen| seen.stuck).count();
    if stuck > 0 {
        let why = "came without a usable ID since the start: they are in the dead letters and could not be removed at the portal";
        warnings.push(format!("rows of {} {why}", some(stuck)));
    }
    if let Some(trouble) = &sight.registry {
        warnings.push(format!("the registry cannot be written, so new tokens and portals are not kept: {trouble}"));
    }
    let unbound = portals.iter().filter(|seen| seen.unbound).count();
    if unbound > 0 {
        warnings.push(format!("{} missing bindings, so changes there make no rows", are(unbound)));
    }
    let unlicensed = portals.iter().filter(|seen| seen.unlicensed).count();
    if unlicensed > 0 {
        let plan = "without queues of their own (rest_auth_connector) in the plan, so changes there make no rows";
        warnings.push(format!("{} {plan}", are(unlicensed)));
    }
    warnings
}

impl Sight {
    /// Whether it should have said something and has not. What the bridge does not ask cannot answer: while it holds rows
    /// that Kafka does not take, or lets the portal rest, and for a while after that.
    fn is_silent(&self, seen: &Seen) -> bool {
        self.is_overdue(&seen.standing, seen.left_alone_until)
    }

    fn is_overdue(&self, standing: &Snapshot, left_alone_until: Option<Instant>) -> bool {
        let since = left_alone_until.map_or(standing.silent_since, |until| until.max(standing.silent_since));
        standing.state != PortalState::Parked && self.moment.saturating_duration_since(since) > self.silence
    }
}

fn some(portals: usize) -> String {
    if portals == 1 { "one portal".to_owned() } else { format!("{portals} portals") }
}

fn are(portals: usize) -> String {
    if portals == 1 { "one portal is".to_owned() } else { format!("{portals} portals are") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_800_000_000.0;

    fn portal(state: PortalState) -> Seen {
        let standing =
            Snapshot { state, reason: None, last_error: None, last_success: Some(NOW), silent_since: Instant::now() };
        Seen {
            served: true,
            standing,
            left_alone_until: None,
            rests: false,
            held: 0,
            held_since: None,
            unconfirmed: 0,
            unconfirmed_since: None,
            barred: false,
            stuck: false,
            unbound: false,
            unlicensed: false,
        }
    }

    fn silent() -> Seen {
        let mut seen = portal(PortalState::Active);
        seen.standing.silent_since -= Duration::from_secs(61);
        seen
    }

    fn sight(portals: Vec<Seen>) -> Sight {
        let broker = kafka::health::Health {
            answering: true,
            acknowledging: true,
            last_answer: Some(Duration::from_secs(1)),
            last_acknowledgement: None,
        };
        let silence = Duration::from_secs(60);
        Sight {
            now: NOW,
            moment: Instant::now(),
            silence,
            patience: Patience::default(),
            broker,
            registry: None,
            cleared: NOW - 1.0,
            portals,
        }
    }

    /// The one problem, or the one warning.
    fn told(sight: &Sight) -> (Vec<String>, Vec<String>) {
        let health = judge(sight);
        assert_eq!(health.healthy, health.problems.is_empty());
        (health.problems, health.warnings)
    }

    #[track_caller]
    fn assert_problem(sight: &Sight, words: &str) {
        let (problems, warnings) = told(sight);
        assert!(problems.len() == 1 && problems[0].contains(words) && warnings.is_empty(), "{problems:?} {warnings:?}");
    }

    #[track_caller]
    fn assert_warning(sight: &Sight, words: &str) {
        let (problems, warnings) = told(sight);
        assert!(problems.is_empty() && warnings.len() == 1 && warnings[0].contains(words), "{problems:?} {warnings:?}");
    }

    #[test]
    fn all_is_well_without_portals_and_with_portals_that_are_served() {
        for portals in [vec![], vec![portal(PortalState::Active)], vec![portal(PortalState::Starting)]] {
            assert_eq!(told(&sight(portals)), (Vec::new(), Vec::new()));
        }
    }

    #[test]
    fn a_wall_clock_that_is_put_right_makes_no_portal_silent_and_hides_none() {
        for jump in [-86_400.0, 86_400.0] {
            let mut seen = sight(vec![portal(PortalState::Active)]);
            seen.now += jump;
            assert_eq!(told(&seen), (Vec::new(), Vec::new()), "by {jump} s");
            let mut seen = sight(vec![silent()]);
            seen.now += jump;
            assert_problem(&seen, "no portal answers");
        }
    }

    #[test]
    fn a_portal_that_the_bridge_itself_does_not_ask_is_not_silent() {
        let now = Instant::now();
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds));
        let left_alone = |until| sight(vec![Seen { left_alone_until: until, ..silent() }]);
        assert_eq!(told(&left_alone(Some(now))), (Vec::new(), Vec::new()), "it holds rows that Kafka does not take");
        assert_eq!(told(&left_alone(ago(50))), (Vec::new(), Vec::new()), "it did a moment ago");
        assert_problem(&left_alone(ago(62)), "no portal answers");
        assert_problem(&left_alone(None), "no portal answers");

        let mut resting = left_alone(Some(now + Duration::from_secs(300)));
        resting.portals[0].rests = true;
        assert_warning(&resting, "one portal is at rest since a limit there is used up");
        assert_eq!(judge(&resting).portals_silent, 0);
        resting.portals[0].standing.silent_since = now;
        assert_eq!(told(&resting), (Vec::new(), Vec::new()), "a short rest is nothing to tell of");
    }

    #[test]
    fn a_broker_that_does_not_answer_or_acknowledge_is_a_problem() {
        let mut seen = sight(vec![portal(PortalState::Active)]);
        seen.broker.answering = false;
        assert_problem(&seen, "does not answer");
        seen.broker.answering = true;
        seen.broker.acknowledging = false;
        assert_problem(&seen, "does not acknowledge");
    }

    #[test]
    fn a_registry_that_cannot_be_written_is_a_warning() {
        let mut seen = sight(vec![portal(PortalState::Active)]);
        assert!(judge(&seen).registry.writable);
        seen.registry = Some("no room".to_owned());
        assert_warning(&seen, "the registry cannot be written, so new tokens and portals are not kept: no room");
        let registry = judge(&seen).registry;
        assert_eq!((registry.writable, registry.trouble.as_deref()), (false, Some("no room")));
    }

    #[test]
    fn a_stage_without_success_while_work_is_due_is_a_problem() {
        let mut held = portal(PortalState::Active);
        (held.held, held.held_since) = (3, Some(NOW - Patience::default().held));
        let mut seen = sight(vec![held, portal(PortalState::Active)]);
        assert_eq!(told(&seen), (Vec::new(), Vec::new()), "not yet");
        seen.portals[0].held_since = Some(NOW - Patience::default().held - 1.0);
        assert_problem(&seen, "waiting 121 s for Kafka");

        let mut unconfirmed = portal(PortalState::Active);
        (unconfirmed.unconfirmed, unconfirmed.unconfirmed_since) =
            (3, Some(NOW - Patience::default().unconfirmed - 1.0));
        let mut seen = sight(vec![unconfirmed, portal(PortalState::Active)]);
        assert_warning(&seen, "waiting 901 s to be cleared");
        seen.cleared = NOW - Patience::default().unconfirmed - 1.0;
        assert_problem(&seen, "no portal clears any");
        seen.portals[0].unconfirmed_since = Some(NOW - Patience::default().unconfirmed);
        assert_eq!(told(&seen), (Vec::new(), Vec::new()), "nothing has been due for so long");

        assert_problem(&sight(vec![silent(), silent()]), "no portal answers");
    }

    #[test]
    fn portals_that_are_not_served_are_a_problem_only_if_they_are_all() {
        let parked = || portal(PortalState::Parked);
        assert_problem(&sight(vec![parked(), parked()]), "every portal is parked");
        assert_problem(&sight(vec![parked(), silent()]), "no portal is served");
        assert_warning(&sight(vec![parked(), portal(PortalState::Active)]), "one portal is parked");
        assert_warning(&sight(vec![silent(), silent(), portal(PortalState::Active)]), "2 portals are not answering");
        let by_hand = Seen { served: false, held: 2, held_since: Some(1.0), ..parked() };
        let seen = sight(vec![by_hand, portal(PortalState::Active)]);
        assert_eq!(told(&seen), (Vec::new(), Vec::new()), "what somebody has parked is no trouble");
        assert_eq!((judge(&seen).portals["parked"], judge(&seen).rows_held), (1, 2), "but it is shown");
        let health = judge(&sight(vec![silent(), parked(), portal(PortalState::Active)]));
        assert_eq!((health.portals_silent, health.portals["parked"], health.warnings.len()), (1, 1, 2));
    }

    #[test]
    fn a_topic_that_cannot_be_written_is_a_problem_and_what_makes_no_record_a_warning() {
        let mut seen = sight(vec![portal(PortalState::Active), portal(PortalState::Active)]);
        seen.portals[0].barred = true;
        assert_problem(&seen, "rows of one portal wait for a topic");
        seen.portals[0].barred = false;
        seen.portals[1].stuck = true;
        assert_warning(&seen, "rows of one portal came without a usable ID");
        seen.portals[1].stuck = false;
        seen.portals[1].unbound = true;
        assert_warning(&seen, "missing bindings");
        seen.portals[1].unbound = false;
        seen.portals[0].unlicensed = true;
        assert_warning(&seen, "one portal is without queues of their own");
    }
}
