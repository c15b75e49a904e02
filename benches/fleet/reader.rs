//! A reader of the fleet's topic that remembers when each deal became readable.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message as _,
    consumer::{Consumer as _, StreamConsumer},
};
use tokio::task::JoinHandle;

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reads until it is dropped.
pub struct Reader {
    seen: Arc<Mutex<HashMap<u64, Instant>>>,
    task: JoinHandle<()>,
}

impl Reader {
    /// Begins to read; the topic need not be there yet.
    pub fn start(bootstrap: &str, topic: &str) -> Self {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", topic)
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "5")
            // A topic that does not exist yet is looked for again this soon.
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("allow.auto.create.topics", "false")
            .create()
            .expect("a consumer");
        consumer.subscribe(&[topic]).expect("subscribed");
        let seen = Arc::<Mutex<HashMap<u64, Instant>>>::default();
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                // The broker is away for a while in one scenario, and the topic is not there at the beginning.
                let Ok(message) = consumer.recv().await else { continue };
                let key = String::from_utf8_lossy(message.key().expect("a key")).into_owned();
                if let Some(deal) = key.rsplit(':').next().and_then(|deal| deal.parse().ok()) {
                    noted.lock().unwrap_or_else(PoisonError::into_inner).entry(deal).or_insert_with(Instant::now);
                }
            }
        });
        Self { seen, task }
    }

    /// Waits until all of these deals are readable; when each was.
    pub async fn wait(&self, deals: impl Iterator<Item = u64> + Clone) -> HashMap<u64, Instant> {
        let begun = Instant::now();
        loop {
            {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                if deals.clone().all(|deal| seen.contains_key(&deal)) {
                    return deals.map(|deal| (deal, seen[&deal])).collect();
                }
            }
            assert!(begun.elapsed() < PATIENCE, "records are missing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
