//! A real Prometheus scrapes the real binary, and its alerts fire when the broker is killed and when the bridge is gone.

mod support;

use std::time::{Duration, Instant};

use b24kafka::sim::{Options as SimOptions, Sim};
use support::{
    bridge::Bridge,
    broker::{Broker, Options},
    prometheus::Prometheus,
};

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(180);
/// `/health` may be wrong about the broker for 15 s; the rest is for a machine that runs all of this on few cores.
const HEALTH: Duration = Duration::from_secs(15 + 2);

fn fires(alert: &'static str) -> impl Fn(&[String]) -> bool {
    move |firing| firing.iter().any(|name| name == alert)
}

fn is_quiet(firing: &[String]) -> bool {
    firing.is_empty()
}

async fn health_becomes(bridge: &Bridge, wanted: u16) -> Duration {
    let begun = Instant::now();
    while bridge.get("/health").is_none_or(|(status, _)| status != wanted) {
        assert!(begun.elapsed() < HEALTH, "/health does not become {wanted}:\n{}", bridge.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_fire_when_the_broker_is_killed_and_end_when_it_is_back() {
    let sim = Sim::start(SimOptions::default()).await.expect("a simulator");
    let mut broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let mut bridge = Bridge::configured(&format!(
        "{}\n[fetch]\npoll_min = \"100ms\"\npoll_max = \"1s\"\n\
         [kafka]\nbootstrap_servers = \"{}\"\nmessage_timeout = \"5s\"\nreplication_factor = 1\n",
        sim.configuration("unlimited", 1),
        broker.bootstrap(),
    ));
    let portal = sim.portal(0).expect("a portal");
    tokio::task::block_in_place(|| {
        bridge.start();
        bridge.wait_ready();
    });
    let prometheus = Prometheus::start(&bridge.admin());
    portal.generate(2_000, 1);
    assert!(portal.wait_until_empty(PATIENCE).await, "{}", bridge.log());
    prometheus.scraped(5.0).await;
    let quiet = prometheus.until("quiet", is_quiet).await;
    println!("no alert fires while rows flow (after {:.1} s)", quiet.as_secs_f64());
    let rows = bridge.metric("b24kafka_rows_received_total");
    assert!(rows > 1_000.0, "{rows} rows have flown");
    let begun = Instant::now();
    while prometheus.value("sum(b24kafka_rows_received_total)").await.is_none_or(|known| known < rows) {
        assert!(begun.elapsed() < PATIENCE, "Prometheus does not know of {rows} rows");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    tokio::task::block_in_place(|| broker.kill());
    let killed = Instant::now();
    portal.generate(500, 2);
    health_becomes(&bridge, 503).await;
    let unhealthy = killed.elapsed();
    prometheus.until("B24KafkaProduceFailing", fires("B24KafkaProduceFailing")).await;
    let alerted = killed.elapsed();
    prometheus.until("B24KafkaStalled", fires("B24KafkaStalled")).await;
    println!(
        "from the death of the broker: /health is 503 after {:.1} s, B24KafkaProduceFailing fires after {:.1} s and \
         B24KafkaStalled after {:.1} s (a minute of the rules is a second here)",
        unhealthy.as_secs_f64(),
        alerted.as_secs_f64(),
        killed.elapsed().as_secs_f64(),
    );

    tokio::task::block_in_place(|| broker.restart());
    assert!(portal.wait_until_empty(PATIENCE).await, "{}", bridge.log());
    health_becomes(&bridge, 200).await;
    let ended = prometheus.until("quiet", is_quiet).await;
    println!("all alerts have ended {:.1} s after /health is 200 again", ended.as_secs_f64());

    let status = tokio::task::block_in_place(|| bridge.stop());
    assert_eq!(status.code(), Some(0), "{}", bridge.log());
    prometheus.until("B24KafkaDown", fires("B24KafkaDown")).await;
    // Whatever happened meanwhile, the sums were right in every scrape.
    let wrong = "count(count_over_time(ALERTS{alertname=~\"B24KafkaNotConserved|B24KafkaDeadLetters\"}[1h]))";
    assert_eq!(prometheus.value(wrong).await, None, "these never even became pending");
}
