//! Wake-ups: bound, believed, quick; and what happens when they stay away.

use std::time::{Duration, Instant};

use b24kafka::sim::Counts;

use super::{
    caller::{STRANGERS, counted, event_url, wake_ups, woken},
    stage::{PATIENCE, Setup, tick},
};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_fetched_when_the_portal_calls_and_not_when_a_poll_is_due() {
    let queues = "[[queues]]\n[[queues]]\nconnector = \"erp\"\n";
    let mut stage = woken(Setup { configured: usize::MAX, queues, ..STRANGERS }).await;
    (stage.config.fetch.poll_min, stage.config.fetch.poll_max) = (Duration::from_millis(100), LONG);
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| wake_ups(seen, "expected")).await;
    // What is polled by the schedule of the start ends, and then nothing is asked any more.
    let mut quiet = Instant::now();
    let mut asked = portal.requests().http;
    while quiet.elapsed() < Duration::from_secs(2) {
        if portal.requests().http != asked {
            (asked, quiet) = (portal.requests().http, Instant::now());
        }
        tick().await;
    }
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        let begun = Instant::now();
        portal.emit(
            "ONCRMDEALADD",
            &format!(r#"{{"FIELDS":{{"ID":"{round}"}}}}"#),
            if round % 2 == 0 { "" } else { "erp" },
        );
        assert!(portal.wait_until_empty(PATIENCE).await, "round {round}: {:?}", portal.requests());
        slowest = slowest.max(begun.elapsed());
    }
    println!("slowest of 10 changes from the portal to cleared, a second apart by minTimeout: {slowest:?}");
    assert!(counted(&running, "wake", "taken").await >= 5);
    assert_eq!(counted(&running, "wake", "forged").await, 0);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_wake_ups_is_a_few_polls() {
    let mut stage = woken(STRANGERS).await;
    (stage.config.fetch.poll_min, stage.config.fetch.poll_max) = (LONG, LONG);
    let portal = stage.portal(0);
    let running = stage.start().await;
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
    running.portal(&portal, |seen| wake_ups(seen, "expected")).await;
    portal.add_fault(b24kafka::sim::Fault::new(b24kafka::sim::Trouble::Slow(Duration::from_millis(500))));
    let before = portal.requests().http;
    let (url, begun) = (event_url(&stage), Instant::now());
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let (portal, url) = (portal.clone(), url.clone());
            tokio::spawn(async move { portal.send_wake(&url).await.expect("sent") })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("sent"), 200);
    }
    let polls = portal.requests().http - before;
    let most = 2 + begun.elapsed().as_millis() / 500;
    assert!(u128::from(polls) <= most, "{polls} requests for 200 wake-ups in {:?}", begun.elapsed());
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_stops_calling_is_polled_and_says_so_until_it_calls_again() {
    let mut stage = woken(Setup { configured: usize::MAX, ..STRANGERS }).await;
    (stage.config.fetch.poll_min, stage.config.fetch.poll_max) = (Duration::from_millis(100), Duration::from_secs(2));
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| wake_ups(seen, "expected")).await;
    portal.emit("ONCRMDEALADD", r#"{"FIELDS":{"ID":"1"}}"#, "");
    assert!(portal.wait_until_empty(PATIENCE).await);
    portal.forget_bindings();
    tick().await;
    // The last call of before may still be on its way; what comes after it is not announced.
    tokio::time::sleep(Duration::from_secs(5)).await;
    portal.emit("ONCRMDEALADD", r#"{"FIELDS":{"ID":"2"}}"#, "");
    assert!(portal.wait_until_empty(PATIENCE).await, "a poll finds it");
    running.portal(&portal, |seen| wake_ups(seen, "missed")).await;
    for id in 3..6 {
        portal.emit("ONCRMDEALADD", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
        assert!(portal.wait_until(PATIENCE, |counts| counts == Counts::default()).await, "as without wake-ups");
    }
    // That calls are missed has the bindings looked at.
    let called = counted(&running, "wake", "taken").await;
    let (mut id, begun) = (6, Instant::now());
    while counted(&running, "wake", "taken").await == called {
        portal.emit("ONCRMDEALADD", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
        id += 1;
        assert!(begun.elapsed() < PATIENCE, "it calls no more");
        tick().await;
    }
    running.portal(&portal, |seen| wake_ups(seen, "expected")).await;
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    stage.judge();
}
