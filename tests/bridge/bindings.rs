//! What the bridge binds, and which queue a change then comes from.

use b24kafka::{
    app::patience::Patience,
    protocol::types::Millis,
    runner::standing::Probes,
    sim::{Fault, Trouble},
};
use serde_json::json;

use super::{
    stage::{PATIENCE, Setup, Stage, tick},
    sweep::call,
};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_wanted_is_unbound_only_if_that_is_asked_for_and_only_in_its_own_queue() {
    let queue = "[[queues]]\nevents = [\"ONTASKADD\"]\n";
    let erp = "[[queues]]\nconnector = \"erp\"\nevents = [\"ONCRMLEADADD\"]\n";
    let wide = format!("[[queues]]\nevents = [\"ONTASKADD\", \"crm.deal\"]\n{erp}");
    let mut stage = Stage::new(Setup { queues: &wide, ..Setup::default() }).await;
    let portal = stage.portal(0);
    let binds = || portal.requests().calls.get("event.bind").copied().unwrap_or_default();
    let unbinds = || portal.requests().calls.get("event.unbind").copied().unwrap_or_default();
    let running = stage.start().await;
    running.until(|| binds() == 6).await;
    running.portal(&portal, |seen| seen["queues"][1]["error_rows"].is_object()).await;
    running.stop().await.expect("a clean stop");

    let narrow = Stage::new(Setup { queues: &format!("{queue}{erp}"), ..Setup::default() }).await.config.queues;
    let looks = || portal.requests().calls.get("event.get").copied().unwrap_or_default();
    for (unbind_others, unbound) in [(false, 0), (true, 4)] {
        stage.config.queues.clone_from(&narrow);
        stage.config.queues[0].unbind_others = unbind_others;
        let before = looks();
        let running = stage.start().await;
        running.until(|| looks() >= before + 2 && unbinds() == unbound).await;
        running.portal(&portal, |seen| seen["queues"][1]["error_rows"].is_object()).await;
        running.stop().await.expect("a clean stop");
        assert_eq!((binds(), unbinds()), (6, unbound), "unbind_others = {unbind_others}");
    }
    let made = |event: &str| portal.change(event, r#"{"FIELDS":{"ID":"1"}}"#, None).len();
    assert_eq!((made("ONCRMDEALADD"), made("ONCRMLEADADD"), made("ONTASKADD")), (0, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_without_queues_of_their_own_is_a_clear_state_and_no_loop_and_the_plain_queue_goes_on() {
    let queues = "[[queues]]\nevents = [\"ONTASKADD\"]\n\
                  [[queues]]\nconnector = \"erp\"\nevents = [\"crm.deal\"]\n";
    let stage = Stage::new(Setup { queues, ..Setup::default() }).await;
    let portal = stage.portal(0);
    portal.set_feature("rest_auth_connector", false);
    let running = stage.start().await;
    let missing = |seen: &serde_json::Value| seen["unbound"].as_array().map(Vec::len);
    let seen = running.portal(&portal, |seen| missing(seen) == Some(4) && seen["state"] == "active").await;
    assert!(
        seen["unbound"].as_array().is_some_and(|all| all.iter().all(|one| one["code"] == "WRONG_LICENSE")),
        "{seen}"
    );
    let (status, health) = running.health().await;
    assert!(status == 200 && health["warnings"].to_string().contains("rest_auth_connector"), "{health}");
    assert!(!health["warnings"].to_string().contains("missing bindings"), "said once: {health}");
    let binds = portal.requests().calls["event.bind"];
    assert_eq!(portal.change("ONTASKADD", r#"{"FIELDS_AFTER":{"ID":"1"}}"#, None).len(), 1, "the plain queue is bound");
    assert!(portal.wait_until_empty(PATIENCE).await);
    // Longer than what failed for another reason would wait.
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    assert_eq!(portal.requests().calls["event.bind"], binds, "no loop");
    portal.set_feature("rest_auth_connector", true);
    running.poll(&portal).await;
    running.portal(&portal, |seen| missing(seen) == Some(0)).await;
    assert_eq!(portal.change("ONCRMDEALADD", r#"{"FIELDS":{"ID":"1"}}"#, None).len(), 1, "bound now");
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_comes_back_by_itself_has_its_bindings_looked_at() {
    let stage = Stage::new(Setup { queues: "[[queues]]\nevents = [\"ONTASKADD\"]\n", ..Setup::default() }).await;
    let portal = stage.portal(0);
    let probes = Probes { first: Millis(500), longest: Millis(500) };
    let running = stage.start_with(Patience { probes, ..Patience::default() }).await;
    let binds = || portal.requests().calls.get("event.bind").copied();
    running.until(|| binds() == Some(1)).await;
    portal.set_admin(false);
    running.portal(&portal, |seen| seen["state"] == "parked").await;
    portal.forget_bindings();
    portal.set_admin(true);
    // It is probed by itself, and the daily look is far.
    running.portal(&portal, |seen| seen["state"] == "active").await;
    running.until(|| binds() == Some(2)).await;
    assert_eq!(portal.change("ONTASKADD", r#"{"FIELDS_AFTER":{"ID":"1"}}"#, None).len(), 1, "bound again");
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_have_unbound_is_bound_again_by_the_daily_look_and_nothing_else_is_touched() {
    let queues = "[[queues]]\nevents = [\"ONTASKADD\", \"ONCRMDEALADD\"]\n";
    let stage = Stage::new(Setup { queues, ..Setup::default() }).await;
    let portal = stage.portal(0);
    // Somebody else's, in the same queue.
    call(&portal, "event.bind", json!({ "event": "ONCRMLEADADD", "event_type": "offline" })).await;
    let running = stage.start_with(Patience { look_again: Millis(1500), ..Patience::default() }).await;
    let calls = |method: &str| portal.requests().calls.get(method).copied().unwrap_or_default();
    running.until(|| calls("event.bind") == 3).await;
    // A day on which nothing has changed changes nothing.
    let looks = calls("event.get");
    running.until(|| calls("event.get") > looks).await;
    assert_eq!((calls("event.bind"), calls("event.unbind")), (3, 0));
    call(&portal, "event.unbind", json!({ "event": "ONTASKADD", "event_type": "offline" })).await;
    running.until(|| calls("event.bind") == 4).await;
    let looks = calls("event.get");
    running.until(|| calls("event.get") > looks + 1).await;
    assert_eq!((calls("event.bind"), calls("event.unbind")), (4, 1), "once, and nothing is unbound but that");
    let made = |event: &str| portal.change(event, r#"{"FIELDS":{"ID":"1"}}"#, None).len();
    assert_eq!((made("ONTASKADD"), made("ONCRMDEALADD"), made("ONCRMLEADADD")), (1, 1, 1));
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_which_the_portal_makes_no_rows_is_told_once_and_not_asked_for_again() {
    let queues = "[[queues]]\nevents = [\"ONTASKADD\", \"ONTASKDELETE\"]\n";
    let stage = Stage::new(Setup { queues, ..Setup::default() }).await;
    let portal = stage.portal(0);
    portal.add_fault(Fault::new(Trouble::code("ERROR_ARGUMENT")).on("event.bind").times(1));
    let running = stage.start_with(Patience { look_again: Millis(500), ..Patience::default() }).await;
    let seen = running.portal(&portal, |seen| seen["unbound"][0]["event"] == "ONTASKADD").await;
    assert_eq!(
        (seen["unbound"].as_array().map(Vec::len), &seen["unbound"][0]["code"]),
        (Some(1), &json!("ERROR_ARGUMENT"))
    );
    let binds = portal.requests().calls["event.bind"];
    let looks = || portal.requests().calls["event.get"];
    let before = looks();
    while looks() < before + 3 {
        tick().await;
    }
    assert_eq!(portal.requests().calls["event.bind"], binds, "it would be refused again");
    running.portal(&portal, |seen| seen["unbound"][0]["event"] == "ONTASKADD").await;
    running.stop().await.expect("a clean stop");
}
