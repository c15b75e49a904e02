//! The producer: records in, one delivery each out, in order, and nothing acknowledged that Kafka has not acknowledged.
//!
//! One task enqueues a publication in order without waiting in between and then joins the reports. A full queue stops
//! the enqueuing until reports make room: nothing is dropped and nothing overtakes. A producer that breaks (a fatal
//! error of librdkafka) is replaced; whatever it has not acknowledged counts as failed.

mod batch;
mod enqueue;
mod lane;
mod native;
mod room;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use tokio::{task::spawn_blocking, time};

use self::{batch::Batch, enqueue::Enqueue, lane::Lane, native::Shared, room::Room};
use super::{
    counters::{Counters, Failure},
    health::Health,
    options, reason,
    record::Record,
    statistics::Statistics,
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
    message_timeout: Duration,
    shared: Arc<Shared>,
    /// The way of all records.
    common: Lane,
    /// The way of records that have to be alone in their batch: a producer of its own, since all queues share the other.
    single: Lane,
    room: Room,
    topics: Topics,
    closed: AtomicBool,
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
        let shared = Shared::new();
        let common = options::producer(kafka);
        let room = Room::new(&common);
        let common = Lane::new(common, &shared);
        common.sound().map_err(|error| ProducerError(reason(&error)))?;
        let single = Lane::new(options::single(kafka), &shared);
        let (probing, stopped) = sync_channel(1);
        let inner = Arc::new(Inner {
            message_timeout: kafka.message_timeout,
            shared,
            common,
            single,
            room,
            topics: Topics::new(kafka),
            closed: AtomicBool::new(false),
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
        // What broke a producer decides what its records' failures mean.
        inner.lanes().for_each(Lane::mend);
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

    /// What librdkafka last told of its brokers.
    pub fn statistics(&self) -> &Statistics {
        &self.0.shared.statistics
    }

    /// Records in the producer that have no report yet.
    pub fn queued(&self) -> usize {
        self.0.lanes().filter_map(Lane::current).map(|generation| generation.queued()).sum()
    }

    /// Takes no more records, sends what is enqueued, and waits up to `within` for its reports.
    ///
    /// Returns how many records have none; their rows stay reserved.
    pub async fn close(&self, within: Duration) -> usize {
        self.0.closed.store(true, SeqCst);
        let generations: Vec<_> = self.0.lanes().filter_map(Lane::current).collect();
        let until = Instant::now() + within;
        let flushed = spawn_blocking(move || {
            for generation in generations {
                // Running out of time is told by the number that is left.
                let _timed_out = generation.flush(until.saturating_duration_since(Instant::now()));
            }
        });
        // Whatever became of it, the number that is left tells.
        let _joined = flushed.await;
        self.queued()
    }
}

impl Inner {
    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        [&self.common, &self.single].into_iter()
    }

    fn lane(&self, record: &Record) -> &Lane {
        if record.alone { &self.single } else { &self.common }
    }

    async fn ensure_topic(&self, topic: &str) -> Result<(), TopicError> {
        if self.topics.knows(topic) {
            return Ok(());
        }
        self.topics.ensure(topic).await?;
        // A producer may remember that the topic was not there.
        let (generations, topic) = (self.lanes().filter_map(Lane::current).collect::<Vec<_>>(), topic.to_owned());
        let ask = move || generations.iter().try_for_each(|generation| generation.ask(&topic, PROBE));
        let asked = spawn_blocking(ask).await;
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
            self.lanes().for_each(Lane::mend);
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
                Some(Failure::Fatal) if self.lane(record).is_denied() => Failure::Route.delivery(),
                Some(failure) => {
                    match failure {
                        Failure::Route => self.topics.forget(&record.topic),
                        Failure::Rules => self.tell_rule(&record.topic),
                        _ => {}
                    }
                    failure.delivery()
                }
            });
            slot += slots;
        }
        deliveries
    }

    /// Says once for each publication why a topic takes nothing.
    fn tell_rule(&self, topic: &str) {
        if let Some(code) = self.shared.broken_rule(topic) {
            tracing::warn!(topic, error = %TopicError::against_rules(topic, code), "rows are held back");
        }
    }
}

/// Asks a broker whether it answers. Any answer will do, also that the topic is unknown.
fn probe(inner: &Weak<Inner>, topic: &str) {
    let Some(inner) = inner.upgrade() else { return };
    if inner.common.current().is_some_and(|generation| generation.ask(topic, PROBE).is_ok()) {
        inner.shared.pulse.answered();
    }
}
