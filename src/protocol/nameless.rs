//! Rows without a usable `ID`: each becomes a dead letter, and only then is it removed at the portal, if anything names it
//! there.
//!
//! They have no place in the order of a queue, since nobody knows what they are about, so they wait for nobody and nobody
//! waits for them. The rules of the ledger hold for them too: nothing is removed before its dead letter is acknowledged
//! (I1), and what is not acknowledged is produced again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::{
    pace::Backoff,
    types::{Delivery, Hindrance, Hold, Mark, Millis, Refusal, Removal},
};

/// Most dead letters that are produced at once: their rows are in memory twice meanwhile.
const LETTERS: usize = 100;
/// Most rows that one request removes: each is a command of a `batch`.
const REMOVALS: usize = 50;
/// Most rows that are worked on at once, since they are in memory. Beyond them, what is at the portal stays there for a later
/// scan or listing, and nothing more is deleted that could bring such a row.
pub const MOST: usize = 1000;
/// Rows that are remembered as done with, so that one which the portal shows again is no news. What is forgotten makes
/// another dead letter when it comes again.
const REMEMBERED: usize = 10_000;

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its dead letter is to be produced.
    Waiting,
    /// Its dead letter is with Kafka; the report is outstanding.
    Sent,
    /// Its dead letter is acknowledged.
    Published,
    /// A request to remove it is under way.
    Removing,
}

#[derive(Clone, Debug)]
struct Entry {
    hold: Hold,
    state: State,
    reason: Refusal,
    /// How often its dead letter was produced without success.
    failed: u32,
}

/// How a row has ended whose dead letter is in Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The portal said that it is removed.
    Removed,
    /// It was not there any more when it was to be removed.
    Elsewhere,
    /// Nothing names it at the portal.
    Nameless,
    /// The portal said that it is removed and showed it again, or does not remove it by its message.
    Deaf,
}

/// What has happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its dead letter is acknowledged.
    Settled(Mark, Refusal),
    /// The dead-letter topic refuses even a short dead letter.
    LetterRefused(Mark, Refusal),
    /// It is removed at the portal.
    Removed(Mark),
    /// It stays at the portal, since nothing names it there or the portal does not heed the name.
    Stuck(Mark),
}

/// The rows without a name of one queue.
#[derive(Clone, Debug)]
pub struct Nameless {
    rows: BTreeMap<Mark, Entry>,
    /// Rows that are done with.
    done: BTreeMap<Mark, End>,
    /// The same, oldest first.
    order: VecDeque<Mark>,
    kafka: Backoff,
    route: Backoff,
    portal: Backoff,
}

impl Default for Nameless {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            done: BTreeMap::new(),
            order: VecDeque::new(),
            kafka: Backoff::new(Millis(500), Millis::secs(30)),
            route: Backoff::new(Millis::secs(10), Millis::secs(60)),
            portal: Backoff::new(Millis::secs(1), Millis::secs(60)),
        }
    }
}

impl Nameless {
    /// The portal has shown a row. Returns whether it is news: what it says must be kept until it is settled.
    pub fn found(&mut self, mark: Mark, hold: Hold) -> bool {
        if let Some(entry) = self.rows.get_mut(&mark) {
            match (hold, entry.state) {
                // What is asked for now decides.
                (_, State::Removing) | (Hold::Nothing, _) => {}
                (Hold::Gone, State::Published) => {
                    self.rows.remove(&mark);
                }
                // The newest condition holds for what is shown now, and that is what the mark stands for.
                (hold, _) => entry.hold = hold,
            }
            return false;
        }
        let state = match (&hold, self.done.get(&mark)) {
            (Hold::Gone, None) => State::Waiting,
            (_, None) if self.rows.len() >= MOST => return false,
            (_, None) => State::Waiting,
            // What did not remove it, or not for long, may do so now.
            (Hold::Reserved { .. } | Hold::Free { .. }, Some(end)) if *end != End::Deaf => State::Published,
            _ => return false,
        };
        self.rows.insert(mark, Entry { hold, state, reason: Refusal::MalformedRow, failed: 0 });
        state == State::Waiting
    }

    /// The dead letters that are to be produced now, each alone in its batch; their reports are awaited.
    pub fn letters(&mut self, now: Millis) -> Vec<(Mark, Refusal)> {
        if self.letters_at().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut waiting: Vec<(u32, Mark)> =
            self.rows.iter().filter(|(_, e)| e.state == State::Waiting).map(|(mark, e)| (e.failed, *mark)).collect();
        // Those that are refused again and again come last.
        waiting.sort_unstable();
        let mut letters = Vec::new();
        for (_, mark) in waiting.into_iter().take(LETTERS) {
            if let Some(entry) = self.rows.get_mut(&mark) {
                entry.state = State::Sent;
                letters.push((mark, entry.reason));
            }
        }
        letters
    }

    /// The reports of dead letters.
    pub fn delivered(&mut self, now: Millis, reports: &[(Mark, Delivery)]) -> Vec<Event> {
        let mut events = Vec::new();
        let (mut passing, mut route) = (false, false);
        for (mark, delivery) in reports {
            let Some(entry) = self.rows.get_mut(mark).filter(|entry| entry.state == State::Sent) else { continue };
            entry.state = State::Waiting;
            entry.failed = entry.failed.saturating_add(1);
            match delivery {
                Delivery::Acknowledged => {
                    entry.state = State::Published;
                    events.push(Event::Settled(*mark, entry.reason));
                }
                // What holds the row whole is too large; its digest is not.
                Delivery::Refused(Refusal::TooLarge) if entry.reason != Refusal::TooLarge => {
                    entry.reason = Refusal::TooLarge;
                }
                Delivery::Refused(reason) => {
                    route = true;
                    events.push(Event::LetterRefused(*mark, *reason));
                }
                Delivery::Failed(Hindrance::Passing) => passing = true,
                Delivery::Failed(Hindrance::Route) => route = true,
            }
        }
        for (failed, backoff) in [(passing, &mut self.kafka), (route, &mut self.route)] {
            if failed {
                backoff.failed(now, None);
            }
        }
        if !passing && !route {
            self.kafka.reset();
            self.route.reset();
        }
        self.bury(&mut events);
        events
    }

    /// The rows that are to be removed now: their dead letters are acknowledged. Their outcome is awaited.
    pub fn removals(&mut self, now: Millis) -> Vec<(Mark, Hold)> {
        if self.removals_at().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let published = self.rows.iter_mut().filter(|(_, entry)| entry.state == State::Published).take(REMOVALS);
        published
            .map(|(mark, entry)| {
                entry.state = State::Removing;
                (*mark, entry.hold.clone())
            })
            .collect()
    }

    /// What became of removals.
    pub fn removed(&mut self, now: Millis, outcomes: &[(Mark, Removal)]) -> Vec<Event> {
        let mut events = Vec::new();
        let (mut failed, mut hint) = (false, None);
        for (mark, removal) in outcomes {
            let Some(entry) = self.rows.get_mut(mark).filter(|entry| entry.state == State::Removing) else { continue };
            match removal {
                Removal::Done => {
                    self.rows.remove(mark);
                    // A clear is answered with yes whatever it names, and this row has come back after such a yes.
                    let deaf = self.done.get(mark) == Some(&End::Removed);
                    self.remember(*mark, if deaf { End::Deaf } else { End::Removed });
                    events.push(if deaf { Event::Stuck(*mark) } else { Event::Removed(*mark) });
                }
                Removal::Elsewhere => {
                    self.rows.remove(mark);
                    self.remember(*mark, End::Elsewhere);
                }
                Removal::Impossible => {
                    self.rows.remove(mark);
                    self.remember(*mark, End::Deaf);
                    events.push(Event::Stuck(*mark));
                }
                Removal::Refused { retry_after } => {
                    entry.state = State::Published;
                    failed = true;
                    hint = hint.max(*retry_after);
                }
                Removal::Unknown => {
                    entry.state = State::Published;
                    failed = true;
                }
            }
        }
        if failed {
            self.portal.failed(now, hint);
        } else {
            self.portal.reset();
        }
        self.bury(&mut events);
        events
    }

    /// Ends what can go no further: acknowledged, and not to be removed.
    fn bury(&mut self, events: &mut Vec<Event>) {
        let over = |entry: &Entry| entry.state == State::Published && matches!(entry.hold, Hold::Nothing | Hold::Gone);
        let ended: Vec<(Mark, bool)> =
            self.rows.iter().filter(|(_, e)| over(e)).map(|(mark, e)| (*mark, e.hold == Hold::Nothing)).collect();
        for (mark, stuck) in ended {
            self.rows.remove(&mark);
            if stuck {
                self.remember(mark, End::Nameless);
                events.push(Event::Stuck(mark));
            }
        }
    }

    fn remember(&mut self, mark: Mark, end: End) {
        if self.done.insert(mark, end).is_none() {
            self.order.push_back(mark);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.done.remove(&oldest);
        }
    }

    /// When dead letters are to be produced; `None` if none are, or reports are outstanding.
    pub fn letters_at(&self) -> Option<Millis> {
        let any = |state| self.rows.values().any(|entry| entry.state == state);
        let due = any(State::Waiting) && !any(State::Sent);
        due.then(|| self.kafka.until().max(self.route.until()).unwrap_or_default())
    }

    /// When rows are to be removed; `None` if none are, or an outcome is awaited.
    fn removals_at(&self) -> Option<Millis> {
        let any = |state| self.rows.values().any(|entry| entry.state == state);
        let due = any(State::Published) && !any(State::Removing);
        due.then(|| self.portal.until().unwrap_or_default())
    }

    /// When there is anything to do next, if nothing comes before it.
    pub fn deadline(&self) -> Option<Millis> {
        [self.letters_at(), self.removals_at()].into_iter().flatten().min()
    }

    /// Somebody has mended what was in the way: nothing waits any longer.
    pub fn resume(&mut self) {
        self.route.cut();
        self.portal.cut();
    }

    /// Rows whose dead letters are not acknowledged.
    pub fn held(&self) -> impl Iterator<Item = Mark> {
        let held = |entry: &&Entry| matches!(entry.state, State::Waiting | State::Sent);
        self.rows.iter().filter(move |(_, entry)| held(entry)).map(|(mark, _)| *mark)
    }

    /// How many rows are not done with.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether all are done with.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether so many have no copy but here that nothing more may be deleted.
    pub fn is_full(&self) -> bool {
        self.only_here() >= MOST
    }

    /// Whether a request to remove some is under way.
    pub fn is_removing(&self) -> bool {
        self.rows.values().any(|entry| entry.state == State::Removing)
    }

    /// Rows that could not be removed at the portal when they were to be; whether they are still there is not known.
    pub fn stuck(&self) -> usize {
        self.done.values().filter(|end| matches!(end, End::Nameless | End::Deaf)).count()
    }

    /// Rows that nobody has but this process.
    pub fn only_here(&self) -> usize {
        self.rows.values().filter(|entry| entry.hold == Hold::Gone).count()
    }

    /// Whether rows wait for somebody to mend the dead-letter topic.
    pub fn is_barred(&self) -> bool {
        self.route.until().is_some()
    }
}
