//! Metrics of single portals: only if the configuration asks for them, and for a bounded number of portals.
//!
//! The first portals that are served, up to the number of `admin.portal_labels`, have their `member_id` as a label as
//! long as they are known; all others share [`OTHER`]. A `member_id` is made of letters and digits, so it cannot be that
//! word.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use super::define::{Description, metrics};

/// The label that portals without one of their own share.
pub const OTHER: &str = "_other";

metrics! {
    /// The metrics that have a portal as their label.
    struct Labelled {}
    /// Rows that were taken in from the portal, each reception counted.
    received = "portal_rows_received_total": IntCounterVec ["portal"],
    /// Rows of the portal whose record or dead letter Kafka has acknowledged.
    settled = "portal_rows_settled_total": IntCounterVec ["portal"],
    /// Rows of the portal that are taken in and not settled yet.
    held = "portal_rows_held": IntGaugeVec ["portal"],
    /// Requests to the portal.
    requests = "portal_rest_requests_total": IntCounterVec ["portal"],
    /// Whether the portal is parked; for _other the number of those that are.
    parked = "portal_parked": IntGaugeVec ["portal"],
    /// When a request to the portal last worked, in seconds since 1970; 0 if never, for _other the oldest of all.
    last_success = "portal_last_success_timestamp_seconds": GaugeVec ["portal"],
}

/// Every metric that has a portal as its label.
pub const DESCRIPTIONS: &[Description] = Labelled::DESCRIPTIONS;

/// Who has a label of its own.
#[derive(Clone, Debug)]
pub struct ByPortal(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    metrics: Labelled,
    most: usize,
    /// How many handles there are on each portal with a label of its own.
    named: Mutex<BTreeMap<String, usize>>,
}

/// The series of one portal; dropping the last one of a portal removes its label.
pub struct PortalSeries(Option<Series>);

struct Series {
    inner: Arc<Inner>,
    label: String,
    received: prometheus::IntCounter,
    settled: prometheus::IntCounter,
    held: prometheus::IntGauge,
    /// What this handle has put into `held`: it goes with it.
    holds: AtomicI64,
    requests: prometheus::IntCounter,
}

/// How a portal is doing, at the moment of a scrape.
#[derive(Clone, Copy, Debug)]
pub struct Doing<'a> {
    /// Which portal.
    pub member_id: &'a str,
    /// Whether it is parked.
    pub parked: bool,
    /// When a request last worked, in seconds since 1970; 0 if never.
    pub last_success: f64,
}

impl ByPortal {
    pub(super) fn register(registry: &prometheus::Registry, most: u32) -> Result<Self, prometheus::Error> {
        if most == 0 {
            return Ok(Self(None));
        }
        let metrics = Labelled::register(registry)?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(Self(Some(Arc::new(Inner { metrics, most, named: Mutex::default() }))))
    }

    /// The series of a portal that is going to be served.
    pub fn of(&self, member_id: &str) -> PortalSeries {
        let Some(inner) = &self.0 else { return PortalSeries(None) };
        let label = inner.name(member_id).to_owned();
        let m = &inner.metrics;
        PortalSeries(Some(Series {
            received: m.received.with_label_values(&[&label]),
            settled: m.settled.with_label_values(&[&label]),
            held: m.held.with_label_values(&[&label]),
            holds: AtomicI64::new(0),
            requests: m.requests.with_label_values(&[&label]),
            inner: inner.clone(),
            label,
        }))
    }

    /// Sets the gauges that are computed when somebody asks.
    pub fn gauge<'a>(&self, portals: impl Iterator<Item = Doing<'a>>) {
        let Some(inner) = &self.0 else { return };
        let named = inner.named.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others: Option<(i64, f64)> = None;
        for Doing { member_id, parked, last_success } in portals {
            if named.contains_key(member_id) {
                inner.metrics.parked.with_label_values(&[member_id]).set(i64::from(parked));
                inner.metrics.last_success.with_label_values(&[member_id]).set(last_success);
            } else {
                let (all_parked, oldest) = others.unwrap_or((0, f64::INFINITY));
                others = Some((all_parked + i64::from(parked), oldest.min(last_success)));
            }
        }
        let (parked, oldest) = others.unwrap_or_default();
        inner.metrics.parked.with_label_values(&[OTHER]).set(parked);
        inner.metrics.last_success.with_label_values(&[OTHER]).set(oldest);
    }
}

impl Inner {
    /// The label of a portal, its own if there is one left.
    fn name<'a>(&self, member_id: &'a str) -> &'a str {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if !named.contains_key(member_id) && named.len() >= self.most {
            return OTHER;
        }
        *named.entry(member_id.to_owned()).or_default() += 1;
        member_id
    }

    fn release(&self, label: &str) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handles) = named.get_mut(label) else { return };
        *handles -= 1;
        if *handles > 0 {
            return;
        }
        named.remove(label);
        let m = &self.metrics;
        // A gauge that no scrape has set yet is not there to be removed.
        let _ = m.parked.remove_label_values(&[label]);
        let _ = m.last_success.remove_label_values(&[label]);
        for counter in [&m.received, &m.settled, &m.requests] {
            let _ = counter.remove_label_values(&[label]);
        }
        let _ = m.held.remove_label_values(&[label]);
    }
}

impl PortalSeries {
    /// Rows came in, and so many more are held now, or fewer; what came in and is not held was settled.
    pub fn moved(&self, received: u64, held: i64) {
        let Some(series) = &self.0 else { return };
        let settled = i64::try_from(received).unwrap_or(i64::MAX).saturating_sub(held);
        series.received.inc_by(received);
        series.settled.inc_by(u64::try_from(settled).unwrap_or(0));
        series.held.add(held);
        series.holds.fetch_add(held, Relaxed);
    }

    /// A request was made.
    pub fn requested(&self) {
        if let Some(series) = &self.0 {
            series.requests.inc();
        }
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        self.held.sub(self.holds.load(Relaxed));
        self.inner.release(&self.label);
    }
}

impl fmt::Debug for PortalSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PortalSeries").field(&self.0.as_ref().map(|series| &series.label)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(registry: &prometheus::Registry) -> Vec<String> {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("encodes");
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn the_first_portals_have_a_label_and_the_rest_share_one() {
        let registry = prometheus::Registry::new();
        let all = ByPortal::register(&registry, 2).expect("registers");
        let series: Vec<_> = (0..5).map(|n| all.of(&format!("p{n}"))).collect();
        for series in &series {
            series.moved(10, 6);
            series.requested();
        }
        let doing =
            ["p0", "p1", "p2", "p3", "p4"].map(|id| Doing { member_id: id, parked: id > "p2", last_success: 7.0 });
        all.gauge(doing.into_iter());
        let lines = lines(&registry);
        assert_eq!(lines.len(), DESCRIPTIONS.len() * 3, "{lines:?}");
        for line in [
            "b24kafka_portal_rows_held{portal=\"p1\"} 6",
            "b24kafka_portal_rows_held{portal=\"_other\"} 18",
            "b24kafka_portal_rest_requests_total{portal=\"_other\"} 3",
            "b24kafka_portal_parked{portal=\"_other\"} 2",
            "b24kafka_portal_last_success_timestamp_seconds{portal=\"p0\"} 7",
        ] {
            assert!(lines.contains(&line.to_owned()), "{line} in {lines:?}");
        }
    }

    #[test]
    fn a_label_is_free_again_when_its_portal_is_gone_and_sums_never_fall() {
        let registry = prometheus::Registry::new();
        let all = ByPortal::register(&registry, 1).expect("registers");
        let (first, again, other) = (all.of("a"), all.of("a"), all.of("b"));
        [&first, &again, &other].iter().for_each(|series| series.moved(1, 1));
        drop(first);
        assert!(lines(&registry).contains(&"b24kafka_portal_rows_received_total{portal=\"a\"} 2".to_owned()));
        drop((again, other));
        let next = all.of("c");
        next.moved(1, 0);
        let lines = lines(&registry);
        assert!(lines.iter().all(|line| !line.contains("\"a\"")), "{lines:?}");
        assert!(lines.contains(&"b24kafka_portal_rows_received_total{portal=\"c\"} 1".to_owned()), "{lines:?}");
        assert!(lines.contains(&"b24kafka_portal_rows_received_total{portal=\"_other\"} 1".to_owned()), "{lines:?}");
        assert!(lines.contains(&"b24kafka_portal_rows_held{portal=\"_other\"} 0".to_owned()), "{lines:?}");
    }

    #[test]
    fn nothing_is_exported_unless_it_is_asked_for() {
        let registry = prometheus::Registry::new();
        let none = ByPortal::register(&registry, 0).expect("registers");
        none.of("a").moved(1, 1);
        none.gauge(std::iter::once(Doing { member_id: "a", parked: true, last_success: 0.0 }));
        assert_eq!(lines(&registry), Vec::<String>::new());
    }
}
