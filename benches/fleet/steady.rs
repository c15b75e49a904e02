//! A start, and the two states that last: all idle, and a few busy.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{scene::Scene, usage};

/// How long the busy state is watched.
const BUSY: Duration = Duration::from_secs(20);
/// Deals of the busy portals, far from those of the storms.
const DEALS: u64 = 1_000_000_000;

/// Starts the bridge with all portals in its registry. Until the first exchange of the last portal.
pub async fn start(scene: &mut Scene) -> Value {
    tokio::task::block_in_place(|| scene.bridge.start());
    let (pid, wanted) = (scene.bridge.id(), scene.portals() as u64);
    let took = scene.until("every portal is called", || scene.portals.sum("met") == wanted).await.as_secs_f64();
    json!({
        "seconds": took, "most_at_once": tokio::task::block_in_place(|| scene.portals.most_at_once()),
        "cpu_percent": usage::cpu_us(pid) / 10_000.0 / took, "over_limit": scene.portals.sum("over_limit"),
        "peak_mib": usage::peak_mib(pid),
    })
}

/// Nothing happens anywhere. Memory and processor time beside a bridge without portals, whose memory is `empty` KiB.
pub async fn idle(scene: &Scene, empty: f64) -> Value {
    // Idle waits double from a second on, so after twice the longest one every queue waits that long.
    tokio::time::sleep(2 * scene.poll_max + Duration::from_secs(10)).await;
    let pid = scene.bridge.id();
    let requests = || tokio::task::block_in_place(|| scene.portals.sum("http"));
    let (before, cpu, begun) = (requests(), usage::cpu_us(pid), Instant::now());
    tokio::time::sleep(scene.poll_max.max(Duration::from_secs(30))).await;
    let took = begun.elapsed().as_secs_f64();
    let cpu = (usage::cpu_us(pid) - cpu) / 10_000.0 / took;
    let (memory, made) = (usage::resident_kib(pid), requests() - before);
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let (portals, rate) = (scene.portals() as f64, made as f64 / took);
    json!({
        "resident_kib": memory, "kib_per_portal": (memory - empty) / portals, "cpu_percent": cpu,
        "requests_per_second": rate, "cpu_us_per_request": cpu * 10_000.0 / rate,
    })
}

/// A hundredth of the portals has a change each second, and wakes the bridge for it.
pub async fn busy(scene: &Scene) -> Value {
    let busy = (scene.portals() / 100).max(1);
    let pid = scene.bridge.id();
    let (cpu, begun) = (usage::cpu_us(pid), Instant::now());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(busy).expect("few"));
    let mut deal = DEALS;
    while begun.elapsed() < BUSY {
        for portal in 0..busy {
            ticks.tick().await;
            tokio::task::block_in_place(|| scene.portals.emit(portal, deal));
            deal += 1;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let cpu = (usage::cpu_us(pid) - cpu) / 10_000.0 / took;
    scene.reader.wait(DEALS..deal).await;
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let rows = (deal - DEALS) as f64;
    json!({ "busy_portals": busy, "rows_per_second": rows / took, "cpu_percent": cpu })
}
