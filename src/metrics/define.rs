//! How a set of metrics is written down: one list of fields, from which their registration and their documentation are
//! made.
//!
//! The documentation of a field is the help text of its metric. A label names its closed set; if all labels of a metric
//! do, each of its series is exported from the start as 0.

use prometheus::core::{MetricVec, MetricVecBuilder};

/// What is known of a metric without running anything, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The name, without the prefix.
    pub name: &'static str,
    /// What it counts or measures.
    pub help: &'static str,
    /// The type in this program.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
}

/// A label with its values, each with what it means; none if the set is not closed in the program.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// The name.
    pub name: &'static str,
    /// The values.
    pub values: &'static [(&'static str, &'static str)],
}

impl Description {
    /// `counter`, `gauge` or `histogram`, as Prometheus calls it.
    pub fn kind(&self) -> &'static str {
        ["Counter", "Histogram"]
            .into_iter()
            .zip(["counter", "histogram"])
            .find_map(|(word, kind)| self.kind.contains(word).then_some(kind))
            .unwrap_or("gauge")
    }
}

/// Exports every series of a metric whose label values are all known in advance.
pub(super) fn export_all<B: MetricVecBuilder>(metric: &MetricVec<B>, labels: &[Label]) {
    if labels.iter().all(|label| !label.values.is_empty()) {
        let mut rows: Vec<Vec<&str>> = vec![Vec::new()];
        for label in labels {
            let with = |row: &Vec<&'static str>| {
                let row = row.clone();
                label.values.iter().map(move |(value, _)| [row.as_slice(), &[*value]].concat())
            };
            rows = rows.iter().flat_map(with).collect();
        }
        rows.iter().for_each(|row| drop(metric.with_label_values(row)));
    }
}

/// `struct Name { further fields }`, then one line for each metric: `field = "name": Kind ["label": Set] (buckets)`.
macro_rules! metrics {
    (
        $(#[doc = $doc:literal])+
        $vis:vis struct $all:ident { $($own:ident: $of:ty),* $(,)? }
        $($(#[doc = $help:literal])+ $field:ident = $name:literal: $kind:ident $([$($label:literal $(: $set:ident)?),+])? $(($buckets:expr))?,)+
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        $vis struct $all {
            $($own: $of,)*
            $($(#[doc = $help])+ pub $field: prometheus::$kind,)+
        }

        impl $all {
            /// Every metric.
            pub const DESCRIPTIONS: &[$crate::metrics::define::Description] = &[$($crate::metrics::define::Description {
                name: $name,
                help: concat!($($help),+),
                kind: stringify!($kind),
                labels: metrics!(@labels [$($($label $(: $set)?),+)?]),
            }),+];

            fn register(registry: &prometheus::Registry, $($own: $of),*) -> Result<Self, prometheus::Error> {
                $(
                    let opts = prometheus::Opts::new(concat!("b24kafka_", $name), concat!($($help),+).trim());
                    let $field = metrics!(@make $kind, opts, [$($($label),+)?], [$($buckets)?]);
                    registry.register(Box::new($field.clone()))?;
                    metrics!(@export $field, [$($($label $(: $set)?),+)?]);
                )+
                Ok(Self { $($own,)* $($field,)+ })
            }
        }
    };
    (@labels [$($label:literal $(: $set:ident)?),*]) => {
        &[$($crate::metrics::define::Label { name: $label, values: metrics!(@values $($set)?) }),*]
    };
    (@values) => { &[] };
    (@values $set:ident) => { $crate::metrics::labels::$set::VALUES };
    (@export $metric:ident, []) => {};
    (@export $metric:ident, $labels:tt) => {
        $crate::metrics::define::export_all(&$metric, metrics!(@labels $labels))
    };
    (@make $kind:ident, $opts:expr, [], []) => { prometheus::$kind::with_opts($opts)? };
    (@make $kind:ident, $opts:expr, [], [$buckets:expr]) => {
        prometheus::$kind::with_opts(prometheus::HistogramOpts::from($opts).buckets($buckets))?
    };
    (@make $kind:ident, $opts:expr, [$($label:literal),+], []) => { prometheus::$kind::new($opts, &[$($label),+])? };
    (@make $kind:ident, $opts:expr, [$($label:literal),+], [$buckets:expr]) => {
        prometheus::$kind::new(prometheus::HistogramOpts::from($opts).buckets($buckets), &[$($label),+])?
    };
}

pub(super) use metrics;
