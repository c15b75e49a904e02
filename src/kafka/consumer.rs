//! A reader of the bridge's own topics, for people who want to look: it belongs to no group and commits nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{Consumer as _, ConsumerContext, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{BorrowedMessage, Headers as _},
};
use tokio::{
    task::spawn_blocking,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{options, template::TopicTemplate};
use crate::config::kafka::Kafka;

/// How often new topics and partitions are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long one question to the broker may take.
const ASK: Duration = Duration::from_secs(5);

/// Where reading starts. A topic that appears later is always read from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is written from now on.
    Now,
    /// With the oldest record there is.
    Beginning,
}

/// One record as it lies in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970, if the record has a time.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Why reading does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The reader could not be made.
    #[error("the Kafka reader cannot be made from this configuration: {0}")]
    Create(String),
    /// No broker answers.
    #[error("no Kafka broker answers ({0}); check kafka.bootstrap_servers and that the broker is up")]
    Away(String),
    /// A right is missing.
    #[error("no right to read ({0}); grant it to the Kafka user")]
    Forbidden(String),
    /// The library has given up.
    #[error("reading from Kafka broke ({0})")]
    Broken(String),
}

/// Reads all topics that match.
pub struct Reader {
    consumer: Arc<StreamConsumer<Quiet>>,
    watch: Arc<Watch>,
    look: Interval,
}

/// Which topics are wanted, and what of them is assigned already.
struct Watch {
    topics: Vec<TopicTemplate>,
    assigned: Mutex<BTreeSet<(String, i32)>>,
}

/// Sends the library's words to the log, where they matter little.
struct Quiet;

impl Reader {
    /// Opens the topics that match one of the templates (a plain name is a template too); there may be none yet.
    ///
    /// # Errors
    /// [`ReadError::Create`] and [`ReadError::Away`]
    pub async fn open(kafka: &Kafka, topics: Vec<TopicTemplate>, start: Start) -> Result<Self, ReadError> {
        let consumer: StreamConsumer<Quiet> = options::consumer(kafka)
            .create_with_context(Quiet)
            .map_err(|error| ReadError::Create(super::reason(&error)))?;
        let watch = Watch { topics, assigned: Mutex::default() };
        let (consumer, watch) = (Arc::new(consumer), Arc::new(watch));
        watch.look(&consumer, start).await?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        Ok(Self { consumer, watch, look })
    }

    /// The next record; waits for it as long as it takes, also while the broker is away. May be dropped and called
    /// again without losing a record.
    ///
    /// # Errors
    /// [`ReadError::Forbidden`] and [`ReadError::Broken`]
    pub async fn next(&mut self) -> Result<Message, ReadError> {
        loop {
            tokio::select! {
                received = self.consumer.recv() => match received {
                    Ok(message) => return Ok(Message::from(&message)),
                    Err(error) => passing(&error)?,
                },
                _ = self.look.tick() => {
                    if let Err(error) = self.watch.look(&self.consumer, Start::Beginning).await {
                        tracing::debug!(%error, "new topics cannot be looked for");
                    }
                }
            }
        }
    }
}

impl Watch {
    /// Assigns what is there and not yet assigned.
    async fn look(self: &Arc<Self>, consumer: &Arc<StreamConsumer<Quiet>>, start: Start) -> Result<(), ReadError> {
        let (watch, consumer) = (Arc::clone(self), Arc::clone(consumer));
        spawn_blocking(move || watch.look_now(&consumer, start))
            .await
            .unwrap_or_else(|error| Err(ReadError::Broken(error.to_string())))
    }

    fn look_now(&self, consumer: &StreamConsumer<Quiet>, start: Start) -> Result<(), ReadError> {
        let away = |error: KafkaError| ReadError::Away(super::reason(&error));
        let metadata = consumer.fetch_metadata(None, ASK).map_err(away)?;
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = TopicPartitionList::new();
        let mut new = Vec::new();
        for topic in metadata.topics() {
            if !self.topics.iter().any(|wanted| wanted.matches(topic.name())) {
                continue;
            }
            for partition in topic.partitions() {
                let place = (topic.name().to_owned(), partition.id());
                if assigned.contains(&place) {
                    continue;
                }
                // "Now" is a number, so that what is written between the call and the first fetch is not missed.
                let offset = match start {
                    Start::Beginning => Offset::Beginning,
                    Start::Now => consumer
                        .fetch_watermarks(topic.name(), partition.id(), ASK)
                        .map_or(Offset::End, |(_, end)| Offset::Offset(end)),
                };
                found
                    .add_partition_offset(topic.name(), partition.id(), offset)
                    .map_err(|error| ReadError::Broken(super::reason(&error)))?;
                new.push(place);
            }
        }
        if !new.is_empty() {
            consumer.incremental_assign(&found).map_err(|error| ReadError::Broken(super::reason(&error)))?;
            assigned.extend(new);
        }
        Ok(())
    }
}

impl From<&BorrowedMessage<'_>> for Message {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let header = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
        };
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: message.headers().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
        }
    }
}

/// What a reader need not care about is no error: the library goes on by itself.
fn passing(error: &KafkaError) -> Result<(), ReadError> {
    match error.rdkafka_error_code() {
        Some(code @ (Code::TopicAuthorizationFailed | Code::SaslAuthenticationFailed | Code::Authentication)) => {
            Err(ReadError::Forbidden(code.to_string()))
        }
        Some(code @ Code::Fatal) => Err(ReadError::Broken(code.to_string())),
        _ => {
            tracing::debug!(%error, "reading is disturbed");
            Ok(())
        }
    }
}

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", code = %error, error = reason, "trouble with the Kafka brokers");
    }
}

impl ConsumerContext for Quiet {}
