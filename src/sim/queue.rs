//! The queue of one connector: pure state, no IO, no clock (protocol reference sections 1 and 2).
//!
//! Rows are kept in ordered maps, so that emitting costs O(log backlog) and a `get` by `ID` or `TIMESTAMP_X` costs
//! what it takes, whatever the backlog. The caller gives the time, the ids and the random `PROCESS_ID`s.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    filter::{Field, Filter, Order},
    row::{Hex, Row},
};

/// Rows older than this are purged, reserved or free: 34 days.
pub const PURGE_AFTER: i64 = 2_952_000;
/// Rows on one page of `event.offline.list`.
pub const PAGE: usize = 50;

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// `EVENT_NAME`.
    pub event: Arc<str>,
    /// `EVENT_DATA` as JSON.
    pub data: Box<str>,
    /// `data` is all that the row shows, see [`Row::odd`].
    pub odd: bool,
    /// Who made it.
    pub user: Option<u32>,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// What a `get` is about.
#[derive(Clone, Debug)]
pub enum Source {
    /// Rows that nobody has reserved.
    Free,
    /// The rows of one reservation; `None` if the given id cannot be one.
    Reservation(Option<Hex>),
}

/// The parameters of a `get`.
#[derive(Clone, Debug)]
pub struct Get {
    /// Free rows or a reservation.
    pub source: Source,
    /// Conditions.
    pub filter: Filter,
    /// Sequence.
    pub order: Order,
    /// Most rows.
    pub limit: usize,
    /// Error rows instead of normal ones.
    pub error: bool,
}

/// Which rows of a reservation are meant.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// All of them. An empty list means the same: a trap.
    All,
    /// By `MESSAGE_ID`; what cannot be one matches nothing.
    Messages(Vec<Option<Hex>>),
    /// By `ID`.
    Ids(Vec<u64>),
}

/// One queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    rows: BTreeMap<u64, Row>,
    free: BTreeSet<u64>,
    free_by_time: BTreeSet<(i64, u64)>,
    errors: BTreeSet<u64>,
    reserved: BTreeSet<u64>,
    by_process: HashMap<Hex, BTreeSet<u64>>,
    /// The row without `PROCESS_ID` of a message: the one that a repeat is merged into.
    open: HashMap<Hex, u64>,
}

impl Queue {
    /// Adds a change: merged into the row of the same message that nobody has reserved, or else a new row with the
    /// id `fresh`. Returns the id of the row.
    pub fn emit(&mut self, change: Change, fresh: u64) -> u64 {
        let message = Hex::message(&change.event, &change.data);
        if let Some(&id) = self.open.get(&message)
            && let Some(row) = self.rows.get_mut(&id)
        {
            if !row.error {
                self.free_by_time.remove(&(row.changed_at, id));
                self.free_by_time.insert((change.at, id));
            }
            (row.changed_at, row.data, row.user) = (change.at, change.data, change.user);
            return id;
        }
        let Change { event, data, odd, user, at } = change;
        self.insert(Row { id: fresh, changed_at: at, message, event, data, odd, user, process: None, error: false });
        fresh
    }

    /// The ids that a `get` would return, in its order.
    pub fn select(&self, get: &Get) -> Vec<u64> {
        match (&get.source, get.order.0.as_slice(), get.error) {
            (Source::Free, &[(Field::Id, up), ..], false) => self.by_id(&self.free, get, up),
            (Source::Free, &[(Field::ChangedAt, up)], false) => {
                let ids = self.free_by_time.iter().map(|(_, id)| id);
                if up { self.take(ids, get) } else { self.take(ids.rev(), get) }
            }
            (Source::Free, _, error) => self.sorted(if error { &self.errors } else { &self.free }, get),
            (Source::Reservation(process), ..) => {
                process.and_then(|p| self.by_process.get(&p)).map(|ids| self.sorted(ids, get)).unwrap_or_default()
            }
        }
    }

    fn by_id(&self, ids: &BTreeSet<u64>, get: &Get, up: bool) -> Vec<u64> {
        let ids = ids.range(get.filter.ids());
        if up { self.take(ids, get) } else { self.take(ids.rev(), get) }
    }

    fn take<'a>(&'a self, ids: impl Iterator<Item = &'a u64>, get: &Get) -> Vec<u64> {
        let passes = |id: &&u64| get.filter.is_empty() || self.rows.get(id).is_some_and(|row| get.filter.passes(row));
        ids.filter(passes).take(get.limit).copied().collect()
    }

    fn sorted(&self, ids: &BTreeSet<u64>, get: &Get) -> Vec<u64> {
        let rows = ids.iter().filter_map(|id| self.rows.get(id));
        let mut rows: Vec<_> = rows.filter(|row| row.error == get.error && get.filter.passes(row)).collect();
        rows.sort_by(|a, b| get.order.compare(a, b));
        rows.iter().take(get.limit).map(|row| row.id).collect()
    }

    /// Marks rows as reserved, whoever has them now: the later mark wins. Returns the ids that exist.
    pub fn mark(&mut self, ids: &[u64], process: Hex) -> Vec<u64> {
        let mut marked = Vec::with_capacity(ids.len());
        for &id in ids {
            let Some(mut row) = self.remove(id) else { continue };
            row.process = Some(process);
            self.insert(row);
            marked.push(id);
        }
        marked
    }

    /// Rows by their ids, in the order asked for.
    pub fn rows(&self, ids: &[u64]) -> impl Iterator<Item = &Row> {
        ids.iter().filter_map(|id| self.rows.get(id))
    }

    /// Deletes rows; returns the ids that existed.
    pub fn delete(&mut self, ids: &[u64]) -> Vec<u64> {
        ids.iter().copied().filter(|&id| self.remove(id).is_some()).collect()
    }

    /// The rows of a reservation that are meant.
    pub fn chosen(&self, process: Option<Hex>, chosen: &Chosen) -> Vec<u64> {
        let Some(ids) = process.and_then(|p| self.by_process.get(&p)) else { return Vec::new() };
        match chosen {
            Chosen::All => ids.iter().copied().collect(),
            Chosen::Ids(list) if list.is_empty() => ids.iter().copied().collect(),
            Chosen::Messages(list) if list.is_empty() => ids.iter().copied().collect(),
            Chosen::Ids(list) => list.iter().copied().filter(|id| ids.contains(id)).collect(),
            Chosen::Messages(list) => {
                let meant = |id: &u64| self.rows.get(id).is_some_and(|row| list.contains(&Some(row.message)));
                ids.iter().copied().filter(meant).collect()
            }
        }
    }

    /// `event.offline.error`: the rows are freed as error rows, and their newer free twins are deleted: a trap.
    /// Returns the error rows and the twins.
    pub fn error(&mut self, ids: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let (mut errors, mut twins) = (Vec::new(), Vec::new());
        for &id in ids {
            let Some(mut row) = self.remove(id) else { continue };
            if let Some(&twin) = self.open.get(&row.message)
                && self.remove(twin).is_some()
            {
                twins.push(twin);
            }
            (row.process, row.error) = (None, true);
            self.insert(row);
            errors.push(id);
        }
        (errors, twins)
    }

    /// The page of a list that begins at `start`, and how many rows there are in all.
    pub fn list(&self, filter: &Filter, order: &Order, start: usize) -> (Vec<u64>, usize) {
        let nothing = BTreeSet::new();
        let ids: Option<&BTreeSet<u64>> = filter.reserved().map(|process| match process {
            None => &self.reserved,
            Some(process) => Hex::parse(process).and_then(|p| self.by_process.get(&p)).unwrap_or(&nothing),
        });
        let passing: Vec<&Row> = match ids {
            Some(ids) => {
                let rows = ids.range(filter.ids()).filter_map(|id| self.rows.get(id));
                rows.filter(|row| filter.passes(row)).collect()
            }
            None => self.rows.range(filter.ids()).map(|(_, row)| row).filter(|row| filter.passes(row)).collect(),
        };
        let total = passing.len();
        let mut passing = passing;
        match order.0.as_slice() {
            [(Field::Id, true), ..] => {}
            [(Field::Id, false), ..] => passing.reverse(),
            _ => passing.sort_by(|a, b| order.compare(a, b)),
        }
        (passing.iter().skip(start).take(PAGE).map(|row| row.id).collect(), total)
    }

    /// Deletes what has become too old by `now`; returns the ids.
    pub fn purge(&mut self, now: i64) -> Vec<u64> {
        let old: Vec<_> = self.rows.values().filter(|r| now - r.changed_at > PURGE_AFTER).map(|r| r.id).collect();
        self.delete(&old)
    }

    /// How many rows there are: normal free ones, error rows without reservation, reserved ones.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.free.len(), self.errors.len(), self.reserved.len())
    }

    fn insert(&mut self, row: Row) {
        let id = row.id;
        match row.process {
            Some(process) => {
                self.reserved.insert(id);
                self.by_process.entry(process).or_default().insert(id);
            }
            None if row.error => {
                self.errors.insert(id);
                self.open.insert(row.message, id);
            }
            None => {
                self.free.insert(id);
                self.free_by_time.insert((row.changed_at, id));
                self.open.insert(row.message, id);
            }
        }
        self.rows.insert(id, row);
    }

    fn remove(&mut self, id: u64) -> Option<Row> {
        let row = self.rows.remove(&id)?;
        match row.process {
            Some(process) => {
                self.reserved.remove(&id);
                if let Some(ids) = self.by_process.get_mut(&process) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.by_process.remove(&process);
                    }
                }
            }
            None => {
                self.free.remove(&id);
                self.free_by_time.remove(&(row.changed_at, id));
                self.errors.remove(&id);
                if self.open.get(&row.message) == Some(&id) {
                    self.open.remove(&row.message);
                }
            }
        }
        Some(row)
    }
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;
