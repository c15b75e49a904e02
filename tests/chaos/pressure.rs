//! Rows pile up in fifty queues while the broker is away: at the portals, not in the bridge.

use std::time::{Duration, Instant};

use super::{
    plan,
    stage::{PATIENCE, Setup, Stage},
    support::broker::{Broker, Options},
};

const QUEUES: usize = 50;
/// Rows that a request may bring at most.
const LIMIT: usize = 1_000;
/// What a row that is held may cost in the bridge and its producer, by far.
const ROW: u64 = 4 << 10;
/// Allocators and buffers breathe by so much.
const BREATH: u64 = 16 << 20;

/// Memory of a process that is in use, in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a running bridge");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB") << 10
}

/// Reads of all queues so far.
fn reads(stage: &Stage) -> u64 {
    let reads = |calls: std::collections::BTreeMap<String, u64>| calls.get("event.offline.get").copied().unwrap_or(0);
    stage.sim.portals().map(|portal| reads(portal.requests().calls)).sum()
}

/// So many rows of objects that are all different, in each queue.
fn backlog(stage: &Stage, rows: usize, seed: u64) {
    for portal in stage.sim.portals() {
        portal.backlog(rows, seed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_in_fifty_queues_cost_no_memory_while_the_broker_is_away() {
    let mut broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let fetch = format!("limit_max = {LIMIT}");
    let setup = Setup { portals: QUEUES, fetch: &fetch, level: 0, ..Setup::default() };
    let mut stage = Stage::new("back-pressure: broker away, 50 queues", &broker.bootstrap(), setup).await;
    // As quick as it can be, so that each request asks for more than the last one.
    stage.sim.portals().for_each(|portal| portal.clear_faults());
    if !plan::is_long() {
        // Half a million rows are a trace of hundreds of megabytes, and the rows here do nothing but wait.
        stage.bridge.record();
    }
    let warm = plan::size(300, 3_000);
    backlog(&stage, warm, 1);
    stage.start();
    let target = u64::try_from(warm * QUEUES).expect("rows");
    stage.until("all is warm", || stage.cleared() == target).await;
    let bridge = stage.bridge.id();
    let before = resident(bridge);

    tokio::task::block_in_place(|| broker.kill());
    let rows = plan::size(400, 10_000);
    backlog(&stage, rows, 2);
    let each_holds_some = || stage.sim.portals().all(|portal| portal.counts().reserved > 0);
    stage.until("each queue has read once", each_holds_some).await;
    let (mut read, mut since, begun) = (reads(&stage), Instant::now(), Instant::now());
    while since.elapsed() < Duration::from_secs(3) {
        assert!(begun.elapsed() < PATIENCE, "rows are read on and on");
        tokio::time::sleep(Duration::from_millis(100)).await;
        if reads(&stage) != read {
            (read, since) = (reads(&stage), Instant::now());
        }
    }
    let held: usize = stage.sim.portals().map(|portal| portal.counts().reserved).sum();
    assert!(held <= QUEUES * LIMIT, "{held} rows are held");
    let settled = resident(bridge);
    // Records time out after 5 s and are produced again and again.
    let (mut most, watched) = (settled, Instant::now());
    while watched.elapsed() < Duration::from_secs(plan::size(12, 90)) {
        most = most.max(resident(bridge));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(reads(&stage), read, "rows are read that nobody can take");
    stage.bridge.assert_conserved();
    let mib = |bytes: u64| bytes >> 20;
    let figures = format!(
        "{rows} rows in each, {held} held; {} MiB before, {} settled, {} at most",
        mib(before),
        mib(settled),
        mib(most)
    );
    assert!(most <= settled + BREATH, "memory is not flat: {figures}");
    let bound = before + BREATH + u64::try_from(held).expect("rows") * ROW;
    assert!(most <= bound, "more memory than the rows that are held may cost: {figures}");

    tokio::task::block_in_place(|| broker.restart());
    stage.end(&broker.bootstrap(), 1, figures).await;
}
