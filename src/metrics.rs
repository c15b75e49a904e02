//! The metrics, all of them, in one place: the documentation of a field is the help text of its metric.
//!
//! Every series that is known in advance is exported from the start as 0. No label is made from foreign text, and a
//! portal is a label only in the metrics of [`portals`]. The sums of conservation (received = acknowledged +
//! dead-lettered + held) are exact in every scrape: whoever changes them does so in one [`Metrics::flow`], and a scrape
//! waits for the open ones.

mod define;
pub mod labels;
pub mod portals;

use std::{
    sync::{PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus::{IntCounterVec, Registry, TextEncoder, core::Collector as _};

use define::metrics;
pub use define::{Description, Label};
use labels::Stage;
use portals::ByPortal;

/// From a quick answer to the end of a portal's patience, in seconds.
fn request_seconds() -> Vec<f64> {
    vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0]
}

/// From milliseconds to a month, which is how long a portal keeps a row, in seconds.
fn age_seconds() -> Vec<f64> {
    vec![0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0]
}

/// Rows of one exchange, up to a generous `fetch.limit_max`.
fn row_counts() -> Vec<f64> {
    vec![0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1000.0, 2000.0, 5000.0]
}

metrics! {
    /// All metrics.
    pub struct Metrics {
        registry: Registry,
        flow: RwLock<()>,
        by_portal: ByPortal,
    }
    /// What runs here; always 1.
    build_info = "build_info": IntGaugeVec ["version", "revision"],
    /// Rows that were taken in from a portal, each reception counted.
    rows_received = "rows_received_total": IntCounterVec ["entity"],
    /// Rows whose record Kafka has acknowledged, tombstones not counted.
    records_acknowledged = "records_acknowledged_total": IntCounterVec ["entity"],
    /// Rows whose removal a portal has confirmed.
    rows_cleared = "rows_cleared_total": IntCounter,
    /// Rows whose dead letter Kafka has acknowledged.
    dead_letters = "dead_letters_total": IntCounterVec ["reason": DeadLetter],
    /// Rows that were found in a reservation that nobody held.
    rows_recovered = "rows_recovered_total": IntCounter,
    /// Rows that came without a usable ID, each time they came. They go to the dead letters.
    rows_unreadable = "rows_unreadable_total": IntCounter,
    /// Rows that are taken in and neither acknowledged nor dead-lettered yet.
    rows_held = "rows_held": IntGauge,
    /// Rows that Kafka has acknowledged and that are not known to be cleared at their portal yet.
    rows_unconfirmed = "rows_unconfirmed": IntGauge,
    /// Rows that one exchange brought.
    exchange_rows = "exchange_rows": Histogram (row_counts()),
    /// Requests to portals and OAuth servers.
    rest_requests = "rest_requests_total": IntCounterVec ["call": Call, "outcome": CallOutcome],
    /// How long requests to portals and OAuth servers took.
    rest_request_seconds = "rest_request_seconds": HistogramVec ["call": Call] (request_seconds()),
    /// Times that a request had to wait for a limit.
    limit_waits = "limit_waits_total": IntCounterVec ["limit": Limit],
    /// How full the fullest request budget of a portal is, from 0 to 1.
    rest_budget_used = "rest_budget_used_ratio": Gauge,
    /// Token refreshes.
    token_refreshes = "token_refreshes_total": IntCounterVec ["outcome": Refresh],
    /// From handing a publication to Kafka to its last report.
    produce_seconds = "produce_seconds": Histogram (request_seconds()),
    /// Records that Kafka did not acknowledge.
    produce_failures = "produce_failures_total": IntCounterVec ["class": ProduceFailure],
    /// From the change in the portal to the acknowledgement of its record.
    event_age_seconds = "event_age_seconds": Histogram (age_seconds()),
    /// Records that wait in the producer.
    producer_queue_messages = "producer_queue_messages": IntGauge,
    /// Size of the records that wait in the producer, as librdkafka last told.
    producer_queue_bytes = "producer_queue_bytes": IntGauge,
    /// Whether the Kafka brokers answer and acknowledge what is sent, 1 or 0.
    broker_up = "broker_up": IntGauge,
    /// Brokers that the producer is connected to, as librdkafka last told.
    brokers_connected = "brokers_connected": IntGauge,
    /// Round trip of the slowest broker, 99 percent of its requests in the span of the last statistics.
    broker_round_trip = "broker_round_trip_seconds": Gauge,
    /// Requests to brokers that failed or timed out.
    broker_request_errors = "broker_request_errors_total": IntCounter,
    /// What /health says of the whole: 1 if it answers 200, 0 if it answers 503.
    healthy = "healthy": IntGauge,
    /// Portals by state.
    portals = "portals": IntGaugeVec ["state": PortalState],
    /// Portals that are parked, by the reason.
    portals_parked = "portals_parked": IntGaugeVec ["reason": ParkedReason],
    /// Portals that are asked and have not answered as they should for longer than they may say nothing.
    portals_silent = "portals_silent": IntGauge,
    /// Queues by mode.
    queues = "queues": IntGaugeVec ["mode": Mode],
    /// When the oldest row that is held was received, in seconds since 1970; 0 if none is held.
    oldest_held = "oldest_held_timestamp_seconds": Gauge,
    /// Since when rows that Kafka has acknowledged wait to be cleared, in seconds since 1970; 0 if none does.
    oldest_unconfirmed = "oldest_unconfirmed_timestamp_seconds": Gauge,
    /// When a stage last worked, in seconds since 1970; 0 if never.
    last_success = "last_success_timestamp_seconds": GaugeVec ["stage": Stage],
    /// Calls from Bitrix24.
    callbacks = "callbacks_total": IntCounterVec ["kind": Callback, "outcome": CallbackOutcome],
    /// Shards of the registry that this replica owns.
    shards_owned = "shards_owned": IntGauge,
    /// Times that a shard came or went.
    shard_changes = "shard_changes_total": IntCounter,
}

/// Sums since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows taken in.
    pub received: u64,
    /// Rows whose record is acknowledged.
    pub acknowledged: u64,
    /// Rows whose removal a portal has confirmed.
    pub cleared: u64,
    /// Dead letters.
    pub dead: u64,
    /// Requests to portals and OAuth servers.
    pub requests: u64,
    /// Rows that are held at this moment.
    pub held: u64,
}

fn sum(counters: &IntCounterVec) -> u64 {
    let families = counters.collect();
    let values = families
        .iter()
        .flat_map(prometheus::proto::MetricFamily::get_metric)
        .map(|metric| metric.get_counter().get_value());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of whole, positive counts")]
    return values.sum::<f64>() as u64;
}

impl Metrics {
    /// Registers everything. `entities` is the closed set of the `entity` label, `portals` how many portals have a label of
    /// their own.
    ///
    /// # Errors
    /// Two metrics of one name, or a process collector that the system refuses.
    pub fn new(entities: &[&'static str], portals: u32) -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(None, None)?;
        let by_portal = ByPortal::register(&registry, portals)?;
        let metrics = Self::register(&registry.clone(), registry, RwLock::new(()), by_portal)?;
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let revision = option_env!("B24KAFKA_REVISION").unwrap_or("unknown");
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        for entity in entities {
            metrics.rows_received.with_label_values(&[entity]);
            metrics.records_acknowledged.with_label_values(&[entity]);
        }
        Ok(metrics)
    }

    /// The series of single portals.
    pub fn by_portal(&self) -> &ByPortal {
        &self.by_portal
    }

    /// Changes several sums as one: no scrape sees some of the changes only.
    pub fn flow<T>(&self, change: impl FnOnce(&Self) -> T) -> T {
        let _open = self.flow.read().unwrap_or_else(PoisonError::into_inner);
        change(self)
    }

    /// Sums over all labels, at one moment.
    pub fn totals(&self) -> Totals {
        let _closed = self.flow.write().unwrap_or_else(PoisonError::into_inner);
        Totals {
            received: sum(&self.rows_received),
            acknowledged: sum(&self.records_acknowledged),
            cleared: self.rows_cleared.get(),
            dead: sum(&self.dead_letters),
            requests: sum(&self.rest_requests),
            held: u64::try_from(self.rows_held.get()).unwrap_or(0),
        }
    }

    /// A stage worked just now.
    pub fn succeeded(&self, stage: Stage) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.with_label_values(&[stage.as_str()]).set(now.as_secs_f64());
    }

    /// When a stage last worked, in seconds since 1970; 0 if never.
    pub fn last_success_of(&self, stage: Stage) -> f64 {
        self.last_success.with_label_values(&[stage.as_str()]).get()
    }

    /// The exposition in Prometheus' text format.
    ///
    /// # Errors
    /// A metric that cannot be encoded.
    pub fn expose(&self) -> Result<String, prometheus::Error> {
        let families = {
            let _closed = self.flow.write().unwrap_or_else(PoisonError::into_inner);
            self.registry.gather()
        };
        TextEncoder::new().encode_to_string(&families)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start() {
        let metrics = Metrics::new(&["crm.deal", "other"], 0).expect("registers");
        let text = metrics.expose().expect("encodes");
        for Description { name, help, .. } in Metrics::DESCRIPTIONS {
            assert!(text.contains(&format!("# HELP b24kafka_{name} {}", help.trim())), "{name}");
        }
        for series in [
            "b24kafka_rows_received_total{entity=\"crm.deal\"} 0",
            "b24kafka_rest_requests_total{call=\"exchange\",outcome=\"unknown\"} 0",
            "b24kafka_portals{state=\"parked\"} 0",
            "b24kafka_dead_letters_total{reason=\"too_large\"} 0",
            "process_cpu_seconds_total",
        ] {
            assert!(text.contains(series), "{series} in\n{text}");
        }
    }

    #[test]
    fn a_scrape_never_sees_half_of_a_change() {
        let metrics = std::sync::Arc::new(Metrics::new(&["crm.deal"], 0).expect("registers"));
        let writer = std::thread::spawn({
            let metrics = metrics.clone();
            move || {
                for _ in 0..20_000 {
                    metrics.flow(|m| {
                        m.rows_received.with_label_values(&["crm.deal"]).inc();
                        m.rows_held.inc();
                    });
                }
            }
        });
        while !writer.is_finished() {
            let text = metrics.expose().expect("encodes");
            let value = |name: &str| -> f64 {
                let line = text.lines().find(|line| line.starts_with(name)).expect("exported");
                line.rsplit(' ').next().and_then(|v| v.parse().ok()).expect("a number")
            };
            let (received, held) = (value("b24kafka_rows_received_total{"), value("b24kafka_rows_held "));
            assert!((received - held).abs() < f64::EPSILON, "{received} {held}");
        }
        writer.join().expect("writes");
    }
}
