//! The benchmark: what the bridge does beside a plain producer that writes the same records, on a real Apache Kafka.
//!
//! `make bench` prints a table and writes `target/bench.json`. Figures of one run are to be compared with each other only:
//! the simulator and the broker share this machine's cores with the bridge, which is a process of its own, so that its
//! processor time and memory are its own too.

#[path = "bridge/drain.rs"]
mod drain;
#[path = "bridge/latency.rs"]
mod latency;
#[path = "bridge/plain.rs"]
mod plain;
#[path = "bridge/stage.rs"]
mod stage;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "bridge/usage.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest of it")]
mod usage;

use serde_json::{Value, json};
use support::broker::{Broker, Options};

/// Rows of the backlog.
const ROWS: usize = 200_000;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [mode, bootstrap] = arguments.as_slice()
        && mode == "plain"
    {
        println!("{}", plain::produce(bootstrap, ROWS).await);
        return;
    }
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let bootstrap = broker.bootstrap();
    println!("{ROWS} rows, {} cores; broker, portal simulator and bridge share them\n", cores());

    // Twice each in turn, the better one counts: the first ones also warm the broker.
    let mut plain = Value::Null;
    let mut drained = Value::Null;
    for _ in 0..2 {
        plain = better(plain, plain::run(&bootstrap));
        drained = better(drained, drain::unlimited(&bootstrap, ROWS).await);
    }
    row("plain producer", &plain);
    row("drain, unlimited portal", &drained);
    let limited = drain::limited(&bootstrap, ROWS).await;
    row("drain, portal with 50/2", &limited);
    let idle = latency::polled(&bootstrap).await;
    let woken = latency::woken(&bootstrap).await;
    println!();
    delay("row to readable record, idle polling at 1 s", &idle);
    delay("row to readable record, woken", &woken);

    let ratio = |a: &Value, b: &Value, key: &str| a[key].as_f64().unwrap_or(0.0) / b[key].as_f64().unwrap_or(1.0);
    let speed = ratio(&drained, &plain, "rows_per_second");
    let cpu = ratio(&drained, &plain, "cpu_us_per_row");
    println!("\nbridge / plain producer: {speed:.2} of its rows per second, {cpu:.2} times its processor time per row");
    let result = json!({
        "rows": ROWS, "cores": cores(), "plain_producer": plain, "drain_unlimited": drained, "drain_limited": limited,
        "latency_polled": idle, "latency_woken": woken, "speed_ratio": speed, "cpu_ratio": cpu,
    });
    std::fs::write("target/bench.json", format!("{result:#}\n")).expect("target/bench.json is written");
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn better(old: Value, new: Value) -> Value {
    let speed = |value: &Value| value["rows_per_second"].as_f64().unwrap_or(0.0);
    if speed(&old) > speed(&new) { old } else { new }
}

fn row(name: &str, value: &Value) {
    let number = |key: &str, unit: &str| value[key].as_f64().map_or(String::new(), |n| format!("{n:.1} {unit}"));
    println!(
        "{name:<26} {:>18} {:>22} {:>18} {:>16}",
        number("rows_per_second", "rows/s"),
        number("rows_per_request", "rows/request"),
        number("cpu_us_per_row", "us CPU/row"),
        number("peak_mib", "MiB peak"),
    );
}

fn delay(name: &str, value: &Value) {
    let ms = |key: &str| value[key].as_f64().unwrap_or(f64::NAN);
    println!("{name:<46} p50 {:>7.1} ms   p90 {:>7.1} ms   p99 {:>7.1} ms", ms("p50_ms"), ms("p90_ms"), ms("p99_ms"));
}
