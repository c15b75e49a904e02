//! Which lines are repetitions: the same place in the code about the same thing is written once, then seldom, with a count.
//!
//! A portal that fails at every poll would otherwise fill the log. The table has a limit; beyond it the things of one place
//! in the code share an entry, so that a thousand portals that fail at once do not fill the log either.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tracing::callsite::Identifier;

/// How long a line is not repeated after it was written for the first time.
const FIRST: Duration = Duration::from_secs(60);
/// The longest such wait: it doubles as long as the line repeats.
const LONGEST: Duration = Duration::from_secs(3600);
/// The most things that are told apart, about 100 bytes each.
const MOST: usize = 4096;
/// The full table is searched for what is over no more often than this.
const SWEEP: Duration = Duration::from_secs(1);

/// What has been written lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    written: HashMap<(Identifier, String), Written>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Written {
    at: Instant,
    quiet: Duration,
    left_out: u64,
}

impl Repeats {
    /// Whether to write a line: how many of its kind were left out since the last one, or `None` to leave it out too.
    pub fn admit(&mut self, now: Instant, place: Identifier, subject: String) -> Option<u64> {
        let mut key = (place, subject);
        if !self.written.contains_key(&key) && self.is_full(now) {
            key.1.clear();
        }
        let Some(written) = self.written.get_mut(&key) else {
            self.written.insert(key, Written { at: now, quiet: FIRST, left_out: 0 });
            return Some(0);
        };
        if !written.is_over(now) {
            written.left_out += 1;
            return None;
        }
        let left_out = std::mem::take(&mut written.left_out);
        written.quiet = if left_out > 0 { (written.quiet * 2).min(LONGEST) } else { FIRST };
        written.at = now;
        Some(left_out)
    }

    /// Whether there is no room for one more, even after what is over and has nothing to tell was dropped.
    fn is_full(&mut self, now: Instant) -> bool {
        if self.written.len() < MOST {
            return false;
        }
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            // What has been quiet for twice its wait is no repetition any more, even if a count is lost with it.
            self.written.retain(|_, written| now.duration_since(written.at) < 2 * written.quiet);
        }
        self.written.len() >= MOST
    }
}

impl Written {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.at) >= self.quiet
    }
}

#[cfg(test)]
mod tests {
    use tracing::{Metadata, callsite::Callsite, subscriber::Interest};

    use super::*;

    /// A place in the code that is registered nowhere.
    struct Place(#[expect(dead_code, reason = "so that each has an address of its own")] u8);

    static PLACES: [Place; 2] = [Place(0), Place(1)];

    impl Callsite for Place {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("it is only a name")
        }
    }

    fn place(number: usize) -> Identifier {
        Identifier(&PLACES[number])
    }

    #[test]
    fn a_line_that_repeats_is_written_less_and_less_often_and_counted() {
        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        let mut written = Vec::new();
        for second in 0..4 * 3600 {
            let now = begun + Duration::from_secs(second);
            if let Some(left_out) = repeats.admit(now, place(0), "portal=a".into()) {
                written.push((second, left_out));
            }
        }
        let first = [(0, 0), (60, 59), (180, 119), (420, 239), (900, 479), (1860, 959), (3780, 1919), (7380, 3599)];
        assert_eq!(written[..8], first);
        assert_eq!(written.len(), 9, "once an hour from then on: {written:?}");
        assert_eq!(repeats.admit(begun, place(0), "portal=b".into()), Some(0), "another portal is another thing");
        assert_eq!(repeats.admit(begun, place(1), "portal=a".into()), Some(0), "and so is another place");
    }

    #[test]
    fn what_comes_back_after_a_pause_is_news() {
        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for (second, admitted) in [(0, Some(0)), (1, None), (70, Some(1)), (100, None), (300, Some(1)), (900, Some(0))]
        {
            assert_eq!(repeats.admit(at(second), place(0), String::new()), admitted, "{second}");
        }
        assert_eq!(repeats.admit(at(959), place(0), String::new()), None);
        assert_eq!(repeats.admit(at(960), place(0), String::new()), Some(1), "the wait began anew with the pause");
    }

    #[test]
    fn the_table_is_bounded_and_the_rest_shares_an_entry() {
        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        let written = (0..5 * MOST).filter(|n| repeats.admit(begun, place(0), n.to_string()).is_some()).count();
        assert_eq!(written, MOST + 1, "each on its own, then one for all others");
        assert!(repeats.written.len() <= MOST + 1);
        let later = begun + 2 * FIRST;
        assert_eq!(repeats.admit(later, place(0), "new".into()), Some(0), "what is over makes room");
        assert!(repeats.written.len() < 3, "{}", repeats.written.len());
    }
}
