//! Error rows that somebody else has put aside: counted, shown, and taken on request.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use b24kafka::sim::{Fate, Fault, Portal, Trouble};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::stage::{PATIENCE, Setup, Stage};

/// A call of somebody else with the same rights.
pub async fn call(portal: &Portal, method: &str, mut body: Value) -> Value {
    body["auth"] = portal.access_token().expose_secret().into();
    let url = format!("{}{method}", portal.endpoint());
    let answer = reqwest::Client::new().post(url).json(&body).send().await.expect("an answer");
    serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
}

/// Puts `rows` new rows aside, as a careless consumer does.
async fn put_aside(portal: &Portal, rows: usize, seed: u64) {
    portal.backlog(rows, seed);
    put_all_aside(portal, rows).await;
}

/// Puts all rows aside that there are.
async fn put_all_aside(portal: &Portal, rows: usize) {
    let taken = call(portal, "event.offline.get", json!({ "clear": 0, "limit": rows })).await;
    let events = taken["result"]["events"].as_array().expect("events");
    let messages: Vec<&Value> = events.iter().map(|event| &event["MESSAGE_ID"]).collect();
    assert_eq!(messages.len(), rows);
    let process = &taken["result"]["process_id"];
    call(portal, "event.offline.error", json!({ "process_id": process, "message_id": messages })).await;
    assert_eq!(portal.counts().errors, rows);
}

/// Every row is in Kafka and cleared, none was deleted otherwise, and nobody cleared or read carelessly. Returns how many
/// records say that they are late.
fn judge(stage: &Stage, portal: &Portal) -> usize {
    let records = tokio::task::block_in_place(|| stage.records());
    let there: BTreeSet<&str> = records.iter().map(|record| record.headers["ce_id"].as_str()).collect();
    for entry in portal.ledger().entries() {
        let id = format!("{}:{}:{}", portal.member_id(), entry.id, entry.changed_at);
        assert!(there.contains(id.as_str()), "row {} is lost", entry.id);
        assert!(matches!(entry.fate, Fate::Cleared(_)), "row {} is {:?}", entry.id, entry.fate);
    }
    let misuse = portal.misuse();
    let careless = misuse.destructive_gets + misuse.empty_clears + misuse.listless_clears + misuse.parallel_gets;
    assert_eq!(careless, 0, "{misuse:?}");
    records.iter().filter(|record| record.headers.contains_key("b24_late")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_rows_are_counted_and_shown_and_swept_only_on_request() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    put_aside(&portal, 230, 1).await;
    let running = stage.start().await;
    let seen = running.portal(&portal, |seen| seen["queues"][0]["error_rows"]["rows"] == 230).await;
    assert!(seen["queues"][0]["error_rows"]["counted_at"].as_f64().is_some_and(|at| at > 1.7e9), "{seen}");
    portal.backlog(20, 2);
    assert!(portal.wait_until(PATIENCE, |counts| counts.free + counts.reserved == 0).await);
    assert_eq!(portal.counts().errors, 230, "nobody asked for them");

    let (status, said) = running.act(&portal, "sweep-errors").await;
    assert_eq!((status, &said["rows"]["swept"], &said["rows"]["left"]), (200, &json!(230), &json!(0)), "{said}");
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.assert_conserved().await;
    assert!(running.metric("b24kafka_rows_held").await.abs() < 0.5);
    running.portal(&portal, |seen| seen["queues"][0]["error_rows"]["rows"] == 0).await;
    // The portal goes on, and objects that were silent are heard again.
    portal.backlog(10, 1);
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    let (status, said) = running.act(&portal, "sweep-errors").await;
    assert_eq!((status, &said["rows"]["swept"]), (200, &json!(0)), "{said}");
    running.stop().await.expect("a clean stop");
    assert_eq!(judge(&stage, &portal), 230, "newer rows had gone before them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_rows_without_a_usable_id_are_swept_too() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    for n in 0..10 {
        portal.emit("ONTASKUPDATE", &format!(r#"{{"FIELDS_AFTER":{{"ID":"{n}"}}}}"#), "");
    }
    put_all_aside(&portal, 10).await;
    portal.hide_ids(Some("ONTASKUPDATE"));
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["queues"][0]["error_rows"]["rows"] == 10).await;
    let (status, said) = running.act(&portal, "sweep-errors").await;
    assert_eq!((status, &said["rows"]["swept"], &said["rows"]["left"]), (200, &json!(10), &json!(0)), "{said}");
    running.assert_conserved().await;
    assert!((running.metric("b24kafka_dead_letters_total").await - 10.0).abs() < 0.5);
    running.stop().await.expect("a clean stop");
    let records = tokio::task::block_in_place(|| stage.records());
    for entry in portal.ledger().entries() {
        let holds = |record: &&super::records::Read| record.value.contains(&entry.message.to_string());
        assert_eq!(records.iter().filter(holds).count(), 1, "row {}", entry.id);
        assert!(matches!(entry.fate, Fate::Cleared(_)), "row {} is {:?}", entry.id, entry.fate);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_is_cut_short_loses_nothing_and_the_next_one_finds_the_rest() {
    let mut stage = Stage::new(Setup { kafka: "message_timeout = \"2s\"", ..Setup::default() }).await;
    // The queue itself reads nothing but what a take-over reads: the faults are for the sweeps.
    let rarely = Duration::from_secs(600);
    (stage.config.fetch.poll_min, stage.config.fetch.poll_max) = (rarely, rarely);
    let portal = stage.portal(0);
    put_aside(&portal, 60, 1).await;
    let gets = || portal.requests().calls["event.offline.get"];
    let running = stage.start().await;
    running.until(|| gets() == 2).await;
    running.portal(&portal, |seen| seen["queues"][0]["error_rows"]["rows"] == 60).await;

    portal.add_fault(Fault::new(Trouble::LostAnswer).on("event.offline.get").times(1));
    let (status, said) = running.act(&portal, "sweep-errors").await;
    assert_eq!((status, &said["rows"]["swept"], &said["rows"]["left"]), (200, &json!(0), &json!(60)), "{said}");
    assert!(said["message"].as_str().is_some_and(|said| said.contains("sweep again")), "{said}");
    assert_eq!(portal.counts().reserved, 60, "reserved, and nobody knows under which id");

    running.until(|| gets() == 4).await;
    stage.broker.broker_down(1).expect("down");
    let (status, said) = running.act(&portal, "sweep-errors").await;
    assert_eq!((status, &said["rows"]["held"], &said["rows"]["left"]), (200, &json!(50), &json!(60)), "{said}");
    stage.broker.broker_up(1).expect("up");
    portal.add_fault(Fault::new(Trouble::LostRequest).on("event.offline.clear").times(1));
    let begun = Instant::now();
    loop {
        let (status, said) = running.act(&portal, "sweep-errors").await;
        if said["rows"]["unconfirmed"] == 50 {
            break;
        }
        // The producer has not found the broker yet.
        assert_eq!((status, &said["rows"]["held"]), (200, &json!(50)), "{said}");
        assert!(begun.elapsed() < PATIENCE, "{said}");
    }
    assert_eq!(portal.counts().reserved, 60, "a clear that got lost is not taken for done");

    let (status, said) = running.act(&portal, "sweep-errors").await;
    assert_eq!((status, &said["rows"]["swept"], &said["rows"]["left"]), (200, &json!(60), &json!(0)), "{said}");
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
    judge(&stage, &portal);
}
