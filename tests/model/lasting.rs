//! What a lasting world can be told besides the moves of the exhaustive search, which has no need of it or no room for it.

#![allow(dead_code, reason = "the exhaustive search has no lasting worlds")]

use super::{Setup, Step, World};
use crate::core::protocol::{
    exchange::{Answer, Cleared, ReadAnswer},
    queue::{Input, Queue},
    types::Millis,
};

impl World {
    /// The machine.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Whether the answer to a request is awaited.
    pub fn is_awaiting(&self) -> bool {
        self.awaited.is_some()
    }

    /// Whether reports are awaited.
    pub fn is_producing(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many records are with the broker.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether the awaited request has been carried out in part.
    pub fn has_selected(&self) -> bool {
        self.awaited.as_ref().is_some_and(|request| request.selected.is_some())
    }

    /// Records that were reported as failed and may still be written.
    pub fn ghosts(&self) -> usize {
        self.ghosts.len()
    }

    /// Requests that nobody waits for and that the portal may still execute.
    pub fn zombies(&self) -> usize {
        self.zombies.len()
    }

    /// Rows that the portal has.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether the awaited request reserves, and whether it clears.
    pub fn awaits(&self) -> (bool, bool) {
        let sent = self.awaited.as_ref().map(|request| &request.sent);
        (sent.is_some_and(|sent| matches!(sent.1, Some((true, ..)))), sent.is_some_and(|sent| !sent.0.is_empty()))
    }

    /// Rows that were written for the first time, by any life of the bridge.
    pub fn written(&self) -> usize {
        self.history.len()
    }

    /// The awaited request leaves only now: it waited for a token or for the portal's budget.
    pub fn depart(&mut self) {
        let expires = self.dead_at();
        if let Some(request) = &mut self.awaited {
            request.expires = expires;
        }
    }

    /// When the portal has ended the awaited request.
    pub fn answered_by(&self) -> Option<Millis> {
        self.awaited.as_ref().map(|request| request.expires)
    }

    /// The awaited request was certainly not carried out.
    pub fn refuse(&mut self, retry_after: Option<Millis>) -> Step {
        let Some(request) = self.awaited.take() else { return Ok(()) };
        let clears = vec![Cleared::Refused { retry_after }; request.sent.0.len()];
        let read = match request.sent.1 {
            Some(_) => ReadAnswer::Refused { retry_after, smaller: false },
            None => ReadAnswer::NotAsked,
        };
        self.feed(Input::Exchanged(Answer { clears, read }))
    }

    /// The clears are done, and the method of the read has to rest.
    pub fn rest(&mut self, retry_after: Millis) -> Step {
        let Some(mut request) = self.awaited.take() else { return Ok(()) };
        let read = request.sent.1.take();
        self.select(&mut request)?;
        let clears = vec![Cleared::Done; request.sent.0.len()];
        let retry_after = Some(retry_after);
        let read =
            if read.is_some() { ReadAnswer::Refused { retry_after, smaller: true } } else { ReadAnswer::NotAsked };
        self.feed(Input::Exchanged(Answer { clears, read }))
    }

    /// The answer comes, the portal has worked on it for long.
    pub fn answer_slowly(&mut self, setup: &Setup, worked: Millis) -> Step {
        let Answer { clears, mut read } = self.execute_awaited(setup)?;
        if let ReadAnswer::Reserved { took, .. } = &mut read {
            *took = worked;
        }
        self.feed(Input::Exchanged(Answer { clears, read }))
    }

    /// The read is answered, and what became of the clears is not said, though they are done.
    pub fn answer_read_only(&mut self, setup: &Setup) -> Step {
        let Answer { mut clears, read } = self.execute_awaited(setup)?;
        clears.fill(Cleared::Unknown);
        self.feed(Input::Exchanged(Answer { clears, read }))
    }
}
