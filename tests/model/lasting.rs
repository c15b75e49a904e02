//! What a lasting world can be told besides the moves of the exhaustive search, which has no need of it or no room for it.

#![allow(dead_code, reason = "the exhaustive search has no lasting worlds")]

use super::{Step, World, portal::Request};
use crate::core::protocol::{
    exchange::{Answer, Cleared, Deleted, ReadAnswer},
    queue::{Input, Queue},
    types::{Millis, Mode},
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
        self.awaited.as_ref().is_some_and(Request::has_selected)
    }

    /// Records that were reported as failed and may still be written.
    pub fn ghosts(&self) -> usize {
        self.ghosts.len()
    }

    /// Requests that nobody waits for and that the portal may still execute.
    pub fn zombies(&self) -> usize {
        self.zombies.len()
    }

    /// Whether such a request reserves, in two statements.
    pub fn zombie_reserves(&self, index: usize) -> bool {
        self.zombies.get(index).is_some_and(Request::reserves)
    }

    /// Whether the plan has lost reservations and the bridge reserves on.
    pub fn has_to_learn(&self) -> bool {
        self.queue.mode() == Mode::Reserve && !self.portal.licensed
    }

    /// Rows that the portal has.
    pub fn rows(&self) -> usize {
        self.portal.rows()
    }

    /// Whether the awaited request reserves, and whether it clears.
    pub fn awaits(&self) -> (bool, bool) {
        let confirms = |request: &Request| !request.sent.clears.is_empty() || request.sent.delete.is_some();
        (self.awaited.as_ref().is_some_and(Request::reserves), self.awaited.as_ref().is_some_and(confirms))
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
        let clears = vec![Cleared::Refused { retry_after }; request.sent.clears.len()];
        let deleted = request.sent.delete.map_or(Deleted::NotAsked, |_| Deleted::Refused { retry_after, rests: false });
        let refused = ReadAnswer::Refused { retry_after, smaller: false };
        let read = request.sent.read.map_or(ReadAnswer::NotAsked, |_| refused);
        self.feed(Input::Exchanged(Answer { clears, deleted, read, time: None }))
    }

    /// What was to be confirmed is done, and the method of the read has to rest.
    pub fn rest(&mut self, retry_after: Millis) -> Step {
        let read = self.awaited.as_mut().and_then(|request| request.sent.read.take());
        let (mut answer, contents) = self.execute_awaited(true)?;
        if read.is_some() {
            answer.read = ReadAnswer::Refused { retry_after: Some(retry_after), smaller: true };
        }
        self.answered((answer, contents))
    }

    /// The answer comes, the portal has worked on it for long.
    pub fn answer_slowly(&mut self, worked: Millis) -> Step {
        let (mut answer, contents) = self.execute_awaited(true)?;
        if let ReadAnswer::Reserved { took, .. } | ReadAnswer::Free { took, .. } = &mut answer.read {
            *took = worked;
        }
        self.answered((answer, contents))
    }

    /// The read is answered, and what became of the clears is not said, though they are done.
    pub fn answer_read_only(&mut self) -> Step {
        let (mut answer, contents) = self.execute_awaited(false)?;
        answer.clears.fill(Cleared::Unknown);
        if answer.deleted != Deleted::NotAsked {
            answer.deleted = Deleted::Unknown;
        }
        self.answered((answer, contents))
    }
}
