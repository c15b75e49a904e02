//! A way into Kafka: one librdkafka producer at a time, replaced as a whole when it breaks.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, KafkaResult},
};

use super::native::{Generation, Shared};
use crate::kafka::{counters::Failure, reason};

/// The producer of one configuration, and what makes the next one.
pub(super) struct Lane {
    config: ClientConfig,
    shared: Arc<Shared>,
    /// `None` until somebody needs it.
    current: RwLock<Option<Arc<Generation>>>,
    /// The last producer broke because a right is missing.
    denied: AtomicBool,
}

impl Lane {
    /// A lane whose producer is made when it is first needed.
    pub fn new(config: ClientConfig, shared: &Arc<Shared>) -> Self {
        Self { config, shared: Arc::clone(shared), current: RwLock::new(None), denied: AtomicBool::new(false) }
    }

    /// The producer as it is, if there is one.
    pub fn current(&self) -> Option<Arc<Generation>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The producer, made if there is none, and replaced first if it broke while nobody looked.
    ///
    /// # Errors
    /// What librdkafka does not accept.
    pub fn sound(&self) -> KafkaResult<Arc<Generation>> {
        let Some(current) = self.current() else { return self.open() };
        let Some(fatal) = current.fatal() else { return Ok(current) };
        self.renew(current.number, &fatal);
        Ok(self.current().unwrap_or(current))
    }

    /// Replaces the producer if there is one and it is broken: letting go of it makes it hand in its tickets.
    pub fn mend(&self) {
        if let Some((current, fatal)) = self.current().and_then(|current| current.fatal().map(|fatal| (current, fatal)))
        {
            self.renew(current.number, &fatal);
        }
    }

    /// Puts a new producer in the place of a broken one, once.
    pub fn renew(&self, broken: u64, fatal: &KafkaError) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|current| current.number != broken) {
            return;
        }
        // Without the right to an idempotent producer every new one breaks in the same way.
        self.denied.store(matches!(Failure::of(fatal), Failure::Route | Failure::Rules), SeqCst);
        match Generation::create(&self.config, broken + 1, &self.shared) {
            Ok(generation) => {
                *current = Some(generation);
                self.shared.counters.count_replaced();
                tracing::error!(error = %reason(fatal), generation = broken + 1, "the Kafka producer broke and was replaced");
            }
            Err(error) => tracing::error!(error = %reason(&error), "the broken Kafka producer cannot be replaced"),
        }
    }

    /// Whether the last producer broke because a right is missing.
    pub fn is_denied(&self) -> bool {
        self.denied.load(SeqCst)
    }

    fn open(&self) -> KafkaResult<Arc<Generation>> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = &*current {
            return Ok(Arc::clone(current));
        }
        let generation = Generation::create(&self.config, 0, &self.shared)?;
        *current = Some(Arc::clone(&generation));
        Ok(generation)
    }
}
