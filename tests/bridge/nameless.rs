//! Rows without a usable `ID`: each is a dead letter, and gone from the portal after it, beside all other rows.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use b24kafka::sim::{Entry, Fate, Fault, Portal, Trouble};
use rdkafka::types::RDKafkaRespErr;
use serde_json::{Value, json};

use super::{
    records::Read,
    stage::{PATIENCE, Running, Setup, Stage, tick},
};

const RESERVATIONS: &str = "rest_offline_extended";
/// Its rows come without their `ID`.
const NAMELESS: &str = "ONTASKUPDATE";
const LETTERS: &str = "b24kafka_dead_letters_total{reason=\"malformed_row\"}";

/// So many deals and tasks in turn; the tasks have no names.
fn change(portal: &Portal, objects: std::ops::Range<usize>) {
    portal.hide_ids(Some(NAMELESS));
    for n in objects {
        portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{n}"}}}}"#), "");
        portal.emit(NAMELESS, &format!(r#"{{"FIELDS_AFTER":{{"ID":"{n}"}}}}"#), "");
    }
}

fn nameless(portal: &Portal) -> Vec<Entry> {
    portal.ledger().entries().iter().filter(|entry| &*entry.event == NAMELESS).cloned().collect()
}

/// The dead letters of rows that have no names, by message.
fn letters(stage: &Stage) -> BTreeMap<String, Vec<(Read, Value)>> {
    let mut letters: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for record in tokio::task::block_in_place(|| stage.records()) {
        if record.topic == "bitrix24.dead-letter" {
            let value: Value = serde_json::from_str(&record.value).expect("JSON");
            let message = value["row"]["MESSAGE_ID"].as_str().unwrap_or_default().to_owned();
            letters.entry(message).or_default().push((record, value));
        }
    }
    letters
}

/// Each row without a name has so many dead letters that hold it whole; every other row has its record.
fn judge(stage: &Stage, portal: &Portal, times: usize) {
    let letters = letters(stage);
    for entry in nameless(portal) {
        let of = letters.get(&entry.message.to_string()).unwrap_or_else(|| panic!("row {} is lost", entry.id));
        assert_eq!(of.len(), times, "row {}", entry.id);
        for (record, value) in of {
            assert_eq!(record.headers["b24_reason"], "malformed_row");
            assert_eq!(
                (&value["reason"], &value["detail"]),
                (&json!("malformed_row"), &json!("ID is no positive number"))
            );
            assert_eq!((&value["row"]["EVENT_NAME"], &value["topic"]), (&json!(NAMELESS), &Value::Null));
            assert!(value["row"]["EVENT_DATA"]["FIELDS_AFTER"]["ID"].is_string(), "{value}");
            let key = record.key.strip_prefix(&format!("{}:", portal.member_id())).expect("the portal's");
            assert!(key.len() == 32 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
            assert_eq!(record.key, of[0].0.key, "the same each time");
        }
    }
    let records = tokio::task::block_in_place(|| stage.records());
    for entry in portal.ledger().entries().iter().filter(|entry| &*entry.event != NAMELESS) {
        let id = format!("{}:{}:{}", portal.member_id(), entry.id, entry.changed_at);
        assert!(records.iter().any(|record| record.headers.get("ce_id") == Some(&id)), "row {} is lost", entry.id);
    }
    let misuse = portal.misuse();
    assert!(misuse.is_clean(), "{misuse:?}");
}

/// Puts the portal's clock forward until nothing is left there.
async fn until_empty(portal: &Portal) {
    let begun = Instant::now();
    while !portal.wait_until_empty(Duration::from_secs(1)).await {
        portal.advance(Duration::from_secs(10));
        assert!(begun.elapsed() < PATIENCE, "{:?}", portal.counts());
    }
}

async fn healthy(running: &Running) -> Value {
    let (status, health) = running.health().await;
    assert_eq!(status, 200, "{health}");
    health
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reserved_row_without_a_name_is_a_dead_letter_and_then_cleared() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    change(&portal, 0..30);
    // One clear is refused, and the answer to another is lost: neither makes a second dead letter.
    let running = stage.start().await;
    portal.add_fault(Fault::new(Trouble::LostAnswer).on("event.offline.clear").after(1).times(1));
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.metric_reaches("b24kafka_rows_cleared_total", 60.0).await;
    assert!((running.metric(LETTERS).await - 30.0).abs() < 0.5);
    assert!(running.metric("b24kafka_rows_unreadable_total").await > 29.5);
    assert!(running.metric("b24kafka_rows_held").await.abs() < 0.5);
    running.assert_conserved().await;
    assert!(nameless(&portal).iter().all(|entry| matches!(entry.fate, Fate::Cleared(_))));
    let health = healthy(&running).await;
    assert!(!health["warnings"].to_string().contains("usable ID"), "they are done with: {health}");
    let seen = running.portal(&portal, |seen| seen["queues"][0]["unconfirmed"] == 0).await;
    assert_eq!(seen["rows_stuck"], 0, "{seen}");
    let (_, page) = running.get("/").await;
    assert!(page.contains("without an ID"), "{page}");
    running.stop().await.expect("a clean stop");
    judge(&stage, &portal, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_row_without_a_name_is_looked_at_and_then_deleted() {
    let stage = Stage::new(Setup { fetch: "request_timeout = \"2s\"", ..Setup::default() }).await;
    let portal = stage.portal(0);
    portal.set_feature(RESERVATIONS, false);
    change(&portal, 0..30);
    portal.advance(Duration::from_secs(10));
    let running = stage.start().await;
    until_empty(&portal).await;
    running.assert_conserved().await;
    assert!(nameless(&portal).iter().all(|entry| entry.fate == Fate::Got));
    let health = healthy(&running).await;
    assert!(!health["warnings"].to_string().contains("usable ID"), "{health}");
    running.stop().await.expect("a clean stop");
    judge(&stage, &portal, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_heeds_no_message_is_asked_to_delete_nothing_by_it() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.set_feature(RESERVATIONS, false);
    portal.heed_messages(false);
    change(&portal, 0..3);
    portal.advance(Duration::from_secs(10));
    let running = stage.start().await;
    let seen = running.portal(&portal, |seen| seen["rows_stuck"] == 3).await;
    assert_eq!(seen["mode"], "conditional", "{seen}");
    let begun = Instant::now();
    while portal.counts().free > 3 {
        portal.advance(Duration::from_secs(10));
        assert!(begun.elapsed() < PATIENCE, "{:?}", portal.counts());
        tick().await;
    }
    assert!(nameless(&portal).iter().all(|entry| entry.fate == Fate::Free), "{:?}", portal.ledger());
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
    judge(&stage, &portal, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_row_that_changes_before_its_deletion_is_published_again() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.set_feature(RESERVATIONS, false);
    portal.hide_ids(Some(NAMELESS));
    let data = r#"{"FIELDS_AFTER":{"ID":"7"}}"#;
    let row = portal.emit(NAMELESS, data, "");
    portal.advance(Duration::from_secs(10));
    // The portal chooses what to delete, and deletes it much later.
    portal.add_fault(Fault::new(Trouble::Split(Duration::from_secs(2))).on("event.offline.get").times(1));
    let running = stage.start().await;
    running.until(|| portal.requests().faults.contains_key("split")).await;
    assert_eq!(portal.emit(NAMELESS, data, ""), row, "merged into the row that is being deleted");
    running.metric_reaches(LETTERS, 2.0).await;
    assert_eq!(portal.ledger().entry(row).expect("a row").fate, Fate::Got);
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
    let letters = letters(&stage);
    let of = &letters[&nameless(&portal)[0].message.to_string()];
    assert_ne!(of[0].0.key, of[1].0.key, "another change is another row");
    assert_ne!(of[0].1["row"]["TIMESTAMP_X"], of[1].1["row"]["TIMESTAMP_X"]);
    assert!(portal.misuse().is_clean(), "{:?}", portal.misuse());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_brings_its_rows_without_names_loses_none_of_them() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.set_feature(RESERVATIONS, false);
    portal.backlog(40, 1);
    portal.advance(Duration::from_secs(10));
    portal.add_fault(Fault::new(Trouble::Without("ID")).on("event.offline.get"));
    let running = stage.start().await;
    until_empty(&portal).await;
    running.metric_reaches(LETTERS, 40.0).await;
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
    stage.judge();
    assert_eq!(letters(&stage).values().map(Vec::len).sum::<usize>(), 40, "what nobody can compare is published again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_topic_that_cannot_be_written_holds_them_and_nothing_else() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    let running = stage.start().await;
    running.answers("/ready", 200).await;
    stage.broker.topic_error("bitrix24.dead-letter", denied).expect("an error");
    change(&portal, 0..10);
    running.metric_reaches("b24kafka_rows_cleared_total", 10.0).await;
    let seen = running.portal(&portal, |seen| seen["queues"][0]["held"] == 10).await;
    assert_eq!(portal.counts().reserved, 10, "{seen}");
    running.answers("/health", 503).await;
    let (_, health) = running.health().await;
    assert!(health["problems"].to_string().contains("topic"), "{health}");
    // What comes later is not held up.
    for n in 100..150 {
        portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{n}"}}}}"#), "");
    }
    running.metric_reaches("b24kafka_rows_cleared_total", 60.0).await;
    running.assert_conserved().await;
    assert!((running.metric("b24kafka_rows_held").await - 10.0).abs() < 0.5);
    stage.broker.topic_error("bitrix24.dead-letter", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).expect("none");
    running.act(&portal, "resume").await;
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.answers("/health", 200).await;
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
    judge(&stage, &portal, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nothing_names_is_told_once_in_each_life_and_stays_at_the_portal() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.hide_ids(Some(NAMELESS));
    for n in 0..3 {
        portal.emit(NAMELESS, &format!(r#"{{"FIELDS_AFTER":{{"ID":"{n}"}}}}"#), "");
    }
    for life in 1..=2 {
        // An unknown outcome has the reservations looked through again. The first fault that fits is the one that strikes.
        portal.clear_faults();
        portal.add_fault(Fault::new(Trouble::LostAnswer).on("event.offline.get").after(5).times(1));
        portal.add_fault(Fault::new(Trouble::Without("MESSAGE_ID")));
        let running = stage.start().await;
        let seen = running.portal(&portal, |seen| seen["rows_stuck"] == 3).await;
        assert!(seen["rows_unreadable"].as_u64() >= Some(3), "{seen}");
        let health = healthy(&running).await;
        assert!(health["warnings"].to_string().contains("could not be removed at the portal"), "{health}");
        assert_eq!(portal.counts().reserved, 3);
        running.until(|| portal.requests().faults.get("lost-answer") == Some(&life)).await;
        let before = portal.requests().calls["event.offline.list"];
        running.until(|| portal.requests().calls["event.offline.list"] > before).await;
        for _ in 0..10 {
            tick().await;
        }
        assert!((running.metric(LETTERS).await - 3.0).abs() < 0.5, "life {life}");
        running.assert_conserved().await;
        running.stop().await.expect("a clean stop");
    }
    assert_eq!(letters(&stage)[""].len(), 6);
    // As soon as something names them they go.
    portal.clear_faults();
    let running = stage.start().await;
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.stop().await.expect("a clean stop");
    assert!(portal.misuse().is_clean(), "{:?}", portal.misuse());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_nothing_but_them_does_not_end_a_listing() {
    for conditional in [false, true] {
        let mut stage = Stage::plain().await;
        // Nothing is left to time: where rows are removed there may be more.
        (stage.config.fetch.poll_min, stage.config.fetch.poll_max) = (PATIENCE, PATIENCE);
        let portal = stage.portal(0);
        portal.set_feature(RESERVATIONS, !conditional);
        portal.hide_ids(Some(NAMELESS));
        for n in 0..170 {
            portal.emit(NAMELESS, &format!(r#"{{"FIELDS_AFTER":{{"ID":"{n}"}}}}"#), "");
        }
        for n in 0..20 {
            portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{n}"}}}}"#), "");
        }
        portal.advance(Duration::from_secs(10));
        // In the one mode a scan finds them, in the other a listing.
        portal.add_fault(Fault::new(Trouble::LostAnswer).on("event.offline.get").times(1));
        let running = stage.start().await;
        until_empty(&portal).await;
        running.assert_conserved().await;
        running.stop().await.expect("a clean stop");
        judge(&stage, &portal, 1);
    }
}
