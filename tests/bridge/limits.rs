//! The portals' limits are kept, and what they allow is used.

use std::time::Duration;

use b24kafka::sim::{Fault, Limits, Trouble};

use super::stage::{PATIENCE, Setup, Stage, tick};

const QUEUES: &str = "\
[[queues]]
events = [\"crm.deal\"]
[[queues]]
connector = \"a\"
events = [\"crm.deal\"]
[[queues]]
connector = \"b\"
events = [\"crm.*\"]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_portals_limit_is_kept_while_a_backlog_is_drained_in_large_exchanges() {
    let stage = Stage::new(Setup { limits: Limits::STANDARD, plan: "auto", queues: QUEUES, ..Setup::default() }).await;
    // Bindings cost requests too.
    let portal = stage.portal(0);
    portal.backlog(50_000, 1);
    let running = stage.start().await;
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.stop().await.expect("a clean stop");
    let requests = portal.requests().http;
    assert!(requests > 50, "more than the burst that the portal grants: {requests}");
    // The empty polls of the two other queues, a few a second, are among them; a loop of 50 rows each would need 1,000.
    assert!(50_000 / requests >= 250, "{requests} requests for 50,000 rows");
    let (_, repeated) = stage.judge();
    assert_eq!(repeated, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_hit_all_the_same_is_waited_out() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.add_fault(Fault::new(Trouble::code("QUERY_LIMIT_EXCEEDED")).after(3).times(1));
    portal.add_fault(Fault::new(Trouble::code("OPERATION_TIME_LIMIT")).on("event.offline.get").after(3).times(1));
    portal.backlog(2_000, 1);
    let running = stage.start().await;
    assert!(portal.wait_until(PATIENCE, |counts| counts.free < 2_000).await);
    let begun = std::time::Instant::now();
    while running.metric("b24kafka_limit_waits_total").await < 1.0 {
        assert!(begun.elapsed() < PATIENCE, "no limit was met: {:?}", portal.requests());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.stop().await.expect("a clean stop");
    assert_eq!(portal.counts().reserved, 0, "nothing is left reserved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_want_more_than_their_portal_allows_share_one_budget() {
    let queues = "[[queues]]\n[[queues]]\nconnector = \"a\"\n[[queues]]\nconnector = \"b\"\n";
    let setup = Setup { limits: Limits::STANDARD, plan: "standard", queues, ..Setup::default() };
    let stage = Stage::new(Setup { fetch: "limit_max = 50", ..setup }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    let begun = std::time::Instant::now();
    // Three queues with changes to fetch all the time; the portal allows 50 requests at once and 2 a second then.
    while begun.elapsed() < Duration::from_millis(5_500) {
        for connector in ["", "a", "b"] {
            portal.emit("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"1"}}"#, connector);
        }
        tick().await;
    }
    let requests = portal.requests().http;
    assert!(requests >= 50, "the budget was never used up by {requests} requests");
    assert!(running.metric("b24kafka_limit_waits_total{limit=\"budget\"}").await > 0.0, "none had to wait");
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.stop().await.expect("a clean stop");
    stage.judge();
}
