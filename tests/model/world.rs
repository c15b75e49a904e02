//! The world around one queue: a portal with its traps, a broker, and what can go wrong.

mod broker;
mod lasting;
mod moves;

use std::collections::{BTreeMap, BTreeSet};

use crate::core::protocol::{
    exchange::{Answer, Cleared, Exchange, LIST_PAGE, Read, ReadAnswer},
    invariants::{self, Violation},
    ledger::Publication,
    queue::{Action, Input, Queue, Received, Settings},
    recovery::REQUEST_LIFE,
    seeded::Bug,
    types::{EntityKey, Millis, ProcessId, RowId},
};
pub use moves::{Fate, Move, Report, Written};

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
    pub settings: Settings,
    /// Time goes on and sums grow, as for one long schedule. Otherwise each step makes its time the origin, so that states
    /// which differ in nothing else are one state.
    pub lasting: bool,
    pub budget: Budget,
    pub bug: Option<Bug>,
}

type Version = u32;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServerRow {
    message: usize,
    entity: u64,
    version: Version,
    process: Option<ProcessId>,
}

/// A request at the portal: a `get` selects first and marks in a second statement (protocol reference section 2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Request {
    sent: Exchanged,
    selected: Option<Vec<RowId>>,
    /// The portal ends it by then.
    expires: Millis,
}

/// [`Exchange`] in a form that can be ordered.
type Exchanged = (Vec<(ProcessId, Vec<RowId>)>, Option<(bool, Option<RowId>, u32)>);

fn ordered(exchange: &Exchange) -> Exchanged {
    let clears = exchange.clears.iter().map(|c| (c.process.clone(), c.ids.as_slice().to_vec())).collect();
    let read = exchange.read.map(|read| match read {
        Read::Reserve { limit } => (true, None, limit),
        Read::Scan { after, pages } => (false, after, u32::from(pages)),
    });
    (clears, read)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    queue: Queue,
    now: Millis,
    lasting: bool,
    rows: BTreeMap<RowId, ServerRow>,
    next_id: u64,
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

type Step = Result<(), Violation>;

impl World {
    pub fn new(setup: &Setup) -> Result<Self, Violation> {
        let rows = setup.entities.iter().enumerate().take(setup.present).map(|(message, entity)| {
            let id = RowId::new(message as u64 + 1).expect("positive");
            (id, ServerRow { message, entity: *entity, version: 0, process: None })
        });
        let mut world = Self {
            queue: Queue::new(&setup.settings).with_bug(setup.bug),
            now: Millis(0),
            lasting: setup.lasting,
            rows: rows.collect(),
            next_id: setup.present as u64 + 1,
            awaited: None,
            zombies: Vec::new(),
            pending: Vec::new(),
            ghosts: Vec::new(),
            payload: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            delivered: BTreeSet::new(),
            history: BTreeMap::new(),
            budget: setup.budget,
        };
        world.feed(Input::TakeOver)?;
        Ok(world)
    }

    /// Whether every row has left the portal.
    pub fn is_done(&self) -> bool {
        self.rows.is_empty()
    }

    /// The move that happens when nothing goes wrong, if any is left.
    pub fn fault_free(&self) -> Option<Move> {
        if self.awaited.is_some() {
            Some(Move::Answer)
        } else if !self.pending.is_empty() {
            Some(Move::Report(Report::AllWell))
        } else {
            self.queue.deadline().map(|_| Move::TimePasses)
        }
    }

    pub fn apply(&mut self, setup: &Setup, step: Move) -> Step {
        match step {
            Move::Answer => {
                let answer = self.execute_awaited(setup)?;
                self.feed(Input::Exchanged(answer))?;
            }
            Move::AnswerToReadOnly => {
                self.budget.losses -= 1;
                let mut refused = 0;
                if let Some(request) = &mut self.awaited {
                    refused = std::mem::take(&mut request.sent.0).len();
                }
                let read = self.execute_awaited(setup)?.read;
                let clears = vec![Cleared::Refused { retry_after: None }; refused];
                self.feed(Input::Exchanged(Answer { clears, read }))?;
            }
            Move::AwaitedSelects => {
                if let Some(mut request) = self.awaited.take() {
                    self.select(&mut request)?;
                    self.awaited = Some(request);
                }
            }
            Move::LoseRequest => {
                self.budget.losses -= 1;
                self.unknown()?;
            }
            Move::LoseAnswer => {
                self.budget.losses -= 1;
                self.execute_awaited(setup)?;
                self.unknown()?;
            }
            Move::GiveUpWaiting => {
                self.budget.losses -= 1;
                self.zombies.extend(self.awaited.clone());
                self.unknown()?;
            }
            Move::ZombieSelects(index) => {
                let mut zombie = self.zombies.remove(index);
                self.select(&mut zombie)?;
                self.zombies.push(zombie);
            }
            Move::ZombieRuns(index) => {
                let zombie = self.zombies.remove(index);
                self.execute(setup, zombie)?;
            }
            Move::Report(report) => self.report(setup, report)?,
            Move::GhostIsWritten(index) => {
                // Behind the first delivery of its row it is a duplicate; before it, it comes in the order it was sent in.
                let (row, _) = self.ghosts.remove(index);
                self.delivered.insert(row);
                self.remember(setup, row);
            }
            Move::Crash { request, produced } => self.crash(setup, request, produced)?,
            Move::Change(message) => self.change(setup, message),
            Move::TimePasses => self.pass(self.queue.deadline().unwrap_or_default())?,
        }
        self.zombies.sort();
        Ok(())
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
        if let Input::Exchanged(Answer { read: ReadAnswer::Listed { .. }, clears }) = &input {
            let own = self.queue.ledger().len();
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
        if !self.lasting {
            self.queue.rebase(now);
            for zombie in &mut self.zombies {
                zombie.expires = zombie.expires.since(now);
            }
            self.now = Millis(0);
        }
        for action in actions {
            match action {
                Action::Exchange(exchange) => {
                    if self.awaited.is_some() {
                        return Err(Violation::I4TwoRequests);
                    }
                    self.awaited = Some(Request { sent: ordered(&exchange), selected: None, expires: self.dead_at() });
                }
                Action::Publish(publication) => self.pending.push(publication),
                Action::Note(_) | Action::Drained => {}
            }
        }
        Ok(())
    }

    /// When a request that is sent now is dead.
    fn dead_at(&self) -> Millis {
        self.now.plus(REQUEST_LIFE)
    }

    fn unknown(&mut self) -> Step {
        let clears = self.queue.on_its_way().map_or(0, |exchange| exchange.clears.len());
        self.awaited = None;
        self.feed(Input::Exchanged(Answer { clears: vec![Cleared::Unknown; clears], read: ReadAnswer::Unknown }))
    }

    fn execute_awaited(&mut self, setup: &Setup) -> Result<Answer<Received>, Violation> {
        match self.awaited.take() {
            Some(request) => self.execute(setup, request),
            None => Ok(Answer { clears: Vec::new(), read: ReadAnswer::NotAsked }),
        }
    }

    /// The clears, and the first statement of a `get`.
    fn select(&mut self, request: &mut Request) -> Step {
        if request.selected.is_some() {
            return Ok(());
        }
        for (process, ids) in &request.sent.0 {
            for id in ids {
                let Some(row) = self.rows.get(id).filter(|row| row.process.as_ref() == Some(process)) else { continue };
                if !self.acknowledged.contains(&(*id, row.version)) {
                    return Err(Violation::I1ClearedBeforeAcknowledgement);
                }
                self.rows.remove(id);
            }
        }
        let limit = match request.sent.1 {
            Some((true, _, limit)) => limit as usize,
            _ => 0,
        };
        let free = self.rows.iter().filter(|(_, row)| row.process.is_none());
        request.selected = Some(free.map(|(id, _)| *id).take(limit).collect());
        Ok(())
    }

    fn execute(&mut self, setup: &Setup, mut request: Request) -> Result<Answer<Received>, Violation> {
        self.select(&mut request)?;
        let clears = vec![Cleared::Done; request.sent.0.len()];
        let received = |id: &RowId, row: &ServerRow| Received {
            id: *id,
            key: EntityKey(row.entity),
            malformed: setup.malformed == Some(row.message),
        };
        let read = match request.sent.1 {
            None => ReadAnswer::NotAsked,
            Some((true, ..)) => {
                let process = self.fresh_process();
                let mut rows = Vec::new();
                for id in request.selected.iter().flatten() {
                    if let Some(row) = self.rows.get_mut(id) {
                        row.process = Some(process.clone());
                        rows.push(received(id, row));
                        self.payload.insert(*id, (row.version, row.message));
                    }
                }
                ReadAnswer::Reserved { process: Some(process), rows, took: Millis(1) }
            }
            Some((false, after, pages)) => {
                let most = pages as usize * LIST_PAGE;
                let listed = self.rows.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
                let rows =
                    listed.filter_map(|(id, row)| row.process.clone().map(|process| (process, received(id, row))));
                let rows: Vec<_> = rows.take(most).collect();
                for (_, row) in &rows {
                    let held = &self.rows[&row.id];
                    self.payload.insert(row.id, (held.version, held.message));
                }
                let more = rows.len() == most;
                ReadAnswer::Listed { rows, more }
            }
        };
        Ok(Answer { clears, read })
    }

    /// The first name that nobody knows any more, so that the number of states stays finite.
    fn fresh_process(&self) -> ProcessId {
        let requests =
            self.zombies.iter().chain(&self.awaited).flat_map(|r| r.sent.0.iter().map(|(process, _)| process));
        let known: BTreeSet<&ProcessId> = self
            .rows
            .values()
            .filter_map(|row| row.process.as_ref())
            .chain(requests)
            .chain(self.queue.ledger().processes())
            .collect();
        (1..).filter_map(|n: u32| ProcessId::new(&format!("p{n}"))).find(|p| !known.contains(p)).expect("endless")
    }

    fn crash(&mut self, setup: &Setup, request: Fate, produced: bool) -> Step {
        self.budget.crashes -= 1;
        match request {
            Fate::Lost => self.awaited = None,
            Fate::Executed => {
                self.execute_awaited(setup)?;
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
        self.feed(Input::TakeOver)
    }

    /// An object changes: its free row is updated; if the row is reserved, a new one comes to be.
    fn change(&mut self, setup: &Setup, message: usize) {
        self.budget.changes -= 1;
        if let Some(row) = self.rows.values_mut().find(|row| row.message == message && row.process.is_none()) {
            row.version += 1;
        } else if let Some(id) = RowId::new(self.next_id) {
            self.next_id += 1;
            let entity = setup.entities[message];
            self.rows.insert(id, ServerRow { message, entity, version: 0, process: None });
        }
    }
}
