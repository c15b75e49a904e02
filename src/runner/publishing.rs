//! From rows to records, and what becomes of them in metrics and log.

use std::collections::BTreeMap;

use super::{clock::unix_seconds, letters::Letters, session::Session, told::Told};
use crate::{
    kafka::record::{Marks, Record, Recorder},
    metrics::{
        Metrics,
        labels::{ProduceFailure, Stage},
    },
    protocol::{
        ledger::Publication,
        queue::{Fact, Received},
        types::{Body, Connector, Delivery, EntityKey, Hindrance, Refusal, Row, RowId},
    },
};

/// What the core has to know of a row.
pub(super) fn receive(row: &Row) -> Received {
    let (key, malformed) = match &row.body {
        Body::Event(event) => (event.key, false),
        // A class of its own: nobody knows which entity it is about.
        Body::Malformed(_) => (EntityKey(row.id.get()), true),
    };
    Received { id: row.id, key, malformed, changed_at: row.changed_at() }
}

/// The record of a row, or its dead letter.
pub(super) fn record(recorder: &Recorder, dead_letter_topic: &str, row: &Row, publication: &Publication) -> Record {
    let marks = Marks { redelivery: publication.redelivery, late: publication.late };
    let record = match (&row.body, publication.refused) {
        (Body::Event(event), None) => recorder.record(row.id, event, marks),
        (Body::Event(_), Some(reason)) => {
            let detail = match reason {
                Refusal::TooLarge => "the record is larger than the producer or the topic allows",
                Refusal::InvalidRecord => "the broker refused the record",
                Refusal::MalformedRow => "the row cannot be read",
            };
            recorder.dead_letter(dead_letter_topic, row, reason, detail)
        }
        (Body::Malformed(malformed), reason) => {
            let reason = reason.unwrap_or(Refusal::MalformedRow);
            recorder.dead_letter(dead_letter_topic, row, reason, &malformed.detail)
        }
    };
    Record { alone: record.alone || publication.alone, ..record }
}

/// Why records were not acknowledged, counted.
pub(super) fn failures<'a>(deliveries: impl Iterator<Item = &'a Delivery>) -> Vec<(ProduceFailure, u64)> {
    let mut counts: BTreeMap<ProduceFailure, u64> = BTreeMap::new();
    for delivery in deliveries {
        let class = match delivery {
            Delivery::Acknowledged => continue,
            Delivery::Failed(Hindrance::Passing) => ProduceFailure::Passing,
            Delivery::Failed(Hindrance::Route) => ProduceFailure::Route,
            Delivery::Refused(_) => ProduceFailure::Record,
        };
        *counts.entry(class).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// Turns what has happened into metrics and log lines.
pub(super) struct Tally<'a> {
    pub metrics: &'a Metrics,
    /// The rows that the facts are about.
    pub rows: &'a BTreeMap<RowId, Row>,
    /// Whose they are.
    pub session: &'a Session,
    pub connector: &'a Connector,
    pub dead_letter_topic: &'a str,
    pub letters: &'a Letters,
}

/// Sums of one step.
#[derive(Default)]
struct Sums {
    received: BTreeMap<&'static str, u64>,
    acknowledged: BTreeMap<&'static str, u64>,
    dead: Vec<Refusal>,
    ages: Vec<f64>,
    recovered: u64,
    cleared: u64,
    held: i64,
    /// The read was answered with what cannot be believed.
    disbelieved: bool,
}

impl Tally<'_> {
    /// Metrics and log of one step. The sums of conservation change as one.
    pub fn count(&self, facts: impl Iterator<Item = Fact>, brought: Option<usize>, failed: &[(ProduceFailure, u64)]) {
        let mut sums = Sums::default();
        for fact in facts {
            self.add(fact, &mut sums);
        }
        let m = self.metrics;
        if sums.held != 0 || !sums.received.is_empty() || !sums.acknowledged.is_empty() || !sums.dead.is_empty() {
            m.flow(|m| {
                for (entity, rows) in &sums.received {
                    m.rows_received.with_label_values(&[entity]).inc_by(*rows);
                }
                for (entity, rows) in &sums.acknowledged {
                    m.records_acknowledged.with_label_values(&[entity]).inc_by(*rows);
                }
                for reason in &sums.dead {
                    m.dead_letters.with_label_values(&[reason.as_str()]).inc();
                }
                m.rows_held.add(sums.held);
                self.session.series().moved(sums.received.values().sum(), sums.held);
            });
        }
        if !sums.acknowledged.is_empty() {
            m.succeeded(Stage::Produce);
            sums.ages.iter().for_each(|age| m.event_age_seconds.observe(*age));
        }
        if sums.recovered > 0 {
            m.rows_recovered.inc_by(sums.recovered);
        }
        if sums.cleared > 0 {
            m.rows_cleared.inc_by(sums.cleared);
            m.succeeded(Stage::Clear);
        }
        if let Some(rows) = brought {
            #[expect(clippy::cast_precision_loss, reason = "a count of rows of one answer")]
            m.exchange_rows.observe(rows as f64);
            if !sums.disbelieved {
                m.succeeded(Stage::Fetch);
            }
        }
        for (class, records) in failed {
            m.produce_failures.with_label_values(&[class.as_str()]).inc_by(*records);
        }
        let (acknowledged, recovered, cleared) = (sums.acknowledged.values().sum(), sums.recovered, sums.cleared);
        self.tell(&Told { brought, recovered, acknowledged, cleared, failed });
    }

    fn add(&self, fact: Fact, sums: &mut Sums) {
        match fact {
            Fact::Received { row, recovered, again } => {
                sums.recovered += u64::from(recovered);
                if !again {
                    *sums.received.entry(self.entity(row)).or_default() += 1;
                    sums.held += 1;
                }
            }
            Fact::Acknowledged(row) => {
                *sums.acknowledged.entry(self.entity(row)).or_default() += 1;
                sums.held -= 1;
                if let Some(Row { body: Body::Event(event), .. }) = self.rows.get(&row) {
                    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit into 52 bits")]
                    sums.ages.push((unix_seconds() - event.changed_at as f64).max(0.0));
                }
            }
            Fact::DeadLettered(row, reason) => {
                self.tell_dead_letter(row, reason);
                let event = match self.rows.get(&row) {
                    Some(Row { body: Body::Event(event), .. }) => Some(&*event.name),
                    _ => None,
                };
                self.letters.note(self.session.portal(), row, event, reason);
                sums.dead.push(reason);
                sums.held -= 1;
            }
            Fact::LetterRefused(row, reason) => self.tell_refused_letter(row, reason),
            Fact::Cleared(rows) => sums.cleared += rows as u64,
            Fact::Disbelieved => {
                sums.disbelieved = true;
                self.tell_fact(fact);
            }
            Fact::OnlyHere(_) | Fact::UnknownGet | Fact::WakeUpsMissed | Fact::WakeUpsBack => self.tell_fact(fact),
        }
    }

    fn entity(&self, row: RowId) -> &'static str {
        match self.rows.get(&row) {
            Some(Row { body: Body::Event(event), .. }) => event.entity,
            _ => "other",
        }
    }
}
