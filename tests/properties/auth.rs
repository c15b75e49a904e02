//! A portal's tokens: the machine, the registry it writes to, and an OAuth server that rotates refresh tokens.
//!
//! Tokens are numbers here: a pair has one, the next pair the next. The server takes the newest refresh token only.

use std::collections::BTreeSet;

use crate::core::protocol::{
    seeded::Bug,
    token::{Action, Generation, Input, Outcome, Token},
    types::Millis,
};

/// A pair of tokens by its number.
type Pair = u64;

/// The OAuth server, and the portal that asks it.
#[derive(Clone, Debug)]
struct Server {
    /// The only refresh token that it takes.
    newest: Pair,
    /// Access tokens that have not expired.
    alive: BTreeSet<Pair>,
}

impl Server {
    fn refresh(&mut self, presented: Pair) -> Option<Pair> {
        (presented == self.newest).then(|| {
            self.newest += 1;
            self.alive.insert(self.newest);
            self.newest
        })
    }
}

/// What can become of a step of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It works.
    Works,
    /// The registry cannot be written.
    NotStored,
    /// The registry says that it cannot be written, and it is.
    StoredAllTheSame,
    /// The OAuth server never gets the request.
    LostRequest,
    /// The answer is lost.
    LostAnswer,
    /// Nobody waits any longer for a request that the server may still execute.
    GivenUp,
    /// The server says that it does not do it now.
    Down,
}

/// Everything around the tokens of one portal.
#[derive(Clone, Debug)]
pub struct Auth {
    machine: Token,
    bug: Option<Bug>,
    /// In the registry.
    stored: Pair,
    /// In the memory of the bridge.
    held: Pair,
    /// Granted, and not stored yet as far as the bridge knows.
    granted: Option<Pair>,
    /// What the bridge is about to do.
    doing: Option<Action>,
    server: Server,
    /// Refreshes that nobody waits for, with the token that they present.
    zombies: Vec<Pair>,
    /// The server has rotated a token, and the bridge does not know the new one: it may be behind by that.
    unknown: bool,
}

/// A broken promise, in words.
pub type Broken = String;

impl Auth {
    /// The first pair is stored and good.
    pub fn new(bug: Option<Bug>) -> Self {
        Self {
            machine: Token::new().with_bug(bug),
            bug,
            stored: 0,
            held: 0,
            granted: None,
            doing: None,
            server: Server { newest: 0, alive: BTreeSet::from([0]) },
            zombies: Vec::new(),
            unknown: false,
        }
    }

    /// The access token that calls use now.
    pub fn usable(&self) -> Option<Generation> {
        self.machine.usable()
    }

    /// Whether the portal takes the access token in use.
    pub fn is_taken(&self) -> bool {
        self.server.alive.contains(&self.held)
    }

    /// What is being done.
    pub fn doing(&self) -> Option<Action> {
        self.doing
    }

    /// Only a new installation helps.
    pub fn is_rejected(&self) -> bool {
        self.machine.is_rejected()
    }

    /// Requests that the server may still execute.
    pub fn zombies(&self) -> usize {
        self.zombies.len()
    }

    pub fn deadline(&self) -> Option<Millis> {
        self.machine.deadline()
    }

    /// An input that is no result: refused calls, time, probes.
    pub fn feed(&mut self, now: Millis, input: Input) -> Result<(), Broken> {
        let action = self.machine.step(now, input);
        self.act(action)?;
        self.check()
    }

    fn act(&mut self, action: Option<Action>) -> Result<(), Broken> {
        match action {
            Some(action @ (Action::Mark | Action::Ask | Action::Store)) => {
                if let Some(doing) = self.doing.replace(action) {
                    return Err(format!("I5: {action:?} begins while {doing:?} is under way"));
                }
                if action == Action::Ask && self.held != self.stored {
                    return Err(format!("I5: {} is presented, {} is stored", self.held, self.stored));
                }
            }
            Some(Action::Use(_) | Action::Park) | None => {}
        }
        Ok(())
    }

    /// The step that is being done ends in this way; what cannot happen to it is taken for success.
    pub fn turn(&mut self, now: Millis, turn: Turn) -> Result<(), Broken> {
        let Some(doing) = self.doing.take() else { return Ok(()) };
        let input = match (doing, turn) {
            (Action::Ask, _) => Input::Asked(self.ask(turn)?),
            (Action::Mark, Turn::NotStored | Turn::StoredAllTheSame) => Input::Marked(false),
            (Action::Mark, _) => Input::Marked(true),
            (Action::Store, Turn::NotStored) => Input::Stored(false),
            (Action::Store, _) => {
                let granted = self.granted.ok_or("a pair is to be stored that nobody has granted")?;
                self.stored = granted;
                if turn == Turn::StoredAllTheSame {
                    Input::Stored(false)
                } else {
                    (self.held, self.granted) = (granted, None);
                    Input::Stored(true)
                }
            }
            (Action::Use(_) | Action::Park, _) => return Ok(()),
        };
        self.feed(now, input)
    }

    fn ask(&mut self, turn: Turn) -> Result<Outcome, Broken> {
        match turn {
            Turn::LostRequest => Ok(Outcome::Unknown),
            Turn::LostAnswer => {
                self.unknown |= self.server.refresh(self.held).is_some();
                Ok(Outcome::Unknown)
            }
            Turn::GivenUp => {
                self.zombies.push(self.held);
                Ok(Outcome::Unknown)
            }
            Turn::Down => Ok(Outcome::Refused),
            _ => match self.server.refresh(self.held) {
                Some(pair) => {
                    self.granted = Some(pair);
                    Ok(Outcome::Granted)
                }
                None if self.unknown => Ok(Outcome::Rejected),
                None => Err(format!(
                    "I5: the stored token {} is behind the portal's {}, and no outcome was unknown",
                    self.held, self.server.newest
                )),
            },
        }
    }

    /// A refresh that nobody waits for is executed.
    pub fn zombie_runs(&mut self, index: usize) -> Result<(), Broken> {
        let presented = self.zombies.remove(index);
        self.unknown |= self.server.refresh(presented).is_some();
        self.check()
    }

    /// All access tokens expire.
    pub fn expire(&mut self) {
        self.server.alive.clear();
    }

    /// The application is installed again: the portal hands out a new pair, which is stored, and the machine is told.
    /// Nobody does so while a refresh is under way.
    pub fn renew(&mut self, now: Millis) -> Result<(), Broken> {
        if self.doing.is_some() {
            return Ok(());
        }
        self.server.newest += 1;
        let pair = self.server.newest;
        self.server.alive.insert(pair);
        self.zombies.clear();
        (self.stored, self.held, self.granted, self.unknown) = (pair, pair, None, false);
        self.feed(now, Input::Renewed)
    }

    /// The bridge dies, and starts anew with what is stored.
    pub fn crash(&mut self) -> Result<(), Broken> {
        if self.doing == Some(Action::Ask) {
            self.zombies.push(self.held);
        }
        self.unknown |= self.granted.is_some_and(|granted| granted != self.stored);
        self.machine = Token::new().with_bug(self.bug);
        (self.held, self.granted, self.doing) = (self.stored, None, None);
        self.check()
    }

    /// What holds in every state.
    fn check(&self) -> Result<(), Broken> {
        if self.usable().is_some() && (self.granted.is_some() || self.held != self.stored) {
            return Err(format!("I5: {} is in use, {} is stored, granted: {:?}", self.held, self.stored, self.granted));
        }
        let behind = self.server.newest - self.stored;
        let allowed = u64::from(self.unknown || self.granted.is_some());
        if behind > allowed {
            return Err(format!("I5: the stored chain is behind the portal's by {behind}, {allowed} is allowed"));
        }
        Ok(())
    }
}
