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
pub fn judge(portal: &Portal, records: &[ReadRecord], lives: usize) -> Judgement {
    let mut hearing = Hearing::of(lives);
    records.iter().for_each(|record| hearing.hear(record));
    hearing.judge(portal)
}

/// Hears records, of any number of portals, one at a time and keeps what a judgement needs.
#[derive(Debug, Default)]
pub struct Hearing {
    heard: BTreeMap<String, Heard>,
    /// The records are the work of several processes.
    lives: bool,
}

/// What was heard of one portal.
#[derive(Debug, Default)]
struct Heard {
    seen: BTreeSet<String>,
    /// The newest row of each topic and key.
    newest: BTreeMap<(String, String), u64>,
    disordered: Vec<String>,
    duplicates: usize,
}

impl Hearing {
    /// For records that so many processes have written one after the other.
    ///
    /// `b24_late` tells of a row below one that *its* process has published. A process that was killed may have published a
    /// newer row of an object while an older one was hidden by a lost answer; its successor finds that one and cannot know
    /// (`b24_redelivery` is all that it can say). Within one life there is no such excuse.
    pub fn of(lives: usize) -> Self {
        Self { lives: lives > 1, ..Self::default() }
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
        let high = heard.newest.entry(key).or_default();
        let redelivery = self.lives && record.header("b24_redelivery").is_some();
        let marked = record.header("b24_late").is_some() || redelivery;
        if heard.seen.insert(id.to_owned()) {
            if row < *high && !marked {
                heard.disordered.push(id.to_owned());
            }
        } else {
            heard.duplicates += 1;
        }
        *high = row.max(*high);
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
