//! Tokens: one refresh whoever needs it, stored before it is used.

use std::{fs, path::PathBuf, time::Duration};

use b24kafka::sim::{Fault, Portal, Trouble};
use secrecy::ExposeSecret as _;

use super::stage::{PATIENCE, Setup, Stage, tick};

fn file(stage: &Stage, portal: &Portal) -> PathBuf {
    stage.dir.path().join("registry").join(format!("{}.json", portal.member_id()))
}

/// Whether the registry's file holds the pair of tokens that lives at the portal.
fn holds_the_living_pair(stage: &Stage, portal: &Portal) -> bool {
    let stored = fs::read_to_string(file(stage, portal)).expect("the portal's file");
    let pair = [portal.access_token(), portal.refresh_token()];
    pair.iter().all(|token| stored.contains(token.expose_secret()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_meet_an_expired_token_share_one_refresh_and_the_new_one_is_stored() {
    let queues = "[[queues]]\n[[queues]]\nconnector = \"erp\"\n[[queues]]\nconnector = \"crm\"\n";
    let stage = Stage::new(Setup { queues, ..Setup::default() }).await;
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
    assert!(holds_the_living_pair(&stage, &portal));
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oauth_server_that_is_away_is_waited_for() {
    let stage = Stage::plain().await;
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
async fn a_new_token_is_not_used_before_it_is_stored() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_secs(1))).on("oauth"));
    portal.expire_tokens();
    while portal.requests().oauth == 0 {
        tick().await;
    }
    // The intent is stored and the answer is on its way: nothing can be stored under this name any more.
    let path = file(&stage, &portal);
    fs::remove_file(&path).expect("the intent was stored");
    fs::create_dir_all(path.join("in the way")).expect("a directory");
    running.metric_reaches("b24kafka_token_refreshes_total{outcome=\"not_stored\"}", 1.0).await;
    let asked = portal.requests().http;
    portal.generate(50, 1);
    for _ in 0..30 {
        tick().await;
        assert_eq!(portal.requests().http, asked, "a token that is not stored is used");
    }
    fs::remove_dir_all(&path).expect("removed");
    assert!(portal.wait_until(PATIENCE, |counts| counts.reserved > 0 || counts.free == 0).await, "it goes on");
    assert!(holds_the_living_pair(&stage, &portal), "it was stored before the first call with it");
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    assert_eq!(portal.requests().oauth, 1, "the pair that was granted is the only living one: it is stored late");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_start_uses_the_stored_tokens_and_not_those_of_the_configuration() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.expire_tokens();
    portal.generate(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    assert!(holds_the_living_pair(&stage, &portal));
    portal.generate(20, 2);
    let running = stage.start().await;
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    running.stop().await.expect("a clean stop");
    assert_eq!(portal.requests().oauth, 1, "no refresh is wasted");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oauth_server_may_be_slower_than_a_portal() {
    // Whoever is impatient with portals would lose them: a refresh that is given up may have been carried out.
    let stage = Stage::new(Setup { fetch: "request_timeout = \"1s\"", ..Setup::default() }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_secs(3))).on("oauth"));
    portal.expire_tokens();
    portal.generate(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    assert_eq!(portal.requests().oauth, 1, "the refresh is waited for");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_whose_answer_is_lost_is_tried_with_the_stored_token_and_heals_or_parks() {
    let stage = Stage::new(Setup { portals: 2, ..Setup::default() }).await;
    let (lenient, strict) = (stage.portal(0), stage.portal(1));
    lenient.set_token_life(Duration::from_secs(3600), true);
    let running = stage.start().await;
    for portal in [&lenient, &strict] {
        running.portal(portal, |seen| seen["state"] == "active").await;
        portal.add_fault(Fault::new(Trouble::LostAnswer).on("oauth").times(1));
        portal.expire_tokens();
        portal.generate(20, 1);
    }
    // A server that takes the last token once more: as if nothing had happened.
    assert!(lenient.wait_until_empty(PATIENCE).await, "{:?}", lenient.counts());
    assert_eq!(lenient.requests().oauth, 2);
    assert!(holds_the_living_pair(&stage, &lenient));
    // One that does not: nobody has the living pair, and that is told.
    let seen = running.portal(&strict, |seen| seen["state"] == "parked").await;
    assert_eq!(seen["reason"], "needs_reinstall", "{seen}");
    assert_eq!(strict.requests().oauth, 2, "rejected once is enough");
    assert!(strict.counts().free > 0 && strict.counts().reserved == 0, "{:?}", strict.counts());
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_another_portals_refresh_has_found_outlives_a_change_of_its_owner() {
    let mut stage = Stage::new(Setup { portals: 2, ..Setup::default() }).await;
    let (mistaken, owner) = (stage.portal(0), stage.portal(1));
    // An operator has written down the wrong token: it rotates the chain of the portal that it belongs to.
    let known = stage.config.portals.iter_mut().find(|known| known.member_id.as_str() == mistaken.member_id());
    known.expect("the portal").refresh_token = Some(owner.refresh_token());
    let running = stage.start().await;
    for portal in [&mistaken, &owner] {
        running.portal(portal, |seen| seen["state"] == "active").await;
    }
    mistaken.expire_tokens();
    running.portal(&mistaken, |seen| seen["state"] == "parked").await;
    assert!(holds_the_living_pair(&stage, &owner), "it is kept for its owner");
    for action in ["park", "resume"] {
        assert_eq!(running.act(&owner, action).await.0, 200, "{action}");
        assert!(holds_the_living_pair(&stage, &owner), "{action} keeps it");
    }
    owner.expire_tokens();
    owner.backlog(20, 1);
    assert!(owner.wait_until_empty(PATIENCE).await, "the chain goes on");
    running.stop().await.expect("a clean stop");
}
