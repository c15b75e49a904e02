//! The truth about the broker, from what it did last: it answered, it acknowledged, or it failed.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rdkafka::error::RDKafkaErrorCode;

/// An answer older than this is no answer. Probes are 3 s apart and take 4 s at most, and `/health` has to tell the
/// truth within 15 s.
const ANSWER_AGE: Duration = Duration::from_secs(9);
/// Records that wait longer than this with no acknowledgement at all are not being acknowledged.
const STALL: Duration = Duration::from_secs(10);
/// A failure older than this, with nothing sent since, says nothing: rows that wait are tried again after a minute at the
/// latest, and some seconds for the jitter.
const FAILURE_AGE: Duration = Duration::from_secs(75);

/// How the broker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// A broker has answered a question lately.
    pub answering: bool,
    /// What is sent is being acknowledged, or nothing is being sent.
    pub acknowledging: bool,
    /// How long ago a broker last answered a question.
    pub last_answer: Option<Duration>,
    /// How long ago it last acknowledged a record.
    pub last_acknowledgement: Option<Duration>,
}

impl Health {
    /// Whether all is well.
    pub fn is_well(&self) -> bool {
        self.answering && self.acknowledging
    }
}

/// What the broker did last; written by the producer's threads.
#[derive(Debug)]
pub(super) struct Pulse {
    origin: Instant,
    answer: Moment,
    acknowledgement: Moment,
    failure: Moment,
    busy_since: Moment,
    busy: AtomicUsize,
    down: AtomicBool,
    /// What has been told since a broker last answered.
    told: Mutex<Vec<RDKafkaErrorCode>>,
}

/// Milliseconds since the origin plus one; 0 is never.
#[derive(Debug, Default)]
struct Moment(AtomicU64);

/// Held while a publication waits for its acknowledgements.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a Pulse);

impl Pulse {
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            answer: Moment::default(),
            acknowledgement: Moment::default(),
            failure: Moment::default(),
            busy_since: Moment::default(),
            busy: AtomicUsize::new(0),
            down: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    pub fn answered(&self) {
        self.answer.set(self.origin.elapsed());
        self.well();
    }

    pub fn acknowledged(&self) {
        self.acknowledgement.set(self.origin.elapsed());
    }

    pub fn failed(&self) {
        self.failure.set(self.origin.elapsed());
    }

    /// No connection to any broker is up.
    pub fn all_down(&self) {
        self.down.store(true, Relaxed);
    }

    /// Whether this trouble is news: the same one is told again only after a broker has answered in between.
    pub fn is_news(&self, code: RDKafkaErrorCode) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = !told.contains(&code);
        if news {
            told.push(code);
        }
        news
    }

    pub fn busy(&self) -> Busy<'_> {
        if self.busy.fetch_add(1, Relaxed) == 0 {
            self.busy_since.set(self.origin.elapsed());
        }
        Busy(self)
    }

    pub fn health(&self) -> Health {
        self.health_at(self.origin.elapsed())
    }

    fn well(&self) {
        self.down.store(false, Relaxed);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn health_at(&self, now: Duration) -> Health {
        let ago = |moment: &Moment| moment.get().map(|then| now.saturating_sub(then));
        let (acknowledgement, failure) = (self.acknowledgement.get(), self.failure.get());
        let moving = acknowledgement.max(self.busy_since.get());
        let busy = self.busy.load(Relaxed) > 0;
        let stalled = busy && moving.is_some_and(|since| now.saturating_sub(since) > STALL);
        let failing = failure.is_some() && failure > acknowledgement;
        let failing = failing && (busy || failure.is_some_and(|then| now.saturating_sub(then) <= FAILURE_AGE));
        Health {
            answering: !self.down.load(Relaxed) && ago(&self.answer).is_some_and(|age| age <= ANSWER_AGE),
            acknowledging: !stalled && !failing,
            last_answer: ago(&self.answer),
            last_acknowledgement: ago(&self.acknowledgement),
        }
    }
}

impl Moment {
    fn set(&self, since_origin: Duration) {
        self.0.store(u64::try_from(since_origin.as_millis()).unwrap_or(u64::MAX - 1) + 1, Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        self.0.load(Relaxed).checked_sub(1).map(Duration::from_millis)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_told_in_time() {
        let pulse = Pulse::new();
        assert!(!pulse.health().answering, "nobody has answered yet");
        pulse.answer.set(SECOND);
        assert!(pulse.health_at(8 * SECOND).is_well());
        assert!(!pulse.health_at(11 * SECOND).answering);
        pulse.answer.set(10 * SECOND);
        pulse.all_down();
        assert!(!pulse.health_at(11 * SECOND).answering);
        pulse.answered();
        pulse.answer.set(12 * SECOND);
        assert!(pulse.health_at(13 * SECOND).is_well());
    }

    #[test]
    fn waiting_without_an_acknowledgement_is_a_stall() {
        let pulse = Pulse::new();
        let busy = pulse.busy();
        pulse.busy_since.set(SECOND);
        assert!(pulse.health_at(5 * SECOND).acknowledging);
        assert!(!pulse.health_at(12 * SECOND).acknowledging);
        pulse.acknowledgement.set(11 * SECOND);
        assert!(pulse.health_at(12 * SECOND).acknowledging);
        drop(busy);
        assert!(pulse.health_at(100 * SECOND).acknowledging, "nothing is being sent");
        pulse.failure.set(101 * SECOND);
        assert!(!pulse.health_at(102 * SECOND).acknowledging);
        assert!(!pulse.health_at(101 * SECOND + FAILURE_AGE).acknowledging, "it is tried again by then");
        assert!(pulse.health_at(177 * SECOND).acknowledging, "whoever tried has given up");
        let busy = pulse.busy();
        pulse.busy_since.set(177 * SECOND);
        assert!(!pulse.health_at(178 * SECOND).acknowledging, "it is tried again, and nothing has worked yet");
        drop(busy);
        pulse.acknowledgement.set(103 * SECOND);
        assert!(pulse.health_at(104 * SECOND).acknowledging);
    }

    #[test]
    fn the_same_trouble_is_news_once() {
        let pulse = Pulse::new();
        assert!(pulse.is_news(RDKafkaErrorCode::Resolve));
        assert!(!pulse.is_news(RDKafkaErrorCode::Resolve));
        assert!(pulse.is_news(RDKafkaErrorCode::SSL));
        assert!(!pulse.is_news(RDKafkaErrorCode::Resolve));
        pulse.answered();
        assert!(pulse.is_news(RDKafkaErrorCode::SSL));
    }
}
