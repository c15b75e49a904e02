//! Which lines are repetitions: the same place in the code about the same thing is written once, then seldom, with a count.
//!
//! A portal that fails at every poll would otherwise fill the log. The table has a limit; beyond it the things of one place
//! in the code share an entry, so that a thousand portals that fail at once do not fill the log either.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tracing::{Level, callsite::Identifier};

/// How long a line is not repeated after it was written for the first time.
const FIRST: Duration = Duration::from_secs(60);
/// The longest such wait: it doubles as long as the line repeats.
const LONGEST: Duration = Duration::from_secs(3600);
/// The most things that are told apart, about 100 bytes each.
const MOST: usize = 4096;
/// The full table is searched for what is over no more often than this.
const SWEEP: Duration = Duration::from_secs(1);

/// A line that was left out: enough of it to tell what was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its level.
    pub level: Level,
    /// Its sentence.
    pub message: String,
    /// The fields that say what it is about.
    pub fields: Vec<(&'static str, String)>,
}

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
    /// The first that was left out; of an entry that many things share, without what is said of one only.
    line: Option<Box<Line>>,
}

impl Line {
    /// One of its fields.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

impl Repeats {
    /// Whether to write a line: how many of its kind were left out since the last one, or `None` to leave it out too.
    pub fn admit(
        &mut self,
        now: Instant,
        place: Identifier,
        subject: String,
        line: impl FnOnce() -> Line,
    ) -> Option<u64> {
        let mut key = (place, subject);
        if !self.written.contains_key(&key) && self.is_full(now) {
            key.1.clear();
        }
        let Some(written) = self.written.get_mut(&key) else {
            self.written.insert(key, Written { at: now, quiet: FIRST, left_out: 0, line: None });
            return Some(0);
        };
        if !written.is_over(now) {
            written.left_out += 1;
            written.line.get_or_insert_with(|| {
                let mut line = line();
                if key.1.is_empty() {
                    line.fields.clear();
                }
                Box::new(line)
            });
            return None;
        }
        let left_out = std::mem::take(&mut written.left_out);
        written.quiet = if left_out > 0 { (written.quiet * 2).min(LONGEST) } else { FIRST };
        written.at = now;
        written.line = None;
        Some(left_out)
    }

    /// What was left out since it was last told, and how often; it counts as told.
    pub fn take_left_out(&mut self) -> Vec<(Line, u64)> {
        let left_out = self.written.values_mut().filter_map(|written| {
            let line = written.line.take()?;
            Some((*line, std::mem::take(&mut written.left_out)))
        });
        left_out.collect()
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

    fn line(about: &str) -> Line {
        Line { level: Level::WARN, message: "it fails".to_owned(), fields: vec![("portal", about.to_owned())] }
    }

    fn admit(repeats: &mut Repeats, now: Instant, place: Identifier, about: &str) -> Option<u64> {
        repeats.admit(now, place, about.to_owned(), || line(about))
    }

    #[test]
    fn a_line_that_repeats_is_written_less_and_less_often_and_counted() {
        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        let mut written = Vec::new();
        for second in 0..4 * 3600 {
            let now = begun + Duration::from_secs(second);
            if let Some(left_out) = admit(&mut repeats, now, place(0), "portal=a") {
                written.push((second, left_out));
            }
        }
        let first = [(0, 0), (60, 59), (180, 119), (420, 239), (900, 479), (1860, 959), (3780, 1919), (7380, 3599)];
        assert_eq!(written[..8], first);
        assert_eq!(written.len(), 9, "once an hour from then on: {written:?}");
        assert_eq!(admit(&mut repeats, begun, place(0), "portal=b"), Some(0), "another portal is another thing");
        assert_eq!(admit(&mut repeats, begun, place(1), "portal=a"), Some(0), "and so is another place");
    }

    #[test]
    fn what_comes_back_after_a_pause_is_news() {
        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for (second, admitted) in [(0, Some(0)), (1, None), (70, Some(1)), (100, None), (300, Some(1)), (900, Some(0))]
        {
            assert_eq!(admit(&mut repeats, at(second), place(0), ""), admitted, "{second}");
        }
        assert_eq!(admit(&mut repeats, at(959), place(0), ""), None);
        assert_eq!(admit(&mut repeats, at(960), place(0), ""), Some(1), "the wait began anew with the pause");
    }

    #[test]
    fn the_table_is_bounded_and_the_rest_shares_an_entry() {
        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        let written = (0..5 * MOST).filter(|n| admit(&mut repeats, begun, place(0), &n.to_string()).is_some()).count();
        assert_eq!(written, MOST + 1, "each on its own, then one for all others");
        assert!(repeats.written.len() <= MOST + 1);
        let later = begun + 2 * FIRST;
        assert_eq!(admit(&mut repeats, later, place(0), "new"), Some(0), "what is over makes room");
        assert!(repeats.written.len() < 3, "{}", repeats.written.len());
    }

    #[test]
    fn what_was_left_out_is_told_once_and_what_shares_an_entry_names_nobody() {
        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for (second, about) in [(0, "a"), (1, "a"), (2, "a"), (3, "b"), (61, "a"), (62, "a"), (63, "c"), (64, "c")] {
            admit(&mut repeats, at(second), place(0), about);
        }
        let mut left_out = repeats.take_left_out();
        left_out.sort_by_key(|(line, _)| line.fields.clone());
        assert_eq!(left_out, [(line("a"), 1), (line("c"), 1)], "not what the line at 61 s has told");
        assert_eq!(repeats.take_left_out(), []);

        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        for n in 0..2 * MOST {
            admit(&mut repeats, begun, place(0), &n.to_string());
        }
        let shared = Line { fields: Vec::new(), ..line("") };
        assert_eq!(repeats.take_left_out(), [(shared, MOST as u64 - 1)]);
    }
}
