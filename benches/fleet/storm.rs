//! Wake-ups all over the fleet: how long a change takes from the portal, by its call to the bridge, to a reader of Kafka.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::scene::Scene;

/// Between two wake-ups: a hundred a second.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the two states of the comparison take turns.
const TURNS: u32 = 3;
/// The portal that the others are to be spared from.
const NEIGHBOUR: usize = 0;
/// Rows of a flood: more than can be moved in one turn.
const FLOOD: usize = 200_000;
/// Portals that take part are this many apart, so that neighbours in the registry do not follow each other.
const STRIDE: usize = 7;
/// The next deal that changes: each only once in the life of the benchmark, and none that a flood changes too.
static NEXT: AtomicU64 = AtomicU64::new(2_000_000_000);

/// A hundred wake-ups a second for so long.
pub async fn run(scene: &Scene, length: Duration) -> Value {
    figures(wake_ups(scene, length).await)
}

/// What one portal does to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// It takes requests and answers none.
    Hangs,
    /// It has more rows than can be moved in the time.
    Floods,
}

/// The same in short turns without and with such a neighbour, which is woken too.
pub async fn beside(scene: &Scene, neighbour: Neighbour, length: Duration) -> Value {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        without.extend(wake_ups(scene, length / TURNS).await);
        tokio::task::block_in_place(|| match neighbour {
            Neighbour::Hangs => {
                scene.portals.hang(NEIGHBOUR);
                scene.portals.emit(NEIGHBOUR, 0);
            }
            Neighbour::Floods => scene.portals.flood(NEIGHBOUR, FLOOD),
        });
        with.extend(wake_ups(scene, length / TURNS).await);
        tokio::task::block_in_place(|| scene.portals.heal(NEIGHBOUR));
        if neighbour == Neighbour::Floods {
            scene.until("the flood is over", || scene.portals.sum("waiting") == 0).await;
        }
    }
    let (without, with) = (figures(without), figures(with));
    let p99 = |value: &Value| value["p99_ms"].as_f64().unwrap_or(f64::NAN);
    json!({ "p99_ratio": p99(&with) / p99(&without), "without": without, "with": with })
}

/// Delays in milliseconds.
async fn wake_ups(scene: &Scene, length: Duration) -> Vec<f64> {
    let mut ticks = tokio::time::interval(PAUSE);
    let (begun, first) = (Instant::now(), NEXT.load(Relaxed));
    let mut woken = HashMap::new();
    while begun.elapsed() < length {
        ticks.tick().await;
        let deal = NEXT.fetch_add(1, Relaxed);
        let others = scene.portals() - 1;
        let portal = 1 + usize::try_from(deal).expect("a count") * STRIDE % others;
        woken.insert(deal, Instant::now());
        tokio::task::block_in_place(|| scene.portals.emit(portal, deal));
    }
    let seen = scene.reader.wait(first..NEXT.load(Relaxed)).await;
    let took =
        |(deal, at): (&u64, &Instant)| at.checked_duration_since(woken[deal]).expect("no sooner than it changed");
    seen.iter().map(|seen| took(seen).as_secs_f64() * 1000.0).collect()
}

fn figures(mut delays: Vec<f64>) -> Value {
    delays.sort_by(f64::total_cmp);
    let at = |part: usize| delays[(delays.len() - 1) * part / 100];
    json!({ "wake_ups": delays.len(), "p50_ms": at(50), "p90_ms": at(90), "p99_ms": at(99) })
}
