//! What portals do to the bridge.

use std::time::Duration;

use b24kafka::sim::{Fault, Trouble};

use super::stage::{PATIENCE, Setup, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_broken_and_slow_answers_lose_nothing() {
    let stage = Stage::plain().await;
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
    let stage = Stage::new(Setup { portals: 2, ..Setup::default() }).await;
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
async fn a_portal_that_cannot_be_served_is_parked_with_its_reason_and_the_others_go_on() {
    let refused = [
        ("ACCESS_DENIED", "forbidden"),
        ("user_access_error", "forbidden"),
        ("INVALID_CREDENTIALS", "forbidden"),
        ("insufficient_scope", "forbidden"),
        ("WRONG_AUTH_TYPE", "forbidden"),
        ("WRONG_LICENSE", "unlicensed"),
        ("PORTAL_DELETED", "deleted"),
        ("OVERLOAD_LIMIT", "blocked"),
    ];
    let stage = Stage::new(Setup { portals: refused.len() + 4, ..Setup::default() }).await;
    let [rejected, unpaid, no_admin, good] = [0, 1, 2, 3].map(|number| stage.portal(refused.len() + number));
    for (number, (code, _)) in refused.iter().enumerate() {
        stage.portal(number).add_fault(Fault::new(Trouble::code(code)));
    }
    rejected.revoke_tokens();
    unpaid.add_fault(Fault::new(Trouble::code("PAYMENT_REQUIRED")).on("oauth"));
    unpaid.expire_tokens();
    no_admin.set_admin(false);
    good.backlog(500, 1);
    let running = stage.start().await;
    assert!(good.wait_until_empty(PATIENCE).await);
    for (number, (code, reason)) in refused.iter().enumerate() {
        let seen = running.portal(&stage.portal(number), |seen| seen["state"] == "parked").await;
        assert_eq!(seen["reason"], *reason, "{code}: {seen}");
        assert!(seen["advice"].as_str().is_some_and(|advice| advice.len() > 20), "{seen}");
    }
    for (portal, reason) in [(&rejected, "needs_reinstall"), (&unpaid, "unpaid"), (&no_admin, "forbidden")] {
        let seen = running.portal(portal, |seen| seen["state"] == "parked").await;
        assert_eq!(seen["reason"], reason, "{seen}");
        assert!(seen["next"]["at"].as_f64().is_some(), "it is tried again by itself: {seen}");
    }
    let parked = running.metric("b24kafka_portals{state=\"parked\"}").await;
    assert!((parked - (refused.len() + 3) as f64).abs() < 0.5, "{parked}");
    let unpaid_now = running.metric("b24kafka_portals_parked{reason=\"unpaid\"}").await;
    assert!((unpaid_now - refused.iter().filter(|(_, reason)| *reason == "unpaid").count() as f64 - 1.0).abs() < 0.5);
    assert_eq!(running.get("/health").await.0, 200, "one portal is served");
    let asked = || (0..refused.len() + 3).map(|number| stage.portal(number).requests().http).sum::<u64>();
    let before = asked();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(asked(), before, "a parked portal is not hammered");
    unpaid.clear_faults();
    no_admin.set_admin(true);
    for portal in [&unpaid, &no_admin] {
        portal.backlog(5, 2);
        running.poll(portal).await;
        assert!(portal.wait_until_empty(PATIENCE).await, "it is served again");
    }
    running.stop().await.expect("a clean stop");
    stage.judge();
}
