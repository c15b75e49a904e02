//! How a property is run: many schedules from one seed, the same each time unless somebody asks for more or for others.
//!
//! `B24KAFKA_PROPERTY_SECONDS` runs each property for so long, `B24KAFKA_PROPERTY_SEED` begins somewhere else. A schedule
//! that breaks something is shortened, its event log is printed, and its seed goes to `tests/properties/regressions.txt`,
//! which is run first from then on.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proptest::{
    strategy::Strategy,
    test_runner::{
        Config, FailurePersistence, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
    },
};

/// Where the seeds of schedules are that have broken something once.
pub const REGRESSIONS: &str = "tests/properties/regressions.txt";

/// How often a schedule that breaks something is made shorter.
const SHRINKING: u32 = 500;
/// Schedules between two looks at the clock, if there is a limit of time.
const ROUND: u32 = 200;

/// What a run has met.
#[derive(Clone, Debug, Default)]
pub struct Met {
    pub schedules: u64,
    pub steps: u64,
    pub kinds: BTreeMap<&'static str, u64>,
}

impl Met {
    /// One more schedule.
    pub fn add(&mut self, steps: usize, kinds: &BTreeMap<&'static str, u64>) {
        self.schedules += 1;
        self.steps += steps as u64;
        for (kind, count) in kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }

    /// Prints it, and refuses a run that never met one of `wanted`.
    pub fn assert_met(&self, property: &str, wanted: &[&str]) {
        println!("{property}: {} schedules, {} steps", self.schedules, self.steps);
        for (kind, count) in &self.kinds {
            println!("  {count:>9}  {kind}");
        }
        let never: Vec<_> = wanted.iter().filter(|kind| !self.kinds.contains_key(**kind)).collect();
        assert!(never.is_empty(), "{property}: never met {never:?}");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a whole number"))
}

fn rng(seed: u64) -> TestRng {
    TestRng::from_seed(RngAlgorithm::ChaCha, &seed.to_le_bytes().repeat(4))
}

/// Runs a property on `cases` schedules, or for the time that is asked for. The schedules that broke something once come
/// first.
pub fn hold<T: std::fmt::Debug>(
    strategy: &impl Strategy<Value = T>,
    cases: u32,
    property: impl Fn(&T) -> Result<(), String>,
) {
    let seed = number("B24KAFKA_PROPERTY_SEED").unwrap_or(1);
    let limit = number("B24KAFKA_PROPERTY_SECONDS").map(Duration::from_secs);
    let begun = Instant::now();
    let mut round = 0;
    let cases = if limit.is_some() { cases.min(ROUND) } else { cases };
    loop {
        let mut runner = TestRunner::new_with_rng(remembering(cases), rng(seed.wrapping_add(round)));
        runner
            .run(strategy, |case| property(&case).map_err(TestCaseError::fail))
            .unwrap_or_else(|failure| panic!("seed {seed}, round {round}: {}", told(&failure)));
        round += 1;
        if limit.is_none_or(|limit| begun.elapsed() >= limit) {
            return;
        }
    }
}

/// What has broken something once is run first, and what breaks something now is added to it.
fn remembering(cases: u32) -> Config {
    let regressions = FileFailurePersistence::Direct(REGRESSIONS);
    let failure_persistence: Option<Box<dyn FailurePersistence>> = Some(Box::new(regressions));
    Config { cases, failure_persistence, max_shrink_iters: SHRINKING, ..Config::default() }
}

/// Runs a property on what has broken it once, and on nothing else.
pub fn remember<T: std::fmt::Debug>(strategy: &impl Strategy<Value = T>, property: impl Fn(&T)) {
    let run = TestRunner::new_with_rng(remembering(0), rng(1)).run(strategy, |case| {
        property(&case);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{}", told(&failure)));
}

/// Looks for a schedule that breaks a property, among `cases`. Returns why it does, shortened.
pub fn find<T: std::fmt::Debug>(
    strategy: &impl Strategy<Value = T>,
    cases: u32,
    property: impl Fn(&T) -> Result<(), String>,
) -> Option<String> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: SHRINKING, ..Config::default() };
    let found =
        TestRunner::new_with_rng(config, rng(1)).run(strategy, |case| property(&case).map_err(TestCaseError::fail));
    found.err().map(|failure| told(&failure))
}

fn told<T>(failure: &TestError<T>) -> String {
    match failure {
        TestError::Fail(reason, _) | TestError::Abort(reason) => reason.message().to_owned(),
    }
}
