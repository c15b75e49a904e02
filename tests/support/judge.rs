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

/// Compares the records of one portal, in the order of their offsets within each partition, with its ledger; `lives` as in
/// [`Hearing::of`].
pub fn judge(portal: &Portal, records: &[ReadRecord], lives: &[i64]) -> Judgement {
    let mut hearing = Hearing::of(lives);
    records.iter().for_each(|record| hearing.hear(record));
    hearing.judge(portal)
}

/// Hears records, of any number of portals, one at a time and keeps what a judgement needs.
#[derive(Debug, Default)]
pub struct Hearing {
    heard: BTreeMap<String, Heard>,
    /// When each process that wrote them was started, in milliseconds since 1970.
    lives: Vec<i64>,
}

/// What was heard of one portal.
#[derive(Debug, Default)]
struct Heard {
    seen: BTreeSet<String>,
    /// The newest row of each topic and key, and when it was first produced.
    newest: BTreeMap<(String, String), (u64, i64)>,
    disordered: Vec<String>,
    duplicates: usize,
}

impl Hearing {
    /// For records of processes that were started one after the other, at these times.
    ///
    /// `b24_late` tells of a row below one that *its* process has published. So there is one excuse for a first delivery that
    /// comes behind a newer one without it, and this is its schedule: a row is hidden, since the answer to its `get` was lost
    /// or the `get` is executed late; its process publishes a newer row of the same object, and is killed before it has found
    /// the hidden one; the next process finds that, and cannot know of the newer one (`b24_redelivery` is all that it can
    /// say). Without reservations an older row may change in the meantime, with the same effect. A process was started
    /// between the two records then. Within one life there is no excuse.
    pub fn of(lives: &[i64]) -> Self {
        Self { lives: lives.into(), ..Self::default() }
    }

    /// Records of a partition have to come in the order of their offsets.
    pub fn hear(&mut self, record: &ReadRecord) {
        let Some(id) = record.header("ce_id") else { return };
        let mut parts = id.split(':');
        let member = parts.next().unwrap_or_default();
        let row: u64 = parts.next().and_then(|row| row.parse().ok()).expect("ce_id names a row");
        let heard = match self.heard.get_mut(member) {
            Some(heard) => heard,
            None => self.heard.entry(member.to_owned()).or_default(),
        };
        let key = (record.topic.clone(), record.key.clone().expect("a key"));
        let newest = heard.newest.entry(key).or_default();
        let (high, since) = *newest;
        let heir = || self.lives.iter().any(|born| (since..=record.timestamp).contains(born));
        let redelivery = record.header("b24_redelivery").is_some();
        let marked = record.header("b24_late").is_some() || (redelivery && heir());
        if heard.seen.insert(id.to_owned()) {
            if row < high && !marked {
                heard.disordered.push(id.to_owned());
            }
        } else {
            heard.duplicates += 1;
        }
        if row > high {
            *newest = (row, record.timestamp);
        }
    }

    /// What was heard of a portal against its ledger.
    pub fn judge(&self, portal: &Portal) -> Judgement {
        let nothing = Heard::default();
        let member = portal.member_id();
        let heard = self.heard.get(&member).unwrap_or(&nothing);
        let mut judgement =
            Judgement { disordered: heard.disordered.clone(), duplicates: heard.duplicates, ..Judgement::default() };
        let mut truth = BTreeSet::new();
        for entry in portal.ledger().entries() {
            judgement.rows += 1;
            let id = format!("{member}:{}:{}", entry.id, entry.changed_at);
            if !heard.seen.contains(&id) {
                judgement.lost.push(entry.id);
            }
            if matches!(entry.fate, Fate::Free | Fate::Reserved(_)) {
                judgement.left.push(entry.id);
            }
            truth.insert(id);
            // Without reservations a row may be published in each of its states.
            truth.extend(entry.earlier.iter().map(|at| format!("{member}:{}:{at}", entry.id)));
        }
        judgement.invented = heard.seen.difference(&truth).cloned().collect();
        judgement
    }
}
