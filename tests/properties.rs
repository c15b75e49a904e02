//! Long random schedules over the machines of the core, with everything going wrong at any time: the invariants hold after
//! every step, and when nothing goes wrong any more everything arrives.
//!
//! The exhaustive model (`tests/model.rs`) meets every order of a few events. Here are many events of many kinds: several
//! queues that share time, tokens and budget, reservations larger than a page, hundreds of faults in one schedule.

#[path = "properties/auth.rs"]
mod auth;
#[path = "../src"]
mod core {
    #![allow(dead_code, reason = "the properties need a part of the core")]
    pub mod protocol;
}
#[path = "properties/portal.rs"]
mod portal;
#[path = "properties/run.rs"]
mod run;
#[path = "properties/schedule.rs"]
mod schedule;
#[path = "properties/tokens.rs"]
mod tokens;
#[path = "model/world.rs"]
#[allow(dead_code, reason = "some of it is for the exhaustive search")]
mod world;

use std::{cell::RefCell, fs};

use proptest::prelude::*;

use crate::{
    auth::Auth,
    core::protocol::{
        queue::{Queue, Settings},
        seeded::Bug,
        types::Millis,
    },
    portal::{Plan, Portal},
    run::{Met, REGRESSIONS, find, hold, remember},
    schedule::{KINDS, step},
    tokens::Tokens,
    world::{Budget, Setup},
};

/// Three events of each of forty objects.
const ENTITIES: [u64; 120] = {
    let mut entities = [0; 120];
    let mut message = 0;
    while message < 120 {
        entities[message] = message as u64 / 3;
        message += 1;
    }
    entities
};

const MANY: Budget = Budget {
    losses: 60_000,
    crashes: 60_000,
    produce_failures: 60_000,
    changes: 60_000,
    licences: 60_000,
    ..Budget::NONE
};

/// A portal and what happens to it.
#[derive(Clone, Debug)]
struct Schedule {
    plan: Plan,
    steps: Vec<u64>,
}

fn plans() -> impl Strategy<Value = Plan> {
    let limits = prop_oneof![Just(2), Just(7), Just(60)];
    let budgets = prop_oneof![Just(None), Just(Some((50, 2))), Just(Some((3, 1)))];
    let sweeps = prop_oneof![Just(None), Just(Some(Millis::secs(900)))];
    (1..=3_usize, limits, budgets, sweeps, 0..12_usize, any::<bool>(), any::<bool>()).prop_map(
        |(queues, limit_max, limit, sweep, present, heavy, licensed)| {
            let settings =
                Settings { limit_min: 2, limit_max, poll_min: Millis::secs(1), poll_max: Millis::secs(60), sweep };
            let setup = Setup {
                entities: &ENTITIES,
                present,
                poison: Some(4),
                heavy,
                malformed: Some(7),
                licensed,
                timed: true,
                settings,
                lasting: true,
                budget: MANY,
                bug: None,
            };
            Plan { queues, setup, limit }
        },
    )
}

fn schedules() -> impl Strategy<Value = Schedule> {
    (plans(), prop::collection::vec(any::<u64>(), 50..600)).prop_map(|(plan, steps)| Schedule { plan, steps })
}

/// Plays a schedule to its good end.
fn play(schedule: &Schedule, met: &RefCell<Met>) -> Result<(), String> {
    let mut portal = Portal::new(schedule.plan)?;
    let played = schedule.steps.iter().try_for_each(|number| step(&mut portal, *number));
    let played = played.and_then(|()| has_a_form_as_text(&portal)).and_then(|()| portal.heal());
    met.borrow_mut().add(schedule.steps.len(), &portal.seen);
    played.map_err(|broken| format!("{broken}\n{}", portal.log()))
}

/// What a trace holds of a machine is all that there is.
fn has_a_form_as_text(portal: &Portal) -> Result<(), String> {
    for queue in (0..portal.queues()).map(|queue| portal.world(queue).queue()) {
        let text = serde_json::to_string(queue).map_err(|error| error.to_string())?;
        let read: Queue = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if portal.bug().is_none() && read != *queue {
            return Err(format!("another machine is read from {text}"));
        }
    }
    Ok(())
}

#[test]
fn whatever_goes_wrong_everything_arrives_in_order() {
    let met = RefCell::default();
    hold(&schedules(), 3000, |schedule| play(schedule, &met));
    met.borrow().assert_met("queues", &KINDS);
}

/// Plays a schedule of the tokens alone.
fn play_tokens(bug: Option<Bug>, steps: &[u64], met: &RefCell<Met>) -> Result<(), String> {
    let mut tokens = Tokens::new(Auth::new(bug));
    let played = steps.iter().try_for_each(|number| tokens.step(*number)).and_then(|()| tokens.heal());
    met.borrow_mut().add(steps.len(), &tokens.seen);
    played.map_err(|broken| format!("{broken}\n{}", tokens.log.join("\n")))
}

#[test]
fn the_stored_chain_of_tokens_keeps_up_with_the_portals() {
    let met = RefCell::default();
    hold(&prop::collection::vec(any::<u64>(), 20..300), 10_000, |steps| play_tokens(None, steps, &met));
    met.borrow().assert_met("tokens", &tokens::KINDS);
}

/// Schedules that once caught a bug, seeded or not, are played again each time.
#[test]
fn the_schedules_that_broke_something_once_are_remembered() {
    let text = fs::read_to_string(REGRESSIONS).expect("the regressions");
    let written = text.lines().filter(|line| line.starts_with("cc ")).count();
    let read = RefCell::new(0);
    remember(&schedules(), |_| *read.borrow_mut() += 1);
    assert!(written >= 5, "only {written}");
    assert_eq!(read.into_inner(), written);
}

/// A bug that the property does not find would be one that it cannot find.
fn caught(bug: Bug, expected: &[&str]) {
    let seeded = schedules().prop_map(move |mut schedule| {
        schedule.plan.setup.bug = Some(bug);
        // A sweep would find in time what was forgotten.
        schedule.plan.setup.settings.sweep = None;
        schedule
    });
    let why = find(&seeded, 20_000, |schedule| play(schedule, &RefCell::default()));
    let why = why.unwrap_or_else(|| panic!("{bug:?} is not caught"));
    let first = why.lines().next().unwrap_or_default();
    println!("{bug:?} is caught by {} events: {first}", why.lines().count() - 1);
    assert!(expected.iter().any(|word| first.contains(word)), "{bug:?} is caught as {first}");
}

#[test]
fn seeded_bugs_of_the_queue_are_caught() {
    caught(Bug::ClearBeforeAcknowledgement, &["I1"]);
    caught(Bug::ClearPastFailedRow, &["I7"]);
    caught(Bug::BelieveScanDespiteUnknownClear, &["I8"]);
    caught(Bug::NoScanAfterUnknownGet, &["I3"]);
    caught(Bug::NoLateScanAfterUnknownGet, &["I3"]);
    caught(Bug::NoLateScanAfterTakeOver, &["I3"]);
    caught(Bug::DeleteWhateverChanged, &["I1"]);
    caught(Bug::NoMargin, &["I1"]);
    caught(Bug::DeleteByTheTimeOfNow, &["I1"]);
}

#[test]
fn seeded_bugs_of_the_tokens_are_caught() {
    for bug in [Bug::UseTokensBeforeStored, Bug::ForgetGrantedTokens, Bug::RefreshTwiceAtOnce] {
        caught(bug, &["I5"]);
        let steps = prop::collection::vec(any::<u64>(), 20..300);
        let why = find(&steps, 300, |steps| play_tokens(Some(bug), steps, &RefCell::default()));
        let why = why.unwrap_or_else(|| panic!("{bug:?} is not caught by the tokens alone"));
        println!("{bug:?} is caught by {} events: {}", why.lines().count() - 1, why.lines().next().unwrap_or_default());
        assert!(why.starts_with("I5"), "{why}");
    }
}
