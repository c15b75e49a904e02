//! One librdkafka producer and what it reports; replaced as a whole when it breaks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::sync::Notify;

use super::batch::Ticket;
use crate::kafka::{
    counters::{Counters, Failure},
    health::Pulse,
    record::Record,
    statistics::{Statistics, Told},
};

/// What all generations of the producer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub counters: Counters,
    pub statistics: Statistics,
    pub pulse: Pulse,
    /// Told at every report while somebody waits for room in the queue.
    pub progress: Notify,
    /// How many wait for room.
    pub waiting: AtomicUsize,
    /// Told when a producer may have broken.
    pub suspicion: Notify,
    /// By which code the rules of a topic have last refused what was sent.
    rules: Mutex<BTreeMap<String, Code>>,
}

/// A producer with its number. The last one who lets go destroys it, on a thread of its own: that takes a while.
pub(super) struct Generation {
    pub number: u64,
    suspect: Arc<AtomicBool>,
    native: Option<ThreadedProducer<Reports>>,
}

/// Receives what librdkafka reports, on its polling thread.
pub(super) struct Reports {
    shared: Arc<Shared>,
    suspect: Arc<AtomicBool>,
    told: Told,
}

impl Shared {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            counters: Counters::default(),
            statistics: Statistics::default(),
            pulse: Pulse::new(),
            progress: Notify::new(),
            waiting: AtomicUsize::new(0),
            suspicion: Notify::new(),
            rules: Mutex::default(),
        })
    }

    /// Writes down one outcome, wherever it came from.
    pub fn count(&self, outcome: Result<(), Failure>) {
        self.counters.count(outcome);
        match outcome {
            Ok(()) => self.pulse.acknowledged(),
            // A route or a record that is at fault says nothing about the broker.
            Err(Failure::Route | Failure::Rules | Failure::TooLarge | Failure::Invalid) => {}
            Err(_) => self.pulse.failed(),
        }
    }

    /// By which code the rules of a topic have refused what was sent, since this was last asked.
    pub fn broken_rule(&self, topic: &str) -> Option<Code> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).remove(topic)
    }

    fn breaks_rule(&self, topic: &str, error: &KafkaError) {
        if let Some(code) = error.rdkafka_error_code() {
            self.rules.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned(), code);
        }
    }
}

impl Generation {
    pub fn create(config: &ClientConfig, number: u64, shared: &Arc<Shared>) -> KafkaResult<Arc<Self>> {
        let suspect = Arc::new(AtomicBool::new(false));
        let reports = Reports { shared: Arc::clone(shared), suspect: Arc::clone(&suspect), told: Told::default() };
        let native = config.create_with_context(reports)?;
        Ok(Arc::new(Self { number, suspect, native: Some(native) }))
    }

    /// The fatal error that has broken this producer, if one has. Asked in full only after some error was reported.
    pub fn fatal(&self) -> Option<KafkaError> {
        if !self.suspect.load(Relaxed) {
            return None;
        }
        let (code, _reason) = self.native.as_ref()?.client().fatal_error()?;
        Some(KafkaError::Global(code))
    }

    /// It has refused a record because it is broken, which may come before the error itself is told.
    pub fn suspected(&self) {
        self.suspect.store(true, SeqCst);
    }

    /// Enqueues one record, or its tombstone; never blocks. The ticket comes back with an error.
    pub fn send(&self, record: &Record, tombstone: bool, ticket: Box<Ticket>) -> Result<(), (KafkaError, Box<Ticket>)> {
        let Some(native) = &self.native else {
            return Err((KafkaError::MessageProduction(Code::Fatal), ticket));
        };
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in record.headers.iter() {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut message = BaseRecord::with_opaque_to(&record.topic, ticket).key(record.key.as_bytes()).headers(headers);
        if !tombstone {
            message = message.payload(record.value.as_slice());
        }
        native.send(message).map_err(|(error, message)| (error, message.delivery_opaque))
    }

    /// Asks a broker about a topic, which also tells this producer of it; blocks up to `within`.
    pub fn ask(&self, topic: &str, within: Duration) -> KafkaResult<()> {
        match &self.native {
            Some(native) => native.client().fetch_metadata(Some(topic), within).map(drop),
            None => Err(KafkaError::Canceled),
        }
    }

    /// Sends what is enqueued and waits for its reports; blocks up to `within`.
    pub fn flush(&self, within: Duration) -> KafkaResult<()> {
        self.native.as_ref().map_or(Ok(()), |native| native.flush(within))
    }

    /// Records without a report.
    pub fn queued(&self) -> usize {
        self.native.as_ref().map_or(0, |native| usize::try_from(native.in_flight_count()).unwrap_or(0))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let native = self.native.take();
        // Without a thread for it, it is destroyed here: slow, but as right.
        let _detached = std::thread::Builder::new().name("kafka-retire".to_owned()).spawn(move || drop(native));
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(Failure::of(error)),
        };
        if let (Err(Failure::Rules), Err((error, message))) = (outcome, result) {
            self.shared.breaks_rule(message.topic(), error);
        }
        if outcome == Err(Failure::Fatal) {
            // The error itself may be told later than the records that it fails.
            self.suspect.store(true, SeqCst);
        }
        self.shared.count(outcome);
        ticket.settle(outcome);
        if self.shared.waiting.load(SeqCst) > 0 {
            self.shared.progress.notify_waiters();
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            // The library retries whatever it calls an error here; what nobody retries is reported with the record.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Notice => tracing::info!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Info => tracing::debug!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Debug => tracing::trace!(target: "librdkafka", facility, "{message}"),
        }
    }

    /// Called twice per error by the wrapper, so it only writes down states.
    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        if code == Code::AllBrokersDown {
            self.shared.pulse.all_down();
        }
        // A fatal error comes under the code of its cause, so every error is a reason to look.
        self.suspect.store(true, SeqCst);
        self.shared.suspicion.notify_waiters();
        if self.shared.pulse.is_news(code) {
            tracing::warn!(code = %code, error = reason, "trouble with the Kafka brokers");
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.shared.statistics.tell(statistics, &self.told);
    }
}
