//! The portal of the model: the rows, what its methods do to them, and its clock.

use std::collections::{BTreeMap, BTreeSet};

use super::{Contents, Setup, Version};
use crate::core::protocol::{
    conditional::MARGIN,
    exchange::{Answer, Cleared, Delete, Deleted, Exchange, LIST_PAGE, Read, ReadAnswer},
    invariants::Violation,
    queue::Received,
    types::{EntityKey, Millis, PortalTime, ProcessId, RowId},
};

/// Times before this are alike: no time that anybody compares with lies so far back.
const OLDEST: i64 = -200;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServerRow {
    message: usize,
    entity: u64,
    malformed: bool,
    version: Version,
    process: Option<ProcessId>,
    /// `TIMESTAMP_X` by the portal's clock.
    changed_at: i64,
}

/// A request at the portal: a `get` selects first and marks in a second statement (protocol reference section 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub sent: Exchange,
    selected: Option<Selected>,
    /// The portal ends it by then.
    pub expires: Millis,
}

/// What the first statements have chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Selected {
    to_delete: Vec<RowId>,
    to_reserve: Vec<RowId>,
}

impl Request {
    pub fn new(sent: Exchange, expires: Millis) -> Self {
        Self { sent, selected: None, expires }
    }

    pub fn reserves(&self) -> bool {
        matches!(self.sent.read, Some(Read::Reserve { .. }))
    }

    pub fn has_selected(&self) -> bool {
        self.selected.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Portal {
    rows: BTreeMap<RowId, ServerRow>,
    next_id: u64,
    /// Whether its plan has `rest_offline_extended`.
    pub licensed: bool,
    /// Whether its clock matters: it tells the time, and rows have an age.
    timed: bool,
    /// What its clock shows at the origin of the world's time, in milliseconds.
    origin: i64,
    /// What was deleted before anybody had published it, and the driver was told of: it owes the publication.
    owed: BTreeSet<(RowId, Version)>,
}

impl Portal {
    pub fn new(setup: &Setup) -> Self {
        let mut portal = Self {
            rows: BTreeMap::new(),
            next_id: 1,
            licensed: setup.licensed,
            timed: setup.timed,
            origin: 0,
            owed: BTreeSet::new(),
        };
        for message in 0..setup.present {
            portal.insert(setup, message, if setup.timed { OLDEST } else { 0 });
        }
        portal
    }

    fn insert(&mut self, setup: &Setup, message: usize, changed_at: i64) {
        let id = RowId::new(self.next_id).expect("positive");
        self.next_id += 1;
        let (entity, malformed) = (setup.entities[message], setup.malformed == Some(message));
        self.rows.insert(id, ServerRow { message, entity, malformed, version: 0, process: None, changed_at });
    }

    /// How many rows there are.
    #[allow(dead_code, reason = "the exhaustive search has no need of it")]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn timed(&self) -> bool {
        self.timed
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.owed.is_empty()
    }

    pub fn settle(&mut self, row: RowId, version: Version) {
        self.owed.remove(&(row, version));
    }

    /// Whether the driver alone has something.
    pub fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Makes `now` the origin of time; returns by how many seconds the portal's times have moved.
    pub fn rebase(&mut self, now: Millis) -> i64 {
        if !self.timed {
            return 0;
        }
        let passed = self.origin + i64::try_from(now.0).expect("a short time");
        let seconds = passed.div_euclid(1000);
        self.origin = passed.rem_euclid(1000);
        for row in self.rows.values_mut() {
            row.changed_at = clamp(row.changed_at - seconds);
        }
        seconds
    }

    /// What the clock shows.
    fn second(&self, now: Millis) -> i64 {
        let passed = if self.timed { i64::try_from(now.0).unwrap_or(i64::MAX) } else { 0 };
        self.origin.saturating_add(passed).div_euclid(1000)
    }

    /// An object changes: its free row is updated; if the row is reserved, or gone, a new one comes to be. A server whose
    /// clock is slow writes a time that has passed.
    pub fn change(&mut self, setup: &Setup, now: Millis, message: usize, slow_clock: bool) {
        let changed_at = self.second(now) - if slow_clock { MARGIN } else { 0 };
        if let Some(row) = self.rows.values_mut().find(|row| row.message == message && row.process.is_none()) {
            row.version += 1;
            row.changed_at = changed_at;
        } else {
            self.insert(setup, message, changed_at);
        }
    }

    /// The clears, and the first statements of the `get`s.
    pub fn select(
        &mut self,
        request: &mut Request,
        acknowledged: &BTreeSet<(RowId, Version)>,
    ) -> Result<(), Violation> {
        if request.selected.is_some() {
            return Ok(());
        }
        for clear in &request.sent.clears {
            for id in clear.ids.as_slice() {
                let ours = |row: &&ServerRow| row.process.as_ref() == Some(&clear.process);
                let Some(row) = self.rows.get(id).filter(ours) else { continue };
                if !acknowledged.contains(&(*id, row.version)) {
                    return Err(Violation::I1ClearedBeforeAcknowledgement);
                }
                self.rows.remove(id);
            }
        }
        let to_delete: Vec<RowId> = request.sent.delete.iter().flat_map(|delete| self.matching(delete)).collect();
        let limit = match request.sent.read {
            Some(Read::Reserve { limit }) if self.licensed => limit as usize,
            _ => 0,
        };
        let free = self.rows.iter().filter(|(id, row)| row.process.is_none() && !to_delete.contains(id));
        let to_reserve = free.map(|(id, _)| *id).take(limit).collect();
        request.selected = Some(Selected { to_delete, to_reserve });
        Ok(())
    }

    fn matching(&self, delete: &Delete) -> Vec<RowId> {
        let Delete { first, last, before, limit } = *delete;
        let free = self.rows.range(first..=last).filter(|(_, row)| row.process.is_none());
        free.filter(|(_, row)| row.changed_at < before.seconds).map(|(id, _)| *id).take(limit as usize).collect()
    }

    /// Executes a request. `heard` says whether the driver gets the answer; `names` are the reservations that are known
    /// outside of here. Returns the answer, and the contents of its rows.
    pub fn execute(
        &mut self,
        now: Millis,
        mut request: Request,
        heard: bool,
        names: &BTreeSet<ProcessId>,
        acknowledged: &BTreeSet<(RowId, Version)>,
    ) -> Result<(Answer<Received>, Contents), Violation> {
        let split = request.has_selected();
        self.select(&mut request, acknowledged)?;
        let Some(Selected { to_delete, to_reserve }) = request.selected else { return Ok(Default::default()) };
        let (mut gone, mut gone_contents) = (Vec::new(), Contents::new());
        for id in to_delete {
            let Some(row) = self.rows.remove(&id) else { continue };
            gone.push(received(id, &row));
            gone_contents.push((id, (row.version, row.message)));
            if acknowledged.contains(&(id, row.version)) {
                continue;
            }
            // A change between the two statements is deleted with its row. If the answer tells of it, it is published.
            if !split || !heard {
                return Err(Violation::I1ClearedBeforeAcknowledgement);
            }
            self.owed.insert((id, row.version));
        }
        let read = match request.sent.read {
            None => ReadAnswer::NotAsked,
            Some(Read::Reserve { .. }) if !self.licensed => ReadAnswer::Refused { retry_after: None, smaller: false },
            Some(Read::Reserve { .. }) => self.reserve(&to_reserve, names),
            Some(Read::Scan { after, pages }) => {
                let most = usize::from(pages) * LIST_PAGE;
                let listed = self.rows.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
                let reserved = listed.filter_map(|(id, row)| row.process.clone().map(|p| (p, received(*id, row))));
                let rows: Vec<_> = reserved.take(most).collect();
                let more = rows.len() == most;
                ReadAnswer::Listed { rows, more }
            }
            Some(Read::List { before, pages, young_after }) => self.list(before, pages, young_after),
        };
        let shown: Vec<RowId> = match &read {
            ReadAnswer::Reserved { rows, .. } => rows.iter().map(|row| row.id).collect(),
            ReadAnswer::Listed { rows, .. } => rows.iter().map(|(_, row)| row.id).collect(),
            ReadAnswer::Free { rows, young, .. } => rows.iter().chain(young).map(|row| row.id).collect(),
            _ => Vec::new(),
        };
        let shown = shown.into_iter().map(|id| (id, (self.rows[&id].version, self.rows[&id].message)));
        let contents = shown.chain(gone_contents).collect();
        let clears = vec![Cleared::Done; request.sent.clears.len()];
        let deleted = request.sent.delete.map_or(Deleted::NotAsked, |_| Deleted::Done { rows: gone });
        let time = self.timed.then(|| PortalTime { seconds: self.second(now), offset: 0 });
        Ok((Answer { clears, deleted, read, time }, contents))
    }

    /// The second statement of a `get` that reserves: it marks what the first has chosen, whoever has it now.
    fn reserve(&mut self, chosen: &[RowId], names: &BTreeSet<ProcessId>) -> ReadAnswer<Received> {
        let process = self.fresh_process(names);
        let mut rows = Vec::new();
        for id in chosen {
            if let Some(row) = self.rows.get_mut(id) {
                row.process = Some(process.clone());
                rows.push(received(*id, row));
            }
        }
        ReadAnswer::Reserved { process: Some(process), rows, took: Millis(1) }
    }

    fn list(&self, before: PortalTime, pages: u8, young_after: Option<RowId>) -> ReadAnswer<Received> {
        let most = usize::from(pages) * LIST_PAGE;
        let free = || self.rows.iter().filter(|(_, row)| row.process.is_none());
        let rows = free().filter(|(_, row)| row.changed_at < before.seconds);
        let rows: Vec<_> = rows.map(|(id, row)| received(*id, row)).take(most).collect();
        let young = free().filter(|(_, row)| row.changed_at >= before.seconds);
        let young = young.filter(|(id, _)| young_after.is_none_or(|after| **id > after));
        let young = young.map(|(id, row)| received(*id, row)).take(LIST_PAGE).collect();
        let more = rows.len() == most;
        ReadAnswer::Free { rows, more, young, took: Millis(1) }
    }

    /// The first name that nobody knows any more, so that the number of states stays finite.
    fn fresh_process(&self, names: &BTreeSet<ProcessId>) -> ProcessId {
        let mine = self.rows.values().filter_map(|row| row.process.as_ref());
        let known: BTreeSet<&ProcessId> = mine.chain(names).collect();
        (1..).filter_map(|n: u32| ProcessId::new(&format!("p{n}"))).find(|p| !known.contains(p)).expect("endless")
    }
}

fn received(id: RowId, row: &ServerRow) -> Received {
    Received { id, key: EntityKey(row.entity), malformed: row.malformed, changed_at: Some(row.changed_at) }
}

/// Keeps times within bounds, so that the number of states stays finite.
pub fn clamp(seconds: i64) -> i64 {
    seconds.max(OLDEST)
}
