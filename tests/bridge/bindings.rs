//! What the bridge binds, and which queue a change then comes from.

use super::stage::{PATIENCE, Setup, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_events_are_bound_once() {
    let queues = "[[queues]]\nevents = [\"crm.deal\", \"ONTASKADD\"]\n";
    let stage = Stage::new(Setup { queues, ..Setup::default() }).await;
    let portal = stage.portal(0);
    for _ in 0..2 {
        let running = stage.start().await;
        running.until(|| portal.requests().calls.get("event.bind") == Some(&5)).await;
        running.portal(&portal, |seen| seen["state"] == "active").await;
        running.stop().await.expect("a clean stop");
    }
    assert_eq!(portal.change("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"1"}}"#, None).len(), 1, "bound to the plain queue");
    assert_eq!(portal.change("ONTASKADD", r#"{"FIELDS_AFTER":{"ID":"1"}}"#, None).len(), 1);
    assert_eq!(portal.change("ONCRMLEADADD", r#"{"FIELDS":{"ID":"1"}}"#, None).len(), 0, "not asked for");
    let binds = portal.requests().calls.get("event.bind").copied().unwrap_or_default();
    assert_eq!(binds, 5, "four events of deals and one of tasks, once each: {:?}", portal.requests().calls);
    let running = stage.start().await;
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_two_connectors_are_bound_apart_and_each_row_comes_from_its_own_queue() {
    let queues = "[[queues]]\nconnector = \"erp\"\nevents = [\"crm.deal\"]\n\
                  [[queues]]\nconnector = \"shop\"\nevents = [\"ONCRMDEALADD\", \"ONTASKADD\"]\n";
    let stage = Stage::new(Setup { queues, ..Setup::default() }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    let binds = || portal.requests().calls.get("event.bind").copied();
    running.until(|| binds() == Some(6)).await;
    let deal = r#"{"FIELDS":{"ID":"1"}}"#;
    assert_eq!(portal.change("ONCRMDEALADD", deal, None).len(), 2, "both asked for it");
    assert_eq!(portal.change("ONCRMDEALUPDATE", deal, None).len(), 1);
    assert_eq!(portal.change("ONTASKADD", r#"{"FIELDS_AFTER":{"ID":"1"}}"#, None).len(), 1);
    assert_eq!(portal.change("ONCRMDEALADD", deal, Some("shop")).len(), 1, "not what the shop did itself");
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.stop().await.expect("a clean stop");
    let (records, _) = stage.judge();
    let ledger = portal.ledger();
    for record in &records {
        let row = record.headers["ce_id"].split(':').nth(1).and_then(|row| row.parse().ok()).expect("a row");
        let connector = &ledger.entry(row).expect("the row").connector;
        let value: serde_json::Value = serde_json::from_str(&record.value).expect("JSON");
        assert_eq!(value["connector"], **connector, "{value}");
        assert!(record.headers["ce_source"].ends_with(&format!("/{connector}")), "{:?}", record.headers);
    }
    let of = |connector: &str| ledger.entries().iter().filter(|entry| &*entry.connector == connector).count();
    assert!(of("erp") >= 2 && of("shop") >= 2 && of("") == 0, "{:?}", ledger.entries());
}
