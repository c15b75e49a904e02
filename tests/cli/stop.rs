//! A signal in every phase: what is in flight is finished and confirmed, what is left is said, and nothing is lost.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use b24kafka::sim::{Fault, Options, Portal, Sim, Trouble};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use secrecy::ExposeSecret as _;

use super::support::{bridge::Bridge, judge::judge, mock, port, process::Signal};

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const NOTHING_LEFT: &str = "stopped: nothing is left reserved by this process";
/// How long an answer is on its way: long enough to send a signal meanwhile, on a busy machine too.
const SLOW: Duration = Duration::from_secs(3);

struct Stage {
    _sim: Sim,
    portal: Portal,
    broker: MockCluster<'static, DefaultProducerContext>,
    bridge: Bridge,
}

impl Stage {
    /// A bridge that serves one portal, and how long its stop may take.
    async fn start(grace: &str) -> Self {
        let mut stage = Self::build(grace, None).await;
        stage.run();
        stage
    }

    async fn build(grace: &str, bootstrap: Option<&str>) -> Self {
        let sim = Sim::start(Options::default()).await.expect("a simulator");
        let broker = MockCluster::new(1).expect("a mock broker");
        // It knows no admin requests.
        for topic in ["bitrix24.crm.deal", "bitrix24.dead-letter"] {
            broker.create_topic(topic, 2, 1).expect("a topic");
        }
        let own = broker.bootstrap_servers();
        let app = sim.configuration("unlimited", 1);
        let bootstrap = bootstrap.unwrap_or(&own);
        let bridge = Bridge::quiet(
            &format!(
                "{app}\n[fetch]\nlimit_min = 20\nlimit_max = 20\npoll_min = \"100ms\"\npoll_max = \"200ms\"\n\
                 request_timeout = \"8s\"\n[shutdown]\ngrace = \"{grace}\"\n\
                 [kafka]\nbootstrap_servers = \"{bootstrap}\"\ncreate_topics = false\n"
            ),
            "stopper",
        );
        let portal = sim.portal(0).expect("a portal");
        Self { _sim: sim, portal, broker, bridge }
    }

    fn run(&mut self) {
        tokio::task::block_in_place(|| {
            self.bridge.start();
            self.bridge.wait_ready();
        });
    }

    fn emit(&self, rows: usize) {
        for id in 0..rows {
            self.portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), "");
        }
    }

    async fn until(&self, what: &str, wanted: impl Fn() -> bool) {
        let begun = Instant::now();
        while !wanted() {
            assert!(begun.elapsed() < PATIENCE, "it never came that {what}:\n{}", self.bridge.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn stop(&mut self) -> ExitStatus {
        tokio::task::block_in_place(|| self.bridge.stop())
    }

    /// The last thing that was said.
    fn last_line(&self) -> String {
        self.bridge.log().lines().last().unwrap_or_default().to_owned()
    }

    /// A stop that succeeds: exit code 0, `said` last, and nothing reserved.
    fn stops_well(&mut self, said: &str) {
        let status = self.stop();
        assert_eq!(status.code(), Some(0), "{}", self.bridge.log());
        assert!(self.last_line().contains(said), "{}", self.last_line());
        assert_eq!(self.portal.counts().reserved, 0, "{}", self.bridge.log());
    }

    /// One that has confirmed what came until then, and has left the rest alone.
    fn stops_having_confirmed(&mut self, cleared: u64, free: usize) {
        self.stops_well(NOTHING_LEFT);
        assert_eq!(
            (self.portal.totals().cleared, self.portal.counts().free),
            (cleared, free),
            "what came was confirmed"
        );
    }

    /// What was left is found by the next start, and nothing is lost or repeated without need.
    async fn goes_on(&mut self, duplicates_allowed: bool) {
        self.portal.clear_faults();
        self.run();
        assert!(self.portal.wait_until_empty(PATIENCE).await, "{:?}\n{}", self.portal.counts(), self.bridge.log());
        self.stops_well(NOTHING_LEFT);
        let records = tokio::task::block_in_place(|| mock::read_all(&self.broker.bootstrap_servers()));
        let judgement = judge(&self.portal, &records, self.bridge.lives());
        judgement.assert_good();
        assert!(judgement.rows > 0 && (duplicates_allowed || judgement.duplicates == 0), "{judgement:?}");
        assert!(self.portal.misuse().is_clean(), "{:?}", self.portal.misuse());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_idle_by_either_signal() {
    let mut stage = Stage::start("10s").await;
    stage.emit(5);
    assert!(stage.portal.wait_until_empty(PATIENCE).await);
    stage.stops_well(NOTHING_LEFT);
    stage.run();
    stage.bridge.signal(Signal::Int);
    let status = tokio::task::block_in_place(|| stage.bridge.wait());
    assert_eq!(status.code(), Some(0));
    assert!(stage.last_line().contains(NOTHING_LEFT), "{}", stage.last_line());
    stage.emit(5);
    stage.goes_on(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_get_is_on_its_way() {
    let mut stage = Stage::start("30s").await;
    stage.portal.add_fault(Fault::new(Trouble::Slow(SLOW)).on("event.offline.get").times(1));
    stage.emit(50);
    stage.until("the portal reserves", || stage.portal.counts().reserved == 20).await;
    stage.stops_having_confirmed(20, 30);
    stage.goes_on(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_slow_broker_takes_records() {
    let mut stage = Stage::start("30s").await;
    // The topic is known by now: only the records have to be waited for.
    stage.emit(5);
    assert!(stage.portal.wait_until_empty(PATIENCE).await, "{}", stage.bridge.log());
    stage.broker.broker_round_trip_time(1, SLOW).expect("slow");
    stage.emit(50);
    stage.until("rows are held", || stage.bridge.metric("b24kafka_rows_held") > 0.5).await;
    stage.stops_having_confirmed(25, 30);
    stage.broker.broker_round_trip_time(1, Duration::ZERO).expect("quick");
    stage.goes_on(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away() {
    let mut stage = Stage::start("3s").await;
    stage.broker.broker_down(1).expect("down");
    stage.emit(50);
    stage.until("rows are held", || stage.bridge.metric("b24kafka_rows_held") > 19.5).await;
    let status = stage.stop();
    assert_eq!(status.code(), Some(1), "{}", stage.bridge.log());
    let said =
        "b24kafka: stopped after the grace period with 1 queues at work and 20 rows held; the next start recovers them";
    assert_eq!(stage.last_line(), said);
    assert_eq!((stage.portal.counts().free, stage.portal.counts().reserved), (30, 20), "and so it is");
    stage.broker.broker_up(1).expect("up");
    stage.goes_on(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_once_by_a_second_signal() {
    let mut stage = Stage::start("100s").await;
    stage.broker.broker_down(1).expect("down");
    stage.emit(50);
    stage.until("rows are held", || stage.bridge.metric("b24kafka_rows_held") > 19.5).await;
    stage.bridge.signal(Signal::Term);
    stage.until("it is stopping", || stage.bridge.log().contains("finishing and confirming what is in flight")).await;
    let status = stage.stop();
    assert_eq!(status.code(), Some(1), "{}", stage.bridge.log());
    let said = "b24kafka: stopped at once by a second signal; what is reserved is recovered by the next start";
    assert_eq!(stage.last_line(), said);
    stage.broker.broker_up(1).expect("up");
    stage.goes_on(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_clear_is_on_its_way() {
    let mut stage = Stage::start("30s").await;
    stage.portal.add_fault(Fault::new(Trouble::Slow(SLOW)).on("event.offline.clear").times(1));
    stage.emit(50);
    // The same request reserves the next rows.
    stage.until("the portal clears", || stage.portal.totals().cleared == 20).await;
    stage.stops_having_confirmed(40, 10);
    stage.goes_on(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_tokens_are_refreshed() {
    let mut stage = Stage::start("10s").await;
    stage.portal.add_fault(Fault::new(Trouble::Slow(SLOW)).on("oauth").times(1));
    stage.portal.expire_tokens();
    stage.until("the server is asked", || stage.portal.requests().oauth == 1).await;
    stage.stops_well(NOTHING_LEFT);
    let file = stage.bridge.registry().join(format!("{}.json", stage.portal.member_id()));
    let stored = std::fs::read_to_string(file).expect("the portal's record");
    for token in [stage.portal.access_token(), stage.portal.refresh_token()] {
        assert!(stored.contains(token.expose_secret()), "the living pair is stored");
    }
    stage.emit(5);
    stage.goes_on(false).await;
    assert_eq!(stage.portal.requests().oauth, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_waited_for_at_the_start() {
    let nobody = format!("127.0.0.1:{}", port::free());
    let mut stage = Stage::build("10s", Some(&nobody)).await;
    stage.emit(5);
    tokio::task::block_in_place(|| stage.bridge.start());
    stage.until("it waits", || stage.bridge.log().contains("waiting for the broker")).await;
    let status = stage.stop();
    assert_eq!(status.code(), Some(0), "{}", stage.bridge.log());
    assert!(stage.last_line().contains("stopped before anything was fetched"), "{}", stage.last_line());
    assert_eq!(stage.portal.requests().http, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_portal_is_parked() {
    let mut stage = Stage::start("60s").await;
    stage.portal.add_fault(Fault::new(Trouble::code("ACCESS_DENIED")));
    stage.emit(5);
    stage.until("it is parked", || stage.bridge.log().contains("the portal is parked")).await;
    let begun = Instant::now();
    stage.stops_well(NOTHING_LEFT);
    assert!(begun.elapsed() < Duration::from_secs(30), "nothing is waited for");
    stage.goes_on(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_portal_has_answered_at_all() {
    let mut stage = Stage::build("60s", None).await;
    stage.portal.add_fault(Fault::new(Trouble::LostRequest));
    stage.emit(5);
    tokio::task::block_in_place(|| stage.bridge.start());
    stage.until("the portal is asked", || stage.portal.requests().http > 0).await;
    let begun = Instant::now();
    stage.stops_well(NOTHING_LEFT);
    assert!(begun.elapsed() < Duration::from_secs(30), "nothing is waited for");
    stage.goes_on(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_get_is_lost_that_may_still_be_executed() {
    let mut stage = Stage::start("60s").await;
    stage.portal.add_fault(Fault::new(Trouble::LostRequest).on("event.offline.get").times(1));
    stage.emit(50);
    stage.until("a get is lost", || stage.portal.requests().faults.contains_key("lost-request")).await;
    // Nobody knows whether it was lost on the way there or on the way back, and it may be alive for a minute.
    stage.stops_well("stopped; a request whose outcome is unknown may have reserved rows");
    stage.goes_on(false).await;
}
