//! Portals that install the application by themselves, again, and no more.

use b24kafka::sim::{Fault, Trouble};
use secrecy::ExposeSecret as _;

use super::{
    caller::{
        STRANGERS, at, call, counted, event_url, form, holds_the_living_pair, knows_the_application_token, open, send,
        stored, wake_ups, with, woken,
    },
    stage::{PATIENCE, Setup},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installed_portal_is_served_and_its_change_becomes_a_record() {
    let queues = "[[queues]]\nevents = [\"ONTASKADD\"]\n";
    let stage = open(Setup { portals: 2, queues, ..STRANGERS }).await;
    let (by_event, by_page) = (stage.portal(0), stage.portal(1));
    let running = stage.start().await;
    assert_eq!(by_event.send_install(&event_url(&stage)).await.expect("sent"), 200);
    assert!(holds_the_living_pair(&stage, &by_event), "the answer's pair, and not the delivered one");
    assert!(knows_the_application_token(&stage, &by_event));
    let (status, page) = by_page.open_install_page(&at(&stage, "bitrix24/install")).await.expect("sent");
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("BX24.installFinish()") && !page.contains(&by_page.member_id()), "{page}");
    assert!(holds_the_living_pair(&stage, &by_page));
    for portal in [&by_event, &by_page] {
        running.portal(portal, |seen| seen["state"] == "active").await;
        let change = || portal.change("ONTASKADD", r#"{"FIELDS_AFTER":{"ID":"1"}}"#, None);
        running.until(|| !change().is_empty()).await;
        assert!(portal.wait_until_empty(PATIENCE).await);
    }
    assert_eq!(counted(&running, "install", "taken").await, 2);
    running.stop().await.expect("a clean stop");
    let (records, _) = stage.judge();
    assert!(records.iter().any(|record| record.value.contains("\"domain\":\"localhost\"")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_without_a_page_installs_at_the_same_address() {
    let stage = open(STRANGERS).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    assert_eq!(portal.send_install(&at(&stage, "bitrix24/install")).await.expect("sent"), 200);
    running.portal(&portal, |seen| seen["state"] == "active").await;
    assert!(knows_the_application_token(&stage, &portal));
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_installation_heals_a_parked_portal_and_renews_a_served_one() {
    let stage = open(Setup { configured: usize::MAX, ..STRANGERS }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    // While it is served: the pair before is rotated by the installation, so the bridge would be locked out in an hour.
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
    assert!(holds_the_living_pair(&stage, &portal) && knows_the_application_token(&stage, &portal));
    portal.expire_tokens();
    portal.backlog(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await, "the chain goes on");
    portal.revoke_tokens();
    let seen = running.portal(&portal, |seen| seen["state"] == "parked").await;
    assert_eq!(seen["reason"], "needs_reinstall");
    portal.backlog(20, 2);
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.portal(&portal, |seen| seen["state"] == "active").await;
    assert!(holds_the_living_pair(&stage, &portal));
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_up_heals_a_portal_whose_tokens_are_dead() {
    let stage = woken(STRANGERS).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
    running.portal(&portal, |seen| wake_ups(seen, "expected")).await;
    portal.revoke_tokens();
    portal.backlog(20, 1);
    running.portal(&portal, |seen| seen["state"] == "parked").await;
    assert_eq!(portal.send_wake(&event_url(&stage)).await.expect("sent"), 200);
    assert!(portal.wait_until_empty(PATIENCE).await, "its fresh tokens were worth an exchange");
    running.portal(&portal, |seen| seen["state"] == "active").await;
    assert!(holds_the_living_pair(&stage, &portal));
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_call_that_can_be_verified_brings_the_application_token_of_a_configured_portal() {
    let stage = open(Setup { configured: usize::MAX, ..STRANGERS }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    assert!(!knows_the_application_token(&stage, &portal));
    // It carries the very refresh token that the bridge holds.
    assert_eq!(portal.send_wake(&event_url(&stage)).await.expect("sent"), 200);
    assert!(knows_the_application_token(&stage, &portal) && holds_the_living_pair(&stage, &portal));
    let exchanges = portal.requests().oauth;
    assert_eq!(exchanges, 1, "one exchange proves it");
    for _ in 0..5 {
        assert_eq!(portal.send_wake(&event_url(&stage)).await.expect("sent"), 200);
    }
    assert_eq!(portal.requests().oauth, exchanges, "from then on the application token is enough");
    portal.expire_tokens();
    portal.backlog(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await, "the chain goes on");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uninstalled_portal_is_let_go_and_comes_back_with_an_installation() {
    let stage = open(STRANGERS).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
    portal.backlog(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    let forged = with(call("ONAPPUNINSTALL", &portal), "auth[application_token]", Some("guessed"));
    assert_eq!(send(&event_url(&stage), form(&forged)).await, 403);
    running.portal(&portal, |seen| seen["state"] == "active").await;
    assert_eq!(portal.send_uninstall(&event_url(&stage)).await.expect("sent"), 200);
    running.portal(&portal, |seen| seen["state"] == "removed").await;
    assert!(stored(&stage, &portal).contains("removed_at") && !knows_the_application_token(&stage, &portal));
    assert_eq!(portal.send_wake(&event_url(&stage)).await.expect("sent"), 403, "it is nobody to us");
    assert_eq!(counted(&running, "uninstall", "taken").await, 1);
    assert_eq!(counted(&running, "uninstall", "forged").await, 1);
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
    portal.backlog(20, 2);
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_cannot_be_verified_now_can_be_sent_again() {
    let stage = open(STRANGERS).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    portal.add_fault(Fault::new(Trouble::code("PAYMENT_REQUIRED")).on("oauth").times(1));
    let body = form(&call("ONAPPINSTALL", &portal));
    assert_eq!(send(&event_url(&stage), body.clone()).await, 503);
    assert_eq!(stored(&stage, &portal), "", "nothing is believed");
    assert_eq!(send(&event_url(&stage), body).await, 200);
    running.portal(&portal, |seen| seen["state"] == "active").await;
    // A server that does not answer for a moment is asked again by the bridge itself.
    portal.add_fault(Fault::new(Trouble::Status { status: 502, executed: false }).on("app.info").times(2));
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_sent_again_changes_nothing() {
    let stage = open(STRANGERS).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    let first = form(&call("ONAPPINSTALL", &portal));
    assert_eq!(send(&event_url(&stage), first.clone()).await, 200);
    running.portal(&portal, |seen| seen["state"] == "active").await;
    let (before, exchanges) = (stored(&stage, &portal), portal.requests().oauth);
    for _ in 0..3 {
        assert_eq!(send(&event_url(&stage), first.clone()).await, 403, "its refresh token was presented before");
    }
    assert_eq!((stored(&stage, &portal), portal.requests().oauth), (before, exchanges), "nobody was asked");
    assert_eq!(counted(&running, "install", "forged").await, 3);
    running.stop().await.expect("a clean stop");
    stage.judge();
    // A new process has forgotten it; the OAuth server has not.
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    let before = stored(&stage, &portal);
    assert_eq!(send(&event_url(&stage), first).await, 403);
    assert_eq!(stored(&stage, &portal), before);
    portal.expire_tokens();
    portal.backlog(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await, "the chain is whole");
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_pair_waits_for_the_registry_and_is_not_used_before() {
    let stage = open(Setup { configured: usize::MAX, ..STRANGERS }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    // Nothing can be stored under this name.
    let file = stage.dir.path().join("registry").join(format!("{}.json", portal.member_id()));
    let _ = std::fs::remove_file(&file);
    std::fs::create_dir_all(file.join("in the way")).expect("a directory");
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 503);
    let living = portal.refresh_token();
    std::fs::remove_dir_all(&file).expect("removed");
    portal.backlog(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await, "the pair was kept and stored when that was possible");
    assert!(stored(&stage, &portal).contains(living.expose_secret()));
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_whose_record_is_torn_is_neither_served_nor_spoken_for() {
    let stage = open(Setup { portals: 2, configured: usize::MAX, ..STRANGERS }).await;
    let (torn, well) = (stage.portal(0), stage.portal(1));
    let registry = stage.dir.path().join("registry");
    std::fs::create_dir_all(&registry).expect("a directory");
    let file = registry.join(format!("{}.json", torn.member_id()));
    std::fs::write(&file, "{ \"held_since\": 1, ").expect("written");
    let running = stage.start().await;
    running.portal(&well, |seen| seen["state"] == "active").await;
    assert_eq!(running.get(&format!("/api/portals/{}", torn.member_id())).await.0, 404, "as the log says");
    let token = torn.refresh_token();
    let shown = with(call("ONAPPINSTALL", &torn), "auth[refresh_token]", Some(token.expose_secret()));
    assert_eq!(send(&event_url(&stage), form(&shown)).await, 503, "it may be sent again when the file is away");
    let requests = torn.requests();
    assert_eq!((requests.http, requests.oauth), (0, 0), "nobody is asked for what cannot be stored");
    assert_eq!(torn.refresh_token().expose_secret(), token.expose_secret());
    running.stop().await.expect("a clean stop");
}
