//! The world around one queue: a portal with its traps, a broker, and what can go wrong.

mod moves;

use std::collections::{BTreeMap, BTreeSet};

use crate::core::protocol::{
    exchange::{Answer, Cleared, Exchange, Read, ReadAnswer},
    invariants::{self, Violation},
    ledger::Publication,
    queue::{Action, Input, Queue, Received, Settings},
    recovery::REQUEST_LIFE,
    seeded::Bug,
    types::{Delivery, EntityKey, Hindrance, Millis, ProcessId, Refusal, RowId},
};
pub use moves::{Fate, Move, Report, Written};

/// How often each kind of fault may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A request or an answer is lost, or a request outlives its client's patience.
    pub losses: u8,
    /// The bridge dies and starts anew.
    pub crashes: u8,
    /// The broker does not acknowledge.
    pub produce_failures: u8,
    /// An object changes anew.
    pub changes: u8,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The entity of each row that is there at the start; rows of one entity are different events of it.
    pub entities: &'static [u64],
    /// A row whose record the broker refuses for good.
    pub poison: Option<u64>,
    /// Its dead letter is refused too unless it leaves out the data.
    pub heavy: bool,
    pub budget: Budget,
    pub bug: Option<Bug>,
}

type Version = u8;

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
    rows: BTreeMap<RowId, ServerRow>,
    next_id: u64,
    awaited: Option<Request>,
    zombies: Vec<Request>,
    /// Handed to the broker, not reported yet.
    pending: Vec<Publication>,
    /// Reported as failed, and yet the broker may still write them.
    ghosts: Vec<(RowId, Version)>,
    /// What the driver holds of each row: its version and its entity.
    payload: BTreeMap<RowId, (Version, u64)>,
    acknowledged: BTreeSet<(RowId, Version)>,
    /// Rows that this life of the bridge has delivered.
    delivered: BTreeSet<RowId>,
    budget: Budget,
}

const SETTINGS: Settings = Settings {
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
        let rows = setup.entities.iter().enumerate().map(|(message, entity)| {
            let id = RowId::new(message as u64 + 1).expect("positive");
            (id, ServerRow { message, entity: *entity, version: 0, process: None })
        });
        let mut world = Self {
            queue: Queue::new(&SETTINGS).with_bug(setup.bug),
            rows: rows.collect(),
            next_id: setup.entities.len() as u64 + 1,
            awaited: None,
            zombies: Vec::new(),
            pending: Vec::new(),
            ghosts: Vec::new(),
            payload: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            delivered: BTreeSet::new(),
            budget: setup.budget,
        };
        world.feed(Input::TakeOver, Millis(0))?;
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
                let answer = self.execute_awaited()?;
                self.feed(Input::Exchanged(answer), Millis(0))?;
            }
            Move::AnswerToReadOnly => {
                self.budget.losses -= 1;
                let mut refused = 0;
                if let Some(request) = &mut self.awaited {
                    refused = std::mem::take(&mut request.sent.0).len();
                }
                let read = self.execute_awaited()?.read;
                let clears = vec![Cleared::Refused { retry_after: None }; refused];
                self.feed(Input::Exchanged(Answer { clears, read }), Millis(0))?;
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
                self.execute_awaited()?;
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
                self.execute(zombie)?;
            }
            Move::Report(report) => self.report(setup, report)?,
            Move::GhostIsWritten(index) => {
                // Behind the first delivery of its row it is a duplicate; before it, it comes in the order it was sent in.
                let (row, _) = self.ghosts.remove(index);
                self.delivered.insert(row);
            }
            Move::Crash { request, produced } => self.crash(setup, request, produced)?,
            Move::Change(message) => self.change(setup, message),
            Move::TimePasses => {
                let now = self.queue.deadline().unwrap_or_default();
                self.zombies.retain(|zombie| zombie.expires > now);
                for zombie in &mut self.zombies {
                    zombie.expires = zombie.expires.since(now);
                }
                self.feed(Input::Timer, now)?;
            }
        }
        self.zombies.sort();
        Ok(())
    }

    /// One step of the core at `now`, which becomes the origin of time.
    fn feed(&mut self, input: Input, now: Millis) -> Step {
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
        for action in actions {
            match action {
                Action::Exchange(exchange) => {
                    if self.awaited.is_some() {
                        return Err(Violation::I4TwoRequests);
                    }
                    self.awaited = Some(Request { sent: ordered(&exchange), selected: None, expires: REQUEST_LIFE });
                }
                Action::Publish(publication) => self.pending.push(publication),
                Action::Note(_) | Action::Drained => {}
            }
        }
        self.queue.rebase(now);
        Ok(())
    }

    fn unknown(&mut self) -> Step {
        let clears = self.queue.on_its_way().map_or(0, |exchange| exchange.clears.len());
        self.awaited = None;
        self.feed(
            Input::Exchanged(Answer { clears: vec![Cleared::Unknown; clears], read: ReadAnswer::Unknown }),
            Millis(0),
        )
    }

    fn execute_awaited(&mut self) -> Result<Answer<Received>, Violation> {
        match self.awaited.take() {
            Some(request) => self.execute(request),
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

    fn execute(&mut self, mut request: Request) -> Result<Answer<Received>, Violation> {
        self.select(&mut request)?;
        let clears = vec![Cleared::Done; request.sent.0.len()];
        let received = |id: &RowId, row: &ServerRow| Received { id: *id, key: EntityKey(row.entity), malformed: false };
        let read = match request.sent.1 {
            None => ReadAnswer::NotAsked,
            Some((true, ..)) => {
                let process = self.fresh_process();
                let mut rows = Vec::new();
                for id in request.selected.iter().flatten() {
                    if let Some(row) = self.rows.get_mut(id) {
                        row.process = Some(process.clone());
                        rows.push(received(id, row));
                        self.payload.insert(*id, (row.version, row.entity));
                    }
                }
                ReadAnswer::Reserved { process: Some(process), rows, took: Millis(1) }
            }
            Some((false, after, _)) => {
                let listed = self.rows.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
                let rows =
                    listed.filter_map(|(id, row)| row.process.clone().map(|process| (process, received(id, row))));
                let rows: Vec<_> = rows.collect();
                for (_, row) in &rows {
                    let held = &self.rows[&row.id];
                    self.payload.insert(row.id, (held.version, held.entity));
                }
                ReadAnswer::Listed { rows, more: false }
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

    fn report(&mut self, setup: &Setup, report: Report) -> Step {
        if report != Report::AllWell {
            self.budget.produce_failures -= 1;
        }
        let pending = std::mem::take(&mut self.pending);
        let is_poison = |p: &Publication| p.refused.is_none() && setup.poison == Some(p.row.get());
        let refused = pending.iter().any(is_poison);
        let mut reports = Vec::new();
        for (index, publication) in pending.iter().enumerate() {
            let row = publication.row;
            let (version, _) = self.payload.get(&row).copied().unwrap_or_default();
            let failed = match report {
                Report::AllWell | Report::RefusedForAnother => None,
                Report::AllFailed => Some(Written::No),
                Report::OneFailed { index: at, written } => (at == index).then_some(written),
            };
            let refused = refused || (report == Report::RefusedForAnother && !publication.alone);
            let heavy = setup.heavy && publication.refused.is_some_and(|reason| reason != Refusal::TooLarge);
            let delivery = match failed {
                None if heavy => Delivery::Refused(Refusal::TooLarge),
                None if refused && publication.refused.is_none() => Delivery::Refused(Refusal::InvalidRecord),
                None => {
                    self.write(setup, publication)?;
                    self.acknowledged.insert((row, version));
                    Delivery::Acknowledged
                }
                Some(written) => {
                    match written {
                        Written::No => {}
                        Written::Yes if refused || heavy => {}
                        Written::Yes => self.write(setup, publication)?,
                        Written::Later => self.ghosts.push((row, version)),
                    }
                    Delivery::Failed(Hindrance::Passing)
                }
            };
            reports.push((row, delivery));
        }
        self.ghosts.sort_unstable();
        self.feed(Input::Delivered(reports), Millis(0))
    }

    /// A record reaches the log. Its order matters for the first delivery only, and for what does not say that it is late.
    fn write(&mut self, setup: &Setup, publication: &Publication) -> Step {
        let row = publication.row;
        if publication.refused.is_some() && setup.poison != Some(row.get()) {
            return Err(Violation::UndeservedDeadLetter);
        }
        let first = self.delivered.insert(row);
        let entity = |id: &RowId| self.payload.get(id).map(|(_, entity)| *entity);
        let overtaken = self.delivered.range(row..).any(|later| *later != row && entity(later) == entity(&row));
        if first && overtaken && !publication.late && publication.refused.is_none() {
            return Err(Violation::I7Order);
        }
        Ok(())
    }

    fn crash(&mut self, setup: &Setup, request: Fate, produced: bool) -> Step {
        self.budget.crashes -= 1;
        match request {
            Fate::Lost => self.awaited = None,
            Fate::Executed => {
                self.execute_awaited()?;
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
        self.queue = Queue::new(&SETTINGS).with_bug(setup.bug);
        self.feed(Input::TakeOver, Millis(0))
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
