//! The join of one publication: its reports come in on librdkafka's thread, and one task waits for all of them.

use std::sync::{
    Arc,
    atomic::{
        AtomicU8, AtomicUsize,
        Ordering::{AcqRel, Acquire, Release},
    },
};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::kafka::counters::Failure;

/// A slot that nobody has settled: *not delivered*.
const UNSETTLED: u8 = u8::MAX;
/// A slot whose record Kafka has acknowledged.
const ACKNOWLEDGED: u8 = u8::MAX - 1;

/// The outcomes of one publication, one slot per record sent.
///
/// Every slot starts as not delivered and only an acknowledgement changes that, so whatever is dropped on the way never
/// counts as acknowledged.
#[derive(Debug)]
pub struct Batch {
    outcomes: Box<[AtomicU8]>,
    /// Tickets that are out, and one for the task that still writes them.
    pending: AtomicUsize,
    done: Notify,
}

/// Travels through librdkafka with one record. Dropping it without an outcome leaves its slot as not delivered.
#[derive(Debug)]
pub struct Ticket {
    batch: Arc<Batch>,
    slot: usize,
    /// The record's room in its topic's part of the queue.
    _room: Option<OwnedSemaphorePermit>,
}

impl Batch {
    /// A join of `slots` records.
    pub fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self {
            outcomes: (0..slots).map(|_| AtomicU8::new(UNSETTLED)).collect(),
            pending: AtomicUsize::new(1),
            done: Notify::new(),
        })
    }

    /// A ticket for the record of one slot, which gives the record's room back when it comes back.
    pub fn ticket(self: &Arc<Self>, slot: usize, room: Option<OwnedSemaphorePermit>) -> Box<Ticket> {
        self.pending.fetch_add(1, AcqRel);
        Box::new(Ticket { batch: Arc::clone(self), slot, _room: room })
    }

    /// No more tickets will be written.
    pub fn seal(&self) {
        self.release();
    }

    /// Waits until every ticket has come back; to be called once, by one task.
    pub async fn wait(&self) {
        while self.pending.load(Acquire) > 0 {
            self.done.notified().await;
        }
    }

    /// Settles a slot that has no ticket out.
    pub fn settle(&self, slot: usize, outcome: Result<(), Failure>) {
        let code = match outcome {
            Ok(()) => ACKNOWLEDGED,
            Err(failure) => failure as u8,
        };
        if let Some(place) = self.outcomes.get(slot) {
            place.store(code, Release);
        }
    }

    /// What became of a slot; `None` if nobody has said so.
    pub fn outcome(&self, slot: usize) -> Option<Result<(), Failure>> {
        match self.outcomes.get(slot)?.load(Acquire) {
            UNSETTLED => None,
            ACKNOWLEDGED => Some(Ok(())),
            code => Failure::ALL.get(usize::from(code)).map(|failure| Err(*failure)),
        }
    }

    fn release(&self) {
        if self.pending.fetch_sub(1, AcqRel) == 1 {
            self.done.notify_one();
        }
    }
}

impl Ticket {
    /// Writes down the outcome and hands the ticket in.
    pub fn settle(self, outcome: Result<(), Failure>) {
        self.batch.settle(self.slot, outcome);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.batch.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_dropped_is_not_delivered() {
        let batch = Batch::new(4);
        let tickets: Vec<_> = (0..3).map(|slot| batch.ticket(slot, None)).collect();
        batch.seal();
        let waiting = tokio::spawn({
            let batch = Arc::clone(&batch);
            async move { batch.wait().await }
        });
        let mut tickets = tickets.into_iter();
        tickets.next().expect("ticket").settle(Ok(()));
        tickets.next().expect("ticket").settle(Err(Failure::Route));
        assert!(!waiting.is_finished());
        drop(tickets);
        waiting.await.expect("join");
        assert_eq!(
            (0..4).map(|slot| batch.outcome(slot)).collect::<Vec<_>>(),
            [Some(Ok(())), Some(Err(Failure::Route)), None, None]
        );
    }

    #[tokio::test]
    async fn a_batch_is_not_done_before_it_is_sealed() {
        let batch = Batch::new(1);
        batch.ticket(0, None).settle(Ok(()));
        let mut waiting = Box::pin(batch.wait());
        tokio::select! {
            biased;
            () = &mut waiting => panic!("more tickets may be written"),
            () = std::future::ready(()) => {}
        }
        batch.seal();
        waiting.await;
    }
}
