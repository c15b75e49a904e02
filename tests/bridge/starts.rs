//! How portals are begun with when the bridge starts.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::stage::{PATIENCE, Setup, Stage, grant, id};

/// So many portals that the last one would wait for longer than a test may take.
const CROWD: usize = 3_600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_waits_for_its_turn_at_the_start_is_begun_with_when_somebody_asks_for_it() {
    let mut stage = Stage::new(Setup { portals: 3, configured: 0, ..Setup::default() }).await;
    (stage.config.fetch.poll_min, stage.config.fetch.poll_max) = (Duration::from_secs(600), Duration::from_secs(600));
    let portals = [0, 1, 2].map(|number| stage.portal(number));
    let running = stage.start().await;
    for portal in &portals {
        running.roster.install(grant(portal)).await.expect("installed");
    }
    running.stop().await.expect("a clean stop");
    // Others before them in the order that an operator has parked: they take up the time and nothing else.
    let registry = stage.dir.path().join("registry");
    let known = fs::read_to_string(registry.join(format!("{}.json", portals[0].member_id()))).expect("a record");
    let mut other: serde_json::Value = serde_json::from_str(&known).expect("JSON");
    (other["format"], other["held_since"]) = (2.into(), 1.into());
    for number in 0..CROWD {
        let member_id = format!("{number:032}");
        other["member_id"] = member_id.as_str().into();
        fs::write(registry.join(format!("{member_id}.json")), other.to_string()).expect("written");
    }
    let asked = portals.each_ref().map(|portal| portal.requests().http);
    let running = stage.start().await;
    let begun = Instant::now();
    for portal in &portals {
        portal.backlog(20, 1);
        let seen = running.portal(portal, |_| true).await;
        assert_eq!(seen["state"], "starting", "{seen}");
    }
    assert_eq!(portals.each_ref().map(|portal| portal.requests().http), asked, "their turn is late");
    let [woken, polled, installed] = &portals;
    assert!(running.roster.wake(&id(woken)));
    running.poll(polled).await;
    running.roster.install(grant(installed)).await.expect("installed");
    for portal in &portals {
        assert!(portal.wait_until_empty(PATIENCE).await);
    }
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}: not when its turn came", begun.elapsed());
    running.stop().await.expect("a clean stop");
    stage.judge();
}
