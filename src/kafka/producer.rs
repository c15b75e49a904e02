//! The producer: records in, one delivery each out, in order, and nothing acknowledged that Kafka has not acknowledged.
//!
//! One task enqueues a publication in order without waiting in between and then joins the reports. A full queue stops
//! the enqueuing until reports make room: nothing is dropped and nothing overtakes. A producer that breaks (a fatal
//! error of librdkafka) is replaced; whatever it has not acknowledged counts as failed.

mod batch;
mod enqueue;
mod native;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use rdkafka::{ClientConfig, error::KafkaError};
use tokio::{task::spawn_blocking, time};

use self::{
    batch::Batch,
    enqueue::Enqueue,
    native::{Generation, Shared},
};
use super::{
    counters::{Counters, Failure},
    health::Health,
    options, reason,
    record::Record,
    topics::{TopicError, Topics},
};
use crate::{
    config::kafka::Kafka,
    protocol::types::{Delivery, Hindrance},
};

/// How often a broker is asked whether it answers, and how long it has.
const PROBE_EVERY: Duration = Duration::from_secs(3);
const PROBE: Duration = Duration::from_secs(4);
/// How long after `message_timeout` a report may come; librdkafka looks for timed-out records once a second.
const REPORT_MARGIN: Duration = Duration::from_secs(15);

/// A handle on the one producer of the process; clones are cheap and share it.
#[derive(Clone)]
pub struct Producer(Arc<Inner>);

/// The producer could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the Kafka producer cannot be made from this configuration: {0}")]
pub struct ProducerError(String);

struct Inner {
    config: ClientConfig,
    message_timeout: Duration,
    shared: Arc<Shared>,
    current: RwLock<Arc<Generation>>,
    topics: Topics,
    closed: AtomicBool,
    /// The last producer broke because a right is missing.
    denied: AtomicBool,
    /// The probing thread ends when this is dropped.
    _probing: SyncSender<()>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Producer {
    /// Starts the producer and its probing thread. No broker need be there yet.
    ///
    /// # Errors
    /// What librdkafka does not accept: a missing file, a combination of options.
    pub fn new(kafka: &Kafka) -> Result<Self, ProducerError> {
        let config = options::producer(kafka);
        let shared = Shared::new();
        let generation = Generation::create(&config, 0, &shared).map_err(|error| ProducerError(reason(&error)))?;
        let (probing, stopped) = sync_channel(1);
        let inner = Arc::new(Inner {
            config,
            message_timeout: kafka.message_timeout,
            shared,
            current: RwLock::new(generation),
            topics: Topics::new(kafka),
            closed: AtomicBool::new(false),
            denied: AtomicBool::new(false),
            _probing: probing,
        });
        let (weak, topic) = (Arc::downgrade(&inner), kafka.dead_letter_topic.clone());
        let spawned = std::thread::Builder::new().name("kafka-probe".to_owned()).spawn(move || {
            probe(&weak, &topic);
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PROBE_EVERY) {
                probe(&weak, &topic);
            }
        });
        spawned.map_err(|error| ProducerError(error.to_string()))?;
        Ok(Self(inner))
    }

    /// Produces records in order and waits for what becomes of them: one delivery per record, in order.
    ///
    /// Takes `message_timeout` and some seconds at most, if the queue has room. A record with a tombstone is
    /// acknowledged when both are. If the future is dropped, the records may still be written.
    pub async fn publish(&self, records: Vec<Record>) -> Vec<Delivery> {
        if records.is_empty() {
            return Vec::new();
        }
        let inner = &*self.0;
        let _busy = inner.shared.pulse.busy();
        let slots = records.iter().map(|record| 1 + usize::from(record.tombstone)).sum();
        let batch = Batch::new(slots);
        let barred = inner.ensure_topics(&records).await;
        let mut enqueue = Enqueue::new(inner, &batch, barred);
        enqueue.all(&records).await;
        // Its generation is let go before the join: a broken one hands in its tickets when nobody holds it any more.
        drop(enqueue);
        batch.seal();
        inner.join(&batch).await;
        inner.deliveries(&records, &batch)
    }

    /// Sees to it that a topic exists, see [`Topics::ensure`].
    ///
    /// # Errors
    /// [`TopicError`]
    pub async fn ensure_topic(&self, topic: &str) -> Result<(), TopicError> {
        self.0.ensure_topic(topic).await
    }

    /// The topics.
    pub fn topics(&self) -> &Topics {
        &self.0.topics
    }

    /// How the broker is doing.
    pub fn health(&self) -> Health {
        self.0.shared.pulse.health()
    }

    /// What became of records so far.
    pub fn counters(&self) -> &Counters {
        &self.0.shared.counters
    }

    /// Records in the producer that have no report yet.
    pub fn queued(&self) -> usize {
        self.0.current().queued()
    }

    /// Takes no more records, sends what is enqueued, and waits up to `within` for its reports.
    ///
    /// Returns how many records have none; their rows stay reserved.
    pub async fn close(&self, within: Duration) -> usize {
        self.0.closed.store(true, SeqCst);
        let generation = self.0.current();
        let flushed = spawn_blocking(move || {
            // Running out of time is told by the number that is left.
            let _timed_out = generation.flush(within);
            generation.queued()
        });
        flushed.await.unwrap_or_else(|_| self.queued())
    }
}

impl Inner {
    fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The producer, replaced first if it broke while nobody looked.
    fn sound(&self) -> Arc<Generation> {
        let current = self.current();
        let Some(fatal) = current.fatal() else { return current };
        self.renew(current.number, &fatal);
        self.current()
    }

    /// Puts a new producer in the place of a broken one, once.
    fn renew(&self, broken: u64, fatal: &KafkaError) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.number != broken {
            return;
        }
        // Without the right to an idempotent producer every new one breaks in the same way.
        self.denied.store(Failure::of(fatal) == Failure::Route, SeqCst);
        match Generation::create(&self.config, broken + 1, &self.shared) {
            Ok(generation) => {
                *current = generation;
                self.shared.counters.count_replaced();
                tracing::error!(cause = %reason(fatal), generation = broken + 1, "the Kafka producer broke and was replaced");
            }
            Err(error) => tracing::error!(error = %reason(&error), "the broken Kafka producer cannot be replaced"),
        }
    }

    async fn ensure_topic(&self, topic: &str) -> Result<(), TopicError> {
        if self.topics.knows(topic) {
            return Ok(());
        }
        self.topics.ensure(topic).await?;
        // The producer may remember that the topic was not there.
        let (generation, topic) = (self.current(), topic.to_owned());
        let asked = spawn_blocking(move || generation.ask(&topic, PROBE)).await;
        match asked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(TopicError::Away(reason(&error))),
            Err(error) => Err(TopicError::Away(error.to_string())),
        }
    }

    /// Ensures the topics of a publication; those that cannot be written to are barred.
    async fn ensure_topics<'a>(&self, records: &'a [Record]) -> HashMap<&'a str, Failure> {
        let mut barred = HashMap::new();
        let mut last = "";
        for record in records {
            let topic = record.topic.as_str();
            if topic == last || barred.contains_key(topic) || self.topics.knows(topic) {
                continue;
            }
            last = topic;
            // When no broker answers for one topic, none is asked for the others: each question takes its time.
            if barred.values().any(|failure| *failure == Failure::Transport) {
                barred.insert(topic, Failure::Transport);
            } else if let Err(error) = self.ensure_topic(topic).await {
                tracing::warn!(topic, %error, "rows are held back");
                barred.insert(
                    topic,
                    match error.hindrance() {
                        Hindrance::Passing => Failure::Transport,
                        Hindrance::Route => Failure::Route,
                    },
                );
            }
        }
        barred
    }

    /// Waits for all reports, and replaces the producer if it breaks meanwhile.
    async fn join(&self, batch: &Batch) {
        let limit = time::sleep(self.message_timeout + REPORT_MARGIN);
        let (mut limit, mut done) = (std::pin::pin!(limit), std::pin::pin!(batch.wait()));
        loop {
            let suspicion = self.shared.suspicion.notified();
            // Letting go of a broken one makes it hand in its tickets.
            drop(self.sound());
            tokio::select! {
                () = &mut done => return,
                () = suspicion => {}
                () = &mut limit => {
                    tracing::error!("librdkafka owes delivery reports; the records count as not delivered");
                    return;
                }
            }
        }
    }

    fn deliveries(&self, records: &[Record], batch: &Batch) -> Vec<Delivery> {
        let mut slot = 0;
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            let slots = 1 + usize::from(record.tombstone);
            let failure =
                (slot..slot + slots).find_map(|slot| batch.outcome(slot).unwrap_or(Err(Failure::Other)).err());
            deliveries.push(match failure {
                None => Delivery::Acknowledged,
                Some(Failure::Fatal) if self.denied.load(SeqCst) => Failure::Route.delivery(),
                Some(failure) => {
                    if failure == Failure::Route {
                        self.topics.forget(&record.topic);
                    }
                    failure.delivery()
                }
            });
            slot += slots;
        }
        deliveries
    }
}

/// Asks a broker whether it answers. Any answer will do, also that the topic is unknown.
fn probe(inner: &Weak<Inner>, topic: &str) {
    let Some(inner) = inner.upgrade() else { return };
    if inner.current().ask(topic, PROBE).is_ok() {
        inner.shared.pulse.answered();
    }
}
