//! The few of librdkafka's statistics that tell an operator something: how far the brokers are, and what waits for them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde::Deserialize;

/// What was told last, and the sum of what went wrong; written by the producer's thread.
#[derive(Debug, Default)]
pub struct Statistics {
    connected: AtomicU64,
    round_trip_us: AtomicU64,
    queued_bytes: AtomicU64,
    errors: AtomicU64,
}

/// How many errors one producer has told so far: its own sums begin anew with each producer.
#[derive(Debug, Default)]
pub(super) struct Told(AtomicU64);

/// The part of the statistics that is read.
#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    msg_size: u64,
    #[serde(default)]
    brokers: BTreeMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    /// Below 0 for an address that was only configured, and for what is no broker.
    #[serde(default)]
    nodeid: i64,
    #[serde(default)]
    state: String,
    #[serde(default)]
    txerrs: u64,
    #[serde(default)]
    rxerrs: u64,
    #[serde(default)]
    req_timeouts: u64,
    #[serde(default)]
    rtt: Window,
}

/// A window of the last span, in microseconds.
#[derive(Default, Deserialize)]
struct Window {
    #[serde(default)]
    p99: i64,
}

impl Statistics {
    /// Brokers that are connected.
    pub fn connected(&self) -> u64 {
        self.connected.load(Relaxed)
    }

    /// The round trip of the slowest broker, 99 percent of its requests in the last span, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one request")]
    pub fn round_trip_seconds(&self) -> f64 {
        self.round_trip_us.load(Relaxed) as f64 / 1e6
    }

    /// Size of the records that have no report yet.
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Relaxed)
    }

    /// Requests to brokers that failed or timed out since the start of the process.
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// Takes in what a producer tells. Words that cannot be read change nothing.
    pub(super) fn tell(&self, text: &[u8], told: &Told) {
        let read: Read = match serde_json::from_slice(text) {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, "statistics of librdkafka that cannot be read");
                return;
            }
        };
        let brokers = || read.brokers.values();
        let connected = brokers().filter(|broker| broker.nodeid >= 0 && broker.state == "UP").count();
        let slowest = brokers().map(|broker| u64::try_from(broker.rtt.p99).unwrap_or(0)).max().unwrap_or(0);
        let errors: u64 = brokers().map(|broker| broker.txerrs + broker.rxerrs + broker.req_timeouts).sum();
        self.connected.store(connected as u64, Relaxed);
        self.round_trip_us.store(slowest, Relaxed);
        self.queued_bytes.store(read.msg_size, Relaxed);
        let before = told.0.swap(errors, Relaxed);
        self.errors.fetch_add(errors.saturating_sub(before), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"name":"b24kafka#producer-1","msg_cnt":3,"msg_size":4096,"brokers":{
        "127.0.0.1:9092/bootstrap":{"nodeid":-1,"state":"UP","txerrs":1,"rxerrs":0,"req_timeouts":0},
        "b1:9092/1":{"nodeid":1,"state":"UP","txerrs":0,"rxerrs":2,"req_timeouts":1,"rtt":{"p99":1500,"cnt":9}},
        "b2:9092/2":{"nodeid":2,"state":"TRY_CONNECT","rtt":{"p99":0}}},"topics":{}}"#;

    #[test]
    fn the_slowest_broker_the_connected_ones_and_the_errors_are_told() {
        let (statistics, told) = (Statistics::default(), Told::default());
        statistics.tell(TEXT.as_bytes(), &told);
        assert_eq!((statistics.connected(), statistics.queued_bytes(), statistics.errors()), (1, 4096, 4));
        assert!((statistics.round_trip_seconds() - 0.0015).abs() < 1e-9);
        statistics.tell(TEXT.as_bytes(), &told);
        assert_eq!(statistics.errors(), 4, "nothing new went wrong");
        statistics.tell(TEXT.as_bytes(), &Told::default());
        assert_eq!(statistics.errors(), 8, "another producer's errors come on top");
        statistics.tell(b"{", &told);
        assert_eq!(statistics.connected(), 1, "what cannot be read changes nothing");
    }
}
