//! What can happen next in a world: when nothing goes wrong one thing, and besides it every fault that is left.

use super::World;

/// One thing that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Answer,
    /// The clears are refused, the read is not.
    AnswerToReadOnly,
    AwaitedSelects,
    LoseRequest,
    LoseAnswer,
    GiveUpWaiting,
    ZombieSelects(usize),
    ZombieRuns(usize),
    Report(Report),
    GhostIsWritten(usize),
    Crash {
        request: Fate,
        produced: bool,
    },
    Change {
        message: usize,
        slow_clock: bool,
    },
    TimePasses,
    KafkaTakesItsTime,
    Licence,
    ModeIsKnown,
}

/// What the broker says of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    AllWell,
    AllFailed,
    /// A record of another queue was in the batch, and the broker refused all of it.
    RefusedForAnother,
    /// Nobody may write to the topic.
    Barred,
    OneFailed {
        index: usize,
        written: Written,
    },
}

/// Whether a record that was reported as failed is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    No,
    Yes,
    Later,
}

/// What becomes of a request whose client dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lost,
    Executed,
    LivesOn,
}

impl World {
    pub fn moves(&self) -> Vec<Move> {
        let mut moves: Vec<Move> = self.fault_free().into_iter().collect();
        if let Some(awaited) = &self.awaited {
            let deletes = awaited.sent.delete.is_some() && self.budget.splits > 0;
            let overlaps = awaited.reserves() && awaited.sent.delete.is_none() && !self.zombies.is_empty();
            if (deletes || overlaps) && !awaited.has_selected() {
                moves.push(Move::AwaitedSelects);
            }
            if self.budget.losses > 0 {
                moves.extend([Move::LoseRequest, Move::LoseAnswer, Move::GiveUpWaiting]);
                let confirms = !awaited.sent.clears.is_empty() || awaited.sent.delete.is_some();
                if confirms && !awaited.has_selected() {
                    moves.push(Move::AnswerToReadOnly);
                }
            }
        }
        for (index, zombie) in self.zombies.iter().enumerate() {
            moves.push(Move::ZombieRuns(index));
            if zombie.reserves() && zombie.sent.delete.is_none() && !zombie.has_selected() {
                moves.push(Move::ZombieSelects(index));
            }
        }
        if !self.pending.is_empty() && self.budget.produce_failures > 0 {
            moves.extend([Report::AllFailed, Report::RefusedForAnother].map(Move::Report));
            for index in 0..self.pending.len() {
                for written in [Written::No, Written::Yes, Written::Later] {
                    moves.push(Move::Report(Report::OneFailed { index, written }));
                }
            }
        }
        moves.extend((0..self.ghosts.len()).map(Move::GhostIsWritten));
        if self.budget.crashes > 0 {
            let fates: &[Fate] =
                if self.awaited.is_some() { &[Fate::Lost, Fate::Executed, Fate::LivesOn] } else { &[Fate::Lost] };
            for request in fates {
                for produced in if self.pending.is_empty() { &[false][..] } else { &[false, true] } {
                    moves.push(Move::Crash { request: *request, produced: *produced });
                }
            }
        }
        if self.budget.changes > 0 {
            let clocks: &[bool] = if self.portal.timed() { &[false, true] } else { &[false] };
            for slow_clock in clocks.iter().copied() {
                moves.extend([0, 1].map(|message| Move::Change { message, slow_clock }));
            }
        }
        if self.budget.delays > 0 && !self.pending.is_empty() {
            moves.push(Move::KafkaTakesItsTime);
        }
        if self.budget.licences > 0 {
            moves.push(Move::Licence);
        }
        if self.queue.mode() != self.wanted() {
            moves.push(Move::ModeIsKnown);
        }
        moves
    }
}
