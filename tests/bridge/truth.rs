//! What the bridge says of itself: health that is computed from progress.

use std::time::Duration;

use b24kafka::sim::{Fault, Trouble};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::stage::{PATIENCE, Running, Setup, Stage};

async fn until_health(running: &Running, wanted: u16) -> serde_json::Value {
    let begun = std::time::Instant::now();
    loop {
        let (status, health) = running.health().await;
        if status == wanted {
            return health;
        }
        assert!(begun.elapsed() < PATIENCE, "never {wanted}: {health}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portals_that_stop_answering_are_told_and_all_of_them_are_unhealthy() {
    let mut stage = Stage::new(Setup { portals: 2, ..Setup::default() }).await;
    stage.config.fetch.request_timeout = Duration::from_secs(1);
    let running = stage.start().await;
    for portal in stage.sim.portals() {
        running.portal(&portal, |seen| seen["state"] == "active").await;
    }
    assert_eq!(running.health().await.0, 200);
    stage.portal(0).add_fault(Fault::new(Trouble::LostRequest));
    let begun = std::time::Instant::now();
    loop {
        let (status, health) = running.health().await;
        assert_eq!(status, 200, "the other portal is served: {health}");
        if health["warnings"].to_string().contains("one portal is not answering") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "silent: {health}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.portal(1).add_fault(Fault::new(Trouble::LostRequest));
    let health = until_health(&running, 503).await;
    assert!(health["problems"].to_string().contains("no portal answers"), "{health}");
    for portal in stage.sim.portals() {
        portal.clear_faults();
    }
    until_health(&running, 200).await;
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_the_bridge_does_not_ask_while_kafka_is_away_is_not_silent() {
    let mut stage = Stage::new(Setup { portals: 2, ..Setup::default() }).await;
    stage.config.fetch.request_timeout = Duration::from_secs(1);
    let running = stage.start().await;
    for portal in stage.sim.portals() {
        running.portal(&portal, |seen| seen["state"] == "active").await;
    }
    stage.broker.broker_down(1).expect("down");
    for portal in stage.sim.portals() {
        portal.backlog(40, 1);
        running.portal(&portal, |seen| seen["queues"][0]["held"] == 40).await;
    }
    // More than twice as long as a portal that is asked may say nothing.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let (_, health) = running.health().await;
        assert_eq!(health["portals_silent"], 0, "{health}");
        assert!(!health.to_string().contains("answers as it should"), "{health}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.broker.broker_up(1).expect("up");
    for portal in stage.sim.portals() {
        assert!(portal.wait_until_empty(PATIENCE).await);
    }
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_rests_since_a_limit_is_used_up_is_told_and_no_problem() {
    let mut stage = Stage::plain().await;
    stage.config.fetch.request_timeout = Duration::from_secs(1);
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.add_fault(Fault::new(Trouble::code("OPERATION_TIME_LIMIT")).on("event.offline.get").times(1));
    running.portal(&portal, |seen| seen["limits"]["rests_until"].is_number()).await;
    let begun = std::time::Instant::now();
    loop {
        let (status, health) = running.health().await;
        assert_eq!((status, &health["portals_silent"]), (200, &serde_json::json!(0)), "{health}");
        if health["warnings"].to_string().contains("at rest since a limit") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "never told: {health}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_may_not_be_written_is_a_problem_at_once() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    stage.broker.request_errors(RDKafkaApiKey::Produce, &[denied; 3]);
    portal.backlog(5, 1);
    let running = stage.start().await;
    let health = until_health(&running, 503).await;
    assert!(health["problems"].to_string().contains("cannot be written"), "{health}");
    running.portal(&portal, |seen| seen["queues"][0]["barred"] == true).await;
    stage.broker.clear_request_errors(RDKafkaApiKey::Produce);
    running.poll(&portal).await;
    assert!(portal.wait_until_empty(PATIENCE).await);
    until_health(&running, 200).await;
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loops_turn() {
    let stage = Stage::plain().await;
    let running = stage.start().await;
    assert_eq!(running.get("/live").await, (200, "live\n".to_owned()));
    running.stop().await.expect("a clean stop");
}
