//! `/health` against a real broker: each way in which the whole can be unwell, and the way back.

mod support;

use std::time::{Duration, Instant};

use b24kafka::{
    app::{App, AppError, patience::Patience},
    config::Config,
    sim::{Fault, Options as SimOptions, Sim, Trouble},
};
use support::{
    bridge::Bridge,
    broker::{Broker, Cluster, Options},
};

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// For calls of the admin API that change something; made up.
const TOKEN: &str = "stage-hand";

struct Stage {
    sim: Sim,
    brokers: Cluster,
    bridge: Bridge,
}

impl Stage {
    async fn start(nodes: u16) -> Self {
        let sim = Sim::start(SimOptions { portals: 2, ..SimOptions::default() }).await.expect("a simulator");
        let options = Options::new().property("min.insync.replicas", nodes);
        let brokers = tokio::task::block_in_place(|| Cluster::start(nodes, &options));
        // A portal may be silent for three seconds: twice the longest wait, and one request.
        let configuration = format!(
            "{}\n[fetch]\npoll_min = \"100ms\"\npoll_max = \"1s\"\nrequest_timeout = \"1s\"\n\
             [kafka]\nbootstrap_servers = \"{}\"\nmessage_timeout = \"5s\"\npartitions = 1\nreplication_factor = {nodes}\n",
            sim.configuration("unlimited", usize::MAX),
            brokers.bootstrap(),
        );
        let mut bridge = Bridge::quiet(&configuration, TOKEN);
        tokio::task::block_in_place(|| {
            bridge.start();
            bridge.wait_ready();
        });
        Self { sim, brokers, bridge }
    }

    /// Asks until `/health` has this status; what it says, and how long that took.
    async fn health_becomes(&self, wanted: u16) -> (serde_json::Value, f64) {
        let begun = Instant::now();
        loop {
            let answer = self.bridge.get("/health");
            let health = answer.as_ref().map(|(_, body)| serde_json::from_str(body).expect("JSON")).unwrap_or_default();
            if answer.is_some_and(|(status, _)| status == wanted) {
                // What Prometheus sees is the same.
                let healthy = f64::from(u8::from(wanted == 200));
                let seen = self.bridge.metric("b24kafka_healthy");
                assert!((seen - healthy).abs() < 0.5 || self.bridge.get("/health").is_none_or(|(s, _)| s != wanted));
                return (health, begun.elapsed().as_secs_f64());
            }
            assert!(begun.elapsed() < PATIENCE, "/health never is {wanted}: {health}\n{}", self.bridge.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn drained(&self) {
        for portal in self.sim.portals() {
            assert!(portal.wait_until_empty(PATIENCE).await, "rows are left:\n{}", self.bridge.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portals_that_are_parked_or_silent_are_unwell_when_they_are_all() {
    let mut stage = Stage::start(1).await;
    stage.health_becomes(200).await;
    let portals: Vec<_> = stage.sim.portals().collect();
    for portal in &portals {
        portal.add_fault(Fault::new(Trouble::LostRequest));
    }
    let (health, took) = stage.health_becomes(503).await;
    assert!(health["problems"].to_string().contains("no portal answers"), "{health}");
    println!("no portal answers: 503 after {took:.1} s");
    portals[0].clear_faults();
    let (health, _) = stage.health_becomes(200).await;
    assert!(health["warnings"].to_string().contains("one portal is not answering"), "{health}");
    portals[1].clear_faults();
    stage.health_becomes(200).await;

    for portal in &portals {
        portal.add_fault(Fault::new(Trouble::code("ACCESS_DENIED")));
    }
    let (health, took) = stage.health_becomes(503).await;
    println!("every portal is parked: 503 after {took:.1} s");
    let parked = |health: &serde_json::Value| health["portals"]["parked"].as_u64();
    assert!(health["problems"].to_string().contains("parked"), "{health}");
    let begun = Instant::now();
    while parked(&stage.health_becomes(503).await.0) != Some(2) {
        assert!(begun.elapsed() < PATIENCE, "{}", stage.bridge.log());
    }
    for portal in &portals {
        portal.clear_faults();
    }
    assert_eq!(stage.bridge.get("/health").map(|(status, _)| status), Some(503), "it is tried again in a minute");
    stage.bridge.poll(&portals[0].member_id(), TOKEN);
    let (health, _) = stage.health_becomes(200).await;
    assert!(health["warnings"].to_string().contains("one portal is parked"), "{health}");
    tokio::task::block_in_place(|| stage.bridge.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_answer_and_do_not_acknowledge_are_unwell() {
    // Every record has to be on both nodes, and of two controllers one alone decides nothing.
    let mut stage = Stage::start(2).await;
    let portal = stage.sim.portal(0).expect("a portal");
    portal.emit("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"1"}}"#, "");
    stage.drained().await;
    stage.health_becomes(200).await;
    tokio::task::block_in_place(|| stage.brokers[1].kill());
    portal.emit("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"2"}}"#, "");
    let (health, took) = stage.health_becomes(503).await;
    println!("too few replicas: 503 after {took:.1} s: {}", health["problems"]);
    let begun = Instant::now();
    let mut health = health;
    while health["broker"]["answering"] == false || health["broker"]["acknowledging"] == true {
        assert!(begun.elapsed() < PATIENCE, "the other node answers: {health}\n{}", stage.bridge.log());
        (health, _) = stage.health_becomes(503).await;
    }
    assert_eq!(health["rows_held"], 1, "{health}");
    assert!((stage.bridge.metric("b24kafka_broker_up")).abs() < 0.5);
    tokio::task::block_in_place(|| stage.brokers[1].restart());
    stage.drained().await;
    stage.health_becomes(200).await;
    tokio::task::block_in_place(|| stage.bridge.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statistics_of_the_brokers_reach_the_metrics() {
    let mut stage = Stage::start(1).await;
    stage.sim.portal(0).expect("a portal").backlog(500, 1);
    stage.drained().await;
    let begun = Instant::now();
    // They are told every quarter of a minute; a round trip is told for a span in which something was sent.
    let mut slowest = 0.0_f64;
    while slowest <= 0.0 || stage.bridge.metric("b24kafka_brokers_connected") < 1.0 {
        assert!(begun.elapsed() < PATIENCE, "nothing is told:\n{}", stage.bridge.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
        slowest = slowest.max(stage.bridge.metric("b24kafka_broker_round_trip_seconds"));
    }
    assert!(slowest < 60.0, "{slowest} s");
    tokio::task::block_in_place(|| stage.brokers[0].kill());
    let begun = Instant::now();
    while stage.bridge.metric("b24kafka_brokers_connected") > 0.5 {
        assert!(begun.elapsed() < PATIENCE, "the broker is gone and counts as connected");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tokio::task::block_in_place(|| {
        stage.brokers[0].restart();
        stage.bridge.stop()
    });
}

/// A bridge within this process that calls work late after seconds, since nobody waits for minutes here, and two portals.
struct Impatient {
    sim: Sim,
    admin: std::net::SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), AppError>>,
    _registry: tempfile::TempDir,
}

impl Impatient {
    /// `kafka` is the end of `[kafka]`.
    async fn start(bootstrap: &str, kafka: &str) -> Self {
        let sim = Sim::start(SimOptions { portals: 2, ..SimOptions::default() }).await.expect("a simulator");
        let registry = tempfile::tempdir().expect("a directory");
        let text = format!(
            "{}\n[fetch]\npoll_min = \"100ms\"\npoll_max = \"1s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[registry]\npath = {:?}\n[kafka]\nbootstrap_servers = \"{bootstrap}\"\n\
             message_timeout = \"5s\"\npartitions = 1\nreplication_factor = 1\n{kafka}\n",
            sim.configuration("unlimited", usize::MAX),
            registry.path().join("registry"),
        );
        let config = Config::parse(std::path::Path::new("test"), &text, std::iter::empty()).expect("a configuration");
        let patience = Patience { held: 3.0, unconfirmed: 3.0, ..Patience::default() };
        let app = App::start_with(&config, None, patience, std::future::pending()).await;
        let app = app.expect("it starts").expect("not stopped");
        let admin = app.admin();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let ended = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        Self { sim, admin, stop, ended, _registry: registry }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.ended.await.expect("it does not break").expect("a clean stop");
    }
}

/// Asks a bridge within this process until `/health` has this status and says this.
async fn tells(admin: std::net::SocketAddr, wanted: u16, word: &str) -> serde_json::Value {
    let begun = Instant::now();
    loop {
        let answer = reqwest::get(format!("http://{admin}/health")).await.expect("an answer");
        let (status, body) = (answer.status().as_u16(), answer.text().await.expect("a body"));
        if status == wanted && body.contains(word) {
            return serde_json::from_str(&body).expect("JSON");
        }
        assert!(begun.elapsed() < PATIENCE, "/health never is {wanted} with {word}: {body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_wait_for_too_long_are_told_as_a_stage_without_success() {
    let mut brokers = tokio::task::block_in_place(|| Cluster::start(1, &Options::new()));
    let bridge = Impatient::start(&brokers.bootstrap(), "").await;
    let admin = bridge.admin;
    tells(admin, 200, "").await;

    // Kafka has the rows, and neither portal clears them: a stage without success while work is due.
    let portals: Vec<_> = bridge.sim.portals().collect();
    for portal in &portals {
        portal.add_fault(Fault::new(Trouble::code("INTERNAL_SERVER_ERROR")).on("event.offline.clear"));
        portal.emit("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"1"}}"#, "");
    }
    let health = tells(admin, 503, "and no portal clears any").await;
    assert_eq!((&health["rows_unconfirmed"], &health["rows_held"]), (&2.into(), &0.into()), "{health}");
    // One portal clears again: a part of the portals is concerned, and the whole is well.
    portals[0].clear_faults();
    portals[0].emit("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"2"}}"#, "");
    assert!(portals[0].wait_until_empty(PATIENCE).await, "{:?}", portals[0].counts());
    let health = tells(admin, 200, "to be cleared").await;
    assert!(health["warnings"].to_string().contains("to be cleared"), "{health}");
    portals[1].clear_faults();
    assert!(portals[1].wait_until_empty(PATIENCE).await, "{:?}", portals[1].counts());
    let health = tells(admin, 200, "\"rows_unconfirmed\":0").await;
    assert!(!health.to_string().contains("to be cleared"), "{health}");

    // Rows are taken in and Kafka does not take them.
    tokio::task::block_in_place(|| brokers[0].kill());
    portals[0].emit("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"3"}}"#, "");
    let health = tells(admin, 503, "for Kafka to acknowledge them").await;
    assert_eq!(health["rows_held"], 1, "{health}");
    tokio::task::block_in_place(|| brokers[0].restart());
    assert!(portals[0].wait_until_empty(PATIENCE).await, "{:?}", portals[0].counts());
    let health = tells(admin, 200, "").await;
    assert!(!health.to_string().contains("for Kafka to acknowledge"), "{health}");
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_wait_for_a_topic_that_cannot_be_written_are_told_though_others_are_written() {
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new().user("bridge", "secret")));
    let login = "[kafka.security]\nprotocol = \"sasl_plaintext\"\nsasl_mechanism = \"PLAIN\"\n\
                 username = \"bridge\"\npassword = \"secret\"\n";
    let bridge = Impatient::start(&broker.sasl_bootstrap(), login).await;
    let portals: Vec<_> = bridge.sim.portals().collect();
    let change = |portal: usize, event: &str, id: u32| {
        portals[portal].emit(event, &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
    };
    for portal in [0, 1] {
        change(portal, "ONCRMDEALUPDATE", 1);
        change(portal, "ONCRMCONTACTUPDATE", 1);
        assert!(portals[portal].wait_until_empty(PATIENCE).await, "{:?}", portals[portal].counts());
    }
    tells(bridge.admin, 200, "").await;
    let rule = ["--deny-principal", "User:bridge", "--operation", "Write", "--topic", "bitrix24.crm.deal"];
    let acl = |words: &[&str]| {
        let words: Vec<&str> = words.iter().chain(&rule).copied().collect();
        tokio::task::block_in_place(|| broker.tool("org.apache.kafka.tools.AclCommand", &words))
    };
    acl(&["--add"]);
    change(0, "ONCRMDEALUPDATE", 2);
    let health = tells(bridge.admin, 503, "for Kafka to acknowledge them").await;
    let problems = health["problems"].to_string();
    assert!(problems.contains("rows of one portal wait for a topic that cannot be written"), "{health}");
    assert_eq!((&health["rows_held"], &health["broker"]["answering"]), (&1.into(), &true.into()), "{health}");
    // What the other portal has goes on to be written and cleared.
    change(1, "ONCRMCONTACTUPDATE", 2);
    assert!(portals[1].wait_until_empty(PATIENCE).await, "{:?}", portals[1].counts());

    acl(&["--remove", "--force"]);
    assert!(portals[0].wait_until_empty(PATIENCE).await, "{:?}", portals[0].counts());
    let health = tells(bridge.admin, 200, "\"rows_held\":0").await;
    assert_eq!(health["problems"], serde_json::json!([]), "{health}");
    bridge.stop().await;
}
