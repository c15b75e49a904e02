//! Calls with the tokens of ordinary employees: they are of the portal, and its queues cannot be read with them.

use b24kafka::sim::{Fault, Portal, Trouble};
use secrecy::ExposeSecret as _;

use super::{
    caller::{
        STRANGERS, at, call, counted, event_url, form, holds_the_living_pair, knows_the_application_token, open, send,
        stored, with,
    },
    stage::{PATIENCE, Running, Setup, Stage},
};

/// A configured portal that is served.
async fn served() -> (Stage, Portal, Running) {
    let stage = open(Setup { configured: usize::MAX, ..STRANGERS }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    (stage, portal, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tokens_of_an_ordinary_employee_never_replace_the_administrators() {
    let (stage, portal, running) = served().await;
    portal.expire_tokens();
    portal.backlog(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    let before = stored(&stage, &portal);
    assert!(holds_the_living_pair(&stage, &portal));
    for event in ["ONOFFLINEEVENT", "ONAPPINSTALL"] {
        let token = portal.employee_token();
        let shown = with(call(event, &portal), "auth[refresh_token]", Some(token.expose_secret()));
        let shown = with(shown, "auth[application_token]", Some("invented"));
        assert_eq!(send(&event_url(&stage), form(&shown)).await, 403, "{event}");
        assert_eq!(stored(&stage, &portal), before, "{event}: nothing of it is taken");
    }
    assert_eq!(counted(&running, "wake", "no_admin").await, 1);
    assert_eq!(counted(&running, "install", "no_admin").await, 1);
    portal.expire_tokens();
    portal.backlog(20, 2);
    assert!(portal.wait_until_empty(PATIENCE).await, "it is served on");
    running.portal(&portal, |seen| seen["state"] == "active").await;
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
    assert!(holds_the_living_pair(&stage, &portal) && knows_the_application_token(&stage, &portal));
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_employee_who_speaks_for_another_portal_does_not_replace_his_own_administrators_tokens() {
    let stage = open(Setup { portals: 3, configured: 2, ..STRANGERS }).await;
    let (portal, served, stranger) = (stage.portal(0), stage.portal(1), stage.portal(2));
    let running = stage.start().await;
    running.portal(&served, |seen| seen["state"] == "active").await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.expire_tokens();
    portal.backlog(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    let before = stored(&stage, &portal);
    assert!(holds_the_living_pair(&stage, &portal));
    for other in [&served, &stranger] {
        let token = portal.employee_token();
        let shown = with(call("ONAPPINSTALL", other), "auth[refresh_token]", Some(token.expose_secret()));
        let shown = with(shown, "auth[application_token]", Some("invented"));
        assert_eq!(send(&event_url(&stage), form(&shown)).await, 403);
        assert_eq!(stored(&stage, &portal), before, "nothing of it is taken");
    }
    portal.expire_tokens();
    portal.backlog(20, 2);
    assert!(portal.wait_until_empty(PATIENCE).await, "it is served on");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_employee_cannot_install_and_is_told_why() {
    let stage = open(STRANGERS).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    let url = format!("{}?DOMAIN={}", at(&stage, "bitrix24/install"), portal.domain());
    let body = format!("member_id={}&REFRESH_ID={}", portal.member_id(), portal.employee_token().expose_secret());
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 403);
    assert!(answer.text().await.expect("a page").contains("administrator"));
    assert_eq!(stored(&stage, &portal), "", "it is not taken in");
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
    running.portal(&portal, |seen| seen["state"] == "active").await;
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_does_not_say_whose_tokens_they_are_keeps_its_own() {
    let (stage, portal, running) = served().await;
    let before = stored(&stage, &portal);
    portal.add_fault(Fault::new(Trouble::code("OVERLOAD_LIMIT")).on("profile").times(2));
    let token = portal.employee_token();
    let shown = with(call("ONAPPINSTALL", &portal), "auth[refresh_token]", Some(token.expose_secret()));
    assert_eq!(send(&event_url(&stage), form(&shown)).await, 503, "it may be sent again");
    assert_eq!(stored(&stage, &portal), before);
    // An administrator's: here the pair before is dead by now, and this one is kept for that.
    assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 503);
    portal.expire_tokens();
    portal.backlog(20, 1);
    assert!(portal.wait_until_empty(PATIENCE).await, "the chain goes on");
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_up_of_an_administrator_heals_a_portal_that_has_an_employees_tokens() {
    let mut stage = open(Setup { configured: usize::MAX, ..STRANGERS }).await;
    let portal = stage.portal(0);
    let known = &mut stage.config.portals[0];
    known.access_token = None;
    known.refresh_token = Some(portal.employee_token());
    known.application_token = Some(portal.application_token());
    let running = stage.start().await;
    let seen = running.portal(&portal, |seen| seen["state"] == "parked").await;
    assert_eq!(seen["reason"], "forbidden");
    portal.backlog(20, 1);
    assert_eq!(portal.send_wake(&event_url(&stage)).await.expect("sent"), 200);
    assert!(portal.wait_until_empty(PATIENCE).await, "its tokens were worth an exchange");
    running.portal(&portal, |seen| seen["state"] == "active").await;
    assert!(holds_the_living_pair(&stage, &portal));
    running.stop().await.expect("a clean stop");
    stage.judge();
}
