//! Portals that come and go while the bridge runs.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use b24kafka::{
    app::AppError,
    fleet::roster::{Grant, Installed, Resumed, RosterError},
    sim::{Fault, Portal, Trouble},
};
use secrecy::ExposeSecret as _;

use super::stage::{PATIENCE, Running, Setup, Stage, grant, id, tick};

const UNCONFIGURED: Setup<'static> = Setup {
    brokers: 1,
    portals: 1,
    configured: 0,
    host: None,
    limits: b24kafka::sim::Limits::UNLIMITED,
    plan: "unlimited",
    queues: "",
    fetch: "",
    kafka: "",
};

fn file(stage: &Stage, portal: &Portal) -> PathBuf {
    stage.dir.path().join("registry").join(format!("{}.json", portal.member_id()))
}

fn stored(stage: &Stage, portal: &Portal) -> String {
    fs::read_to_string(file(stage, portal)).unwrap_or_default()
}

/// The same installation, at the other name of the same address.
fn elsewhere(portal: &Portal) -> Grant {
    let mut grant = grant(portal);
    grant.endpoint.set_host(Some("localhost")).expect("a host");
    grant
}

async fn state(running: &Running, portal: &Portal, wanted: &str) -> serde_json::Value {
    running.portal(portal, |seen| seen["state"] == wanted).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installed_portal_is_served_at_once_and_after_a_restart() {
    let stage = Stage::new(Setup { portals: 2, configured: 1, ..UNCONFIGURED }).await;
    let (known, new) = (stage.portal(0), stage.portal(1));
    let running = stage.start().await;
    new.backlog(100, 1);
    known.backlog(100, 2);
    assert!(known.wait_until_empty(PATIENCE).await);
    assert_eq!(new.counts().free, 100, "nobody knows it");
    assert_eq!(running.roster.install(grant(&new)).await.expect("installed"), Installed::Added);
    assert!(stored(&stage, &new).contains(new.refresh_token().expose_secret()), "stored before it is told");
    assert!(new.wait_until_empty(PATIENCE).await);
    state(&running, &new, "active").await;
    running.stop().await.expect("a clean stop");
    new.backlog(10, 3);
    let running = stage.start().await;
    assert!(new.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_heals_a_parked_portal_and_its_records_tell_where_it_is_now() {
    let queues = "[[queues]]\nevents = [\"ONTASKADD\"]\n";
    let stage = Stage::new(Setup { queues, ..UNCONFIGURED }).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.roster.install(grant(&portal)).await.expect("installed");
    portal.backlog(10, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    portal.revoke_tokens();
    assert_eq!(state(&running, &portal, "parked").await["reason"], "needs_reinstall");
    portal.forget_bindings();
    portal.backlog(10, 2);
    portal.reinstall();
    assert_eq!(running.roster.install(elsewhere(&portal)).await.expect("installed"), Installed::Renewed);
    assert!(portal.wait_until_empty(PATIENCE).await);
    assert_eq!(state(&running, &portal, "active").await["domain"], "localhost");
    running.until(|| !portal.change("ONTASKADD", r#"{"FIELDS_AFTER":{"ID":"1"}}"#, None).is_empty()).await;
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    assert!(stored(&stage, &portal).contains("http://localhost:"), "its place is kept");
    let (records, _) = stage.judge();
    let at = |domain: &str| records.iter().filter(|r| r.value.contains(&format!("\"domain\":\"{domain}\""))).count();
    assert_eq!(at("127.0.0.1"), 10);
    assert!(at("localhost") >= 11, "what comes after it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uninstalled_portal_leaves_no_secret_stays_removed_and_can_be_installed_again() {
    let stage = Stage::new(UNCONFIGURED).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    let secrets = [portal.access_token(), portal.refresh_token(), portal.application_token()];
    running.roster.install(grant(&portal)).await.expect("installed");
    portal.backlog(50, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    portal.revoke_tokens();
    running.roster.uninstall(&id(&portal)).await.expect("uninstalled");
    running.roster.uninstall(&id(&portal)).await.expect("saying it twice is no error");
    let left = stored(&stage, &portal);
    assert!(left.contains("removed_at") && !secrets.iter().any(|s| left.contains(s.expose_secret())));
    assert_eq!(state(&running, &portal, "removed").await["reason"], serde_json::Value::Null);
    assert!((running.metric("b24kafka_portals{state=\"removed\"}").await - 1.0).abs() < 0.5);
    assert!(!running.roster.wake(&id(&portal)), "it is not served");
    assert_eq!(running.health().await.0, 200, "a portal that is gone is no trouble");
    for (what, refused) in [
        ("resume", running.roster.resume(&id(&portal)).await.err()),
        ("park", running.roster.park(&id(&portal)).await.err()),
    ] {
        assert!(matches!(refused, Some(RosterError::Uninstalled)), "{what}: {refused:?}");
    }
    running.stop().await.expect("a clean stop");
    let asked = portal.requests().http;
    let running = stage.start().await;
    state(&running, &portal, "removed").await;
    assert_eq!(portal.requests().http, asked, "nobody calls it");
    portal.reinstall();
    portal.backlog(20, 2);
    assert_eq!(running.roster.install(grant(&portal)).await.expect("installed"), Installed::Revived);
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    assert!(!stored(&stage, &portal).contains("removed_at"));
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_of_an_uninstalled_portal_still_reaches_kafka() {
    let stage = Stage::new(UNCONFIGURED).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.roster.install(grant(&portal)).await.expect("installed");
    state(&running, &portal, "active").await;
    stage.broker.broker_down(1).expect("down");
    portal.backlog(40, 1);
    running.portal(&portal, |seen| seen["queues"][0]["held"] == 40).await;
    portal.revoke_tokens();
    running.roster.uninstall(&id(&portal)).await.expect("it is told before Kafka is back");
    portal.reinstall();
    let (roster, grant) = (running.roster.clone(), grant(&portal));
    let installing = tokio::spawn(async move { roster.install(grant).await });
    tick().await;
    stage.broker.broker_up(1).expect("up");
    assert_eq!(installing.await.expect("it ends").expect("installed"), Installed::Revived, "after the rest");
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_installations_at_once_make_one_portal() {
    let stage = Stage::new(UNCONFIGURED).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    let (one, two) = tokio::join!(running.roster.install(grant(&portal)), running.roster.install(grant(&portal)));
    let mut both = [one.expect("installed"), two.expect("installed")];
    both.sort_by_key(|installed| *installed != Installed::Added);
    assert_eq!(both, [Installed::Added, Installed::Renewed]);
    assert_eq!(running.roster.all().len(), 1);
    portal.backlog(300, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    let (_, repeated) = stage.judge();
    assert_eq!(repeated, 0, "the queue has one owner");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_meets_a_stop_is_stored_or_refused() {
    let stage = Stage::new(Setup { portals: 20, ..UNCONFIGURED }).await;
    let running = stage.start().await;
    let roster = running.roster.clone();
    let portals: Vec<Portal> = stage.sim.portals().collect();
    let installing: Vec<_> = portals.iter().map(|portal| (roster.clone(), grant(portal))).collect();
    let installing = installing.into_iter().map(|(r, grant)| tokio::spawn(async move { r.install(grant).await }));
    let installing: Vec<_> = installing.collect();
    running.stop().await.expect("a clean stop");
    let mut refused = 0;
    for (installing, portal) in installing.into_iter().zip(&portals) {
        match installing.await.expect("it ends") {
            Ok(installed) => {
                assert_eq!(installed, Installed::Added);
                assert!(stored(&stage, portal).contains(portal.refresh_token().expose_secret()));
            }
            Err(RosterError::Stopping) => {
                assert!(!file(&stage, portal).exists());
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(matches!(roster.install(grant(&portals[0])).await, Err(RosterError::Stopping)));
    println!("{refused} of 20 refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_changes_nothing() {
    let stage = Stage::new(Setup { portals: 2, ..UNCONFIGURED }).await;
    let (known, new) = (stage.portal(0), stage.portal(1));
    let running = stage.start().await;
    running.roster.install(grant(&known)).await.expect("installed");
    state(&running, &known, "active").await;
    let registry = stage.dir.path().join("registry");
    let aside = stage.dir.path().join("aside");
    fs::rename(&registry, &aside).expect("moved");
    let failed = [
        running.roster.install(grant(&new)).await.err(),
        running.roster.install(elsewhere(&known)).await.err(),
        running.roster.uninstall(&id(&known)).await.err(),
        running.roster.park(&id(&known)).await.err(),
    ];
    for error in failed {
        assert!(matches!(error, Some(RosterError::Registry(_))), "{error:?}");
    }
    let (status, health) = running.health().await;
    assert_eq!((status, &health["registry"]["writable"]), (200, &serde_json::Value::Bool(false)), "{health}");
    assert!(health["warnings"].to_string().contains("the registry cannot be written"), "{health}");
    fs::rename(&aside, &registry).expect("moved back");
    assert!(running.roster.get(&id(&new)).is_none());
    assert_eq!(state(&running, &known, "active").await["domain"], "127.0.0.1");
    known.backlog(10, 1);
    assert!(known.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_an_operator_parks_is_left_alone_until_he_resumes_it() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(30))));
    portal.backlog(3_000, 1);
    assert!(portal.wait_until(PATIENCE, |counts| counts.free < 2_500).await);
    let left = running.roster.park(&id(&portal)).await.expect("parked");
    assert!(left.at_rest && left.held == 0 && left.unconfirmed == 0, "{left:?}");
    assert_eq!(portal.counts().reserved, 0, "what was taken is confirmed");
    let seen = state(&running, &portal, "parked").await;
    assert_eq!(seen["reason"], "operator", "{seen}");
    let asked = portal.requests().http;
    assert!(!running.roster.wake(&id(&portal)));
    assert_eq!(running.roster.install(grant(&portal)).await.expect("renewed"), Installed::Held);
    running.stop().await.expect("a clean stop");
    let running = stage.start().await;
    assert_eq!(state(&running, &portal, "parked").await["reason"], "operator", "it outlives a restart");
    assert_eq!(running.health().await.0, 200, "he knows what he does");
    running.answers("/ready", 200).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(portal.requests().http, asked, "nobody calls it");
    assert_eq!(running.roster.resume(&id(&portal)).await.expect("resumed"), Resumed::Released);
    assert!(portal.wait_until_empty(PATIENCE).await);
    assert_eq!(state(&running, &portal, "active").await["reason"], serde_json::Value::Null);
    assert_eq!(running.roster.resume(&id(&portal)).await.expect("tried"), Resumed::Tried);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_cuts_a_portal_short_that_is_being_parked_and_tells_what_is_left() {
    let mut stage = Stage::plain().await;
    stage.config.shutdown.grace = Duration::from_secs(2);
    let portal = stage.portal(0);
    let running = stage.start().await;
    state(&running, &portal, "active").await;
    stage.broker.broker_down(1).expect("down");
    portal.backlog(40, 1);
    running.portal(&portal, |seen| seen["queues"][0]["held"] == 40).await;
    let (roster, parked) = (running.roster.clone(), id(&portal));
    let parking = tokio::spawn(async move { roster.park(&parked).await });
    state(&running, &portal, "parked").await;
    let error = running.stop().await.expect_err("rows are left");
    assert!(matches!(error, AppError::Unfinished { queues: 1, held: 40 }), "{error}");
    let left = parking.await.expect("it ends").expect("parked");
    assert_eq!((left.at_rest, left.held), (false, 40));
    stage.broker.broker_up(1).expect("up");
    let running = stage.start().await;
    state(&running, &portal, "parked").await;
    assert_eq!(portal.counts().reserved, 40);
    running.roster.resume(&id(&portal)).await.expect("resumed");
    assert!(portal.wait_until_empty(PATIENCE).await, "what was left is found");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_queue_that_was_cut_short_are_counted_once() {
    let mut stage = Stage::plain().await;
    stage.config.shutdown.grace = Duration::from_secs(1);
    let portal = stage.portal(0);
    let running = stage.start().await;
    state(&running, &portal, "active").await;
    stage.broker.broker_down(1).expect("down");
    portal.backlog(40, 1);
    running.portal(&portal, |seen| seen["queues"][0]["held"] == 40).await;
    let left = running.roster.park(&id(&portal)).await.expect("parked");
    assert_eq!((left.at_rest, left.held), (false, 40));
    running.assert_conserved().await;
    stage.broker.broker_up(1).expect("up");
    running.roster.resume(&id(&portal)).await.expect("resumed");
    portal.backlog(10, 2);
    assert!(portal.wait_until_empty(PATIENCE).await, "what was left is found");
    running.assert_conserved().await;
    for (name, wanted) in [
        ("b24kafka_rows_held", 0.0),
        ("b24kafka_rows_received_total", 50.0),
        ("b24kafka_records_acknowledged_total", 50.0),
    ] {
        let seen = running.metric(name).await;
        assert!((seen - wanted).abs() < 0.5, "{name} is {seen}");
    }
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_portal_is_forgotten_and_one_of_the_configuration_is_not_removed() {
    let stage = Stage::new(Setup { portals: 2, configured: 1, ..UNCONFIGURED }).await;
    let (configured, installed) = (stage.portal(0), stage.portal(1));
    let running = stage.start().await;
    running.roster.install(grant(&installed)).await.expect("installed");
    state(&running, &installed, "active").await;
    installed.backlog(500, 1);
    assert!(installed.wait_until(PATIENCE, |counts| counts.free < 500).await);
    let left = running.roster.remove(&id(&installed)).await.expect("removed");
    assert!(left.at_rest && left.held == 0, "{left:?}");
    assert_eq!(installed.counts().reserved, 0, "what was taken is confirmed");
    assert!(!file(&stage, &installed).exists() && running.roster.get(&id(&installed)).is_none());
    assert_eq!(running.get(&format!("/api/portals/{}", installed.member_id())).await.0, 404);
    assert!(matches!(running.roster.remove(&id(&installed)).await, Err(RosterError::Unknown)));
    assert!(matches!(running.roster.remove(&id(&configured)).await, Err(RosterError::Configured)));
    state(&running, &configured, "active").await;
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_up_polls_at_once_and_many_are_one() {
    let stage = Stage::plain().await;
    let (portal, mut config) = (stage.portal(0), stage.config.clone());
    (config.fetch.poll_min, config.fetch.poll_max) = (Duration::from_secs(600), Duration::from_secs(600));
    let stage = Stage { config, ..stage };
    let running = stage.start().await;
    let gets = || portal.requests().calls.get("event.offline.get").copied().unwrap_or_default();
    running.until(|| gets() == 1).await;
    portal.backlog(5, 1);
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(300))).on("batch"));
    for _ in 0..100 {
        assert!(running.roster.wake(&id(&portal)));
    }
    assert!(portal.wait_until_empty(PATIENCE).await, "long before it would poll by itself");
    assert!(gets() <= 5, "{} gets for a hundred wake-ups", gets());
    assert!(!running.roster.wake(&b24kafka::protocol::types::PortalId::new("nobody").expect("an id")));
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_goes_on_if_nobody_waits_for_it() {
    let stage = Stage::new(UNCONFIGURED).await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    let roster = Arc::new(running.roster.clone());
    let installing = roster.install(grant(&portal));
    // Polled once and dropped: whoever asked has hung up.
    tokio::select! {
        biased;
        _ = installing => {}
        () = std::future::ready(()) => {}
    }
    running.until(|| running.roster.get(&id(&portal)).is_some()).await;
    portal.backlog(10, 1);
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_on_its_way_when_the_portal_is_uninstalled_is_waited_for() {
    let queues = "[[queues]]\nconnector = \"one\"\nevents = [\"ONCRMDEALADD\"]\n\
                  [[queues]]\nconnector = \"two\"\nevents = [\"ONCRMDEALADD\"]\n";
    let mut stage = Stage::new(Setup { queues, ..UNCONFIGURED }).await;
    (stage.config.fetch.poll_min, stage.config.fetch.poll_max) = (Duration::from_secs(600), Duration::from_secs(600));
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.roster.install(grant(&portal)).await.expect("installed");
    let at = |seen: &serde_json::Value, action: &str| {
        let queues = seen["queues"].as_array().map(Vec::as_slice).unwrap_or_default();
        queues.iter().filter(|queue| queue["next"]["action"] == action && queue["last_exchange"].is_object()).count()
    };
    running.portal(&portal, |seen| at(seen, "it is asked for rows") == 2).await;
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_secs(10))).on("event.offline.get").times(1));
    let emit = |object: u32| {
        for connector in ["one", "two"] {
            portal.emit("ONCRMDEALADD", &format!(r#"{{"FIELDS":{{"ID":"{object}"}}}}"#), connector);
        }
    };
    (1..=5).for_each(emit);
    running.roster.wake(&id(&portal));
    running.metric_reaches("b24kafka_records_acknowledged_total", 5.0).await;
    running.portal(&portal, |seen| at(seen, "the portal's answer is awaited") == 1).await;
    assert!(portal.wait_until(PATIENCE, |counts| counts.free == 0 && counts.reserved == 5).await, "of the slow queue");
    // The other queue learns that no token is good any more, and so does the portal's session.
    portal.revoke_tokens();
    emit(6);
    running.roster.wake(&id(&portal));
    state(&running, &portal, "parked").await;
    running.roster.uninstall(&id(&portal)).await.expect("uninstalled");
    running.metric_reaches("b24kafka_records_acknowledged_total", 10.0).await;
    portal.reinstall();
    let installed = running.roster.install(grant(&portal)).await.expect("installed");
    assert_eq!(installed, Installed::Revived, "after the rest");
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
    stage.judge();
}
