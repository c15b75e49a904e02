//! What happens at the portals all the while: changes come in, and somebody watches whether rows go out.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use b24kafka::sim::Portal;
use tokio::task::JoinHandle;

/// The span between two looks.
const EVERY: Duration = Duration::from_millis(50);
/// Changes that come at once.
const HEAP: usize = 200;

/// Changes of a limited set of objects, as many as it takes to keep each queue filled.
pub struct Feed {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Feed {
    /// Starts to fill the queues up to so many free rows each.
    pub fn start(portals: Vec<Portal>, level: usize, mut seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.load(SeqCst) {
                for portal in portals.iter().filter(|portal| portal.counts().free < level) {
                    seed = seed.wrapping_add(1);
                    portal.generate(HEAP, seed);
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { stop, task }
    }

    /// No change comes any more.
    pub async fn stop(self) {
        self.stop.store(true, SeqCst);
        self.task.await.expect("the feed does not break");
    }
}

/// Measures the longest time in which rows waited and none was cleared.
pub struct Watch {
    longest: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Watch {
    pub fn start(portals: Vec<Portal>) -> Self {
        let longest = Arc::new(AtomicU64::new(0));
        let found = longest.clone();
        let task = tokio::spawn(async move {
            let (mut cleared, mut since) = (0, Instant::now());
            loop {
                let totals = portals.iter().map(Portal::totals).fold((0, 0), |sum, totals| {
                    (sum.0 + totals.cleared + totals.got, sum.1 + totals.free + totals.reserved)
                });
                if totals.0 != cleared || totals.1 == 0 {
                    (cleared, since) = (totals.0, Instant::now());
                }
                found.fetch_max(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { longest, task }
    }

    /// The longest so far.
    pub fn longest(&self) -> Duration {
        Duration::from_millis(self.longest.load(Relaxed))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
