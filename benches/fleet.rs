//! The benchmark of many portals: what thousands of them cost one bridge, and what one of them can do to the others.
//!
//! `make bench-fleet` prints a table and writes `target/bench-fleet.json`. The portals are played by a process of their
//! own, each at a loopback address of its own, so that no connection serves two of them; the bridge is a process too, so
//! that its processor time and memory are its own; the broker is a real Apache Kafka. All of them share this machine's
//! cores: figures of one run are to be compared with each other first of all.

#[path = "fleet/actor.rs"]
mod actor;
#[path = "fleet/outage.rs"]
mod outage;
#[path = "fleet/portals.rs"]
mod portals;
#[path = "fleet/reader.rs"]
mod reader;
#[path = "fleet/scene.rs"]
mod scene;
#[path = "fleet/steady.rs"]
mod steady;
#[path = "fleet/storm.rs"]
mod storm;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "bridge/usage.rs"]
mod usage;

use std::time::Duration;

use scene::{Scene, Setup};
use serde_json::{Value, json};
use storm::Neighbour;
use support::broker::{Broker, Options};

/// What can be said on the command line.
struct Arguments {
    /// Sizes of the fleet, one run each.
    portals: Vec<usize>,
    /// `fetch.poll_max` of the bridge, in seconds.
    poll_max: u64,
    /// How long a storm lasts, in seconds.
    storm: u64,
}

impl Arguments {
    /// `--portals 1000,5000 --poll-max 60 --storm 20`
    fn read() -> Self {
        let given: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
        let of = |name: &str| given.iter().position(|a| a == name).and_then(|at| given.get(at + 1)).map(String::as_str);
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} is no number"));
        Self {
            portals: of("--portals").unwrap_or("1000,5000").split(',').map(|n| number(n) as usize).collect(),
            poll_max: of("--poll-max").map_or(60, number),
            storm: of("--storm").map_or(20, number),
        }
    }
}

fn main() {
    let first = std::env::args().nth(1).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if first == actor::ROLE {
        return runtime.block_on(actor::play());
    }
    // The benchmark's own calls go without TLS, but a client is not made without somebody who could do it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(run(&Arguments::read()));
}

async fn run(arguments: &Arguments) {
    let mut broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores; broker, simulated portals, bridge and reader share them\n");
    let bootstrap = broker.bootstrap();
    let setup = |portals| Setup { bootstrap: bootstrap.clone(), portals, poll_max: arguments.poll_max };
    let empty = Scene::new(setup(0)).await.memory_of_an_empty_bridge().await;
    println!("a bridge without portals holds {empty:.0} KiB");
    let mut fleets = Vec::new();
    for portals in &arguments.portals {
        println!("\n{portals} portals, poll_max {} s", arguments.poll_max);
        let scene = Scene::new(setup(*portals)).await;
        fleets.push(one(scene, &mut broker, empty, Duration::from_secs(arguments.storm)).await);
    }
    let result = json!({
        "cores": cores, "poll_max_seconds": arguments.poll_max, "empty_bridge_kib": empty, "fleets": fleets,
    });
    std::fs::write("target/bench-fleet.json", format!("{result:#}\n")).expect("target/bench-fleet.json is written");
}

/// Every scenario with one fleet.
async fn one(mut scene: Scene, broker: &mut Broker, empty: f64, storm: Duration) -> Value {
    let start = steady::start(&mut scene).await;
    line("start: first exchange of the last portal", &start, "seconds", "s");
    line("start: most requests at the same time", &start, "most_at_once", "");
    let idle = steady::idle(&scene, empty).await;
    line("idle: memory per portal", &idle, "kib_per_portal", "KiB");
    line("idle: processor", &idle, "cpu_percent", "% of a core");
    line("idle: requests", &idle, "requests_per_second", "/s");
    let busy = steady::busy(&scene).await;
    line("1 % busy: processor", &busy, "cpu_percent", "% of a core");
    let woken = storm::run(&scene, storm).await;
    delay("wake-ups: to readable record", &woken);
    let hanging = storm::beside(&scene, Neighbour::Hangs, storm).await;
    delay("others, none hanging", &hanging["without"]);
    delay("others, one portal hanging", &hanging["with"]);
    line("others' p99, with / without", &hanging, "p99_ratio", "");
    let flood = storm::beside(&scene, Neighbour::Floods, storm).await;
    delay("others, none flooding", &flood["without"]);
    delay("others, one portal flooding", &flood["with"]);
    line("others' p99, with / without", &flood, "p99_ratio", "");
    let outage = outage::run(&scene, broker).await;
    line("outage: all rows of all portals confirmed after", &outage, "seconds", "s");
    line("outage: most requests at the same time", &outage, "most_at_once", "");
    line("outage: memory at most", &outage, "peak_mib", "MiB");
    let portals = scene.portals();
    scene.stop();
    json!({
        "portals": portals, "start": start, "idle": idle, "busy": busy, "wake_ups": woken, "hanging": hanging,
        "flood": flood, "outage": outage,
    })
}

fn line(name: &str, value: &Value, key: &str, unit: &str) {
    println!("{name:<50} {:>10.2} {unit}", value[key].as_f64().unwrap_or(f64::NAN));
}

fn delay(name: &str, value: &Value) {
    let ms = |key: &str| value[key].as_f64().unwrap_or(f64::NAN);
    println!("{name:<50} p50 {:>7.1} ms   p90 {:>7.1} ms   p99 {:>7.1} ms", ms("p50_ms"), ms("p90_ms"), ms("p99_ms"));
}
