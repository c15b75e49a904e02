//! How long a row takes from the portal to a reader of Kafka.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use b24kafka::sim::Limits;
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{Consumer as _, StreamConsumer},
};
use serde_json::{Value, json};

use crate::stage;

const CHANGES: usize = 60;
/// Not a divisor of the poll interval, so that changes fall everywhere between two polls.
const PAUSE: Duration = Duration::from_millis(317);

/// An idle queue that polls once a second.
pub async fn polled(bootstrap: &str) -> Value {
    run(bootstrap, "bench-polled", false).await
}

/// Each change is followed by a wake-up.
pub async fn woken(bootstrap: &str) -> Value {
    run(bootstrap, "bench-woken", true).await
}

async fn run(bootstrap: &str, family: &str, wake: bool) -> Value {
    let (sim, portal) = stage::portal(Limits::UNLIMITED).await;
    let mut bridge = stage::bridge(&sim, bootstrap, family, "unlimited");
    let change = |id: usize| portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
    change(1_000_000);
    tokio::task::block_in_place(|| {
        bridge.start();
        bridge.wait_ready();
    });
    assert!(portal.wait_until_empty(Duration::from_secs(60)).await, "the first row is left:\n{}", bridge.log());
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", family)
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "5")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[&format!("{family}.crm.deal")]).expect("subscribed");
    // The group has settled when the first row arrives.
    consumer.recv().await.expect("the first record");
    let reading = tokio::spawn(async move {
        let mut seen = HashMap::new();
        while seen.len() < CHANGES {
            let message = consumer.recv().await.expect("a record");
            let key = String::from_utf8_lossy(message.key().expect("a key")).into_owned();
            let id: usize = key.rsplit(':').next().and_then(|id| id.parse().ok()).expect("an id");
            seen.entry(id).or_insert_with(Instant::now);
        }
        seen
    });
    let mut emitted = HashMap::new();
    for id in 1..=CHANGES {
        tokio::time::sleep(PAUSE).await;
        emitted.insert(id, Instant::now());
        change(id);
        if wake {
            tokio::task::block_in_place(|| bridge.poll(&portal.member_id(), stage::ADMIN_TOKEN));
        }
    }
    let seen = tokio::time::timeout(Duration::from_secs(60), reading).await.expect("all arrive").expect("read");
    tokio::task::block_in_place(|| bridge.stop());
    let mut delays: Vec<f64> = seen.iter().map(|(id, at)| (*at - emitted[id]).as_secs_f64() * 1000.0).collect();
    delays.sort_by(f64::total_cmp);
    let at = |part: usize| delays[(delays.len() - 1) * part / 100];
    json!({ "changes": CHANGES, "p50_ms": at(50), "p90_ms": at(90), "p99_ms": at(99) })
}
