//! The log of the bridge as a process: one portal followed alone, the level changed while it runs, repetitions left out.

mod support;

use std::time::{Duration, Instant};

use b24kafka::sim::{Fault, Options as SimOptions, Portal, Sim, Trouble};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use support::bridge::Bridge;

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// For calls of the admin API that change something; made up.
const TOKEN: &str = "stage-hand";

struct Stage {
    sim: Sim,
    bridge: Bridge,
    broker: MockCluster<'static, DefaultProducerContext>,
}

impl Stage {
    /// Two portals; the log is as it is by default, but for `log`.
    async fn start(log: impl FnOnce(&Sim) -> String) -> Self {
        let sim = Sim::start(SimOptions { portals: 2, ..SimOptions::default() }).await.expect("a simulator");
        let broker = MockCluster::new(1).expect("a mock broker");
        for topic in ["bitrix24.crm.deal", "bitrix24.dead-letter"] {
            broker.create_topic(topic, 1, 1).expect("a topic");
        }
        let configuration = format!(
            "{}\n[fetch]\npoll_min = \"100ms\"\npoll_max = \"200ms\"\n[kafka]\nbootstrap_servers = \"{}\"\n",
            sim.configuration("unlimited", usize::MAX),
            broker.bootstrap_servers(),
        );
        let mut bridge = Bridge::logging(&configuration, TOKEN, &log(&sim));
        tokio::task::block_in_place(|| {
            bridge.start();
            bridge.wait_ready();
        });
        Self { sim, bridge, broker }
    }

    fn portal(&self, number: usize) -> Portal {
        self.sim.portal(number).expect("a portal")
    }

    /// The lines that were written behind `from`, each as an object.
    fn lines(&self, from: usize) -> Vec<serde_json::Value> {
        let log = self.bridge.log();
        let whole = log.rfind('\n').map_or(0, |end| end + 1).max(from);
        log[from..whole].lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// Waits for a line behind `from`.
    async fn until(&self, from: usize, wanted: impl Fn(&serde_json::Value) -> bool) {
        let begun = Instant::now();
        while !self.lines(from).iter().any(&wanted) {
            assert!(begun.elapsed() < PATIENCE, "it was never written:\n{}", self.bridge.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn polled(&self, number: usize) {
        let (portal, before) = (self.portal(number), self.portal(number).requests().http);
        let begun = Instant::now();
        while portal.requests().http < before + 10 {
            assert!(begun.elapsed() < PATIENCE, "it is not polled:\n{}", self.bridge.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// How often a fault has met the bridge.
fn struck(portal: &Portal) -> u64 {
    portal.requests().faults.values().sum()
}

fn is_debug_of(id: &str) -> impl Fn(&serde_json::Value) -> bool {
    move |line| line["level"] == "DEBUG" && line["portal"] == id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_portal_is_followed_alone_and_the_level_is_changed_while_it_runs() {
    let following = |sim: &Sim| format!("portals = [{:?}]", sim.portal(0).expect("a portal").member_id());
    let mut stage = Stage::start(following).await;
    let (first, second) = (stage.portal(0).member_id().to_owned(), stage.portal(1).member_id().to_owned());
    stage.until(0, is_debug_of(&first)).await;
    stage.polled(1).await;
    let debug = |line: &&serde_json::Value| line["level"] == "DEBUG";
    let lines = stage.lines(0);
    assert!(lines.iter().filter(debug).all(|line| line["portal"] == first.as_str()), "{lines:?}");
    assert!(lines.iter().any(|line| line["level"] == "INFO" && line["portal"].is_null()), "{lines:?}");

    let put = |body: String| stage.bridge.put("/api/log-level", TOKEN, &body).expect("an answer");
    let (status, said) = put(format!(r#"{{"portals": [{second:?}]}}"#));
    assert_eq!((status, said), (200, format!(r#"{{"level":"info","portals":[{second:?}]}}"#)));
    let from = stage.bridge.log().len();
    stage.until(from, is_debug_of(&second)).await;
    stage.polled(0).await;
    assert!(!stage.lines(from).iter().any(is_debug_of(&first)), "{:?}", stage.lines(from));

    assert_eq!(put(r#"{"level": "debug", "portals": []}"#.into()).0, 200);
    let from = stage.bridge.log().len();
    stage.until(from, is_debug_of(&first)).await;
    stage.until(from, is_debug_of(&second)).await;
    assert_eq!(put(r#"{"level": "inof"}"#.into()).0, 400);
    assert_eq!(put(r#"{"level": "warn"}"#.into()).0, 200);
    let from = stage.bridge.log().len();
    stage.polled(0).await;
    // A line may have been under way when the level changed.
    assert!(stage.lines(from).iter().filter(debug).count() <= 2, "{:?}", stage.lines(from));
    tokio::task::block_in_place(|| stage.bridge.stop());
    assert!(!stage.bridge.log().contains(TOKEN), "no token is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_fails_at_every_poll_does_not_fill_the_log() {
    let mut stage = Stage::start(|_| String::new()).await;
    let failing = stage.portal(0);
    for trouble in [Trouble::code("ERROR_ARGUMENT"), Trouble::Status { status: 502, executed: false }] {
        failing.clear_faults();
        let before = struck(&failing);
        let from = stage.bridge.log().len();
        failing.add_fault(Fault::new(trouble));
        let troubled = |line: &serde_json::Value| line["portal"] == failing.member_id() && line["level"] != "INFO";
        stage.until(from, troubled).await;
        let begun = Instant::now();
        while struck(&failing) < before + 5 {
            assert!(begun.elapsed() < PATIENCE, "it is not polled:\n{}", stage.bridge.log());
            stage.bridge.poll(&failing.member_id(), TOKEN);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let lines = stage.lines(from);
        let told: Vec<_> = lines.iter().filter(|line| troubled(line)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
    }
    let from = stage.bridge.log().len();
    tokio::task::block_in_place(|| stage.bridge.stop());
    let told = stage.lines(from).into_iter().filter(|line| {
        let said = line["message"].as_str().unwrap_or_default();
        line["portal"] == failing.member_id() && said.starts_with("left out until the end: ")
    });
    let told: Vec<_> = told.collect();
    // One of the two troubles may have passed into the other's line.
    assert!(!told.is_empty() && told.len() <= 4, "{told:?}");
    let left_out: u64 = told.iter().filter_map(|line| line["repeats"].as_u64()).sum();
    assert!(left_out >= 8 && told.iter().all(|line| line["level"] != "INFO"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reason_why_a_run_fails_is_the_last_object() {
    let mut stage = Stage::start(|_| "[shutdown]\ngrace = \"1s\"".to_owned()).await;
    stage.broker.broker_down(1).expect("down");
    stage.portal(0).emit("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"1"}}"#, "");
    let begun = Instant::now();
    while stage.bridge.metric("b24kafka_rows_held") < 0.5 {
        assert!(begun.elapsed() < PATIENCE, "nothing is held:\n{}", stage.bridge.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = tokio::task::block_in_place(|| stage.bridge.stop());
    assert_eq!(status.code(), Some(1), "{}", stage.bridge.log());
    // Each line is an object, or this panics.
    let lines = stage.lines(0);
    let last = lines.last().expect("a line");
    let error = last["error"].as_str().unwrap_or_default();
    assert!(last["level"] == "ERROR" && error.starts_with("stopped after the grace period"), "{last}");
}
