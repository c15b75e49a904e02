//! A consumer that writes back: its own change returns to the other queues, and not to the one that it works for.

use std::collections::BTreeSet;

use b24kafka::sim::Portal;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::stage::{PATIENCE, Setup, Stage, tick};

const QUEUES: &str = "\
[[queues]]
connector = \"erp\"
events = [\"crm.deal\"]
topic = \"bitrix24.crm.deal\"
[[queues]]
connector = \"shop\"
events = [\"crm.deal\"]
topic = \"bitrix24.other\"
";

/// The write-back of a consumer, as the documentation shows it.
async fn write_back(portal: &Portal, deal: u64, connector: &str) {
    let auth = portal.access_token();
    let body = json!({
        "id": deal, "fields": { "COMMENTS": "seen" }, "auth": auth.expose_secret(), "auth_connector": connector,
    });
    let url = format!("{}crm.deal.update", portal.endpoint());
    let answer = reqwest::Client::new().post(url).json(&body).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
}

/// Which deals have records of which connector, by the topics that keep the connectors apart.
fn deals(stage: &Stage, topic: &str, connector: &str) -> BTreeSet<u64> {
    let records = stage.records();
    let mine = records.iter().filter(|record| record.topic == topic);
    let deal = |value: &str| {
        let value: Value = serde_json::from_str(value).expect("JSON");
        assert_eq!(value["connector"], connector, "{topic} holds {value}");
        value["entity_id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
    };
    mine.map(|record| deal(&record.value)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_back_with_the_queues_own_connector_does_not_return_to_it() {
    let stage = Stage::new(Setup { queues: QUEUES, ..Setup::default() }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.until(|| portal.requests().calls.get("event.bind").is_some_and(|binds| *binds >= 8)).await;
    // Somebody changes deal 1. The consumer of "erp" answers with a change of deal 2 in the name of its connector, and
    // a careless one with a change of deal 3 in the name of another.
    portal.change("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"1"}}"#, None);
    write_back(&portal, 2, "erp").await;
    write_back(&portal, 3, "crm").await;
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    // What returns comes with the next polls: there are several of each queue before the records are judged.
    let polls = portal.requests().http;
    while portal.requests().http < polls + 10 {
        tick().await;
    }
    running.stop().await.expect("a clean stop");
    assert_eq!(deals(&stage, "bitrix24.crm.deal", "erp"), BTreeSet::from([1, 3]), "its own change does not return");
    assert_eq!(deals(&stage, "bitrix24.other", "shop"), BTreeSet::from([1, 2, 3]), "the other one hears of all");
    stage.judge();
}
