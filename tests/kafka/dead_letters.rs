//! Rows that can never become a record, on a real broker: what the topic's own limit refuses, what cannot be read, and a
//! dead-letter topic that takes nothing.

use std::time::{Duration, Instant};

use b24kafka::sim::{Fate, Portal};

use super::{PATIENCE, Stage, support::reader::ReadRecord};

const LETTERS: &str = "bitrix24.dead-letter";
const DEALS: &str = "bitrix24.crm.deal";

/// A text that no compression makes smaller than half: the topic's limit is one of compressed batches.
fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let digit = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_digit((state >> 60) as u32, 16).expect("a digit")
    };
    (0..length).map(digit).collect()
}

fn deal(portal: &Portal, id: u32, title: usize) -> u64 {
    portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}","TITLE":"{}"}}}}"#, noise(title)), "")
}

fn letters<'a>(portal: &Portal, records: &'a [ReadRecord], row: u64) -> Vec<&'a ReadRecord> {
    let key = format!("{}:{row}", portal.member_id());
    records.iter().filter(|record| record.topic == LETTERS && record.key.as_deref() == Some(&key)).collect()
}

fn deals(records: &[ReadRecord]) -> usize {
    records.iter().filter(|record| record.topic == DEALS).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_topic_refuses_and_what_cannot_be_read_become_dead_letters_and_block_nothing() {
    let mut stage = Stage::build("").await;
    let portal = stage.portal();
    stage.broker.create_topic(DEALS, 1, 1, &[("max.message.bytes", "20000")]).await;
    for id in 0..50 {
        deal(&portal, id, 0);
    }
    let large = deal(&portal, 100, 50_000);
    let nameless = portal.emit("", r#"{"FIELDS":{"ID":"7"}}"#, "");
    // No broker takes this one with its data, under whatever reason.
    let heavy = portal.emit("", &format!(r#"{{"FIELDS":"{}"}}"#, noise(2_000_000)), "");
    // Nor this one with the id of its deal in a header.
    let endless = portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{}"}}}}"#, noise(2_000_000)), "");
    for id in 200..250 {
        deal(&portal, id, 0);
    }
    stage.start();
    stage.drained().await;
    let of = |reason: &str| stage.bridge.metric(&format!("b24kafka_dead_letters_total{{reason=\"{reason}\"}}"));
    assert_eq!([of("too_large"), of("malformed_row"), stage.bridge.metric("b24kafka_rows_held")], [3.0, 1.0, 0.0]);
    tokio::task::block_in_place(|| stage.bridge.stop());
    let records = stage.records();
    assert_eq!(deals(&records), 100, "the neighbours arrive");
    let [letter] = letters(&portal, &records, large)[..] else { panic!("one letter of row {large}: {records:?}") };
    let value = letter.json();
    assert_eq!((letter.header("b24_reason"), value["topic"].as_str()), (Some("too_large"), Some(DEALS)));
    assert!(value["row"]["EVENT_DATA"]["bytes"].as_u64() > Some(50_000), "{value}");
    let [letter] = letters(&portal, &records, nameless)[..] else { panic!("one letter of row {nameless}") };
    assert_eq!(letter.header("b24_reason"), Some("malformed_row"));
    assert_eq!(letter.json()["row"]["EVENT_DATA"]["FIELDS"]["ID"], "7");
    for row in [heavy, endless] {
        let [letter] = letters(&portal, &records, row)[..] else { panic!("one letter of row {row}") };
        let value = letter.json();
        assert!(value["row"]["bytes"].as_u64() > Some(2_000_000) && value["row"]["sha256"].is_string(), "{value}");
    }
    assert!(stage.portal().misuse().is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_topic_that_takes_nothing_holds_its_row_and_says_so() {
    let mut stage = Stage::build("").await;
    let portal = stage.portal();
    stage.broker.create_topic(LETTERS, 1, 1, &[("max.message.bytes", "100")]).await;
    deal(&portal, 1, 0);
    let nameless = portal.emit("", r#"{"FIELDS":{"ID":"7"}}"#, "");
    stage.start();
    let settled = |counts: b24kafka::sim::Counts| counts.free == 0 && counts.reserved == 1;
    assert!(portal.wait_until(PATIENCE, settled).await, "the deal passes:\n{}", stage.bridge.log());
    for id in 10..20 {
        deal(&portal, id, 0);
    }
    let begun = Instant::now();
    loop {
        let (status, said) = stage.bridge.get("/health").expect("an answer");
        if status == 503 {
            assert!(said.contains("cannot be written"), "{said}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "/health does not say it: {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ledger = portal.ledger();
    let held = ledger.entries().iter().find(|entry| entry.id == nameless).expect("the row");
    assert!(matches!(held.fate, Fate::Reserved(_)), "nothing is dropped: {held:?}");
    let told = stage.bridge.log();
    assert!(told.lines().any(|line| line.contains(LETTERS)), "the log names the topic:\n{told}");
    let config = ["--alter", "--entity-type", "topics", "--entity-name", LETTERS, "--add-config"];
    let config: Vec<&str> = config.into_iter().chain(["max.message.bytes=1000000"]).collect();
    tokio::task::block_in_place(|| stage.broker.tool("kafka.admin.ConfigCommand", &config));
    stage.drained().await;
    tokio::task::block_in_place(|| stage.bridge.stop());
    let records = stage.records();
    assert_eq!(letters(&portal, &records, nameless).len(), 1);
    assert_eq!(deals(&records), 11);
}
