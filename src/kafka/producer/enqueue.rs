//! One publication on its way into librdkafka's queue: in order, waiting for room, and nothing past what failed.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::{sync::Semaphore, time};

use super::{
    Inner,
    batch::{Batch, Ticket},
    native::{Generation, Shared},
    room,
};
use crate::kafka::{counters::Failure, record::Record};

/// When a full queue is tried again although no report has come. librdkafka frees the room of a report only after its
/// callbacks have returned, so being woken by the last one of them can be too early.
const SECOND_LOOK: Duration = Duration::from_millis(20);

/// One publication on its way into the queue.
pub(super) struct Enqueue<'a> {
    inner: &'a Inner,
    /// The producers that records have gone to: the common one and that of records alone.
    generations: [Option<Arc<Generation>>; 2],
    batch: &'a Arc<Batch>,
    /// The room of each topic.
    rooms: HashMap<&'a str, Arc<Semaphore>>,
    /// Topics that nothing goes to any more, so that nothing overtakes what failed.
    barred: HashMap<&'a str, Failure>,
    /// Nothing at all goes any more.
    stopped: Option<Failure>,
}

/// Counts one who waits for room.
struct Waiting<'a>(&'a Shared);

impl<'a> Enqueue<'a> {
    pub fn new(inner: &'a Inner, batch: &'a Arc<Batch>, barred: HashMap<&'a str, Failure>) -> Self {
        Self { inner, generations: [None, None], batch, rooms: HashMap::new(), barred, stopped: None }
    }

    /// Enqueues all records in order; what cannot be is settled in the batch.
    pub async fn all(&mut self, records: &'a [Record]) {
        let mut slot = 0;
        for record in records {
            for tombstone in [false, true].into_iter().take(1 + usize::from(record.tombstone)) {
                // A tombstone whose record is not on its way would delete what consumers have not seen deleted.
                let before = if tombstone { self.batch.outcome(slot - 1).and_then(Result::err) } else { None };
                let barred = before.or(self.stopped).or_else(|| self.barred.get(record.topic.as_str()).copied());
                let sent = match barred {
                    Some(failure) => Err(failure),
                    None => self.one(record, tombstone, slot).await,
                };
                if let Err(failure) = sent {
                    self.batch.settle(slot, Err(failure));
                    self.inner.shared.count(Err(failure));
                }
                slot += 1;
            }
        }
    }

    /// Enqueues one record, waiting for room if there is none.
    async fn one(&mut self, record: &'a Record, tombstone: bool, slot: usize) -> Result<(), Failure> {
        let topic = record.topic.as_str();
        let room = room::take(self.rooms.entry(topic).or_insert_with(|| self.inner.room.of(topic))).await;
        if self.inner.closed.load(Relaxed) {
            self.stopped = Some(Failure::Other);
            return Err(Failure::Other);
        }
        let generation = match self.generation(record) {
            Ok(generation) => generation,
            Err(error) => return Err(self.refused(record, None, &error)),
        };
        match generation.send(record, tombstone, self.batch.ticket(slot, room)) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(Code::QueueFull), ticket)) => {
                let sent = self.when_there_is_room(&generation, record, tombstone, ticket).await;
                sent.map_err(|error| self.refused(record, Some(&generation), &error))
            }
            Err((error, _)) => Err(self.refused(record, Some(&generation), &error)),
        }
    }

    /// The producer that a record goes to; the same one for all of a publication, so that a change of producers in the
    /// middle lets nothing overtake.
    fn generation(&mut self, record: &Record) -> Result<Arc<Generation>, KafkaError> {
        let place = &mut self.generations[usize::from(record.alone)];
        if let Some(generation) = place {
            return Ok(Arc::clone(generation));
        }
        let generation = self.inner.lane(record).sound()?;
        Ok(Arc::clone(place.insert(generation)))
    }

    async fn when_there_is_room(
        &self,
        generation: &Generation,
        record: &Record,
        tombstone: bool,
        mut ticket: Box<Ticket>,
    ) -> Result<(), KafkaError> {
        let shared = &self.inner.shared;
        let _waiting = Waiting::new(shared);
        loop {
            // Listening starts before the attempt, so that no report between the two goes unheard.
            let progress = shared.progress.notified();
            ticket = match generation.send(record, tombstone, ticket) {
                Err((KafkaError::MessageProduction(Code::QueueFull), ticket)) => ticket,
                sent => return sent.map_err(|(error, _)| error),
            };
            // Either way the queue is tried again.
            let _woken = time::timeout(SECOND_LOOK, progress).await;
            if self.inner.closed.load(Relaxed) {
                return Err(KafkaError::Canceled);
            }
        }
    }

    /// What an error at the door means for the rest of the publication.
    fn refused(&mut self, record: &'a Record, generation: Option<&Arc<Generation>>, error: &KafkaError) -> Failure {
        let failure = Failure::of(error);
        match failure {
            // Only this one: it is dealt with alone, and none of the later ones has to wait for it.
            Failure::TooLarge | Failure::Invalid => {}
            Failure::Route | Failure::Rules => {
                self.barred.insert(&record.topic, failure);
            }
            Failure::Fatal => {
                self.stopped = Some(failure);
                generation.into_iter().for_each(|generation| generation.suspected());
                if let Some((number, fatal)) = generation.and_then(|g| g.fatal().map(|fatal| (g.number, fatal))) {
                    self.inner.lane(record).renew(number, &fatal);
                }
            }
            Failure::Timeout | Failure::Transport | Failure::Replicas | Failure::Other => {
                self.stopped = Some(failure);
            }
        }
        failure
    }
}

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, SeqCst);
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}
