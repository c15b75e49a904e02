//! Portals do everything wrong that they can, all at once, and the plan of one of them is lowered.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use b24kafka::sim::{Portal, parse_faults};

use super::{
    plan,
    stage::{ADMIN_TOKEN, PATIENCE, Setup, Stage},
    support::broker::{Broker, Options},
};

/// What passes by itself.
const PASSING: &str = "lost-request=0.05,lost-answer=0.05,5xx=0.03,5xx@503=0.03,5xx-after=0.05,html=0.05,truncated=0.05,\
    slow@300ms=0.03,expired=0.05,event.offline.clear:lost-answer=0.05,event.offline.get:truncated=0.05";
/// What the portals do besides that have reservations. One that has none must not: if a row changes in the middle of its
/// deletion and the answer is lost as well, nobody has the change (protocol reference, section 6).
const SPLIT: &str = "split@50ms=0.1";
/// What the OAuth server does.
const OAUTH: &str = "oauth:5xx=0.2,oauth:html=0.1,oauth:lost-request=0.1,oauth:slow@200ms=0.2";
/// What of it leaves open whether a refresh was carried out. The server takes the last token once more then, but not the
/// one before: a second one in a row is for the tests of tokens.
const UNKNOWN: [&str; 3] = ["oauth:lost-answer#1", "oauth:truncated#1", "oauth:5xx-after#1"];
/// What holds a portal up until its limits recover or somebody acts.
const HOLDING: &str = "query-limit=0.05#2,event.offline.get:operation-limit=0.05#1,overload=0.05#1,denied=0.05#1,\
    deleted=0.05#1,oauth:payment=0.3#1,oauth:grant=0.3#1";
/// As long as a portal takes in the other scenarios.
const SLOW: &str = "slow@60ms";
/// It takes a minute and more to find what this one has hidden.
const LATE: &str = "event.offline.get:late@4s=0.01#2";

/// Puts these in the place of all faults. The first that strikes wins, so what always strikes comes last.
fn set(portal: &Portal, faults: &[&str]) {
    portal.clear_faults();
    let all = faults.iter().copied().chain([SLOW]).flat_map(|faults| parse_faults(faults).expect("faults"));
    all.for_each(|fault| portal.add_fault(fault));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portals_do_everything_wrong_at_once() {
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let setup = Setup { portals: 3, ..Setup::default() };
    let mut stage = Stage::new("portal faults of every kind", &broker.bootstrap(), setup).await;
    stage.bridge.record();
    for portal in stage.sim.portals() {
        // The answer to a refresh may be lost: the server takes the last token once more then.
        portal.set_token_life(Duration::from_secs(3600), true);
    }
    stage.start();
    stage.flows(100).await;
    let last = stage.sim.portals().count() - 1;
    let own = |number| if number == last { SLOW } else { SPLIT };
    stage.lower();
    stage.until("the plan is seen to be lowered", || stage.is_lowered()).await;
    for ((number, portal), unknown) in stage.sim.portals().enumerate().zip(UNKNOWN) {
        set(&portal, &[own(number), HOLDING, plan::size("", LATE), PASSING, unknown, OAUTH]);
        portal.expire_tokens();
    }
    let begun = Instant::now();
    for round in 1.. {
        let kinds = kinds(&stage);
        if round > plan::size(8, 40) && kinds.len() >= plan::size(8, 9) && has_tried_again(&stage) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "too few kinds of faults, or no refresh tried again: {kinds:?}");
        if round % 10 == 0 && has_tried_again(&stage) {
            let portals = stage.sim.portals().enumerate();
            portals.for_each(|(number, portal)| set(&portal, &[own(number), HOLDING, PASSING, OAUTH]));
        }
        tokio::time::sleep(stage.dice.span(300, plan::size(1_000, 6_000))).await;
        stage.bridge.assert_conserved();
        // The operator looks after his portals.
        for portal in stage.sim.portals() {
            stage.bridge.poll(&portal.member_id(), ADMIN_TOKEN);
        }
    }
    assert!(stage.is_lowered(), "the last portal is read without reservations to the end");
    let kinds = kinds(&stage);
    let struck: u64 = kinds.values().sum();
    for portal in stage.sim.portals() {
        portal.clear_faults();
        stage.bridge.poll(&portal.member_id(), ADMIN_TOKEN);
    }
    let note = format!("{} kinds, {} refreshes tried again", kinds.len(), stage.sim.portals().count());
    stage.end(&broker.bootstrap(), usize::try_from(struck).expect("some"), note).await;
}

/// Whether each portal has carried out one refresh without an answer, and was then asked once more with the old token.
fn has_tried_again(stage: &Stage) -> bool {
    let tried = |portal: Portal| (portal.requests().unanswered_refreshes, portal.misuse().old_refreshes);
    stage.sim.portals().all(|portal| tried(portal) == (1, 1))
}

/// How often each kind has struck, but for the slowness that portals have anyway.
fn kinds(stage: &Stage) -> BTreeMap<&'static str, u64> {
    let mut kinds = BTreeMap::new();
    for portal in stage.sim.portals() {
        portal.requests().faults.iter().for_each(|(kind, struck)| *kinds.entry(*kind).or_default() += struck);
    }
    kinds.remove("slow");
    kinds
}
