//! The bridge as a process of its own, a real Apache Kafka, a simulated portal, and Java's client reading back.

#[path = "kafka/dead_letters.rs"]
mod dead_letters;
#[path = "kafka/spoiler.rs"]
mod spoiler;
#[path = "kafka/stop.rs"]
mod stop;
mod support;

use std::{collections::BTreeMap, time::Duration};

use b24kafka::sim::{Fault, Options as SimOptions, Portal, Sim, Trouble};
use support::{
    bridge::Bridge,
    broker::{Broker, Options},
    judge::judge,
    reader::{self, ReadRecord},
};

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(180);
/// `/health` may be wrong about the broker for 15 s; the rest is for a machine that runs broker, bridge and portal on few
/// cores, and for the pause between two questions.
const HEALTH: Duration = Duration::from_secs(15 + 2);
const TOPICS: &str = r"bitrix24\..*";

struct Stage {
    sim: Sim,
    broker: Broker,
    bridge: Bridge,
}

impl Stage {
    /// One portal, one broker, one bridge that is not started yet.
    async fn build(queues: &str) -> Self {
        Self::with(&Options::new(), queues, "").await
    }

    /// The same with a broker of another kind, and more of `[kafka]`.
    async fn with(options: &Options, queues: &str, kafka: &str) -> Self {
        let sim = Sim::start(SimOptions::default()).await.expect("a simulator");
        let broker = tokio::task::block_in_place(|| Broker::start(options));
        let bridge = Bridge::configured(&format!("{}{kafka}", configuration(&sim, &broker.bootstrap(), queues)));
        Self { sim, broker, bridge }
    }

    fn portal(&self) -> Portal {
        self.sim.portal(0).expect("a portal")
    }

    fn start(&mut self) {
        tokio::task::block_in_place(|| {
            self.bridge.start();
            self.bridge.wait_ready();
        });
    }

    async fn drained(&self) {
        let empty = self.portal().wait_until_empty(PATIENCE).await;
        assert!(empty, "rows are left at the portal:\n{}", self.bridge.log());
    }

    /// Asks until `/health` says so, which it has to in time; tells how long that took.
    async fn health_becomes(&self, wanted: u16) -> Duration {
        let begun = std::time::Instant::now();
        while self.bridge.get("/health").is_none_or(|(status, _)| status != wanted) {
            assert!(begun.elapsed() < HEALTH, "/health does not become {wanted}:\n{}", self.bridge.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        begun.elapsed()
    }

    fn records(&self) -> Vec<ReadRecord> {
        tokio::task::block_in_place(|| reader::read_all(&self.broker.bootstrap(), TOPICS))
    }
}

fn configuration(sim: &Sim, bootstrap: &str, queues: &str) -> String {
    let portal = sim.configuration("unlimited", 1);
    format!(
        r#"{portal}
{queues}
[fetch]
poll_min = "100ms"
poll_max = "1s"
[kafka]
bootstrap_servers = "{bootstrap}"
partitions = 3
replication_factor = 1
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_rows_of_mixed_entities_arrive_once_and_in_order() {
    let mut stage = Stage::build("").await;
    stage.portal().backlog(5_000, 7);
    stage.start();
    stage.drained().await;
    let status = tokio::task::block_in_place(|| stage.bridge.stop());
    assert_eq!(status.code(), Some(0), "{}", stage.bridge.log());
    let records = stage.records();
    let judgement = judge(&stage.portal(), &records, stage.bridge.lives());
    judgement.assert_good();
    assert_eq!(judgement.duplicates, 0, "nothing went wrong, so nothing is delivered twice");
    assert_eq!(records.len(), judgement.rows);
    assert_eq!(judgement.rows, 5_000);
    let entities: BTreeMap<&str, usize> = records.iter().fold(BTreeMap::new(), |mut all, record| {
        *all.entry(record.topic.as_str()).or_default() += 1;
        all
    });
    assert!(entities.len() >= 4, "mixed entities: {entities:?}");
    for record in &records {
        assert_eq!(Some(record.partition), record.java_partition, "the partition that Java's client would choose");
        let value = record.json();
        assert_eq!(
            record.key.as_deref(),
            Some(
                format!(
                    "{}:{}:{}",
                    value["member_id"].as_str().expect("text"),
                    value["entity"].as_str().expect("text"),
                    value["entity_id"].as_str().expect("text")
                )
                .as_str()
            )
        );
    }
    assert!(stage.portal().misuse().is_clean(), "{:?}", stage.portal().misuse());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_killed_at_ten_random_points_loses_nothing_and_leaves_nothing_reserved() {
    let mut stage = Stage::build("").await;
    let portal = stage.portal();
    // Slow enough that a kill meets every phase: reserving, producing, clearing.
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(20))));
    let mut pause = 37;
    for round in 0..10 {
        portal.generate(500, round);
        tokio::task::block_in_place(|| stage.bridge.start());
        pause = (pause * 7919 + 13) % 900;
        tokio::time::sleep(Duration::from_millis(150 + pause)).await;
        tokio::task::block_in_place(|| stage.bridge.kill());
    }
    stage.start();
    stage.drained().await;
    let status = tokio::task::block_in_place(|| stage.bridge.stop());
    assert_eq!(status.code(), Some(0), "{}", stage.bridge.log());
    let judgement = judge(&portal, &stage.records(), stage.bridge.lives());
    judgement.assert_good();
    println!("killed ten times: {} rows, {} duplicates", judgement.rows, judgement.duplicates);
    let misuse = portal.misuse();
    assert_eq!((misuse.empty_clears, misuse.listless_clears, misuse.destructive_gets), (0, 0, 0), "{misuse:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_in_mid_flow_stops_the_bridge_and_both_go_on_afterwards() {
    let mut stage = Stage::build("").await;
    let portal = stage.portal();
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(100))));
    portal.backlog(2_000, 1);
    stage.start();
    assert_eq!(stage.bridge.get("/health").map(|(status, _)| status), Some(200));
    portal.backlog(20_000, 2);
    assert!(portal.wait_until(PATIENCE, |counts| counts.free < 15_000).await, "rows flow");
    assert_eq!(stage.bridge.get("/health").map(|(status, _)| status), Some(200), "before the broker dies");
    tokio::task::block_in_place(|| stage.broker.kill());
    portal.generate(1_000, 3);
    let took = stage.health_becomes(503).await;
    println!("/health is 503 {:.1} s after the broker was found dead", took.as_secs_f64());
    tokio::task::block_in_place(|| stage.broker.restart());
    stage.drained().await;
    stage.health_becomes(200).await;
    stage.bridge.assert_conserved();
    tokio::task::block_in_place(|| stage.bridge.stop());
    judge(&portal, &stage.records(), stage.bridge.lives()).assert_good();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_freezes_while_nothing_flows_is_found_out_in_time() {
    let mut stage = Stage::build("").await;
    let portal = stage.portal();
    portal.backlog(100, 1);
    stage.start();
    stage.drained().await;
    stage.health_becomes(200).await;
    // Its sockets stay open and it answers nobody.
    stage.broker.pause();
    let took = stage.health_becomes(503).await;
    println!("/health is 503 {:.1} s after the broker froze", took.as_secs_f64());
    portal.backlog(100, 2);
    let cleared = portal.totals().cleared;
    assert!(portal.wait_until(PATIENCE, |counts| counts.reserved > 0).await, "the queue is read on");
    assert_eq!(portal.totals().cleared, cleared, "nothing can have been acknowledged");
    stage.broker.resume();
    stage.drained().await;
    stage.health_becomes(200).await;
    tokio::task::block_in_place(|| stage.bridge.stop());
    judge(&portal, &stage.records(), stage.bridge.lives()).assert_good();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connectors_stay_apart() {
    let queues = "[[queues]]\n[[queues]]\nconnector = \"erp\"\ntopic = \"bitrix24.erp.{entity}\"\n";
    let mut stage = Stage::build(queues).await;
    let portal = stage.portal();
    for id in 0..300 {
        portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
        portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "erp");
    }
    stage.start();
    stage.drained().await;
    tokio::task::block_in_place(|| stage.bridge.stop());
    let records = stage.records();
    judge(&portal, &records, stage.bridge.lives()).assert_good();
    assert_eq!(records.len(), 600);
    for record in &records {
        let erp = record.topic == "bitrix24.erp.crm.deal";
        assert!(erp || record.topic == "bitrix24.crm.deal", "{}", record.topic);
        let source = record.header("ce_source").expect("a source");
        assert_eq!(source.ends_with("/erp"), erp, "{source} in {}", record.topic);
        assert_eq!(record.json()["connector"], if erp { "erp" } else { "" });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_registry_is_refused() {
    let mut stage = Stage::build("").await;
    stage.start();
    let config = stage.bridge.config();
    let output = tokio::task::block_in_place(|| {
        std::process::Command::new(env!("CARGO_BIN_EXE_b24kafka"))
            .arg("run")
            .arg("-c")
            .arg(config)
            .env("B24KAFKA__ADMIN__LISTEN", "127.0.0.1:0")
            .output()
            .expect("it runs")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("registry") && said.contains("process"), "{said}");
    tokio::task::block_in_place(|| stage.bridge.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_may_not_be_written_is_one_clear_sentence_and_holds_the_rows() {
    let sim = Sim::start(SimOptions::default()).await.expect("a simulator");
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new().user("bridge", "secret")));
    for topic in ["bitrix24.dead-letter", "bitrix24.crm.deal"] {
        broker.create_topic(topic, 1, 1, &[]).await;
    }
    let acl = |action: &str| {
        let rule = [action, "--deny-principal", "User:bridge", "--operation", "Write", "--topic", "bitrix24.crm.deal"];
        let rule: Vec<&str> =
            if action == "--remove" { rule.into_iter().chain(["--force"]).collect() } else { rule.into() };
        tokio::task::block_in_place(|| broker.tool("org.apache.kafka.tools.AclCommand", &rule));
    };
    acl("--add");
    let security = "[kafka.security]\nprotocol = \"sasl_plaintext\"\nsasl_mechanism = \"PLAIN\"\nusername = \"bridge\"\npassword = \"secret\"\n";
    let mut bridge = Bridge::configured(&format!("{}{security}", configuration(&sim, &broker.sasl_bootstrap(), "")));
    let portal = sim.portal(0).expect("a portal");
    portal.emit("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"1"}}"#, "");
    tokio::task::block_in_place(|| {
        bridge.start();
        bridge.wait_ready();
    });
    let begun = std::time::Instant::now();
    while bridge.metric("b24kafka_produce_failures_total{class=\"route\"}") < 1.0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no failure is counted:\n{}", bridge.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(portal.counts().reserved, 1, "the row is held");
    let health = bridge.get("/health").expect("an answer");
    assert!(health.0 == 503 && health.1.contains("wait for a topic that cannot be written"), "{health:?}");
    let said = bridge.log();
    let told =
        said.lines().any(|l| l.contains("no right to") && l.contains("bitrix24.crm.deal") && l.contains("grant it"));
    assert!(told, "the log says what is missing and what to do:\n{said}");
    acl("--remove");
    assert!(portal.wait_until_empty(PATIENCE).await, "the right is back, the row goes:\n{}", bridge.log());
    let begun = std::time::Instant::now();
    while bridge.get("/health").map(|(status, _)| status) != Some(200) {
        assert!(begun.elapsed() < HEALTH, "it is well again:\n{}", bridge.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::task::block_in_place(|| bridge.stop());
    let records = tokio::task::block_in_place(|| reader::read_all(&broker.bootstrap(), TOPICS));
    judge(&portal, &records, bridge.lives()).assert_good();
}

#[test]
fn the_demo_runs_against_a_real_broker_too() {
    let broker = Broker::start(&Options::new());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_b24kafka"))
        .args(["demo", "--events", "5000", "--bootstrap", &broker.bootstrap()])
        .output()
        .expect("it runs");
    let out = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && out.contains("verdict: nothing is lost"), "{out}\n{words}");
    let line = out.lines().find(|line| line.starts_with("rows in Kafka")).expect("a figure");
    let rows: usize = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
    let records = reader::read_all(&broker.bootstrap(), r"b24kafka-demo\..*");
    let changes: std::collections::BTreeSet<_> = records.iter().filter_map(|record| record.header("ce_id")).collect();
    assert_eq!(changes.len(), rows, "Java's client finds what the demo says");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_creates_no_topic_and_finds_one_that_cannot_be_written() {
    let sim = Sim::start(SimOptions::default()).await.expect("a simulator");
    // This one creates a topic as soon as somebody asks for it in the wrong way.
    let options = Options::new().property("auto.create.topics.enable", "true");
    let broker = tokio::task::block_in_place(|| Broker::start(&options));
    let queues = "[[queues]]\nevents = [\"crm.deal\", \"ONTASKADD\"]\n";
    let bridge = Bridge::configured(&configuration(&sim, &broker.bootstrap(), queues));
    broker.create_topic("bitrix24.task", 2, 1, &[("min.insync.replicas", "2")]).await;
    let check = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_b24kafka"));
        let output = command.args(["check", "--online", "-c"]).arg(bridge.config()).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let out = tokio::task::block_in_place(|| [check(), check()]);
    for out in out {
        assert!(out.contains("ok     topic bitrix24.crm.deal: is missing; `run` will create it"), "{out}");
        assert!(
            out.contains("FAULT  topic bitrix24.task: has too few replicas (1) for its min.insync.replicas (2)"),
            "{out}"
        );
    }
    let list = ["--list", "--exclude-internal"];
    let topics = tokio::task::block_in_place(|| broker.tool("org.apache.kafka.tools.TopicCommand", &list));
    assert_eq!(topics.lines().filter(|line| line.starts_with("bitrix24.")).collect::<Vec<_>>(), ["bitrix24.task"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_at_the_start_is_waited_for_and_nothing_is_fetched() {
    let sim = Sim::start(SimOptions::default()).await.expect("a simulator");
    let portal = sim.portal(0).expect("a portal");
    portal.backlog(10, 1);
    let nobody = format!("127.0.0.1:{}", support::port::free());
    let mut bridge = Bridge::configured(&configuration(&sim, &nobody, ""));
    tokio::task::block_in_place(|| bridge.start());
    let begun = std::time::Instant::now();
    while !bridge.log().contains("waiting for the broker") {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not say so:\n{}", bridge.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(bridge.get("/health").map(|(status, _)| status), Some(503));
    assert_eq!(bridge.get("/ready").map(|(status, _)| status), Some(503));
    assert_eq!(portal.requests().http, 0, "nothing is fetched that could not be published");
    let status = tokio::task::block_in_place(|| bridge.stop());
    assert_eq!(status.code(), Some(0), "{}", bridge.log());
}
