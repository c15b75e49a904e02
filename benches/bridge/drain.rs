//! How fast a backlog is drained.

use std::time::{Duration, Instant};

use b24kafka::sim::Limits;
use serde_json::{Value, json};

use crate::{stage, usage};

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(300);
/// Requests of the burst that a portal with 50/2 grants at once, and some more: the steady state begins behind them.
const BURST: u64 = 60;
/// How long the steady state is watched.
const WATCH: Duration = Duration::from_secs(20);

/// The whole backlog of a portal without limits. The clock runs from the first row taken to the last one cleared.
pub async fn unlimited(bootstrap: &str, rows: usize) -> Value {
    let (sim, portal) = stage::portal(Limits::UNLIMITED).await;
    let mut bridge = stage::bridge(&sim, bootstrap, "bench", "unlimited");
    // Topics are created before the clock runs: one row of each entity first.
    portal.backlog(100, 99);
    tokio::task::block_in_place(|| {
        bridge.start();
        bridge.wait_ready();
    });
    assert!(portal.wait_until_empty(PATIENCE).await, "the first rows are left:\n{}", bridge.log());
    let (requests, cpu) = (portal.requests().http, usage::cpu_us(bridge.id()));
    portal.backlog(rows, 1);
    let begun = Instant::now();
    assert!(portal.wait_until_empty(PATIENCE).await, "rows are left:\n{}", bridge.log());
    // Up to a second of this is the wait for the next poll; it is part of what an operator would see.
    let took = begun.elapsed().as_secs_f64();
    let (requests, cpu) = (portal.requests().http - requests, usage::cpu_us(bridge.id()) - cpu);
    let peak = usage::peak_mib(bridge.id());
    tokio::task::block_in_place(|| bridge.stop());
    figures(rows, took, requests, cpu, peak)
}

/// The steady state of a portal that grants two requests a second.
pub async fn limited(bootstrap: &str, rows: usize) -> Value {
    let (sim, portal) = stage::portal(Limits::STANDARD).await;
    let mut bridge = stage::bridge(&sim, bootstrap, "bench", "standard");
    portal.backlog(rows, 1);
    tokio::task::block_in_place(|| bridge.start());
    let begun = Instant::now();
    while portal.requests().http < BURST {
        assert!(begun.elapsed() < PATIENCE, "no burst:\n{}", bridge.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = (portal.totals().cleared, portal.requests().http, usage::cpu_us(bridge.id()), Instant::now());
    tokio::time::sleep(WATCH).await;
    let cleared = portal.totals().cleared - before.0;
    let took = before.3.elapsed().as_secs_f64();
    let (requests, cpu) = (portal.requests().http - before.1, usage::cpu_us(bridge.id()) - before.2);
    assert_eq!(portal.misuse().over_limit, 0, "the bridge went over the portal's limit");
    let peak = usage::peak_mib(bridge.id());
    tokio::task::block_in_place(|| bridge.stop());
    figures(usize::try_from(cleared).expect("a count"), took, requests, cpu, peak)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
fn figures(rows: usize, took: f64, requests: u64, cpu: f64, peak: f64) -> Value {
    json!({
        "seconds": took, "rows_per_second": rows as f64 / took, "rows_per_request": rows as f64 / requests.max(1) as f64,
        "cpu_us_per_row": cpu / rows.max(1) as f64, "peak_mib": peak,
    })
}
