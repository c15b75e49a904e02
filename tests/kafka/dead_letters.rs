//! Rows that can never become a record, on a real broker: what the topic's own limit refuses, what the broker refuses as
//! invalid, what cannot be read, and a dead-letter topic that takes nothing.

use std::time::{Duration, Instant};

use b24kafka::sim::{Fate, Portal};
use serde_json::{Value, json};

use super::{
    PATIENCE, Stage,
    spoiler::{POISON, Spoiler},
    support::{broker::Options, judge::judge, reader::ReadRecord},
};

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
    health_tells_of_a_topic(&stage).await;
    let ledger = portal.ledger();
    let held = ledger.entries().iter().find(|entry| entry.id == nameless).expect("the row");
    assert!(matches!(held.fate, Fate::Reserved(_)), "nothing is dropped: {held:?}");
    let told = stage.bridge.log();
    assert!(told.lines().any(|line| line.contains(LETTERS)), "the log names the topic:\n{told}");
    alter(&stage, LETTERS, "max.message.bytes", "1000000");
    stage.drained().await;
    tokio::task::block_in_place(|| stage.bridge.stop());
    let records = stage.records();
    assert_eq!(letters(&portal, &records, nameless).len(), 1);
    assert_eq!(deals(&records), 11);
}

/// Waits until `/health` says that rows wait for a topic.
async fn health_tells_of_a_topic(stage: &Stage) {
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
}

/// Sets a property of a topic; `value` is empty to take it back.
fn alter(stage: &Stage, topic: &str, name: &str, value: &str) {
    let change = if value.is_empty() { name.to_owned() } else { format!("{name}={value}") };
    let verb = if value.is_empty() { "--delete-config" } else { "--add-config" };
    let whose = ["--alter", "--entity-type", "topics", "--entity-name", topic, verb, &change];
    tokio::task::block_in_place(|| stage.broker.tool("kafka.admin.ConfigCommand", &whose));
}

/// The rows of the records of a key, in the order of the partition.
fn rows_of(records: &[ReadRecord], entity_id: &str) -> Vec<u64> {
    let of = |record: &&ReadRecord| record.topic == DEALS && record.json()["entity_id"] == entity_id;
    records.iter().filter(of).map(|record| record.json()["row_id"].as_u64().expect("a row")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_refuses_as_invalid_becomes_dead_letters_among_its_neighbours() {
    let spoiler = Spoiler::open().await;
    let options = Options::new().property("advertised.listeners", spoiler.advertised());
    let mut stage = Stage::with(&options, "", "compression = \"none\"\n").await;
    spoiler.lead_to(&stage.broker.bootstrap());
    let portal = stage.portal();
    // One partition and one reservation: all of it is one batch, or few.
    stage.broker.create_topic(DEALS, 1, 1, &[("cleanup.policy", "compact")]).await;
    let change = |id: u32, title: &str| {
        portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}","TITLE":"{title}"}}}}"#), "")
    };
    let round = |title: &str| (1..=5).map(|id| change(id, title)).collect::<Vec<_>>();
    let mut good = [round("first"), round("second")].concat();
    // The broker names the records at fault. Of several it says more of their neighbours than of one.
    let poison = [3, 5].map(|id| (id, change(id, POISON)));
    good.extend([round("third"), round("fourth")].concat());
    stage.start();
    spoiler.letter().await;
    for (_, row) in poison {
        let ledger = portal.ledger();
        let held = ledger.entry(row).expect("the row");
        assert!(matches!(held.fate, Fate::Reserved(_)), "its letter is not acknowledged: {held:?}");
    }
    let of = |reason: &str| stage.bridge.metric(&format!("b24kafka_dead_letters_total{{reason=\"{reason}\"}}"));
    assert_eq!(of("invalid_record"), 0.0, "not yet");
    stage.bridge.assert_conserved();
    spoiler.release();
    stage.drained().await;
    assert_eq!(
        [of("invalid_record"), of("too_large"), of("malformed_row"), stage.bridge.metric("b24kafka_rows_held")],
        [2.0, 0.0, 0.0, 0.0]
    );
    stage.bridge.assert_conserved();
    let acknowledged = stage.bridge.metric("b24kafka_records_acknowledged_total");
    assert_eq!(acknowledged, 20.0, "all but the two");
    assert!(spoiler.spoiled() >= 4, "once among others, and once alone");
    let failed = |class| stage.bridge.metric(&format!("b24kafka_produce_failures_total{{class=\"{class}\"}}"));
    assert!(failed("record") > 2.0, "its neighbours were refused with it: {}", failed("record"));
    assert_eq!([failed("passing"), failed("route")], [0.0; 2], "nothing is wrong with the broker");
    tokio::task::block_in_place(|| stage.bridge.stop());
    let records = stage.records();
    judge(&portal, &records, stage.bridge.lives()).assert_good();
    for id in 1..=5 {
        let id = id.to_string();
        let mine: Vec<u64> = good.iter().skip(id.parse::<usize>().expect("a number") - 1).step_by(5).copied().collect();
        assert_eq!(rows_of(&records, &id), mine, "each once and in order");
    }
    for (id, row) in poison {
        let [letter] = letters(&portal, &records, row)[..] else { panic!("one letter of row {row}: {records:?}") };
        assert_eq!(letter.header("b24_reason"), Some("invalid_record"));
        let value = letter.json();
        let said = ["reason", "detail", "topic", "connector"].map(|name| value[name].as_str().unwrap_or_default());
        assert_eq!(said, ["invalid_record", "the broker refused the record", DEALS, ""]);
        let whole = json!({ "FIELDS": { "ID": id.to_string(), "TITLE": POISON } });
        assert_eq!(value["row"]["EVENT_DATA"], whole, "nothing is left out");
        assert!(letter.header("ce_id").is_some_and(|id| id.contains(&format!(":{row}:"))), "{letter:?}");
    }
    assert!(portal.misuse().is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_with_a_row_it_becomes_a_dead_letter_among_its_neighbours() {
    const TIME: &str = r#""TIMESTAMP_X":"2026-11-24T13:15:30+03:00""#;
    const NAME: &str = r#""EVENT_NAME":"ONCRMDEALUPDATE""#;
    const DATA: &str = r#""EVENT_DATA":{"FIELDS":{"ID":"1"},"AUTH":{"access_token":"made-up"}}"#;
    const MESSAGE: &str = r#""MESSAGE_ID":"0123456789abcdef0123456789abcdef""#;
    let mut stage = Stage::build("").await;
    let portal = stage.portal();
    let mut odd = Vec::new();
    for (number, (members, detail)) in [
        ([r#""TIMESTAMP_X":"yesterday""#, NAME, DATA, MESSAGE], "TIMESTAMP_X is no ISO 8601 time with an offset"),
        (
            [r#""TIMESTAMP_X":"2026-11-24T13:15:30""#, NAME, DATA, MESSAGE],
            "TIMESTAMP_X is no ISO 8601 time with an offset",
        ),
        ([r#""TIMESTAMP_X":null"#, NAME, DATA, MESSAGE], "TIMESTAMP_X is no text"),
        ([TIME, r#""WHAT":"else""#, DATA, MESSAGE], "EVENT_NAME is no text"),
        ([TIME, r#""EVENT_NAME":["ONCRMDEALUPDATE"]"#, DATA, MESSAGE], "EVENT_NAME is no text"),
        ([TIME, NAME, r#""EVENT_DATA":"a text""#, MESSAGE], "EVENT_DATA is neither an object, a list nor empty"),
        ([TIME, NAME, r#""EVENT_DATA":true"#, MESSAGE], "EVENT_DATA is neither an object, a list nor empty"),
        ([TIME, NAME, DATA, r#""MESSAGE_ID":17"#], "MESSAGE_ID is no text"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = u32::try_from(number + 1).expect("few");
        deal(&portal, id, 10);
        odd.push((portal.emit_odd(&members.join(","), ""), members.join(","), detail));
        deal(&portal, id, 20);
    }
    // Far in the past, which is odd and no fault.
    let old = format!(r#""TIMESTAMP_X":"2001-02-03T04:05:06+03:00",{NAME},{DATA},{MESSAGE}"#);
    let old = portal.emit_odd(&old, "");
    stage.start();
    stage.drained().await;
    let of = |reason: &str| stage.bridge.metric(&format!("b24kafka_dead_letters_total{{reason=\"{reason}\"}}"));
    assert_eq!([of("malformed_row"), of("invalid_record"), of("too_large")], [8.0, 0.0, 0.0]);
    stage.bridge.assert_conserved();
    tokio::task::block_in_place(|| stage.bridge.stop());
    let records = stage.records();
    assert_eq!(deals(&records), 17, "the neighbours arrive, and what is merely old");
    for id in 1..=8 {
        let rows = rows_of(&records, &id.to_string());
        let rows: Vec<u64> = rows.into_iter().filter(|row| *row != old).collect();
        assert!(rows.len() == 2 && rows[0] < rows[1], "each once and in order: {rows:?}");
    }
    let aged = records.iter().find(|record| record.topic == DEALS && record.json()["row_id"] == old).expect("a record");
    assert_eq!(aged.header("ce_time"), Some("2001-02-03T01:05:06Z"));
    for (row, members, detail) in odd {
        let [letter] = letters(&portal, &records, row)[..] else { panic!("one letter of row {row}") };
        let value = letter.json();
        assert_eq!(
            (letter.header("b24_reason"), value["reason"].as_str()),
            (Some("malformed_row"), Some("malformed_row"))
        );
        assert_eq!((value["detail"].as_str(), &value["topic"]), (Some(detail), &Value::Null));
        let whole: Value = serde_json::from_str(&format!(r#"{{"ID":"{row}",{members}}}"#)).expect("JSON");
        assert_eq!(value["row"], redacted(whole), "nothing else is left out");
    }
    assert!(portal.misuse().is_clean());
}

/// What is left of a row's tokens.
fn redacted(mut row: Value) -> Value {
    if let Some(auth) = row.get_mut("EVENT_DATA").and_then(|data| data.get_mut("AUTH")) {
        *auth = json!("[redacted]");
    }
    row
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_time_the_broker_does_not_believe_is_held_and_is_no_dead_letter() {
    let mut stage = Stage::build("").await;
    let portal = stage.portal();
    // Every record is older than this when it arrives, as if the clocks of bridge and broker were apart.
    stage.broker.create_topic(DEALS, 1, 1, &[("message.timestamp.before.max.ms", "0")]).await;
    for id in 0..10 {
        deal(&portal, id, 0);
        portal.emit("ONCRMCONTACTUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
    }
    stage.start();
    let settled = |counts: b24kafka::sim::Counts| counts.free == 0 && counts.reserved == 10;
    assert!(portal.wait_until(PATIENCE, settled).await, "the contacts pass:\n{}", stage.bridge.log());
    health_tells_of_a_topic(&stage).await;
    let said = stage.bridge.log();
    let told = |line: &str| line.contains("WARN") && line.contains(DEALS) && line.contains("clocks");
    assert!(said.lines().any(told), "the log says why:\n{said}");
    assert_eq!(stage.bridge.metric("b24kafka_dead_letters_total"), 0.0);
    alter(&stage, DEALS, "message.timestamp.before.max.ms", "");
    stage.drained().await;
    stage.bridge.assert_conserved();
    tokio::task::block_in_place(|| stage.bridge.stop());
    let records = stage.records();
    judge(&portal, &records, stage.bridge.lives()).assert_good();
    assert_eq!(deals(&records), 10);
    assert!(records.iter().all(|record| record.topic != LETTERS), "no row was at fault");
}
