//! Schedules: each step is a number, and its digits decide what happens. A smaller number is a duller step, so that a
//! schedule that breaks something is shortened towards one in which little goes wrong.

use crate::{
    auth::{Broken, Turn},
    core::protocol::{queue::Input, token::Action, types::Millis},
    portal::Portal,
    world::{Fate, Move, Report, Written},
};

/// What one step is decided with.
pub struct Dice(u64);

impl Dice {
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// One of `0..sides`.
    pub fn of(&mut self, sides: usize) -> usize {
        let sides = sides.max(1) as u64;
        let shown = self.0 % sides;
        self.0 /= sides;
        usize::try_from(shown).unwrap_or_default()
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.of(of.len())]
    }
}

/// Kinds of things that have to happen in a run of the property, or it has proved nothing about them.
pub const KINDS: [&str; 39] = [
    "sends",
    "answers",
    "acknowledges",
    "time passes",
    "jumps",
    "times out",
    "changes",
    "limited",
    "unauthorized",
    "asks for a token",
    "has no token",
    "request lost",
    "answer lost",
    "given up",
    "clears refused",
    "clears unknown",
    "selects first",
    "late request selects",
    "late request runs",
    "refused",
    "method rests",
    "slow",
    "others spend",
    "plan changes",
    "mode is known",
    "all failed",
    "one failed",
    "batch refused",
    "topic barred",
    "written late",
    "crash",
    "wakes",
    "resumes",
    "drains",
    "starts again",
    "token expires",
    "is installed again",
    "late refresh runs",
    "heals",
];

/// A queue to which something can happen, if there is one.
fn queue(portal: &Portal, dice: &mut Dice, can: impl Fn(usize) -> bool) -> usize {
    let first = dice.of(portal.queues());
    let from_first = (0..portal.queues()).map(|queue| (first + queue) % portal.queues());
    from_first.clone().find(|queue| can(*queue)).unwrap_or(first)
}

/// One step.
pub fn step(portal: &mut Portal, number: u64) -> Result<(), Broken> {
    let mut dice = Dice(number);
    match dice.of(100) {
        0..=53 => goes_well(portal, &mut dice),
        54..=60 => time(portal, &mut dice),
        61..=70 => changes(portal, &mut dice),
        71..=84 => of_the_portal(portal, &mut dice),
        85..=93 => of_the_broker(portal, &mut dice),
        94..=97 => of_the_tokens(portal, &mut dice),
        _ => of_the_process(portal, &mut dice),
    }
}

fn goes_well(portal: &mut Portal, dice: &mut Dice) -> Result<(), Broken> {
    let queues = portal.queues();
    let first = dice.of(queues);
    for queue in 0..queues {
        if portal.progress((first + queue) % queues)? {
            return Ok(());
        }
    }
    if portal.auth().doing().is_some() {
        return portal.turn(Turn::Works);
    }
    time(portal, dice)
}

fn time(portal: &mut Portal, dice: &mut Dice) -> Result<(), Broken> {
    const JUMPS: [Millis; 6] = [
        Millis(500),
        Millis::secs(5),
        Millis::secs(61),
        Millis::secs(71),
        Millis::secs(3600),
        Millis::secs(10 * 24 * 3600),
    ];
    match (portal.due(), dice.of(8)) {
        (Some(due), 0..=6) => portal.pass(due),
        _ => {
            let jump = dice.one(&JUMPS);
            portal.note("jumps", None, "");
            portal.pass(portal.now().plus(jump))
        }
    }
}

/// Objects change: now and then many, mostly the same few.
fn changes(portal: &mut Portal, dice: &mut Dice) -> Result<(), Broken> {
    let queue = dice.of(portal.queues());
    let messages = portal.messages();
    let (first, count) = match dice.of(8) {
        7 => (dice.of(messages), 70),
        6 => (dice.of(messages), 9),
        _ => (dice.of(10), 1),
    };
    portal.note("changes", Some(queue), &format!("{count} from {first}"));
    let slow_clock = dice.of(4) == 3;
    for message in first..first + count {
        portal.apply(queue, |world, setup| {
            world.apply(setup, Move::Change { message: message % messages, slow_clock })
        })?;
    }
    Ok(())
}

/// The plan changes, or the bridge hears of it.
fn of_the_plan(portal: &mut Portal, dice: &mut Dice, changes: bool) -> Result<(), Broken> {
    let queue = dice.of(portal.queues());
    let (kind, what) = if changes { ("plan changes", Move::Licence) } else { ("mode is known", Move::ModeIsKnown) };
    portal.note(kind, Some(queue), "");
    portal.apply(queue, |world, setup| world.apply(setup, what))
}

/// The portal or the way to it is in trouble.
fn of_the_portal(portal: &mut Portal, dice: &mut Dice) -> Result<(), Broken> {
    let kind = dice.of(14);
    if kind == 0 {
        portal.spend();
        return Ok(());
    }
    if kind >= 12 {
        return of_the_plan(portal, dice, kind == 12);
    }
    let undead = queue(portal, dice, |queue| portal.world(queue).zombies() > 0);
    let zombies = portal.world(undead).zombies();
    if zombies > 0 && kind < 4 {
        let (queue, index) = (undead, dice.of(zombies));
        let (kind, what) = if kind == 1 && portal.world(queue).zombie_reserves(index) {
            ("late request selects", Move::ZombieSelects(index))
        } else {
            ("late request runs", Move::ZombieRuns(index))
        };
        portal.note(kind, Some(queue), "");
        return portal.apply(queue, |world, setup| world.apply(setup, what));
    }
    let queue = queue(portal, dice, |queue| portal.is_sent(queue));
    if !portal.is_sent(queue) {
        return goes_well(portal, dice);
    }
    if kind == 1 {
        portal.note("request lost", Some(queue), "");
        return portal.answered(queue, |world, setup| world.apply(setup, Move::LoseRequest));
    }
    if !portal.reaches(queue)? {
        return Ok(());
    }
    let ((reserves, clears), begun) = (portal.world(queue).awaits(), portal.world(queue).has_selected());
    match kind {
        2 | 3 => {
            portal.note("answer lost", Some(queue), "");
            portal.answered(queue, |world, setup| world.apply(setup, Move::LoseAnswer))
        }
        4 | 5 => {
            portal.note("given up", Some(queue), "");
            portal.answered(queue, |world, setup| world.apply(setup, Move::GiveUpWaiting))
        }
        6 if clears && !begun => {
            portal.note("clears refused", Some(queue), "");
            portal.answered(queue, |world, setup| world.apply(setup, Move::AnswerToReadOnly))
        }
        7 if clears => {
            portal.note("clears unknown", Some(queue), "");
            portal.answered(queue, |world, _| world.answer_read_only())
        }
        8 if reserves && !begun => {
            portal.note("selects first", Some(queue), "");
            portal.apply(queue, |world, setup| world.apply(setup, Move::AwaitedSelects))
        }
        9 if !begun => {
            let hint = dice.one(&[None, Some(Millis::secs(3)), Some(Millis::secs(600)), Some(Millis::secs(9000))]);
            portal.note("refused", Some(queue), &format!("{hint:?}"));
            portal.answered(queue, |world, _| world.refuse(hint))
        }
        10 if !begun => {
            portal.note("method rests", Some(queue), "");
            portal.answered(queue, |world, _| world.rest(Millis::secs(60)))
        }
        11 => {
            portal.note("slow", Some(queue), "");
            portal.answered(queue, |world, _| world.answer_slowly(Millis::secs(9)))
        }
        _ => goes_well(portal, dice),
    }
}

/// Kafka is in trouble.
fn of_the_broker(portal: &mut Portal, dice: &mut Dice) -> Result<(), Broken> {
    let queue = queue(portal, dice, |queue| portal.world(queue).is_producing());
    let (pending, ghosts) = (portal.world(queue).pending(), portal.world(queue).ghosts());
    if ghosts > 0 && dice.of(2) == 0 {
        portal.note("written late", Some(queue), "");
        let ghost = Move::GhostIsWritten(dice.of(ghosts));
        return portal.apply(queue, |world, setup| world.apply(setup, ghost));
    }
    if pending == 0 {
        return goes_well(portal, dice);
    }
    let (kind, report) = match dice.of(6) {
        0 => ("all failed", Report::AllFailed),
        1 => ("batch refused", Report::RefusedForAnother),
        2 => ("topic barred", Report::Barred),
        _ => {
            let written = dice.one(&[Written::No, Written::Yes, Written::Later]);
            ("one failed", Report::OneFailed { index: dice.of(pending), written })
        }
    };
    portal.note(kind, Some(queue), &format!("{report:?}"));
    portal.apply(queue, |world, setup| world.apply(setup, Move::Report(report)))
}

/// The tokens are in trouble.
fn of_the_tokens(portal: &mut Portal, dice: &mut Dice) -> Result<(), Broken> {
    let zombies = portal.auth().zombies();
    match (dice.of(6), portal.auth().doing()) {
        (0, _) if zombies > 0 => {
            portal.note("late refresh runs", None, "");
            let index = dice.of(zombies);
            portal.auth_mut().zombie_runs(index)
        }
        (1, None) if dice.of(8) == 0 || portal.auth().is_rejected() => portal.renew(),
        (_, Some(Action::Ask)) => {
            portal.turn(dice.one(&[Turn::Down, Turn::LostRequest, Turn::LostAnswer, Turn::GivenUp]))
        }
        (_, Some(_)) => portal.turn(dice.one(&[Turn::NotStored, Turn::StoredAllTheSame])),
        (_, None) => {
            portal.note("token expires", None, "");
            portal.auth_mut().expire();
            Ok(())
        }
    }
}

/// The bridge itself is told something, or dies.
fn of_the_process(portal: &mut Portal, dice: &mut Dice) -> Result<(), Broken> {
    let queue = dice.of(portal.queues());
    if (0..portal.queues()).all(|queue| portal.world(queue).queue().is_drained()) {
        return portal.crash("starts again", |_| (Fate::Lost, false));
    }
    let (kind, input) = match dice.of(6) {
        0 => ("wakes", Input::Wake),
        1 => ("resumes", Input::Resume),
        2 => ("may have more", Input::More),
        3 if dice.of(2) == 0 => {
            portal.note("drains", None, "");
            return (0..portal.queues()).try_for_each(|queue| portal.apply(queue, |world, _| world.feed(Input::Drain)));
        }
        _ => {
            let salt = dice.of(1 << 12);
            return portal.crash("crash", |queue| {
                let mut dice = Dice((salt >> (4 * queue)) as u64);
                (dice.one(&[Fate::Lost, Fate::Executed, Fate::LivesOn]), dice.of(2) == 0)
            });
        }
    };
    portal.note(kind, Some(queue), "");
    portal.apply(queue, |world, _| world.feed(input))
}
