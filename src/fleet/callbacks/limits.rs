//! How much may be looked into for strangers: an exchange at the OAuth server for anybody who sends a form would let
//! anybody use up what that server grants us.
//!
//! Only what fails is charged to its source: calls that prove themselves, and wake-ups of known portals, cost their
//! source nothing, so that a proxy with thousands of portals behind it is not taken for a flood. A source is an IPv4
//! address or an IPv6 network of 64 bits, which is what one customer gets.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv6Addr},
};

use crate::protocol::{pace::Bucket, types::Millis};

/// Failed proofs of one source at once, and per minute in the long run.
const FAILURES: (u64, u64) = (20, 20);
/// Exchanges for strangers at once, and per second in the long run: a wave of new installations fits.
const EXCHANGES: (u64, u64) = (100, 10);
/// Sources that are remembered; above that all others share what one has.
const SOURCES: usize = 4096;
/// Refresh tokens that are remembered as presented; a digest each.
const PRESENTED: usize = 8192;

/// The failures of one source: a counter that drains.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    /// In thousandths of a failure, at `at`.
    level: u64,
    at: Millis,
}

impl Failures {
    fn level(&self, now: Millis) -> u64 {
        // Per minute and in thousandths: a thousandth takes 60 ms divided by the rate.
        self.level.saturating_sub(now.since(self.at).0 * FAILURES.1 / 60)
    }

    fn add(&mut self, now: Millis) {
        *self = Self { level: self.level(now) + 1000, at: now };
    }

    fn too_many(&self, now: Millis) -> bool {
        self.level(now) + 1000 > FAILURES.0 * 1000
    }
}

/// What has been looked into for whom.
#[derive(Debug)]
pub struct Limits {
    sources: BTreeMap<IpAddr, Failures>,
    /// Of all sources that there is no room for.
    others: Failures,
    exchanges: Bucket,
    presented: BTreeSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sources: BTreeMap::new(),
            others: Failures::default(),
            exchanges: Bucket::new(EXCHANGES.0, EXCHANGES.1),
            presented: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }
}

impl Limits {
    /// Whether something may be looked into for this source now; then it counts as looked into.
    pub fn admits(&mut self, source: IpAddr, now: Millis) -> bool {
        let failures = self.sources.get(&network(source)).unwrap_or(&self.others);
        !failures.too_many(now) && self.exchanges.take(now).is_ok()
    }

    /// What this source showed was no proof.
    pub fn failed(&mut self, source: IpAddr, now: Millis) {
        let source = network(source);
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            self.sources.retain(|_, failures| failures.level(now) > 0);
        }
        if self.sources.len() < SOURCES || self.sources.contains_key(&source) {
            self.sources.entry(source).or_default().add(now);
        } else {
            self.others.add(now);
        }
    }

    /// Notes that a token with this digest is being presented; `false` if it was before: a refresh token is good once,
    /// and one that comes again would only tell the OAuth server of a thief.
    pub fn present(&mut self, digest: [u8; 32]) -> bool {
        if !self.presented.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > PRESENTED
            && let Some(oldest) = self.order.pop_front()
        {
            self.presented.remove(&oldest);
        }
        true
    }

    /// Nobody knows what became of the token: it may be presented again.
    pub fn forget(&mut self, digest: [u8; 32]) {
        if self.presented.remove(&digest) {
            self.order.retain(|known| *known != digest);
        }
    }
}

/// Whom an address belongs to.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn a_source_may_fail_so_often_and_others_are_not_held_liable() {
        let mut limits = Limits::default();
        let now = Millis::secs(1000);
        let mut admitted = 0;
        while limits.admits(source(1), now) {
            limits.failed(source(1), now);
            admitted += 1;
        }
        assert_eq!(admitted, FAILURES.0);
        assert!(limits.admits(source(2), now));
        let later = now.plus(Millis::secs(60 / FAILURES.1));
        assert!(limits.admits(source(1), later), "one more in its time");
        limits.failed(source(1), later);
        assert!(!limits.admits(source(1), later));
    }

    #[test]
    fn what_succeeds_costs_its_source_nothing_and_all_together_have_a_limit() {
        let mut limits = Limits::default();
        let now = Millis(0);
        let admitted = (0..1000).take_while(|_| limits.admits(source(1), now)).count() as u64;
        assert!(admitted > FAILURES.0 && admitted <= EXCHANGES.0, "{admitted}");
        assert!(!limits.admits(source(2), now));
        assert!(limits.admits(source(2), Millis::secs(1)));
    }

    #[test]
    fn the_table_of_sources_has_an_end() {
        let mut limits = Limits::default();
        let now = Millis(0);
        for number in 0..20_000 {
            limits.failed(source(number), now);
        }
        assert_eq!(limits.sources.len(), SOURCES);
        assert!(!limits.admits(source(30_000), now), "all that there is no room for share one limit");
        let later = Millis::secs(3600);
        limits.failed(source(40_000), later);
        assert_eq!(limits.sources.len(), 1, "those that are good again make room");
    }

    #[test]
    fn one_network_is_one_source() {
        let mut limits = Limits::default();
        for host in 0..FAILURES.0 {
            limits.failed(format!("2001:db8:1:2::{host}").parse().expect("an address"), Millis(0));
        }
        assert!(!limits.admits("2001:db8:1:2:ffff::1".parse().expect("an address"), Millis(0)));
        assert!(limits.admits("2001:db8:1:3::1".parse().expect("an address"), Millis(0)));
    }

    #[test]
    fn a_token_is_presented_once_unless_nobody_knows_what_became_of_it() {
        let mut limits = Limits::default();
        assert!(limits.present([1; 32]));
        assert!(!limits.present([1; 32]));
        limits.forget([1; 32]);
        assert!(limits.present([1; 32]));
        for n in 0..20_000_u32 {
            let mut digest = [7; 32];
            digest[..4].copy_from_slice(&n.to_be_bytes());
            limits.present(digest);
        }
        assert_eq!((limits.presented.len(), limits.order.len()), (PRESENTED, PRESENTED));
    }
}
