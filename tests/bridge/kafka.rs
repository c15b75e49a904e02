//! What Kafka does to the bridge.

use std::time::{Duration, Instant};

use b24kafka::sim::{Fate, Limits, Portal};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::stage::{PATIENCE, Stage};

fn cleared(portal: &Portal) -> usize {
    portal.ledger().entries().iter().filter(|entry| matches!(entry.fate, Fate::Cleared(_))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_broker_delay_and_lose_nothing() {
    let stage = Stage::new(1, Limits::UNLIMITED, "").await;
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
    let stage = Stage::new(1, Limits::UNLIMITED, "# kafka\nmessage_timeout = \"3s\"\n").await;
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
    let stage = Stage::new(1, Limits::UNLIMITED, "# kafka\noptions = { \"message.max.bytes\" = \"20000\" }\n").await;
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
