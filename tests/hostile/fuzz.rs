//! Good bytes broken at random, as many as a time limit allows, in this process.
//!
//! `B24KAFKA_FUZZ_SECONDS` says how long each target runs (2 s unless told), `B24KAFKA_FUZZ_SEED` where it begins; a
//! failure prints the seed, the number of the case and its bytes. `make fuzz` runs all targets for a minute on a seed that
//! nobody has chosen. Nothing measures which code was reached: the inputs stay near to good answers on purpose.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use crate::{
    answers, calls, configuration,
    mutate::{mutated, shown},
    registry,
    stand::Stand,
    targets,
};

/// Fewer cases than this in two seconds mean that something waits for a time-out.
const LEAST: u64 = 200;

/// A number of the environment.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a whole number"))
}

/// Runs one target: `check` gets broken ones of `goods` until the time is over.
fn run(target: &str, goods: &[Vec<u8>], mut check: impl FnMut(&[u8])) {
    let seed = number("B24KAFKA_FUZZ_SEED", 1);
    let limit = Duration::from_secs(number("B24KAFKA_FUZZ_SECONDS", 2));
    let started = Instant::now();
    let mut case = 0;
    while started.elapsed() < limit || case < LEAST {
        for good in goods {
            let bytes = mutated(good, seed, case);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&bytes))) {
                eprintln!("fuzz {target}: case {case} of seed {seed}: {}", shown(&bytes));
                resume_unwind(panic);
            }
            case += 1;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("fuzz {target:<14} {case:>9} cases {:>9.0} a second (seed {seed})", case as f64 / seconds);
}

#[test]
fn reservations() {
    let stand = Stand::new();
    let goods = [answers::reserved(), answers::nothing(), answers::refused()];
    run("reservations", &goods, |body| targets::reservation(&stand, body));
}

#[test]
fn scans() {
    let stand = Stand::new();
    let goods = [answers::scanned(), answers::short_scan(), answers::short_scan()];
    run("scans", &goods, |body| targets::scanned(&stand, body));
}

#[test]
fn deletions_and_listings() {
    let stand = Stand::new();
    let goods = [answers::deleted_and_listed(), answers::short_list(), answers::short_list()];
    run("deletions", &goods, |body| targets::deleted_and_listed(&stand, body));
}

#[test]
fn the_other_calls() {
    let stand = Stand::new();
    let goods = [
        answers::bindings(),
        answers::events(),
        answers::feature(),
        answers::app_info(),
        answers::removed(),
        answers::refused(),
    ];
    run("other calls", &goods, |body| targets::other_call(&stand, body));
}

#[test]
fn refreshes() {
    let stand = Stand::new();
    run("refreshes", &[answers::tokens(), answers::no_tokens()], |body| targets::refresh(&stand, body));
}

#[test]
fn callbacks() {
    run("callbacks", &[answers::wake(), answers::install()], targets::callback);
}

#[test]
fn calls_of_strangers() {
    run("calls", &[calls::event(), calls::page()], calls::check);
}

#[test]
fn configurations() {
    run("configurations", &[configuration::small(), configuration::example()], configuration::check);
}

#[test]
fn registry_files() {
    let dir = registry::Directory::new();
    run("registry", &[registry::good()], |bytes| dir.check(bytes));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let good = answers::reserved();
    let all = |seed| (0..100).map(|case| mutated(&good, seed, case)).collect::<Vec<_>>();
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
    assert!(all(1).iter().filter(|bytes| **bytes != good).count() > 90);
}
