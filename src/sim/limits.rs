//! The portal's limits: a leaky bucket of requests and a budget of operating time per method
//! (protocol reference section 3).

use std::{collections::HashMap, time::Duration};

/// Buckets of one minute that operating time is summed over.
const MINUTES: i64 = 10;

/// What a portal allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests: the counter may not go above the first number and falls by the second each second.
    pub requests: Option<(f64, f64)>,
    /// Seconds of operating time per method in ten minutes.
    pub operating: Option<f64>,
    /// The longest that one request may run.
    pub request_cap: Duration,
    /// Time that a call takes, per call and per row that it returns. It passes for real and is charged as operating time.
    pub cost: (Duration, Duration),
}

impl Limits {
    /// A self-hosted portal: no limits but the request cap.
    pub const UNLIMITED: Self = Self {
        requests: None,
        operating: None,
        request_cap: Duration::from_secs(60),
        cost: (Duration::ZERO, Duration::ZERO),
    };
    /// A cloud portal: 50 requests, 2 a second, 480 s of operating time.
    pub const STANDARD: Self = Self { requests: Some((50.0, 2.0)), operating: Some(480.0), ..Self::UNLIMITED };
    /// A cloud portal with the Enterprise plan: 250 requests, 5 a second.
    pub const ENTERPRISE: Self = Self { requests: Some((250.0, 5.0)), ..Self::STANDARD };
}

/// How much of the limits is used.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    level: f64,
    level_at: i64,
    minutes: HashMap<String, Vec<(i64, f64)>>,
}

impl Usage {
    /// Counts a request at `now` (milliseconds); `false` if it is one too many. A refused request is not counted.
    pub fn admit(&mut self, limits: &Limits, now: i64) -> bool {
        let Some((most, per_second)) = limits.requests else { return true };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds between two requests are few")]
        let drained = (now - self.level_at).max(0) as f64 / 1000.0 * per_second;
        self.level = (self.level - drained).max(0.0);
        self.level_at = now;
        if self.level + 1.0 > most {
            return false;
        }
        self.level += 1.0;
        true
    }

    /// The operating time of a method and when the oldest of it drops out (unix seconds).
    pub fn operating(&mut self, method: &str, now: i64) -> (f64, i64) {
        let minute = now.div_euclid(60_000);
        let Some(buckets) = self.minutes.get_mut(method) else { return (0.0, (minute + MINUTES) * 60) };
        buckets.retain(|(at, _)| *at > minute - MINUTES);
        let reset = buckets.first().map_or(minute, |(at, _)| *at) + MINUTES;
        (buckets.iter().map(|(_, seconds)| seconds).sum(), reset * 60)
    }

    /// Whether a method may still be called.
    pub fn may_operate(&mut self, limits: &Limits, method: &str, now: i64) -> bool {
        limits.operating.is_none_or(|budget| self.operating(method, now).0 < budget)
    }

    /// Charges the time that a call took.
    pub fn charge(&mut self, method: &str, now: i64, took: Duration) {
        let minute = now.div_euclid(60_000);
        let buckets = match self.minutes.get_mut(method) {
            Some(buckets) => buckets,
            None => self.minutes.entry(method.to_owned()).or_default(),
        };
        match buckets.last_mut() {
            Some((at, seconds)) if *at == minute => *seconds += took.as_secs_f64(),
            _ => buckets.push((minute, took.as_secs_f64())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_fills_and_leaks() {
        let mut usage = Usage::default();
        assert_eq!((0..60).filter(|_| usage.admit(&Limits::STANDARD, 1000)).count(), 50);
        assert_eq!((0..60).filter(|_| usage.admit(&Limits::STANDARD, 2000)).count(), 2);
        assert_eq!((0..300).filter(|_| usage.admit(&Limits::ENTERPRISE, 2000)).count(), 200);
        assert!((0..1000).all(|_| usage.admit(&Limits::UNLIMITED, 2000)));
    }

    #[test]
    fn operating_time_is_per_method_and_drops_out_by_minutes() {
        let mut usage = Usage::default();
        let limits = Limits::STANDARD;
        usage.charge("a", 0, Duration::from_secs(300));
        usage.charge("a", 61_000, Duration::from_secs(180));
        assert_eq!(usage.operating("a", 61_000), (480.0, 600));
        assert!(!usage.may_operate(&limits, "a", 599_000) && usage.may_operate(&limits, "b", 599_000));
        assert_eq!(usage.operating("a", 600_000), (180.0, 660));
        assert!(usage.may_operate(&limits, "a", 600_000));
        assert_eq!(usage.operating("a", 660_000).0, 0.0);
    }
}
