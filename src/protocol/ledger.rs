//! Which rows are held, published, acknowledged, refused and being confirmed. "May it be cleared?" is asked here only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    exchange::{BATCH_COMMANDS, CLEAR_IDS, Clear, Cleared},
    queue::Received,
    seeded::{Bug, Seeded},
    types::{Delivery, EntityKey, NonEmpty, ProcessId, Refusal, RowId},
};

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// To be produced.
    Waiting,
    /// Handed to Kafka; its report is outstanding.
    Sent,
    /// Refused in a batch: to be produced alone, since a broker refuses a whole batch for one record in it.
    Suspect,
    /// Kafka has acknowledged its record, or its dead letter.
    Acknowledged,
    /// In a clear that was sent and whose outcome is not known.
    Confirming,
}

/// What a row is at the portal, and so what has to be done there once it is settled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Reserved under this id: it is cleared by name.
    Reserved(ProcessId),
    /// Free, and unchanged for long enough when it was listed: it is deleted if it still is as it was.
    Listed,
    /// Free, and it changes too often to be deleted: it stays, and is read again.
    Passing,
    /// Not there any more: nobody but this process has it.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Entry {
    place: Place,
    key: EntityKey,
    /// When the portal says that it was last changed, in seconds since 1970.
    changed_at: Option<i64>,
    state: State,
    /// It becomes a dead letter, for this reason.
    refused: Option<Refusal>,
    /// Somebody may have produced it before.
    redelivery: bool,
    /// It has been handed to Kafka at least once.
    tried: bool,
    /// A newer row may have gone before it.
    late: bool,
    /// It is being produced in a batch of its own, so a refusal is meant for it.
    alone: bool,
    /// An acknowledgement has been counted for it.
    settled: bool,
}

impl Entry {
    /// Whether it goes to the dead letters with nothing left out.
    fn holds_whole_letter(&self) -> bool {
        self.refused.is_some_and(|reason| reason != Refusal::TooLarge)
    }
}

/// One row to hand to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Publication {
    /// Which row.
    pub row: RowId,
    /// As a dead letter, for this reason.
    pub refused: Option<Refusal>,
    /// It may have been produced before (`b24_redelivery`).
    pub redelivery: bool,
    /// A newer row of this queue has been published before it (`b24_late`).
    pub late: bool,
    /// It has to go in a batch of its own, which no record of any queue shares: it was refused in a batch, or it is a dead
    /// letter, which one that the broker does not take must not hold up.
    pub alone: bool,
}

/// How a row has left the number of those that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settled {
    /// Its record is acknowledged.
    Acknowledged,
    /// Its dead letter is acknowledged.
    DeadLettered(Refusal),
}

/// The rows of one queue from their reception to their confirmation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ledger {
    rows: BTreeMap<RowId, Entry>,
    /// The highest row that this process has published from the queue.
    high: Option<RowId>,
    received: u64,
    acknowledged: u64,
    dead_lettered: u64,
    /// A deliberate fault, for the model.
    #[serde(skip)]
    pub seeded: Seeded,
}

impl Ledger {
    /// Takes a row in. One that is known already is taken anew in its newest place: it is in one only.
    ///
    /// A `redelivery` may have been produced before: it was found reserved, or a former owner may have listed it. Returns
    /// whether the row counts as received: one that is held already is the same reception. One that was settled and comes
    /// again (it changed, or its clear or deletion never worked) is a new one, with an acknowledgement of its own.
    pub fn receive(&mut self, place: Place, row: Received, redelivery: bool) -> bool {
        let late = self.high.is_some_and(|high| row.id < high);
        let entry = Entry {
            place,
            key: row.key,
            changed_at: row.changed_at,
            state: State::Waiting,
            refused: row.malformed.then_some(Refusal::MalformedRow),
            redelivery,
            tried: false,
            late,
            alone: false,
            settled: false,
        };
        let counts = self.rows.insert(row.id, entry).is_none_or(|old| old.settled);
        self.received += u64::from(counts);
        counts
    }

    /// What has to be produced now, in the order of the rows' ids. Suspects go one at a time, in their turn.
    pub fn publications(&mut self) -> Vec<Publication> {
        let suspect = self.rows.iter().find(|(_, e)| e.state == State::Suspect).map(|(id, _)| *id);
        let before = |id: &RowId| suspect.is_none_or(|suspect| *id < suspect);
        let mut due: Vec<RowId> =
            self.rows.iter().filter(|(id, e)| e.state == State::Waiting && before(id)).map(|(id, _)| *id).collect();
        // A row that merely happens to be the only one may share its batch with rows of other queues.
        let alone = due.is_empty();
        if alone {
            due.extend(suspect);
        }
        let mut out = Vec::with_capacity(due.len());
        for id in due {
            let Some(entry) = self.rows.get_mut(&id) else { continue };
            let redelivery = entry.redelivery || entry.tried;
            out.push(Publication {
                row: id,
                refused: entry.refused,
                redelivery,
                late: entry.late,
                alone: alone || entry.refused.is_some(),
            });
            (entry.state, entry.alone, entry.tried) = (State::Sent, alone, true);
            if self.seeded.has(Bug::ClearBeforeAcknowledgement) {
                (entry.state, entry.settled) = (State::Acknowledged, true);
                self.acknowledged += 1;
            }
        }
        self.high = self.high.max(out.last().map(|last| last.row));
        out
    }

    /// The report of a row. Returns how the row was settled, if it was by this report. A report that nobody waits for is
    /// ignored.
    pub fn delivered(&mut self, row: RowId, delivery: Delivery) -> Option<Settled> {
        let entry = self.rows.get_mut(&row).filter(|entry| entry.state == State::Sent)?;
        entry.state = match delivery {
            Delivery::Acknowledged => State::Acknowledged,
            Delivery::Refused(reason) if entry.refused.is_none() && entry.alone => {
                entry.refused = Some(reason);
                State::Waiting
            }
            // A letter that holds the row whole is too large: one that holds its digest is not.
            Delivery::Refused(Refusal::TooLarge) if entry.holds_whole_letter() => {
                entry.refused = Some(Refusal::TooLarge);
                State::Waiting
            }
            Delivery::Refused(_) if entry.refused.is_none() => State::Suspect,
            Delivery::Refused(_) | Delivery::Failed(_) => State::Waiting,
        };
        if entry.state != State::Acknowledged || std::mem::replace(&mut entry.settled, true) {
            return None;
        }
        Some(match entry.refused {
            None => {
                self.acknowledged += 1;
                Settled::Acknowledged
            }
            Some(reason) => {
                self.dead_lettered += 1;
                Settled::DeadLettered(reason)
            }
        })
    }

    /// Ends a round of reports. What is acknowledged and needs no confirmation is done with.
    pub fn end_of_reports(&mut self) {
        self.order_behind_failures();
        let done = |e: &Entry| e.state == State::Acknowledged && matches!(e.place, Place::Passing | Place::Gone);
        self.rows.retain(|_, entry| !done(entry));
    }

    /// What stands behind an unacknowledged row of its entity goes again after it, so that whoever keeps the newest state
    /// by key ends with the newest.
    fn order_behind_failures(&mut self) {
        let mut failed: BTreeMap<EntityKey, RowId> = BTreeMap::new();
        let mut ahead: BTreeMap<EntityKey, RowId> = BTreeMap::new();
        let past_failures = self.seeded.has(Bug::ClearPastFailedRow);
        for (id, entry) in &mut self.rows {
            match entry.state {
                State::Waiting | State::Suspect => {
                    failed.entry(entry.key).or_insert(*id);
                    if entry.tried {
                        ahead.insert(entry.key, *id);
                    }
                }
                State::Acknowledged if failed.contains_key(&entry.key) && !past_failures => {
                    entry.state = State::Waiting;
                    ahead.insert(entry.key, *id);
                }
                _ => {}
            }
        }
        // Those that a later row of their entity may have overtaken say so.
        for (id, entry) in &mut self.rows {
            let waits = matches!(entry.state, State::Waiting | State::Suspect);
            if waits && ahead.get(&entry.key).is_some_and(|ahead| id < ahead) {
                entry.late = true;
            }
        }
    }

    /// May this row be cleared? Only after the acknowledgement of its own record or dead letter, and never past an earlier
    /// row of its entity that has none ([`Ledger::order_behind_failures`] has taken the mark from those).
    fn may_clear(entry: &Entry) -> bool {
        matches!(entry.state, State::Acknowledged | State::Confirming)
    }

    /// The clears that are due, each of one reservation and of at most [`CLEAR_IDS`] rows; at most [`BATCH_COMMANDS`] of
    /// them, and whether these are all. Their rows await confirmation.
    pub fn clears(&mut self) -> (Vec<Clear>, bool) {
        let mut by_process: BTreeMap<&ProcessId, Vec<RowId>> = BTreeMap::new();
        for (id, entry) in self.rows.iter().filter(|(_, entry)| Self::may_clear(entry)) {
            if let Place::Reserved(process) = &entry.place {
                by_process.entry(process).or_default().push(*id);
            }
        }
        let chunks = by_process.into_iter().flat_map(|(process, ids)| {
            let clear = |ids: &[RowId]| NonEmpty::new(ids.to_vec()).map(|ids| Clear { process: process.clone(), ids });
            ids.chunks(CLEAR_IDS).filter_map(clear).collect::<Vec<_>>()
        });
        let mut clears: Vec<Clear> = chunks.collect();
        let all = clears.len() <= BATCH_COMMANDS;
        clears.truncate(BATCH_COMMANDS);
        for id in clears.iter().flat_map(|clear| clear.ids.as_slice()) {
            if let Some(entry) = self.rows.get_mut(id) {
                entry.state = State::Confirming;
            }
        }
        (clears, all)
    }

    /// The outcome of a clear. What is not known to be done is asked for again: a clear is idempotent.
    pub fn cleared(&mut self, clear: &Clear, outcome: Cleared) {
        if outcome != Cleared::Done {
            return;
        }
        for id in clear.ids.as_slice() {
            let ours = |e: &Entry| {
                e.state == State::Confirming
                    && matches!(&e.place, Place::Reserved(process) if *process == clear.process)
            };
            if self.rows.get(id).is_some_and(ours) {
                self.rows.remove(id);
            }
        }
    }

    /// May what was listed be deleted? Only all of it at once, since a deletion names a range: each row acknowledged.
    pub fn may_delete(&self) -> bool {
        self.listed().all(|(_, entry)| Self::may_clear(entry))
    }

    /// A deletion of what was listed is sent.
    pub fn deleting(&mut self) {
        for entry in self.rows.values_mut().filter(|entry| entry.place == Place::Listed) {
            entry.state = State::Confirming;
        }
    }

    /// A deletion is done and has brought `rows`. What was listed and is not among them stays at the portal, because it has
    /// changed, and is going to be listed again; here it is done with. Returns the strangers: rows that are gone from the
    /// portal and were not published as they were.
    pub fn deleted(&mut self, rows: &[Received]) -> Vec<Received> {
        let known = |row: &Received| {
            let listed = |e: &Entry| e.state == State::Confirming && e.place == Place::Listed;
            self.rows.get(&row.id).is_some_and(|entry| listed(entry) && entry.changed_at == row.changed_at)
        };
        let strangers = rows.iter().copied().filter(|row| !known(row)).collect();
        self.rows.retain(|_, entry| entry.place != Place::Listed);
        strangers
    }

    fn listed(&self) -> impl Iterator<Item = (&RowId, &Entry)> {
        self.rows.iter().filter(|(_, entry)| entry.place == Place::Listed)
    }

    /// Whether this row was listed, and is settled: what invariant I1 asks of a deletion that it is in the range of.
    pub fn is_listed(&self, row: RowId) -> bool {
        self.rows.get(&row).is_some_and(|entry| entry.place == Place::Listed)
    }

    /// The rows of any state, ascending.
    pub fn ids(&self) -> impl Iterator<Item = RowId> {
        self.rows.keys().copied()
    }

    /// Rows that nobody has but this process.
    pub fn only_here(&self) -> usize {
        self.rows.values().filter(|entry| entry.place == Place::Gone).count()
    }

    /// Whether reports are outstanding.
    pub fn awaits_reports(&self) -> bool {
        self.rows.values().any(|entry| entry.state == State::Sent)
    }

    /// Whether rows have to be produced.
    pub fn has_unpublished(&self) -> bool {
        self.rows.values().any(|entry| matches!(entry.state, State::Waiting | State::Suspect))
    }

    /// Whether reserved rows have to be confirmed.
    pub fn has_clears(&self) -> bool {
        self.rows.values().any(|entry| Self::may_clear(entry) && matches!(entry.place, Place::Reserved(_)))
    }

    /// Whether rows have to be confirmed.
    pub fn has_clearable(&self) -> bool {
        self.rows.values().any(Self::may_clear)
    }

    /// Whether a clear is on its way, or has failed and is to be asked for again.
    pub fn is_confirming(&self) -> bool {
        self.rows.values().any(|entry| entry.state == State::Confirming)
    }

    /// Whether this row is known here, in any state.
    pub fn contains(&self, row: RowId) -> bool {
        self.rows.contains_key(&row)
    }

    /// Whether nothing at all is known to be reserved here.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows that are received and not yet acknowledged.
    pub fn held(&self) -> u64 {
        self.rows.values().filter(|entry| !entry.settled).count() as u64
    }

    /// The rows that are received and not yet acknowledged.
    pub fn held_rows(&self) -> impl Iterator<Item = RowId> {
        self.rows.iter().filter(|(_, entry)| !entry.settled).map(|(id, _)| *id)
    }

    /// Rows of any state.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether every row whose id is given stands acknowledged for itself: what invariant I1 asks of a clear.
    pub fn is_settled(&self, row: RowId) -> bool {
        self.rows.get(&row).is_some_and(|entry| entry.settled && Self::may_clear(entry))
    }

    /// Rows of an entity that stand before `row` and are not acknowledged.
    pub fn is_behind_failure(&self, row: RowId) -> bool {
        let Some(key) = self.rows.get(&row).map(|entry| entry.key) else { return false };
        self.rows.range(..row).any(|(_, e)| e.key == key && !Self::may_clear(e))
    }

    /// The reservations that rows are held under.
    pub fn processes(&self) -> impl Iterator<Item = &ProcessId> {
        self.rows.values().filter_map(|entry| match &entry.place {
            Place::Reserved(process) => Some(process),
            Place::Listed | Place::Passing | Place::Gone => None,
        })
    }

    /// Whether this row, refused for this reason, is a dead letter of which no smaller one can be made: only an operator
    /// can help then.
    pub fn is_refused_letter(&self, row: RowId, reason: Refusal) -> bool {
        let smaller = |entry: &Entry| reason == Refusal::TooLarge && entry.holds_whole_letter();
        self.rows.get(&row).is_some_and(|entry| entry.refused.is_some() && !smaller(entry))
    }

    /// Received, acknowledged, dead-lettered: the sums of invariant I9.
    pub fn sums(&self) -> (u64, u64, u64) {
        (self.received, self.acknowledged, self.dead_lettered)
    }

    /// Moves the origin of the portal's time, for the model.
    #[cfg(test)]
    pub fn rebase_portal(&mut self, shift: impl Fn(i64) -> i64) {
        for entry in self.rows.values_mut() {
            entry.changed_at = entry.changed_at.map(&shift);
        }
    }

    /// Forgets the sums, which only grow; for the model.
    #[cfg(test)]
    pub fn forget_sums(&mut self) {
        let held = self.held();
        (self.received, self.acknowledged, self.dead_lettered) = (held, 0, 0);
    }
}
