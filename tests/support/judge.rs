//! The judge: what the portal has seen against what Kafka has. The simulator's ledger is the truth.

use std::collections::{BTreeMap, BTreeSet};

use b24kafka::sim::{Fate, Portal};

use super::reader::ReadRecord;

/// What the comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Rows that the portal ever had.
    pub rows: usize,
    /// Rows without a record.
    pub lost: Vec<u64>,
    /// Rows that are still at the portal.
    pub left: Vec<u64>,
    /// Rows of which there is a record and that the portal never had in that state.
    pub invented: Vec<String>,
    /// First deliveries behind a newer row of their key without a mark.
    pub disordered: Vec<String>,
    /// Records beyond the first of each change.
    pub duplicates: usize,
}

impl Judgement {
    /// Nothing lost, nothing left, nothing invented, everything in order. Duplicates are allowed.
    pub fn assert_good(&self) {
        let bad = [self.lost.len(), self.left.len(), self.invented.len(), self.disordered.len()];
        assert_eq!(bad, [0; 4], "lost, left, invented, disordered of {} rows: {self:?}", self.rows);
    }
}

/// Compares the records of one queue's portal, in the order of their offsets within each partition, with its ledger.
pub fn judge(portal: &Portal, records: &[ReadRecord]) -> Judgement {
    let mine: Vec<&ReadRecord> = records
        .iter()
        .filter(|r| r.header("ce_id").is_some_and(|id| id.starts_with(&format!("{}:", portal.member_id()))))
        .collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut newest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut judgement = Judgement::default();
    for record in &mine {
        let id = record.header("ce_id").expect("filtered");
        let row: u64 = id.split(':').nth(1).and_then(|row| row.parse().ok()).expect("ce_id names a row");
        let key = (record.topic.as_str(), record.key.as_deref().expect("a key"));
        let high = newest.entry(key).or_default();
        let marked = record.header("b24_late").is_some() || record.header("b24_redelivery").is_some();
        if seen.insert(id) {
            if row < *high && !marked {
                judgement.disordered.push(id.to_owned());
            }
        } else {
            judgement.duplicates += 1;
        }
        *high = row.max(*high);
    }
    let mut truth = BTreeSet::new();
    for entry in portal.ledger().entries() {
        judgement.rows += 1;
        let id = format!("{}:{}:{}", portal.member_id(), entry.id, entry.changed_at);
        if !seen.contains(id.as_str()) {
            judgement.lost.push(entry.id);
        }
        if matches!(entry.fate, Fate::Free | Fate::Reserved(_)) {
            judgement.left.push(entry.id);
        }
        truth.insert(id);
    }
    judgement.invented = seen.into_iter().filter(|id| !truth.contains(*id)).map(str::to_owned).collect();
    judgement
}
