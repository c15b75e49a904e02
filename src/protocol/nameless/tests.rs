//! The rules one by one, and long random schedules over a portal and a broker that do as they please.

use super::super::types::{MessageId, PortalTime, ProcessId};
use super::*;

const MESSAGE: &str = "0123456789abcdef0123456789abcdef";

fn mark(n: u128) -> Mark {
    Mark(n)
}

fn reserved() -> Hold {
    let process = ProcessId::new("p").expect("a process");
    Hold::Reserved { process, message: MessageId::new(MESSAGE).expect("a message") }
}

fn free(before: i64) -> Hold {
    let before = PortalTime { seconds: before, offset: 0 };
    Hold::Free { message: MessageId::new(MESSAGE).expect("a message"), before }
}

fn acknowledged(nameless: &mut Nameless, mark: Mark) -> Vec<Event> {
    assert_eq!(nameless.letters(Millis(0)).len(), 1);
    nameless.delivered(Millis(0), &[(mark, Delivery::Acknowledged)])
}

#[test]
fn a_row_is_removed_after_its_dead_letter_and_not_before() {
    let mut nameless = Nameless::default();
    assert!(nameless.found(mark(1), reserved()));
    assert!(!nameless.found(mark(1), reserved()), "it is known");
    assert!(nameless.removals(Millis(0)).is_empty());
    assert_eq!(nameless.letters(Millis(0)), [(mark(1), Refusal::MalformedRow)]);
    assert!(nameless.letters(Millis(0)).is_empty() && nameless.removals(Millis(0)).is_empty());
    assert_eq!(nameless.deadline(), None, "a report is awaited");
    let settled = nameless.delivered(Millis(0), &[(mark(1), Delivery::Acknowledged)]);
    assert_eq!(settled, [Event::Settled(mark(1), Refusal::MalformedRow)]);
    assert_eq!((nameless.held().count(), nameless.len()), (0, 1));
    assert_eq!(nameless.removals(Millis(0)), [(mark(1), reserved())]);
    assert!(nameless.removals(Millis(0)).is_empty());
    assert_eq!(nameless.removed(Millis(0), &[(mark(1), Removal::Done)]), [Event::Removed(mark(1))]);
    assert!(nameless.is_empty() && nameless.stuck() == 0 && nameless.deadline().is_none());
}

#[test]
fn a_letter_that_is_too_large_is_shortened_and_one_that_is_refused_waits_and_says_so() {
    let mut nameless = Nameless::default();
    nameless.found(mark(1), Hold::Gone);
    nameless.letters(Millis(0));
    assert!(nameless.delivered(Millis(0), &[(mark(1), Delivery::Refused(Refusal::TooLarge))]).is_empty());
    assert_eq!(nameless.letters(Millis(0)), [(mark(1), Refusal::TooLarge)]);
    let refused = nameless.delivered(Millis(0), &[(mark(1), Delivery::Refused(Refusal::TooLarge))]);
    assert_eq!(refused, [Event::LetterRefused(mark(1), Refusal::TooLarge)]);
    assert!(nameless.is_barred() && nameless.letters(Millis(0)).is_empty());
    assert_eq!((nameless.only_here(), nameless.deadline()), (1, Some(Millis::secs(10))));
    nameless.resume();
    assert_eq!(nameless.letters(Millis(0)).len(), 1, "at once");
    let settled = nameless.delivered(Millis(0), &[(mark(1), Delivery::Acknowledged)]);
    assert_eq!(settled, [Event::Settled(mark(1), Refusal::TooLarge)]);
    assert!(nameless.is_empty() && !nameless.is_barred(), "there is nothing to remove");
}

#[test]
fn what_nothing_names_is_told_once_and_taken_hold_of_when_something_does() {
    let mut nameless = Nameless::default();
    nameless.found(mark(1), Hold::Nothing);
    let events = acknowledged(&mut nameless, mark(1));
    assert_eq!(events, [Event::Settled(mark(1), Refusal::MalformedRow), Event::Stuck(mark(1))]);
    assert!(!nameless.found(mark(1), Hold::Nothing) && nameless.is_empty());
    assert_eq!(nameless.stuck(), 1);
    assert!(!nameless.found(mark(1), reserved()), "Kafka has its dead letter");
    assert_eq!(nameless.removals(Millis(0)).len(), 1);
    assert_eq!(nameless.removed(Millis(0), &[(mark(1), Removal::Done)]), [Event::Removed(mark(1))]);
    assert_eq!(nameless.stuck(), 0);
}

#[test]
fn a_portal_that_says_yes_and_shows_the_row_again_is_not_asked_without_end() {
    let mut nameless = Nameless::default();
    nameless.found(mark(1), reserved());
    acknowledged(&mut nameless, mark(1));
    nameless.removals(Millis(0));
    nameless.removed(Millis(0), &[(mark(1), Removal::Done)]);
    assert!(!nameless.found(mark(1), reserved()), "no second dead letter");
    assert_eq!(nameless.removals(Millis(0)).len(), 1, "one more try");
    assert_eq!(nameless.removed(Millis(0), &[(mark(1), Removal::Done)]), [Event::Stuck(mark(1))]);
    assert!(nameless.is_empty() && nameless.stuck() == 1);
    assert!(!nameless.found(mark(1), reserved()) && nameless.is_empty(), "told once, and no third try");
}

#[test]
fn a_removal_that_fails_is_tried_again_later_and_an_impossible_one_is_not() {
    let mut nameless = Nameless::default();
    nameless.found(mark(1), free(5));
    acknowledged(&mut nameless, mark(1));
    nameless.removals(Millis(0));
    let hint = Removal::Refused { retry_after: Some(Millis::secs(7)) };
    assert!(nameless.removed(Millis(0), &[(mark(1), hint)]).is_empty());
    assert_eq!(nameless.deadline(), Some(Millis::secs(7)));
    nameless.found(mark(1), free(9));
    assert_eq!(nameless.removals(Millis::secs(7)), [(mark(1), free(9))], "the newest condition");
    assert!(nameless.removed(Millis::secs(7), &[(mark(1), Removal::Unknown)]).is_empty());
    nameless.removals(Millis::secs(60));
    assert_eq!(nameless.removed(Millis::secs(60), &[(mark(1), Removal::Impossible)]), [Event::Stuck(mark(1))]);
    assert!(nameless.is_empty() && nameless.deadline().is_none());
}

#[test]
fn what_is_elsewhere_when_it_is_to_be_removed_is_neither_removed_nor_stuck() {
    let mut nameless = Nameless::default();
    nameless.found(mark(1), free(5));
    acknowledged(&mut nameless, mark(1));
    for _ in 0..2 {
        assert_eq!(nameless.removals(Millis(0)).len(), 1);
        assert!(nameless.removed(Millis(0), &[(mark(1), Removal::Elsewhere)]).is_empty());
        assert!(nameless.is_empty() && nameless.stuck() == 0);
        assert!(!nameless.found(mark(1), free(9)), "as it was before: Kafka has its dead letter");
    }
    nameless.removals(Millis(0));
    assert_eq!(nameless.removed(Millis(0), &[(mark(1), Removal::Done)]), [Event::Removed(mark(1))]);
}

#[test]
fn refused_letters_do_not_keep_others_waiting() {
    let mut nameless = Nameless::default();
    for n in 0..LETTERS as u128 + 50 {
        nameless.found(mark(n), reserved());
    }
    let refused: Vec<_> = nameless
        .letters(Millis(0))
        .iter()
        .map(|(mark, _)| (*mark, Delivery::Refused(Refusal::InvalidRecord)))
        .collect();
    assert_eq!(refused.len(), LETTERS);
    nameless.delivered(Millis(0), &refused);
    let next = nameless.letters(Millis::secs(60));
    assert!(next.iter().take(50).all(|(mark, _)| mark.0 >= LETTERS as u128), "{next:?}");
}

#[test]
fn rows_beyond_the_limit_stay_at_the_portal_and_those_that_are_nowhere_else_do_not() {
    let mut nameless = Nameless::default();
    for n in 0..MOST as u128 {
        assert!(nameless.found(mark(n), reserved()));
    }
    let more = mark(MOST as u128);
    assert!(!nameless.found(more, reserved()) && nameless.len() == MOST);
    assert!(nameless.found(more, Hold::Gone) && !nameless.is_full());
    for n in 0..MOST as u128 {
        nameless.found(mark(2 * MOST as u128 + n), Hold::Gone);
    }
    assert!(nameless.is_full());
}

#[test]
fn a_row_that_is_gone_before_its_removal_needs_none() {
    for published in [false, true] {
        let mut nameless = Nameless::default();
        nameless.found(mark(1), free(5));
        if published {
            acknowledged(&mut nameless, mark(1));
        }
        assert!(!nameless.found(mark(1), Hold::Gone));
        assert_eq!(nameless.only_here(), usize::from(!published));
        if !published {
            acknowledged(&mut nameless, mark(1));
        }
        assert!(nameless.is_empty() && nameless.stuck() == 0);
    }
}

#[test]
fn what_is_remembered_has_a_limit() {
    let mut nameless = Nameless::default();
    for n in 0..=REMEMBERED as u128 {
        nameless.found(mark(n), Hold::Nothing);
        acknowledged(&mut nameless, mark(n));
    }
    assert_eq!((nameless.stuck(), nameless.order.len()), (REMEMBERED, REMEMBERED));
    assert!(nameless.found(mark(0), Hold::Nothing), "the oldest is forgotten");
}

/// Numbers of a fixed sequence (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A portal with such rows, a topic of dead letters, and a bridge that may end at any time.
struct World {
    nameless: Nameless,
    /// The rows that are at the portal.
    there: Vec<Mark>,
    /// What is in Kafka, acknowledged or not.
    letters: std::collections::BTreeSet<Mark>,
    /// A late removal: executed when the bridge does not count on it any more.
    late: Vec<Mark>,
    sent: Vec<(Mark, Refusal)>,
    removing: Vec<(Mark, Hold)>,
    /// Rows that a deletion has brought and that no dead letter holds.
    only_here: std::collections::BTreeSet<Mark>,
    now: Millis,
}

impl World {
    fn new(rows: u128) -> Self {
        Self {
            nameless: Nameless::default(),
            there: (0..rows).map(Mark).collect(),
            letters: std::collections::BTreeSet::new(),
            late: Vec::new(),
            sent: Vec::new(),
            removing: Vec::new(),
            only_here: std::collections::BTreeSet::new(),
            now: Millis(0),
        }
    }

    /// What the portal has executed must be in Kafka already.
    fn remove(&mut self, mark: Mark) {
        assert!(self.letters.contains(&mark), "{mark} is removed before its dead letter");
        self.there.retain(|there| *there != mark);
    }

    fn step(&mut self, dice: &mut Dice, healed: bool) {
        self.now = self.now.plus(Millis(dice.roll(20_000)));
        match dice.roll(if healed { 4 } else { 7 }) {
            0 => {
                for mark in self.there.clone() {
                    let hold = if dice.roll(3) == 0 { Hold::Nothing } else { reserved() };
                    self.nameless.found(mark, hold);
                }
            }
            1 => self.sent.extend(self.nameless.letters(self.now)),
            2 => {
                let sent = std::mem::take(&mut self.sent);
                let reports: Vec<_> = sent.iter().map(|(mark, _)| (*mark, self.produce(*mark, dice, healed))).collect();
                self.nameless.delivered(self.now, &reports);
            }
            3 => self.removals(dice, healed),
            4 => {
                // The deletion of a range meets one of them.
                if let Some(mark) = self.there.pop() {
                    if !self.letters.contains(&mark) {
                        self.only_here.insert(mark);
                    }
                    self.nameless.found(mark, Hold::Gone);
                }
            }
            5 => {
                if let Some(mark) = self.late.pop() {
                    self.remove(mark);
                }
            }
            _ => {
                // What only this process had is lost with it; that is told, and no fault of the machine.
                self.only_here.clear();
                self.nameless = Nameless::default();
                self.sent.clear();
                self.removing.clear();
            }
        }
        for mark in &self.only_here {
            let waits = self.nameless.held().any(|held| held == *mark);
            assert!(waits || self.letters.contains(mark), "{mark} was the only one, and is forgotten");
        }
    }

    fn produce(&mut self, mark: Mark, dice: &mut Dice, healed: bool) -> Delivery {
        let roll = if healed { 0 } else { dice.roll(6) };
        if roll < 3 {
            self.letters.insert(mark);
        }
        match roll {
            0 | 1 => Delivery::Acknowledged,
            // It arrived and nobody knows.
            2 => Delivery::Failed(Hindrance::Passing),
            3 => Delivery::Failed(Hindrance::Route),
            4 => Delivery::Refused(Refusal::TooLarge),
            _ => Delivery::Refused(Refusal::InvalidRecord),
        }
    }

    fn removals(&mut self, dice: &mut Dice, healed: bool) {
        self.removing.extend(self.nameless.removals(self.now));
        let mut outcomes = Vec::new();
        for (mark, hold) in std::mem::take(&mut self.removing) {
            assert!(matches!(hold, Hold::Reserved { .. }), "{hold:?} cannot be removed");
            let roll = if healed { 0 } else { dice.roll(5) };
            assert!(self.letters.contains(&mark), "{mark} is to be removed before its dead letter");
            if roll < 2 {
                self.remove(mark);
            }
            if roll == 2 {
                self.late.push(mark);
            }
            outcomes.push((
                mark,
                match roll {
                    0 => Removal::Done,
                    1..=3 => Removal::Unknown,
                    _ => Removal::Refused { retry_after: None },
                },
            ));
        }
        self.nameless.removed(self.now, &outcomes);
    }
}

#[test]
fn whatever_happens_nothing_is_removed_before_its_letter_and_a_healed_world_is_emptied() {
    for seed in 1..=3000 {
        let mut dice = Dice(seed);
        let mut world = World::new(4);
        for _ in 0..80 {
            world.step(&mut dice, false);
        }
        for _ in 0..300 {
            world.step(&mut dice, true);
        }
        assert!(world.there.is_empty(), "seed {seed}: {:?} are left", world.there);
        assert!(world.nameless.is_empty(), "seed {seed}: {:?}", world.nameless);
        assert!(world.only_here.iter().all(|mark| world.letters.contains(mark)), "seed {seed}");
    }
}
