//! The world around one queue: a portal with its traps, a broker, and what can go wrong.

mod broker;
mod lasting;
mod moves;
mod portal;

use std::collections::{BTreeMap, BTreeSet};

use crate::core::protocol::{
    exchange::{Answer, Cleared, Deleted, ReadAnswer},
    invariants::{self, Violation},
    ledger::Publication,
    queue::{Action, Input, Queue, Received, Settings},
    recovery::REQUEST_LIFE,
    seeded::Bug,
    types::{Millis, Mode, RowId},
};
pub use moves::{Fate, Move, Report, Written};
use portal::{Portal, Request};

/// How often each kind of fault may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A request or an answer is lost, or a request outlives its client's patience.
    pub losses: u16,
    /// The bridge dies and starts anew.
    pub crashes: u16,
    /// The broker does not acknowledge.
    pub produce_failures: u16,
    /// An object changes anew.
    pub changes: u16,
    /// Something happens between the two statements of a deletion.
    pub splits: u16,
    /// The first object changes whenever time passes.
    pub hot: u16,
    /// Kafka takes seconds to answer.
    pub delays: u16,
    /// The portal's plan gets or loses the feature that reserving needs.
    pub licences: u16,
}

impl Budget {
    /// Nothing goes wrong.
    pub const NONE: Self =
        Self { losses: 0, crashes: 0, produce_failures: 0, changes: 0, splits: 0, hot: 0, delays: 0, licences: 0 };
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The entity of each message; messages of one entity are different events of it.
    pub entities: &'static [u64],
    /// How many of the messages, from the first on, are there as rows at the start.
    pub present: usize,
    /// A message whose record the broker refuses for good.
    pub poison: Option<usize>,
    /// Its dead letter is refused too unless it leaves out the data.
    pub heavy: bool,
    /// A message whose row cannot be read.
    pub malformed: Option<usize>,
    /// Whether the portal's plan has `rest_offline_extended` at the start.
    pub licensed: bool,
    /// Whether the portal's clock matters; in reserve mode it does not, and without it there are fewer states.
    pub timed: bool,
    pub settings: Settings,
    /// Time goes on and sums grow, as for one long schedule. Otherwise each step makes its time the origin, so that states
    /// which differ in nothing else are one state.
    pub lasting: bool,
    pub budget: Budget,
    pub bug: Option<Bug>,
}

type Version = u32;

/// The contents of rows in an answer: of each its version and its message.
type Contents = Vec<(RowId, (Version, usize))>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    queue: Queue,
    now: Millis,
    lasting: bool,
    portal: Portal,
    awaited: Option<Request>,
    zombies: Vec<Request>,
    /// Handed to the broker, not reported yet.
    pending: Vec<Publication>,
    /// Reported as failed, and yet the broker may still write them.
    ghosts: Vec<(RowId, Version)>,
    /// What the driver holds of each row: its version and its message.
    payload: BTreeMap<RowId, (Version, usize)>,
    acknowledged: BTreeSet<(RowId, Version)>,
    /// Rows that this life of the bridge has delivered.
    delivered: BTreeSet<RowId>,
    /// What all lives have delivered, with the entity; kept in lasting worlds only.
    history: BTreeMap<RowId, u64>,
    /// What the driver keeps beyond its life: the queue has been read without reservations.
    was_conditional: bool,
    budget: Budget,
}

/// What the exhaustive search runs with.
pub const SETTINGS: Settings = Settings {
    limit_min: 2,
    limit_max: 2,
    // Once within the life of a request that lives on; more often only multiplies equal states.
    poll_min: Millis::secs(45),
    poll_max: Millis::secs(45),
    // The other rules have to be enough: a sweep would find what they forget.
    sweep: None,
};

/// How long Kafka may take.
const DELAY: Millis = Millis::secs(10);

type Step = Result<(), Violation>;

impl World {
    pub fn new(setup: &Setup) -> Result<Self, Violation> {
        let mut world = Self {
            queue: Queue::new(&setup.settings).with_bug(setup.bug),
            now: Millis(0),
            lasting: setup.lasting,
            portal: Portal::new(setup),
            awaited: None,
            zombies: Vec::new(),
            pending: Vec::new(),
            ghosts: Vec::new(),
            payload: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            delivered: BTreeSet::new(),
            history: BTreeMap::new(),
            was_conditional: false,
            budget: setup.budget,
        };
        world.take_over()?;
        Ok(world)
    }

    /// Whether every row has left the portal.
    pub fn is_done(&self) -> bool {
        self.portal.is_empty()
    }

    /// The driver asks what the portal can do, and begins.
    fn take_over(&mut self) -> Step {
        if self.was_conditional {
            self.feed(Input::Mode(Mode::Conditional))?;
        }
        self.feed(Input::Mode(self.wanted()))?;
        self.feed(Input::TakeOver)
    }

    /// The mode that the portal's plan asks for.
    fn wanted(&self) -> Mode {
        if self.portal.licensed { Mode::Reserve } else { Mode::Conditional }
    }

    /// The move that happens when nothing goes wrong, if any is left.
    pub fn fault_free(&self) -> Option<Move> {
        if self.awaited.is_some() {
            Some(Move::Answer)
        } else if !self.pending.is_empty() {
            Some(Move::Report(Report::AllWell))
        } else if self.queue.mode() == Mode::Reserve && !self.portal.licensed {
            Some(Move::ModeIsKnown)
        } else {
            self.queue.deadline().map(|_| Move::TimePasses)
        }
    }

    pub fn apply(&mut self, setup: &Setup, step: Move) -> Step {
        match step {
            Move::Answer => {
                let answer = self.execute_awaited(true)?;
                self.answered(answer)?;
            }
            Move::AnswerToReadOnly => self.answer_to_read_only()?,
            Move::AwaitedSelects => {
                if let Some(request) = &mut self.awaited {
                    self.budget.splits -= u16::from(request.sent.delete.is_some());
                    self.portal.select(request, &self.acknowledged)?;
                }
            }
            Move::LoseRequest => {
                self.budget.losses -= 1;
                self.unknown()?;
            }
            Move::LoseAnswer => {
                self.budget.losses -= 1;
                self.execute_awaited(false)?;
                self.unknown()?;
            }
            Move::GiveUpWaiting => {
                self.budget.losses -= 1;
                self.zombies.extend(self.awaited.clone());
                self.unknown()?;
            }
            Move::ZombieSelects(index) => {
                self.portal.select(&mut self.zombies[index], &self.acknowledged)?;
            }
            Move::ZombieRuns(index) => {
                let zombie = self.zombies.remove(index);
                self.execute(zombie, false)?;
            }
            Move::Report(report) => self.report(setup, report)?,
            Move::GhostIsWritten(index) => {
                // Behind the first delivery of its row it is a duplicate; before it, it comes in the order it was sent in.
                let (row, _) = self.ghosts.remove(index);
                self.delivered.insert(row);
                self.remember(setup, row);
            }
            Move::Crash { request, produced } => self.crash(setup, request, produced)?,
            Move::Change { message, slow_clock } => {
                self.budget.changes -= 1;
                self.portal.change(setup, self.now, message, slow_clock);
            }
            Move::TimePasses => {
                self.pass(self.queue.deadline().unwrap_or_default())?;
                if self.budget.hot > 0 {
                    self.budget.hot -= 1;
                    self.portal.change(setup, self.now, 0, false);
                }
            }
            Move::KafkaTakesItsTime => {
                self.budget.delays -= 1;
                self.pass(self.now.plus(DELAY))?;
            }
            Move::Licence => {
                self.budget.licences -= 1;
                self.portal.licensed = !self.portal.licensed;
            }
            Move::ModeIsKnown => self.feed(Input::Mode(self.wanted()))?,
        }
        if self.zombies.len() > 1 {
            // Which of them was given up first says nothing.
            self.zombies.sort_by_cached_key(|zombie| format!("{zombie:?}"));
        }
        Ok(())
    }

    /// The clears and the deletion are refused, the read is not.
    fn answer_to_read_only(&mut self) -> Step {
        self.budget.losses -= 1;
        let (mut clears, mut deleted) = (Vec::new(), Deleted::NotAsked);
        if let Some(request) = &mut self.awaited {
            clears.resize(request.sent.clears.len(), Cleared::Refused { retry_after: None });
            request.sent.clears.clear();
            if request.sent.delete.take().is_some() {
                deleted = Deleted::Refused { retry_after: None, rests: false };
            }
        }
        let (Answer { read, time, .. }, contents) = self.execute_awaited(true)?;
        self.answered((Answer { clears, deleted, read, time }, contents))
    }

    /// It is `now`: requests of which nobody waits for the answer are dead by their time.
    pub fn pass(&mut self, now: Millis) -> Step {
        self.now = now;
        self.zombies.retain(|zombie| zombie.expires > now);
        self.feed(Input::Timer)
    }

    /// One step of the core.
    pub fn feed(&mut self, input: Input) -> Step {
        let now = self.now;
        if let Input::Exchanged(Answer { read: ReadAnswer::Listed { .. }, clears, .. }) = &input {
            let own = self.queue.ledger().processes().count();
            let confirmed = clears.iter().all(|clear| *clear == Cleared::Done);
            let before = self.queue.ledger().sums().0;
            let mut next = self.queue.clone();
            next.step(now, input.clone(), &mut Vec::new());
            if own > 0 && !confirmed && next.ledger().sums().0 != before {
                return Err(Violation::I8OwnReservation);
            }
        }
        let mut actions = Vec::new();
        self.queue.step(now, input, &mut actions);
        invariants::check(&self.queue, &actions)?;
        for action in actions {
            match action {
                Action::Exchange(exchange) => {
                    if self.awaited.is_some() {
                        return Err(Violation::I4TwoRequests);
                    }
                    self.awaited = Some(Request::new(exchange, self.dead_at()));
                }
                Action::Publish(publication) => self.pending.push(publication),
                Action::Note(_) | Action::Drained => {}
            }
        }
        self.was_conditional = self.queue.leaves_published_rows();
        if !self.lasting {
            self.rebase();
        }
        Ok(())
    }

    /// Makes the present the origin of all times.
    fn rebase(&mut self) {
        let now = std::mem::take(&mut self.now);
        let seconds = self.portal.rebase(now);
        self.queue.rebase(now);
        self.queue.rebase_portal(now, seconds, portal::clamp);
        for request in self.zombies.iter_mut().chain(&mut self.awaited) {
            request.expires = request.expires.since(now);
            request.sent.rebase_portal(|at| portal::clamp(at - seconds));
        }
    }

    /// When a request that is sent now is dead.
    fn dead_at(&self) -> Millis {
        self.now.plus(REQUEST_LIFE)
    }

    fn unknown(&mut self) -> Step {
        let exchange = self.queue.on_its_way().cloned().unwrap_or_default();
        self.awaited = None;
        let clears = vec![Cleared::Unknown; exchange.clears.len()];
        let deleted = exchange.delete.map_or(Deleted::NotAsked, |_| Deleted::Unknown);
        self.feed(Input::Exchanged(Answer { clears, deleted, read: ReadAnswer::Unknown, time: None }))
    }

    /// The portal executes what is awaited. `heard` says whether the driver is going to hear of it.
    fn execute_awaited(&mut self, heard: bool) -> Result<(Answer<Received>, Contents), Violation> {
        match self.awaited.take() {
            Some(request) => self.execute(request, heard),
            None => Ok(Default::default()),
        }
    }

    fn execute(&mut self, request: Request, heard: bool) -> Result<(Answer<Received>, Contents), Violation> {
        // The names of reservations that somebody outside of the portal knows.
        let requests = self.zombies.iter().chain(&self.awaited).flat_map(|r| r.sent.clears.iter().map(|c| &c.process));
        let sent = request.sent.clears.iter().map(|clear| &clear.process);
        let names = requests.chain(sent).chain(self.queue.ledger().processes()).cloned().collect();
        self.portal.execute(self.now, request, heard, &names, &self.acknowledged)
    }

    /// An answer arrives, with the content of its rows.
    fn answered(&mut self, (answer, contents): (Answer<Received>, Contents)) -> Step {
        self.payload.extend(contents);
        self.feed(Input::Exchanged(answer))
    }

    fn crash(&mut self, setup: &Setup, request: Fate, produced: bool) -> Step {
        self.budget.crashes -= 1;
        match request {
            Fate::Lost => self.awaited = None,
            Fate::Executed => {
                self.execute_awaited(false)?;
            }
            Fate::LivesOn => self.zombies.extend(self.awaited.take()),
        }
        if produced {
            for publication in std::mem::take(&mut self.pending) {
                self.write(setup, &publication)?;
            }
        }
        self.pending.clear();
        self.payload.clear();
        self.delivered.clear();
        // What an earlier life still writes is beyond the knowledge of this one; its rows are recovered ones now.
        self.ghosts.clear();
        self.queue = Queue::new(&setup.settings).with_bug(setup.bug);
        if self.portal.is_owed() {
            // Only the process that has died knew of it.
            return Err(Violation::I1ClearedBeforeAcknowledgement);
        }
        self.take_over()
    }
}
