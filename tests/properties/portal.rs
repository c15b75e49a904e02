//! One portal with several queues, as the bridge serves it: they share time, tokens, and the portal's budget of requests.
//!
//! Each queue is a world of the exhaustive model (`tests/model/world.rs`). What the runner's session does for a request
//! before it leaves is done here: get a token, wait for the budget, refresh once if the token is refused.

use std::collections::BTreeMap;

use crate::{
    auth::{Auth, Broken, Turn},
    core::protocol::{
        pace::Bucket,
        seeded::Bug,
        token::{Generation, Input as TokenInput},
        types::Millis,
    },
    world::{Fate, Move, Report, Setup, World},
};

/// A portal that is not served because of its tokens is tried again after this.
const PARKED: Millis = Millis::secs(60);
/// Waited after the portal says that its limit is reached.
const LIMIT_HOLD: Millis = Millis::secs(5);

/// Where the request of a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is none.
    None,
    /// It needs a token; `refreshed` if it has been refused once.
    Token { refreshed: bool },
    /// It needs room in the portal's budget.
    Budget { token: Generation, refreshed: bool },
    /// It is on its way.
    Sent { token: Generation, refreshed: bool, found: Found },
}

/// What the portal makes of a request before it works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It is above the limit; a request is counted when it is sent, since the way is short.
    Limited,
    /// Its token is still to be looked at.
    Within,
    /// It takes it.
    Taken,
}

/// A queue and its request.
#[derive(Clone, Debug)]
struct Seat {
    setup: Setup,
    world: World,
    stage: Stage,
}

/// The limit as the portal counts it, in thousandths of a request.
#[derive(Clone, Debug)]
struct Limit {
    ceiling: u64,
    per_second: u64,
    level: u64,
    at: Millis,
    /// Somebody else spends from it, or the bridge has forgotten what it spent: refusals are to be expected.
    blurred: bool,
}

impl Limit {
    fn takes(&mut self, now: Millis) -> bool {
        self.level = self.level.saturating_sub(now.since(self.at).0 * self.per_second);
        self.at = now;
        let takes = self.level + 1000 <= self.ceiling * 1000;
        self.level += if takes { 1000 } else { 0 };
        takes
    }
}

/// How a portal is set up.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub queues: usize,
    pub setup: Setup,
    /// Ceiling and requests a second; `None` is without a limit.
    pub limit: Option<(u64, u64)>,
}

/// One portal, and the bridge that serves it.
#[derive(Debug)]
pub struct Portal {
    plan: Plan,
    now: Millis,
    seats: Vec<Seat>,
    auth: Auth,
    bucket: Option<Bucket>,
    limit: Option<Limit>,
    /// What has happened, for whoever has to find out why.
    log: Vec<String>,
    /// How often each kind of thing has happened.
    pub seen: BTreeMap<&'static str, u64>,
}

impl Portal {
    pub fn new(plan: Plan) -> Result<Self, Broken> {
        let seat = |_| {
            let world = World::new(&plan.setup).map_err(|violation| format!("{violation:?}"))?;
            Ok(Seat { setup: plan.setup, world, stage: Stage::Token { refreshed: false } })
        };
        let limit = plan.limit.map(|(ceiling, per_second)| Limit {
            ceiling,
            per_second,
            level: 0,
            at: Millis(0),
            blurred: false,
        });
        Ok(Self {
            plan,
            now: Millis(0),
            seats: (0..plan.queues).map(seat).collect::<Result<_, Broken>>()?,
            auth: Auth::new(plan.setup.bug),
            bucket: bucket(&plan),
            limit,
            log: Vec::new(),
            seen: BTreeMap::new(),
        })
    }

    pub fn queues(&self) -> usize {
        self.seats.len()
    }

    pub fn world(&self, queue: usize) -> &World {
        &self.seats[queue].world
    }

    /// How many different events the queues have.
    pub fn messages(&self) -> usize {
        self.plan.setup.entities.len()
    }

    pub fn now(&self) -> Millis {
        self.now
    }

    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    pub fn log(&self) -> String {
        self.log.join("\n")
    }

    pub fn bug(&self) -> Option<Bug> {
        self.plan.setup.bug
    }

    /// Whether the queue's request has left and its answer is awaited.
    pub fn is_sent(&self, queue: usize) -> bool {
        matches!(self.seats[queue].stage, Stage::Sent { .. })
    }

    /// Notes what happens.
    pub fn note(&mut self, kind: &'static str, queue: Option<usize>, what: &str) {
        *self.seen.entry(kind).or_default() += 1;
        let queue = queue.map_or(String::new(), |queue| format!(" queue {queue}"));
        self.log.push(format!("{:>9} ms{queue}: {kind} {what}", self.now.0));
    }

    /// Something happens to a queue's world.
    pub fn apply(
        &mut self,
        queue: usize,
        act: impl FnOnce(&mut World, &Setup) -> Result<(), crate::core::protocol::invariants::Violation>,
    ) -> Result<(), Broken> {
        let seat = &mut self.seats[queue];
        act(&mut seat.world, &seat.setup).map_err(|violation| format!("queue {queue}: {violation:?}"))?;
        match (seat.world.is_awaiting(), seat.stage) {
            (false, _) => seat.stage = Stage::None,
            (true, Stage::None) => seat.stage = Stage::Token { refreshed: false },
            (true, _) => {}
        }
        Ok(())
    }

    /// The answer, or its loss, has come: the next request of the queue is a new one.
    pub fn answered(
        &mut self,
        queue: usize,
        act: impl FnOnce(&mut World, &Setup) -> Result<(), crate::core::protocol::invariants::Violation>,
    ) -> Result<(), Broken> {
        self.seats[queue].stage = Stage::None;
        self.apply(queue, act)
    }

    /// One thing that goes well for a queue. Returns whether there was any.
    pub fn progress(&mut self, queue: usize) -> Result<bool, Broken> {
        let now = self.now;
        match self.seats[queue].stage {
            Stage::Token { refreshed } => {
                if let Some(token) = self.auth.usable() {
                    self.seats[queue].stage = Stage::Budget { token, refreshed };
                    return Ok(true);
                }
                if self.auth.doing().is_some() {
                    return self.turn(Turn::Works).map(|()| true);
                }
                let probe = if self.auth.is_rejected() { TokenInput::Probe } else { TokenInput::Timer };
                let wait = self.auth.deadline().map_or(PARKED, |deadline| deadline.since(now));
                if wait == Millis(0) || (self.auth.is_rejected() && !refreshed) {
                    self.note("asks for a token", Some(queue), &format!("{probe:?}"));
                    self.seats[queue].stage = Stage::Token { refreshed: true };
                    self.auth.feed(now, probe)?;
                } else {
                    self.note("has no token", Some(queue), "");
                    self.answered(queue, |world, _| world.refuse(Some(wait)))?;
                }
                Ok(true)
            }
            Stage::Budget { token, refreshed } => {
                let room = self.bucket.as_mut().map_or(Ok(()), |bucket| bucket.take(now));
                if room.is_err() {
                    return Ok(false);
                }
                let takes = self.limit.as_mut().is_none_or(|limit| limit.takes(now));
                let found = if takes { Found::Within } else { Found::Limited };
                self.seats[queue].stage = Stage::Sent { token, refreshed, found };
                self.seats[queue].world.depart();
                self.note("sends", Some(queue), "");
                Ok(true)
            }
            Stage::Sent { .. } => {
                if !self.reaches(queue)? {
                    return Ok(true);
                }
                self.note("answers", Some(queue), "");
                self.answered(queue, |world, setup| world.apply(setup, Move::Answer))?;
                Ok(true)
            }
            Stage::None if self.seats[queue].world.has_to_learn() => {
                self.note("mode is known", Some(queue), "");
                self.apply(queue, |world, setup| world.apply(setup, Move::ModeIsKnown))?;
                Ok(true)
            }
            Stage::None if self.seats[queue].world.is_producing() => {
                self.note("acknowledges", Some(queue), "");
                self.apply(queue, |world, setup| world.apply(setup, Move::Report(Report::AllWell)))?;
                Ok(true)
            }
            Stage::None => Ok(false),
        }
    }

    /// Whether the portal works on the request of a queue. If not, it has refused it now for its limit or its token.
    pub fn reaches(&mut self, queue: usize) -> Result<bool, Broken> {
        let now = self.now;
        let Stage::Sent { token, refreshed, found } = self.seats[queue].stage else { return Ok(false) };
        if found == Found::Taken {
            return Ok(true);
        }
        if found == Found::Limited {
            if self.limit.as_ref().is_none_or(|limit| !limit.blurred) {
                return Err(format!("queue {queue}: the portal's limit is passed"));
            }
            self.note("limited", Some(queue), "");
            if let Some(bucket) = &mut self.bucket {
                bucket.exhausted(now, LIMIT_HOLD);
            }
            self.answered(queue, |world, _| world.refuse(Some(LIMIT_HOLD)))?;
            return Ok(false);
        }
        if self.auth.usable() == Some(token) && self.auth.is_taken() {
            self.seats[queue].stage = Stage::Sent { token, refreshed, found: Found::Taken };
            return Ok(true);
        }
        self.note("unauthorized", Some(queue), "");
        if refreshed {
            self.answered(queue, |world, _| world.refuse(Some(PARKED)))?;
        } else {
            self.seats[queue].stage = Stage::Token { refreshed: true };
            self.auth.feed(now, TokenInput::Unauthorized(token))?;
        }
        Ok(false)
    }

    /// The refresh that is under way goes on.
    pub fn turn(&mut self, turn: Turn) -> Result<(), Broken> {
        if let Some(doing) = self.auth.doing() {
            self.note(refresh_kind(turn), None, &format!("{doing:?}"));
        }
        self.auth.turn(self.now, turn)
    }

    pub fn auth_mut(&mut self) -> &mut Auth {
        &mut self.auth
    }

    /// The application is installed again.
    pub fn renew(&mut self) -> Result<(), Broken> {
        self.note("is installed again", None, "");
        self.auth.renew(self.now)
    }

    /// Somebody else spends all that the portal allows.
    pub fn spend(&mut self) {
        self.note("others spend", None, "");
        if let Some(limit) = &mut self.limit {
            limit.takes(self.now);
            limit.level = limit.ceiling * 1000;
            limit.blurred = true;
        }
    }

    /// The next time at which something is due, if anything is.
    pub fn due(&self) -> Option<Millis> {
        let queues = self.seats.iter().filter_map(|seat| match seat.stage {
            Stage::Budget { .. } => {
                let mut bucket = self.bucket.clone();
                bucket.as_mut().and_then(|bucket| bucket.take(self.now).err())
            }
            _ => seat.world.queue().deadline(),
        });
        // Nobody waits for the tokens' own time: whoever needs one is told when to come back.
        queues.map(|due| due.max(self.now)).min()
    }

    /// It is `now`. The client has given up on every request that the portal must have ended by then.
    pub fn pass(&mut self, now: Millis) -> Result<(), Broken> {
        self.note("time passes", None, &format!("to {} ms", now.0));
        for queue in 0..self.seats.len() {
            let dead = self.seats[queue].world.answered_by().is_some_and(|by| by <= now);
            if self.is_sent(queue) && dead {
                self.note("times out", Some(queue), "");
                self.answered(queue, |world, setup| world.apply(setup, Move::LoseRequest))?;
            }
        }
        self.now = now;
        for queue in 0..self.seats.len() {
            self.apply(queue, |world, _| world.pass(now))?;
        }
        Ok(())
    }

    /// The process dies. Requests that have left may be executed, or live on; what was produced may be in the log.
    pub fn crash(&mut self, kind: &'static str, fate: impl Fn(usize) -> (Fate, bool)) -> Result<(), Broken> {
        for queue in 0..self.seats.len() {
            let (request, produced) = fate(queue);
            let request = if self.is_sent(queue) { request } else { Fate::Lost };
            self.note(kind, Some(queue), &format!("{request:?} {produced}"));
            self.answered(queue, |world, setup| world.apply(setup, Move::Crash { request, produced }))?;
        }
        self.bucket = bucket(&self.plan);
        if let Some(limit) = &mut self.limit {
            limit.blurred = true;
        }
        self.auth.crash()
    }

    /// Nothing goes wrong any more: everything has to arrive and to be cleared.
    pub fn heal(&mut self) -> Result<(), Broken> {
        /// Longer than every wait that a queue can have been told.
        const LONG: Millis = Millis::secs(4 * 3600);
        self.note("heals", None, "");
        /// More rounds than this are no progress.
        const MANY: usize = 100_000;
        let end = self.now.plus(LONG);
        for _ in 0..MANY {
            if self.is_clean() {
                return Ok(());
            }
            if self.auth.is_rejected() && self.auth.doing().is_none() {
                self.renew()?;
            }
            if (0..self.seats.len()).all(|queue| self.world(queue).queue().is_drained()) {
                self.crash("starts again", |_| (Fate::Lost, false))?;
            }
            let mut moved = self.auth.doing().is_some();
            self.turn(Turn::Works)?;
            for queue in 0..self.seats.len() {
                moved |= self.progress(queue)?;
            }
            if !moved {
                let due = self.due().filter(|due| *due <= end);
                let Some(due) = due else {
                    return Err(format!("I3: {} after {} s", self.left(), LONG.0 / 1000));
                };
                self.pass(due)?;
            }
        }
        Err(format!("I3: {} after {MANY} rounds", self.left()))
    }

    /// No row is left at the portal, and nothing is held.
    fn is_clean(&self) -> bool {
        self.seats.iter().all(|seat| seat.world.is_done() && seat.world.queue().ledger().is_empty())
    }

    fn left(&self) -> String {
        let rows: Vec<usize> = self.seats.iter().map(|seat| seat.world.rows()).collect();
        format!("rows of the queues are left: {rows:?}")
    }
}

fn bucket(plan: &Plan) -> Option<Bucket> {
    plan.limit.map(|(ceiling, per_second)| Bucket::new(ceiling, per_second))
}

fn refresh_kind(turn: Turn) -> &'static str {
    match turn {
        Turn::Works => "refresh goes on",
        Turn::NotStored => "refresh is not stored",
        Turn::StoredAllTheSame => "refresh is stored all the same",
        Turn::LostRequest => "refresh request lost",
        Turn::LostAnswer => "refresh answer lost",
        Turn::GivenUp => "refresh given up",
        Turn::Down => "refresh refused",
    }
}
