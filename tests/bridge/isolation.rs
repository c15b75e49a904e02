//! Portals beside each other: what one of them does costs the others nothing.

use std::time::{Duration, Instant};

use b24kafka::sim::{Fault, Portal, Trouble};

use super::stage::{PATIENCE, Setup, Stage, tick};

/// A request that is taken and not answered; the portal ends it after a minute.
fn hang(portal: &Portal) {
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_secs(600))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portals_that_hang_are_slow_limited_or_refused_do_not_hold_up_the_others() {
    // More portals hang than requests may be on their way.
    let stage = Stage::new(Setup { portals: 14, fetch: "concurrency = 4", ..Setup::default() }).await;
    let mut portals = stage.sim.portals();
    let hanging: Vec<Portal> = portals.by_ref().take(6).collect();
    hanging.iter().for_each(hang);
    let mut trouble = |fault: Fault| portals.next().expect("a portal").add_fault(fault);
    trouble(Fault::new(Trouble::Slow(Duration::from_secs(2))));
    trouble(Fault::new(Trouble::code("QUERY_LIMIT_EXCEEDED")));
    trouble(Fault::new(Trouble::code("PORTAL_DELETED")));
    trouble(Fault::new(Trouble::code("WRONG_LICENSE")));
    let unpaid = portals.next().expect("a portal");
    unpaid.expire_tokens();
    unpaid.add_fault(Fault::new(Trouble::code("PAYMENT_REQUIRED")).on("oauth"));
    let well: Vec<Portal> = portals.collect();
    assert_eq!(well.len(), 3);
    let begun = Instant::now();
    let running = stage.start().await;
    for round in 0..3 {
        for portal in &well {
            portal.backlog(100, round);
        }
        for portal in &well {
            assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
        }
    }
    println!("300 rows each of three portals are through after {:?}", begun.elapsed());
    for portal in &hanging {
        assert_eq!(portal.requests().http, 1, "the first request of a hanging portal is still on its way");
    }
    let seen = running.portal(&unpaid, |seen| seen["state"] == "parked").await;
    assert_eq!(seen["reason"], "unpaid", "{seen}");
    hanging.iter().for_each(Portal::clear_faults);
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_portal_lets_the_single_rows_of_another_through() {
    let stage = Stage::new(Setup { portals: 2, ..Setup::default() }).await;
    let (flood, small) = (stage.portal(0), stage.portal(1));
    let running = stage.start().await;
    running.portal(&small, |seen| seen["state"] == "active").await;
    flood.backlog(200_000, 1);
    assert!(flood.wait_until(PATIENCE, |counts| counts.reserved >= 1000).await, "{:?}", flood.counts());
    let mut took = Vec::new();
    for id in 1..=5 {
        let begun = Instant::now();
        small.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
        running.poll(&small).await;
        assert!(small.wait_until_empty(PATIENCE).await, "{:?}", small.counts());
        took.push(begun.elapsed());
    }
    println!("beside a flood a row is confirmed after {took:?}");
    let left = flood.counts().free;
    assert!(left > 50_000, "the flood goes on all the while: {left} rows are left of it");
    running.stop().await.expect("a clean stop");
    assert_eq!(flood.counts().reserved, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_for_a_topic_that_cannot_be_written_do_not_fill_the_queue_for_the_others() {
    // One exchange of the portal in trouble is as large as the whole queue of the producer.
    let kafka = "topic = \"bitrix24.{member_id}\"\noptions = { \"queue.buffering.max.messages\" = \"400\" }";
    let setup = Setup { portals: 2, brokers: 2, kafka, fetch: "limit_min = 400", ..Setup::default() };
    let stage = Stage::new(setup).await;
    let (stuck, well) = (stage.portal(0), stage.portal(1));
    let topic = |portal: &Portal| format!("bitrix24.{}", portal.member_id());
    for (portal, broker) in [(&well, 1), (&stuck, 2)] {
        stage.broker.create_topic(&topic(portal), 1, 1).expect("a topic");
        stage.broker.partition_leader(&topic(portal), 0, Some(broker)).expect("a partition");
        portal.backlog(1, 1);
    }
    let running = stage.start().await;
    for portal in [&stuck, &well] {
        assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    }
    stage.broker.broker_down(2).expect("a broker");
    stuck.backlog(1_000, 2);
    assert!(stuck.wait_until(PATIENCE, |counts| counts.reserved >= 400).await, "{:?}", stuck.counts());
    while running.metric("b24kafka_producer_queue_messages").await < 100.0 {
        tick().await;
    }
    for round in 3..6 {
        well.backlog(500, round);
        assert!(well.wait_until_empty(PATIENCE).await, "{:?}", well.counts());
    }
    let failures = running.metric("b24kafka_produce_failures_total").await;
    assert!(failures < 0.5, "the others did not have to wait until records are given up: {failures}");
    assert_eq!(stuck.counts().reserved, 400, "its rows wait");
    stage.broker.broker_up(2).expect("a broker");
    assert!(stuck.wait_until_empty(PATIENCE).await, "{:?}", stuck.counts());
    running.stop().await.expect("a clean stop");
    stage.judge();
}
