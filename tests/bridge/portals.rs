//! What portals do to the bridge.

use std::time::Duration;

use b24kafka::sim::{Fault, Limits, Trouble};
use secrecy::ExposeSecret as _;

use super::stage::{PATIENCE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_broken_and_slow_answers_lose_nothing() {
    let stage = Stage::new(1, Limits::UNLIMITED, "").await;
    let portal = stage.portal(0);
    for trouble in [
        Trouble::LostRequest,
        Trouble::LostAnswer,
        Trouble::Truncated,
        Trouble::Status { status: 502, executed: false },
        Trouble::Status { status: 504, executed: true },
        Trouble::Status { status: 200, executed: true },
        Trouble::Slow(Duration::from_millis(50)),
    ] {
        portal.add_fault(Fault::new(trouble.clone()).on("event.offline.get").after(2).times(1));
        portal.add_fault(Fault::new(trouble).with_probability(0.03));
    }
    let running = stage.start().await;
    for seed in 0..10 {
        portal.backlog(300, seed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        running.assert_conserved().await;
    }
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.stop().await.expect("a clean stop");
    assert!(portal.requests().faults.len() >= 5, "{:?}", portal.requests().faults);
    let (_, repeated) = stage.judge();
    println!("faults {:?}, {repeated} records again", portal.requests().faults);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_answers_html_costs_the_other_nothing() {
    let stage = Stage::new(2, Limits::UNLIMITED, "").await;
    let (odd, good) = (stage.portal(0), stage.portal(1));
    odd.add_fault(Fault::new(Trouble::Status { status: 200, executed: false }));
    odd.backlog(10, 1);
    good.backlog(500, 2);
    let running = stage.start().await;
    assert!(good.wait_until_empty(PATIENCE).await);
    let seen = running.portal(&odd, |seen| seen["last_error"].is_string()).await;
    assert!(seen["last_error"].as_str().is_some_and(|error| error.contains("HTML")), "{seen}");
    odd.clear_faults();
    assert!(odd.wait_until_empty(PATIENCE).await, "it comes back by itself");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_meet_an_expired_token_share_one_refresh_and_the_new_one_is_stored() {
    let queues = "[[queues]]\n[[queues]]\nconnector = \"erp\"\n[[queues]]\nconnector = \"crm\"\n";
    let stage = Stage::new(1, Limits::UNLIMITED, queues).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    for round in 0..3 {
        portal.expire_tokens();
        for connector in ["", "erp", "crm"] {
            portal.emit("ONCRMDEALADD", &format!(r#"{{"FIELDS":{{"ID":"{round}"}}}}"#), connector);
        }
        assert!(portal.wait_until_empty(PATIENCE).await);
    }
    assert_eq!(portal.requests().oauth, 3, "one refresh for each expiry, however many queues met it");
    let file = stage.dir.path().join("registry").join(format!("{}.json", portal.member_id()));
    let stored = std::fs::read_to_string(&file).expect("the portal's file");
    assert!(stored.contains(portal.refresh_token().expose_secret()), "the living refresh token is stored");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oauth_server_that_is_away_is_waited_for() {
    let stage = Stage::new(1, Limits::UNLIMITED, "").await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.add_fault(Fault::new(Trouble::Status { status: 503, executed: false }).on("oauth").times(2));
    portal.expire_tokens();
    portal.backlog(50, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    assert!(running.metric("b24kafka_token_refreshes_total{outcome=\"unknown\"}").await >= 2.0);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_cannot_be_served_is_parked_with_its_reason_and_the_others_go_on() {
    let refused = [
        ("ACCESS_DENIED", "forbidden"),
        ("WRONG_LICENSE", "unlicensed"),
        ("PORTAL_DELETED", "deleted"),
        ("OVERLOAD_LIMIT", "blocked"),
    ];
    let stage = Stage::new(refused.len() + 2, Limits::UNLIMITED, "").await;
    let (rejected, good) = (stage.portal(refused.len()), stage.portal(refused.len() + 1));
    for (number, (code, _)) in refused.iter().enumerate() {
        stage.portal(number).add_fault(Fault::new(Trouble::code(code)));
    }
    rejected.revoke_tokens();
    good.backlog(500, 1);
    let running = stage.start().await;
    assert!(good.wait_until_empty(PATIENCE).await);
    for (number, (code, reason)) in refused.iter().enumerate() {
        let seen = running.portal(&stage.portal(number), |seen| seen["state"] == "parked").await;
        assert_eq!(seen["reason"], *reason, "{code}: {seen}");
        assert!(seen["advice"].as_str().is_some_and(|advice| advice.len() > 20), "{seen}");
    }
    let seen = running.portal(&rejected, |seen| seen["state"] == "parked").await;
    assert_eq!(seen["reason"], "needs_reinstall", "{seen}");
    assert!((running.metric("b24kafka_portals{state=\"parked\"}").await - 5.0).abs() < 0.5);
    assert_eq!(running.get("/health").await.0, 200, "one portal is served");
    let asked: u64 = (0..refused.len()).map(|number| stage.portal(number).requests().http).sum();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later: u64 = (0..refused.len()).map(|number| stage.portal(number).requests().http).sum();
    assert_eq!(asked, later, "a parked portal is not hammered");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

const QUEUES: &str = "# plan = auto
[[queues]]
events = [\"crm.deal\"]
[[queues]]
connector = \"a\"
events = [\"crm.deal\"]
[[queues]]
connector = \"b\"
events = [\"crm.*\"]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_portals_limit_is_kept_while_a_backlog_is_drained_in_large_exchanges() {
    let stage = Stage::new(1, Limits::STANDARD, QUEUES).await;
    // Bindings cost requests too.
    let portal = stage.portal(0);
    portal.backlog(50_000, 1);
    let running = stage.start().await;
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.stop().await.expect("a clean stop");
    let requests = portal.requests().http;
    assert!(requests > 50, "more than the burst that the portal grants: {requests}");
    assert!(50_000 / requests >= 400, "{requests} requests for 50,000 rows");
    let (_, repeated) = stage.judge();
    assert_eq!(repeated, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_hit_all_the_same_is_waited_out() {
    let stage = Stage::new(1, Limits::UNLIMITED, "").await;
    let portal = stage.portal(0);
    portal.add_fault(Fault::new(Trouble::code("QUERY_LIMIT_EXCEEDED")).after(3).times(1));
    portal.add_fault(Fault::new(Trouble::code("OPERATION_TIME_LIMIT")).on("event.offline.get").after(3).times(1));
    portal.backlog(2_000, 1);
    let running = stage.start().await;
    assert!(portal.wait_until(PATIENCE, |counts| counts.free < 2_000).await);
    let begun = std::time::Instant::now();
    while running.metric("b24kafka_limit_waits_total").await < 1.0 {
        assert!(begun.elapsed() < PATIENCE, "no limit was met: {:?}", portal.requests());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.stop().await.expect("a clean stop");
    assert_eq!(portal.counts().reserved, 0, "nothing is left reserved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_events_are_bound_once() {
    let queues = "[[queues]]\nevents = [\"crm.deal\", \"ONTASKADD\"]\n";
    let stage = Stage::new(1, Limits::UNLIMITED, queues).await;
    let portal = stage.portal(0);
    for _ in 0..2 {
        let running = stage.start().await;
        running.portal(&portal, |seen| seen["state"] == "active").await;
        running.until(|| portal.requests().calls.get("event.bind") == Some(&5)).await;
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
    let stage = Stage::new(1, Limits::UNLIMITED, queues).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
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
