//! The tokens of one portal alone, with trouble at every step: the stored chain is never behind the portal's by more than
//! an unknown outcome allows, no two refreshes at once, nothing is used before it is stored.

use std::collections::BTreeMap;

use crate::{
    auth::{Auth, Broken, Turn},
    core::protocol::{
        token::{Generation, Input},
        types::Millis,
    },
    schedule::Dice,
};

/// What has to happen in a run of the property.
pub const KINDS: [&str; 15] = [
    "Works",
    "NotStored",
    "StoredAllTheSame",
    "LostRequest",
    "LostAnswer",
    "GivenUp",
    "Down",
    "late refresh runs",
    "expires",
    "is refused",
    "is refused late",
    "is probed",
    "is installed again",
    "crash",
    "jumps",
];

const TURNS: [(Turn, &str); 9] = [
    (Turn::Works, "Works"),
    (Turn::Works, "Works"),
    (Turn::Works, "Works"),
    (Turn::NotStored, "NotStored"),
    (Turn::StoredAllTheSame, "StoredAllTheSame"),
    (Turn::LostRequest, "LostRequest"),
    (Turn::LostAnswer, "LostAnswer"),
    (Turn::GivenUp, "GivenUp"),
    (Turn::Down, "Down"),
];

/// A clock that jumps, by up to the life of a refresh token.
const JUMPS: [Millis; 4] = [Millis(1), Millis::secs(61), Millis::secs(3600), Millis::secs(180 * 24 * 3600)];

/// The tokens of a portal, their time, and what has happened.
pub struct Tokens {
    pub auth: Auth,
    now: Millis,
    /// The token that was refused last.
    last: Generation,
    pub seen: BTreeMap<&'static str, u64>,
    pub log: Vec<String>,
}

impl Tokens {
    pub fn new(auth: Auth) -> Self {
        Self { auth, now: Millis(0), last: Generation::default(), seen: BTreeMap::new(), log: Vec::new() }
    }

    fn note(&mut self, kind: &'static str) {
        *self.seen.entry(kind).or_default() += 1;
        self.log.push(format!("{:>12} ms: {kind} {:?}", self.now.0, self.auth.doing()));
    }

    /// One step.
    pub fn step(&mut self, number: u64) -> Result<(), Broken> {
        let mut dice = Dice::new(number);
        match dice.of(12) {
            0..=5 if self.auth.doing().is_some() => {
                let (turn, kind) = dice.one(&TURNS);
                self.note(kind);
                self.auth.turn(self.now, turn)
            }
            6 if self.auth.doing().is_some() => {
                // It was sent with the token that is being replaced.
                self.note("is refused late");
                self.auth.feed(self.now, Input::Unauthorized(self.last))
            }
            0..=6 => self.call(),
            7 => {
                self.note("expires");
                self.auth.expire();
                Ok(())
            }
            8 if self.auth.zombies() > 0 => {
                self.note("late refresh runs");
                let index = dice.of(self.auth.zombies());
                self.auth.zombie_runs(index)
            }
            9 if dice.of(4) == 0 => {
                self.note("is installed again");
                self.auth.renew(self.now)
            }
            10 if dice.of(4) == 0 => {
                self.note("crash");
                self.auth.crash()
            }
            _ => {
                self.note("jumps");
                self.now = self.now.plus(dice.one(&JUMPS));
                Ok(())
            }
        }
    }

    /// A queue wants to make a call.
    fn call(&mut self) -> Result<(), Broken> {
        match self.auth.usable() {
            Some(_) if self.auth.is_taken() => Ok(()),
            Some(generation) => {
                self.note("is refused");
                self.last = generation;
                self.auth.feed(self.now, Input::Unauthorized(generation))
            }
            None if self.auth.is_rejected() => {
                self.note("is probed");
                self.auth.feed(self.now, Input::Probe)
            }
            None => self.auth.feed(self.now, Input::Timer),
        }
    }

    /// Nothing goes wrong any more: calls are taken again, after a new installation if an outcome was unknown.
    pub fn heal(&mut self) -> Result<(), Broken> {
        for _ in 0..20 {
            if self.auth.usable().is_some() && self.auth.is_taken() {
                return Ok(());
            }
            if self.auth.is_rejected() {
                self.auth.renew(self.now)?;
            }
            self.call()?;
            self.auth.turn(self.now, Turn::Works)?;
            self.now = self.now.max(self.auth.deadline().unwrap_or_default());
        }
        Err("I3: there is no usable token".to_owned())
    }
}
