//! The life of a portal's tokens: refreshed on a refusal only, one refresh at a time, stored before used (I5).
//!
//! A refresh rotates the refresh token: whoever presents the old one again is refused for good. So the chain that is stored
//! must never fall behind the portal's by more than one step whose outcome is unknown, and after such a step the stored
//! refresh token is tried again: either the portal never saw the request, or it answers `invalid_grant`.
//!
//! Generations stand for tokens here: the driver keeps the secrets.

use super::{
    pace::Backoff,
    seeded::{Bug, Seeded},
    types::Millis,
};

/// Which access token: each new pair has the next number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Where the refresh stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// The present access token is good as far as we know.
    Valid,
    /// The intent to refresh is being stored.
    Marking,
    /// The OAuth server is being asked.
    Asking,
    /// The new pair is being stored; it must not be used yet.
    Storing,
    /// A step failed for now.
    Waiting,
    /// The stored refresh token is refused: only a new installation helps.
    Rejected,
}

/// One thing that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A call with this access token was refused as expired or unknown.
    Unauthorized(Generation),
    /// The intent is stored, or could not be.
    Marked(bool),
    /// The OAuth server's answer.
    Asked(Outcome),
    /// The new pair is stored, or could not be.
    Stored(bool),
    /// An installation brought a fresh pair, and it is stored.
    Renewed,
    /// A verified callback brought a fresh pair, which is not stored yet: it replaces whatever there is.
    Brought,
    /// Time has passed.
    Timer,
    /// Somebody wants to know whether a rejected refresh token is still rejected; to be asked slowly.
    Probe,
}

/// What came of asking the OAuth server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A new pair.
    Granted,
    /// The refresh token is refused.
    Rejected,
    /// Certainly not carried out, for another reason.
    Refused,
    /// It may have been carried out.
    Unknown,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Store that a refresh is about to be made; answer [`Input::Marked`].
    Mark,
    /// Present the stored refresh token; answer [`Input::Asked`].
    Ask,
    /// Store the pair that was granted; answer [`Input::Stored`].
    Store,
    /// From now on calls use the stored pair, which has this number.
    Use(Generation),
    /// The portal has to be installed again.
    Park,
}

/// The machine of one portal's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    state: State,
    generation: Generation,
    backoff: Backoff,
    /// A pair was granted that is not stored yet: it is the only living one.
    granted: bool,
    seeded: Seeded,
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

impl Token {
    /// The stored pair, generation 0, is taken for good until somebody refuses it.
    pub fn new() -> Self {
        Self {
            state: State::Valid,
            generation: Generation(0),
            backoff: Backoff::new(Millis::secs(1), Millis::secs(60)),
            granted: false,
            seeded: Seeded::default(),
        }
    }

    /// The machine with a deliberate fault, for the properties.
    #[cfg(test)]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<Bug>) -> Self {
        self.seeded = Seeded { bug };
        self
    }

    /// Takes one input; returns what has to be done, if anything. Total.
    pub fn step(&mut self, now: Millis, input: Input) -> Option<Action> {
        match (self.state, input) {
            (State::Valid, Input::Unauthorized(seen)) if seen == self.generation => self.begin(),
            (State::Asking, Input::Unauthorized(_)) if self.seeded.has(Bug::RefreshTwiceAtOnce) => self.begin(),
            (State::Asking, Input::Asked(Outcome::Granted)) if self.seeded.has(Bug::UseTokensBeforeStored) => {
                self.settle()
            }
            (State::Marking, Input::Marked(true)) => {
                self.state = State::Asking;
                Some(Action::Ask)
            }
            (State::Asking, Input::Asked(Outcome::Granted)) => {
                self.granted = true;
                self.state = State::Storing;
                Some(Action::Store)
            }
            (State::Asking, Input::Asked(Outcome::Rejected)) => {
                self.state = State::Rejected;
                Some(Action::Park)
            }
            (State::Storing, Input::Stored(true)) => {
                self.granted = false;
                self.settle()
            }
            (State::Marking, Input::Marked(false))
            | (State::Asking, Input::Asked(Outcome::Refused | Outcome::Unknown))
            | (State::Storing, Input::Stored(false)) => {
                self.state = State::Waiting;
                self.backoff.failed(now, None);
                None
            }
            (State::Waiting, Input::Timer) if self.backoff.is_over(now) => self.begin(),
            (State::Rejected, Input::Probe) => self.begin(),
            (State::Valid | State::Waiting | State::Rejected, Input::Renewed) => {
                self.granted = false;
                self.settle()
            }
            (State::Valid | State::Waiting | State::Rejected, Input::Brought) => {
                self.granted = true;
                self.state = State::Storing;
                Some(Action::Store)
            }
            _ => None,
        }
    }

    /// The number of the pair to use, or `None` while there is none.
    pub fn usable(&self) -> Option<Generation> {
        (self.state == State::Valid).then_some(self.generation)
    }

    /// Whether only a new installation helps.
    pub fn is_rejected(&self) -> bool {
        self.state == State::Rejected
    }

    /// When [`Input::Timer`] is due.
    pub fn deadline(&self) -> Option<Millis> {
        if self.state == State::Waiting { self.backoff.until() } else { None }
    }

    /// A pair that was granted and could not be stored is stored first: the one in the registry is dead.
    fn begin(&mut self) -> Option<Action> {
        if self.granted && !self.seeded.has(Bug::ForgetGrantedTokens) {
            self.state = State::Storing;
            return Some(Action::Store);
        }
        self.state = State::Marking;
        Some(Action::Mark)
    }

    fn settle(&mut self) -> Option<Action> {
        self.state = State::Valid;
        self.backoff.reset();
        self.generation.0 += 1;
        Some(Action::Use(self.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(0);

    #[test]
    fn a_refresh_is_marked_asked_stored_and_only_then_used() {
        let mut token = Token::new();
        let first = token.usable().expect("usable");
        assert_eq!(token.step(NOW, Input::Unauthorized(first)), Some(Action::Mark));
        assert_eq!(token.step(NOW, Input::Marked(true)), Some(Action::Ask));
        assert_eq!(token.step(NOW, Input::Asked(Outcome::Granted)), Some(Action::Store));
        assert_eq!(token.usable(), None, "not stored yet");
        assert_eq!(token.step(NOW, Input::Stored(true)), Some(Action::Use(Generation(1))));
        assert_eq!(token.usable(), Some(Generation(1)));
    }

    #[test]
    fn queues_that_meet_the_same_refusal_share_one_refresh() {
        let mut token = Token::new();
        let first = token.usable().expect("usable");
        assert_eq!(token.step(NOW, Input::Unauthorized(first)), Some(Action::Mark));
        assert_eq!(token.step(NOW, Input::Unauthorized(first)), None);
        token.step(NOW, Input::Marked(true));
        token.step(NOW, Input::Asked(Outcome::Granted));
        token.step(NOW, Input::Stored(true));
        assert_eq!(token.step(NOW, Input::Unauthorized(first)), None, "a late refusal of the old token");
        assert_eq!(token.step(NOW, Input::Unauthorized(Generation(1))), Some(Action::Mark));
    }

    #[test]
    fn a_pair_that_cannot_be_stored_is_not_used_and_not_asked_for_again() {
        let mut token = Token::new();
        token.step(NOW, Input::Unauthorized(Generation(0)));
        token.step(NOW, Input::Marked(true));
        token.step(NOW, Input::Asked(Outcome::Granted));
        assert_eq!(token.step(NOW, Input::Stored(false)), None);
        assert_eq!(token.usable(), None);
        let due = token.deadline().expect("tries again");
        assert_eq!(token.step(due, Input::Timer), Some(Action::Store));
        assert_eq!(token.step(due, Input::Stored(true)), Some(Action::Use(Generation(1))));
    }

    #[test]
    fn an_unknown_outcome_tries_the_stored_token_again_and_a_rejection_parks() {
        let mut token = Token::new();
        token.step(NOW, Input::Unauthorized(Generation(0)));
        token.step(NOW, Input::Marked(true));
        token.step(NOW, Input::Asked(Outcome::Unknown));
        let due = token.deadline().expect("tries again");
        assert_eq!(token.step(due, Input::Timer), Some(Action::Mark));
        token.step(due, Input::Marked(true));
        assert_eq!(token.step(due, Input::Asked(Outcome::Rejected)), Some(Action::Park));
        assert!(token.is_rejected());
        assert_eq!(token.step(due, Input::Renewed), Some(Action::Use(Generation(1))), "a new installation heals");
    }

    #[test]
    fn a_pair_that_a_callback_brings_is_stored_before_it_is_used_like_any_other() {
        let mut token = Token::new();
        assert_eq!(token.step(NOW, Input::Brought), Some(Action::Store));
        assert_eq!(token.usable(), None, "the former pair may be dead, the new one is not stored");
        assert_eq!(token.step(NOW, Input::Stored(false)), None);
        let due = token.deadline().expect("tries again");
        assert_eq!(token.step(due, Input::Timer), Some(Action::Store), "it is the only living one");
        assert_eq!(token.step(due, Input::Stored(true)), Some(Action::Use(Generation(1))));
    }

    #[test]
    fn an_hour_without_the_oauth_server_costs_a_question_a_minute_and_the_first_answer_ends_it() {
        for outcome in [Outcome::Refused, Outcome::Unknown] {
            let (mut token, hour) = (Token::new(), Millis::secs(3600));
            let (mut now, mut asked) = (NOW, 0);
            let mut next = token.step(now, Input::Unauthorized(Generation(0)));
            loop {
                next = match next {
                    Some(Action::Mark) => token.step(now, Input::Marked(true)),
                    Some(Action::Ask) if now > hour => break,
                    Some(Action::Ask) => {
                        asked += 1;
                        assert_eq!(token.usable(), None);
                        token.step(now, Input::Asked(outcome))
                    }
                    None => {
                        now = token.deadline().expect("it goes on trying");
                        token.step(now, Input::Timer)
                    }
                    other => panic!("{other:?}"),
                };
            }
            assert!((60..=70).contains(&asked), "{asked} times in an hour");
            assert!(now.since(hour) <= Millis::secs(60), "it is asked soon after");
            assert_eq!(token.step(now, Input::Asked(Outcome::Granted)), Some(Action::Store));
            assert_eq!(token.step(now, Input::Stored(true)), Some(Action::Use(Generation(1))));
            assert!(!token.is_rejected(), "nothing has to be installed again");
        }
    }

    #[test]
    fn every_input_is_answered_in_every_state() {
        let inputs = [
            Input::Unauthorized(Generation(0)),
            Input::Marked(true),
            Input::Marked(false),
            Input::Asked(Outcome::Granted),
            Input::Asked(Outcome::Rejected),
            Input::Asked(Outcome::Refused),
            Input::Asked(Outcome::Unknown),
            Input::Stored(true),
            Input::Stored(false),
            Input::Renewed,
            Input::Brought,
            Input::Timer,
            Input::Probe,
        ];
        let mut seen = vec![Token::new()];
        let mut todo = vec![(Token::new(), 0)];
        while let Some((token, depth)) = todo.pop() {
            for input in inputs {
                let mut next = token.clone();
                let action = next.step(Millis::secs(depth), input);
                let asks = action == Some(Action::Ask);
                assert!(!asks || !token.granted, "never presents a token that a granted pair has replaced");
                if depth < 7 && !seen.contains(&next) {
                    seen.push(next.clone());
                    todo.push((next, depth + 1));
                }
            }
        }
        assert!(seen.len() > 20);
    }
}
