//! How much is to go wrong, and when: from a seed.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// The seed of the whole run: `B24KAFKA_CHAOS_SEED`, or 1.
pub fn seed() -> u64 {
    std::env::var("B24KAFKA_CHAOS_SEED").map_or(1, |text| text.parse().expect("B24KAFKA_CHAOS_SEED is a whole number"))
}

/// Whether this is the long version: `B24KAFKA_CHAOS_LONG=1`.
pub fn is_long() -> bool {
    std::env::var("B24KAFKA_CHAOS_LONG").is_ok_and(|value| value == "1")
}

/// One of two sizes of a scenario.
pub fn size<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

/// The moments of one scenario.
pub struct Dice(SmallRng);

impl Dice {
    /// Dice of their own for each scenario, so that one more throw in one changes nothing in the others.
    pub fn of(scenario: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed(), scenario).hash(&mut hasher);
        Self(SmallRng::seed_from_u64(hasher.finish()))
    }

    /// A span between the two, in milliseconds.
    pub fn span(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.0.random_range(from..=to))
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.0.random()
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// A seed for somebody else.
    pub fn seed(&mut self) -> u64 {
        self.0.random()
    }
}
