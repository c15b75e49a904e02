//! The exhaustive model: the core with a portal and a broker around it, every order of faults within a budget.
//!
//! It compiles the very files of the core on its own, so the core cannot lean on anything else of the crate, and the
//! deliberate bugs of `protocol/seeded.rs` exist here and in no program.

#[path = "../src"]
mod core {
    #![allow(dead_code, reason = "the model needs a part of the core")]
    pub mod protocol;
}
#[path = "model/search.rs"]
mod search;
#[path = "model/world.rs"]
mod world;

use crate::core::protocol::{invariants::Violation, seeded::Bug};
use search::{Found, explore};
use world::{Budget, SETTINGS, Setup};

/// Two rows of one entity under two losses, two crashes and a failed produce.
const TWO_ROWS: Setup = Setup {
    entities: &[1, 1],
    present: 2,
    poison: None,
    heavy: false,
    malformed: None,
    licensed: true,
    timed: false,
    settings: SETTINGS,
    lasting: false,
    budget: Budget { losses: 2, crashes: 2, produce_failures: 1, ..Budget::NONE },
    bug: None,
};

/// Three rows, two of them of one entity, under one fault of each kind and a new change at any time.
const THREE_ROWS: Setup = Setup {
    entities: &[1, 1, 2],
    present: 3,
    poison: None,
    heavy: false,
    malformed: None,
    licensed: true,
    timed: false,
    settings: SETTINGS,
    lasting: false,
    budget: Budget { losses: 1, crashes: 1, produce_failures: 1, changes: 1, ..Budget::NONE },
    bug: None,
};

/// A record in the middle that the broker refuses, and all that is sent with it.
const POISON: Setup = Setup {
    entities: &[1, 1, 2],
    present: 3,
    poison: Some(1),
    heavy: false,
    malformed: None,
    licensed: true,
    timed: false,
    settings: SETTINGS,
    lasting: false,
    budget: Budget { losses: 1, crashes: 1, produce_failures: 1, ..Budget::NONE },
    bug: None,
};

/// Without reservations: two rows of one entity, one of which may change at any time, under one fault of each kind.
const CONDITIONAL: Setup = Setup {
    licensed: false,
    timed: true,
    budget: Budget { losses: 1, crashes: 1, produce_failures: 1, changes: 1, ..Budget::NONE },
    ..TWO_ROWS
};

/// The same with requests that live on beside each other, and a Kafka that takes seconds in between.
const OVERLAPPING: Setup = Setup { budget: Budget { losses: 2, changes: 1, delays: 1, ..Budget::NONE }, ..CONDITIONAL };

/// A row that changes between the two statements of a deletion: nothing can hold it, but its publication is owed.
const SPLIT: Setup =
    Setup { budget: Budget { produce_failures: 1, changes: 2, splits: 2, ..Budget::NONE }, ..CONDITIONAL };

/// A row that never rests.
const HOT: Setup =
    Setup { budget: Budget { losses: 1, crashes: 1, produce_failures: 1, hot: 16, ..Budget::NONE }, ..CONDITIONAL };

/// A plan that comes and goes.
const LICENCE: Setup =
    Setup { licensed: true, budget: Budget { losses: 1, changes: 1, licences: 2, ..Budget::NONE }, ..CONDITIONAL };

fn clean(name: &str, setup: Setup) -> usize {
    let found = explore(setup);
    println!("{name}: {} states, {} moves, {:.1} s", found.states, found.moves, found.seconds);
    if let Some((violation, trace)) = &found.violation {
        panic!("{name}: {violation:?}\n{trace}");
    }
    found.states
}

fn caught(bug: Bug, setup: Setup, expected: &[Violation]) {
    let Found { violation, states, seconds, .. } = explore(Setup { bug: Some(bug), ..setup });
    let (violation, trace) = violation.unwrap_or_else(|| panic!("{bug:?} passed the model ({states} states)"));
    println!("{bug:?} is caught as {violation:?} after {states} states, {seconds:.1} s; the shortest trace:\n{trace}");
    assert!(expected.contains(&violation), "{bug:?} was caught as {violation:?}");
}

#[test]
fn two_rows_two_losses_two_crashes() {
    clean("two rows", TWO_ROWS);
}

#[test]
fn three_rows_one_fault_of_each_kind_and_a_new_change() {
    assert!(clean("three rows", THREE_ROWS) > 50_000);
}

#[test]
fn a_poison_record_becomes_a_dead_letter_and_blocks_nothing() {
    clean("poison", POISON);
}

#[test]
fn a_dead_letter_that_is_too_large_is_made_smaller_and_blocks_nothing() {
    clean("heavy poison", Setup { heavy: true, ..POISON });
}

#[test]
fn clearing_before_the_acknowledgement_is_caught() {
    caught(Bug::ClearBeforeAcknowledgement, TWO_ROWS, &[Violation::I1ClearedBeforeAcknowledgement]);
}

#[test]
fn no_scan_after_an_unknown_get_is_caught() {
    caught(Bug::NoScanAfterUnknownGet, THREE_ROWS, &[Violation::I3Hidden]);
}

#[test]
fn no_late_scan_after_an_unknown_get_is_caught() {
    caught(Bug::NoLateScanAfterUnknownGet, THREE_ROWS, &[Violation::I3Hidden]);
}

#[test]
fn no_late_scan_after_take_over_is_caught() {
    caught(Bug::NoLateScanAfterTakeOver, TWO_ROWS, &[Violation::I3Hidden]);
}

#[test]
fn clearing_past_a_failed_row_is_caught() {
    caught(Bug::ClearPastFailedRow, TWO_ROWS, &[Violation::I7Order]);
}

#[test]
fn believing_a_scan_despite_an_unknown_clear_is_caught() {
    caught(Bug::BelieveScanDespiteUnknownClear, TWO_ROWS, &[Violation::I8OwnReservation]);
}

#[test]
fn without_reservations_nothing_is_deleted_that_was_not_published() {
    assert!(clean("conditional", CONDITIONAL) > 10_000);
}

#[test]
fn without_reservations_requests_may_live_on_beside_each_other() {
    assert!(clean("overlapping", OVERLAPPING) > 10_000);
}

#[test]
fn what_changes_at_the_moment_of_its_deletion_is_published() {
    clean("split deletion", SPLIT);
}

#[test]
fn a_row_that_never_rests_is_published_and_deleted_in_the_end() {
    clean("hot row", HOT);
}

#[test]
fn a_plan_that_comes_and_goes_loses_and_hides_nothing() {
    clean("licence", LICENCE);
}

#[test]
fn deleting_before_the_acknowledgement_is_caught() {
    caught(Bug::ClearBeforeAcknowledgement, CONDITIONAL, &[Violation::I1ClearedBeforeAcknowledgement]);
}

#[test]
fn deleting_whatever_has_changed_is_caught() {
    caught(Bug::DeleteWhateverChanged, CONDITIONAL, &[Violation::I1ClearedBeforeAcknowledgement]);
}

#[test]
fn no_margin_for_clocks_is_caught() {
    caught(Bug::NoMargin, CONDITIONAL, &[Violation::I1ClearedBeforeAcknowledgement]);
}

#[test]
fn deleting_by_the_time_of_the_deletion_is_caught() {
    caught(Bug::DeleteByTheTimeOfNow, OVERLAPPING, &[Violation::I1ClearedBeforeAcknowledgement]);
}

#[test]
fn ignoring_what_a_deletion_brings_is_caught() {
    caught(Bug::IgnoreStrangers, SPLIT, &[Violation::I3Hidden]);
}
