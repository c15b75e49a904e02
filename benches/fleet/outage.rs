//! The broker is away while every portal has changes, and all of them wake the bridge. Whose call was turned away, since so
//! many came at once, is polled by an operator: all are woken before the broker is back.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{scene::Scene, support::broker::Broker, usage};

/// How long the broker is away once all portals have called.
const AWAY: Duration = Duration::from_secs(20);
/// Rows of each portal.
const ROWS: usize = 10;
/// Wake-ups that are under way at the same time.
const AT_ONCE: usize = 50;

/// From the return of the broker until every row of every portal is confirmed.
pub async fn run(scene: &Scene, broker: &mut Broker) -> Value {
    tokio::task::block_in_place(|| {
        broker.kill();
        scene.portals.spread(ROWS);
        scene.portals.most_at_once();
    });
    let mut calls = JoinSet::new();
    for portal in 0..scene.portals() {
        if calls.len() >= AT_ONCE {
            calls.join_next().await;
        }
        calls.spawn(scene.polling(portal));
    }
    calls.join_all().await;
    tokio::time::sleep(AWAY).await;
    let pid = scene.bridge.id();
    let held = usage::resident_kib(pid) / 1024.0;
    tokio::task::block_in_place(|| broker.restart());
    let took = scene.until("all rows are confirmed", || scene.portals.sum("waiting") == 0).await;
    let most = tokio::task::block_in_place(|| scene.portals.most_at_once());
    json!({
        "seconds": took.as_secs_f64(), "rows": scene.portals() * ROWS, "most_at_once": most,
        "resident_while_away_mib": held, "peak_mib": usage::peak_mib(pid),
    })
}
