//! What Kafka does to the bridge.

use std::time::{Duration, Instant};

use b24kafka::sim::{Fate, Portal};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::stage::{PATIENCE, Setup, Stage};

fn cleared(portal: &Portal) -> usize {
    portal.ledger().entries().iter().filter(|entry| matches!(entry.fate, Fate::Cleared(_))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_broker_delay_and_lose_nothing() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let retriable = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    let running = stage.start().await;
    portal.backlog(500, 1);
    stage.broker.request_errors(RDKafkaApiKey::Produce, &[retriable, retriable, refused, retriable]);
    portal.backlog(1_500, 2);
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.assert_conserved().await;
    assert!(running.metric("b24kafka_produce_failures_total{class=\"route\"}").await >= 1.0, "the refusal was met");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_cleared_while_the_broker_is_away_and_health_tells_the_truth() {
    let stage = Stage::new(Setup { kafka: "message_timeout = \"3s\"", ..Setup::default() }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    portal.backlog(200, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    assert_eq!(running.get("/health").await.0, 200);
    stage.broker.broker_down(1).expect("down");
    let before = cleared(&portal);
    portal.backlog(300, 2);
    let begun = Instant::now();
    while running.get("/health").await.0 != 503 {
        assert!(begun.elapsed() < Duration::from_secs(15), "/health does not tell");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Longer than the message time-out: the records have failed and are produced again.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cleared(&portal), before, "nothing was acknowledged, so nothing is cleared");
    assert!(portal.counts().reserved > 0 && portal.counts().reserved <= 1000, "{:?}", portal.counts());
    assert_eq!(running.get("/ready").await.0, 200, "ready is a latch");
    running.assert_conserved().await;
    stage.broker.broker_up(1).expect("up");
    assert!(portal.wait_until_empty(PATIENCE).await, "it goes on by itself");
    let begun = Instant::now();
    while running.get("/health").await.0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "/health does not tell that the broker is back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    running.stop().await.expect("a clean stop");
    let (records, _) = stage.judge();
    assert!(records.iter().any(|record| record.headers.contains_key("b24_redelivery")), "produced again, and marked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_too_large_becomes_a_dead_letter_and_its_neighbours_arrive() {
    let stage =
        Stage::new(Setup { kafka: "options = { \"message.max.bytes\" = \"20000\" }", ..Setup::default() }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    portal.backlog(20, 1);
    let large = format!(r#"{{"FIELDS":{{"ID":"77","TITLE":"{}"}}}}"#, "x".repeat(30_000));
    let row = portal.emit("ONCRMDEALUPDATE", &large, "");
    portal.backlog(20, 2);
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.assert_conserved().await;
    assert!((running.metric("b24kafka_dead_letters_total{reason=\"too_large\"}").await - 1.0).abs() < 0.5);
    running.stop().await.expect("a clean stop");
    let (records, _) = stage.judge();
    let dead: Vec<_> = records.iter().filter(|record| record.topic == "bitrix24.dead-letter").collect();
    let [letter] = dead.as_slice() else { panic!("one dead letter: {dead:?}") };
    assert_eq!(letter.key, format!("{}:{row}", portal.member_id()));
    assert_eq!(letter.headers["b24_reason"], "too_large");
    let value: serde_json::Value = serde_json::from_str(&letter.value).expect("JSON");
    assert_eq!(value["row"]["EVENT_DATA"]["bytes"], large.len());
    assert_eq!(value["topic"], "bitrix24.crm.deal");
    assert!(value["row"]["EVENT_DATA"]["head"].as_str().is_some_and(|head| large.starts_with(head)), "{value}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_produce_batch_that_is_refused_only_the_row_at_fault_becomes_a_dead_letter() {
    // One partition, and time for all rows to be in one request.
    let kafka = "key = \"{member_id}\"\noptions = { \"linger.ms\" = \"50\" }";
    let stage = Stage::new(Setup { kafka, ..Setup::default() }).await;
    let portal = stage.portal(0);
    for id in 0..10 {
        portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
    }
    // The whole request, and then the first row that comes alone.
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    stage.broker.request_errors(RDKafkaApiKey::Produce, &[refused, refused]);
    let running = stage.start().await;
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.assert_conserved().await;
    let failures = running.metric("b24kafka_produce_failures_total{class=\"record\"}").await;
    assert!((failures - 11.0).abs() < 0.5, "ten together and one alone: {failures}");
    running.stop().await.expect("a clean stop");
    let (records, _) = stage.judge();
    let dead: Vec<&str> =
        records.iter().filter(|r| r.topic == "bitrix24.dead-letter").map(|r| r.key.as_str()).collect();
    assert_eq!(dead, [format!("{}:1", portal.member_id())], "the first row, which was refused alone too");
    assert_eq!(records.iter().filter(|record| record.topic == "bitrix24.crm.deal").count(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_topic_without_a_right_wait_until_it_is_granted_and_the_others_pass() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    stage.broker.topic_error("bitrix24.task", denied).expect("a topic");
    for id in 0..20 {
        portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
        portal.emit("ONTASKUPDATE", &format!(r#"{{"FIELDS_AFTER":{{"ID":"{id}"}}}}"#), "");
    }
    let running = stage.start().await;
    assert!(portal.wait_until(PATIENCE, |counts| counts.free == 0 && counts.reserved == 20).await, "the deals pass");
    running.metric_reaches("b24kafka_produce_failures_total{class=\"route\"}", 20.0).await;
    running.assert_conserved().await;
    let ledger = portal.ledger();
    let left = ledger.entries().iter().filter(|entry| entry.fate.is_there());
    assert!(left.into_iter().all(|entry| &*entry.event == "ONTASKUPDATE"), "{ledger:?}");
    stage.broker.topic_error("bitrix24.task", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).expect("a topic");
    assert!(portal.wait_until_empty(PATIENCE).await, "the right is granted: {:?}", portal.counts());
    running.stop().await.expect("a clean stop");
    let (records, _) = stage.judge();
    assert!(records.iter().all(|record| record.topic != "bitrix24.dead-letter"), "no row was at fault");
}
