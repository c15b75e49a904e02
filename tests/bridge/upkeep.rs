//! What the bridge keeps as it should be: bindings, tokens, and portals that come back.

use std::time::{Duration, Instant};

use b24kafka::{
    app::AppError,
    sim::{Fault, Trouble},
};
use secrecy::ExposeSecret as _;

use super::stage::{PATIENCE, Setup, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_bound_is_shown_and_tried_again() {
    let queues = "[[queues]]\nevents = [\"ONTASKADD\", \"ONCRMDEALADD\"]\n";
    let stage = Stage::new(Setup { queues, ..Setup::default() }).await;
    let portal = stage.portal(0);
    portal.add_fault(Fault::new(Trouble::code("ERROR_CORE")).on("event.bind").times(2));
    let running = stage.start().await;
    let missing = |seen: &serde_json::Value| seen["unbound"].as_array().map(Vec::len);
    let seen = running.portal(&portal, |seen| missing(seen) == Some(2)).await;
    assert_eq!(seen["unbound"][0]["code"], "ERROR_CORE", "{seen}");
    let (status, health) = running.health().await;
    assert_eq!(status, 200, "rows that are there are still moved: {health}");
    assert!(health["warnings"].to_string().contains("missing bindings"), "{health}");
    running.poll(&portal).await;
    running.portal(&portal, |seen| missing(seen) == Some(0)).await;
    assert_eq!(portal.change("ONTASKADD", r#"{"FIELDS_AFTER":{"ID":"1"}}"#, None).len(), 1, "bound now");
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_portal_does_not_know_is_told_once_and_not_asked_for_again() {
    let stage =
        Stage::new(Setup { queues: "[[queues]]\nevents = [\"ONTASKADD\", \"ONTASKDELETE\"]\n", ..Setup::default() })
            .await;
    let portal = stage.portal(0);
    portal.add_fault(Fault::new(Trouble::code("ERROR_EVENT_NOT_FOUND")).on("event.bind").times(1));
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["unbound"][0]["event"] == "ONTASKADD").await;
    let binds = portal.requests().calls["event.bind"];
    running.poll(&portal).await;
    running.until(|| portal.requests().calls["event.get"] >= 2).await;
    assert_eq!(portal.requests().calls["event.bind"], binds);
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_tries_a_parked_portal_at_once() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.add_fault(Fault::new(Trouble::code("ACCESS_DENIED")));
    running.portal(&portal, |seen| seen["state"] == "parked").await;
    portal.clear_faults();
    portal.backlog(20, 1);
    let begun = Instant::now();
    let polled = running.poll(&portal).await;
    assert_eq!((&polled["state"], &polled["reason"]), (&"parked".into(), &"forbidden".into()), "{polled}");
    assert!(portal.wait_until_empty(PATIENCE).await);
    assert!(begun.elapsed() < Duration::from_secs(30), "not after the minute of a slow probe");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_were_granted_are_stored_before_the_end() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let (registry, away) = (stage.dir.path().join("registry"), stage.dir.path().join("away"));
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    // A refresh marks its intent first, so the directory goes while the server is being asked.
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(1500))).on("oauth"));
    portal.expire_tokens();
    running.until(|| portal.requests().oauth == 1).await;
    std::fs::rename(&registry, &away).expect("away");
    running.portal(&portal, |seen| seen["last_error"].as_str().is_some_and(|e| e.contains("registry"))).await;
    let stopping = tokio::spawn(running.stop());
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::rename(&away, &registry).expect("back");
    let _ = stopping.await.expect("it ends");
    let stored = std::fs::read_to_string(registry.join(format!("{}.json", portal.member_id()))).expect("the file");
    assert!(stored.contains(portal.refresh_token().expose_secret()), "the only living token is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_lost_by_a_stop_are_told() {
    let mut stage = Stage::plain().await;
    stage.config.shutdown.grace = Duration::from_secs(1);
    let portal = stage.portal(0);
    let registry = stage.dir.path().join("registry");
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(1500))).on("oauth"));
    portal.expire_tokens();
    running.until(|| portal.requests().oauth == 1).await;
    std::fs::remove_dir_all(&registry).expect("gone");
    running.portal(&portal, |seen| seen["last_error"].as_str().is_some_and(|e| e.contains("registry"))).await;
    let error = running.stop().await.expect_err("a token is lost");
    assert!(matches!(error, AppError::TokensLost(_)), "{error}");
    assert!(error.to_string().contains(&portal.member_id()), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_that_belongs_to_another_portal_is_kept_for_that_one() {
    let mut stage = Stage::new(Setup { portals: 2, ..Setup::default() }).await;
    let (wrong, owner) = (stage.portal(0), stage.portal(1));
    let token = stage.config.portals[1].refresh_token.clone();
    stage.config.portals[0].refresh_token = token;
    stage.config.portals[0].access_token = None;
    let running = stage.start().await;
    let seen = running.portal(&wrong, |seen| seen["state"] == "parked").await;
    assert_eq!(seen["reason"], "needs_reinstall", "{seen}");
    let error = seen["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("belongs to portal") && error.contains(&owner.member_id()), "{error}");
    // Its chain has moved on without it.
    owner.expire_tokens();
    owner.backlog(10, 2);
    assert!(owner.wait_until_empty(PATIENCE).await, "{:?}", owner.counts());
    assert!(owner.misuse().is_clean(), "{:?}", owner.misuse());
    running.stop().await.expect("a clean stop");
    stage.judge();
}
