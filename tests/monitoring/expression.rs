//! Which metrics and labels an expression speaks of, and which of them the program exports.

use std::collections::{BTreeMap, BTreeSet};

use b24kafka::{bitrix::catalogue, metrics::Metrics};

/// Labels that Prometheus itself puts on what it scrapes.
const TARGET: [&str; 2] = ["job", "instance"];
/// What Prometheus itself records of a target.
const OF_PROMETHEUS: [&str; 1] = ["up"];

/// A metric that an expression names, with its label matchers.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub metric: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
}

/// Everything that is exported: each sample's name with the values of each of its labels.
pub struct Exported(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

/// Every metric of an expression: words that begin like ours, or that Prometheus records.
pub fn metrics(expr: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '"') {
        rest = &rest[start..];
        if let Some(string) = rest.strip_prefix('"') {
            rest = &string[string.find('"').expect("a string ends") + 1..];
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = &rest[..end];
        rest = &rest[end..];
        let ours = ["b24kafka_", "process_"].iter().any(|prefix| word.starts_with(prefix));
        if ours || OF_PROMETHEUS.contains(&word) {
            let matchers = rest.strip_prefix('{').map(|inner| &inner[..inner.find('}').expect("it is closed")]);
            found.push(Named { metric: word.to_owned(), matchers: matchers.map(selector).unwrap_or_default() });
        }
    }
    found
}

fn selector(inner: &str) -> Vec<(String, String, String)> {
    let matcher = |part: &str| {
        let name = part.find(['=', '!']).expect("an operator");
        let value = part.find('"').expect("a value");
        let text = |piece: &str| piece.trim().trim_matches('"').to_owned();
        (text(&part[..name]), text(&part[name..value]), text(&part[value..]))
    };
    inner.split(',').map(matcher).collect()
}

impl Exported {
    /// What the program exports from its start on.
    pub fn from_program() -> Self {
        let metrics = Metrics::new(catalogue::entities(), 1).expect("registers");
        metrics.by_portal().of("a").moved(1, 1);
        Self::from_text(&metrics.expose().expect("encodes"))
    }

    pub fn from_text(text: &str) -> Self {
        let mut all: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = &line[..line.find(['{', ' ']).expect("a sample")];
            let labels = all.entry(name.to_owned()).or_default();
            let inner = line.split_once('{').map_or("", |(_, rest)| &rest[..rest.find('}').expect("it is closed")]);
            for (label, _, value) in Some(inner).filter(|inner| !inner.is_empty()).map(selector).unwrap_or_default() {
                labels.entry(label).or_default().insert(value);
            }
        }
        Self(all)
    }

    /// Names and labels of an expression that are not exported.
    pub fn missing(&self, expr: &str) -> Vec<String> {
        let mut missing = Vec::new();
        for Named { metric, matchers } in metrics(expr) {
            let Some(labels) = self.0.get(&metric) else {
                if !OF_PROMETHEUS.contains(&metric.as_str()) {
                    missing.push(metric);
                }
                continue;
            };
            for (label, operator, value) in matchers.iter().filter(|(label, ..)| !TARGET.contains(&label.as_str())) {
                let values = labels.get(label);
                let exact = ["=", "!="].contains(&operator.as_str());
                if !values.is_some_and(|values| !exact || values.contains(value)) {
                    missing.push(format!("{metric}{{{label}{operator}\"{value}\"}}"));
                }
            }
        }
        missing
    }
}

#[test]
fn what_is_not_exported_is_found() {
    let exported = Exported::from_text("a_total{x=\"1\"} 0\nb24kafka_x_total{class=\"route\"} 0\nprocess_y 1\n");
    assert_eq!(exported.missing("rate(b24kafka_x_total{class=\"route\"}[5m]) and up == 0 or process_y"), [""; 0]);
    assert_eq!(exported.missing("b24kafka_x_totel + process_z"), ["b24kafka_x_totel", "process_z"]);
    let wrong = ["b24kafka_x_total{class!=\"rout\"}", "b24kafka_x_total{clas=\"route\"}"];
    assert_eq!(exported.missing(&wrong.join(" / ")), wrong);
    assert_eq!(exported.missing("b24kafka_x_total{job=\"b24kafka_nothing\", class=~\"a|b\"}"), [""; 0]);
    assert!(Exported::from_program().0.len() > 40);
}
