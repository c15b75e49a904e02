//! The clock that the core's times come from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng as _;
use tokio::time::Instant;

use crate::protocol::types::Millis;

/// Waits are made longer by up to this part, so that queues that failed together do not come back together.
const JITTER: f64 = 0.1;

/// How much shorter than the configured one the longest wait of an idle queue may be. Waits of one length would keep
/// queues together that an outage has brought together; of different lengths, they have drifted apart after some polls.
const SHORTER: f64 = 0.2;

/// Milliseconds since this clock was made; it never goes back, whatever happens to the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// Starts at 0.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Sleeps until `at` at least, a little longer for the jitter.
    pub async fn sleep_until(&self, at: Millis) {
        let wait = Duration::from_millis(at.since(self.now()).0);
        if !wait.is_zero() {
            let jitter = rand::rng().random_range(0.0..=JITTER);
            // A deadline far beyond a human life is as good as none.
            tokio::time::sleep(wait.mul_f64(1.0 + jitter).min(Duration::from_secs(u64::from(u32::MAX)))).await;
        }
    }
}

/// A longest wait of a queue's own, somewhat shorter than the one for all.
pub fn own_wait(longest: Millis) -> Millis {
    let part = 1.0 - rand::rng().random_range(0.0..=SHORTER);
    millis(Duration::from_millis(longest.0).mul_f64(part))
}

/// The wall clock in seconds since 1970.
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The wall clock in whole seconds since 1970, as the registry keeps times.
#[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
pub fn unix_now() -> i64 {
    unix_seconds() as i64
}

/// A span of the configuration in the core's unit.
pub fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
