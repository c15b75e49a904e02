//! Reading without `rest_offline_extended`: list, publish, then delete what is provably unchanged (protocol reference
//! section 6).
//!
//! ```text
//! list free rows older than T --publish--> all acknowledged --delete the same rows if older than T, and list again-->
//! ```
//!
//! Without reservations the portal goes on changing rows under our eyes: a repeated change of an object is merged into its
//! row. What is deleted must not have changed since it was read. Three things make sure of that:
//!
//! - T lies [`MARGIN`] seconds before the time that the portal itself gives in the very answer that brought the rows. A row
//!   that changes later gets a later time than T, even on a server whose clock lags by less than the margin. The edge
//!   between our clock and the portal's does not matter: ours only guesses which T to ask for, and an answer whose own time
//!   does not bear the guess out is not believed.
//! - The deletion names the conditions that the listing was made under: free, no error, from the first to the last row that
//!   was listed, older than that T, no more rows than were listed. So it can match nothing else.
//! - It is sent when everything that was listed is acknowledged. So it does no harm whenever it is executed, however often,
//!   and its outcome may stay unknown: everything that it deleted had been published. It is simply sent again.
//!
//! # What remains
//!
//! The portal deletes in two statements: it chooses rows, then removes them by id. A change that falls into the moment
//! between the two is deleted with its row. It comes back in the answer, is recognised by its time of change as a *stranger*,
//! and published: until that is acknowledged this process has the only copy. It is lost if, besides, the answer gets lost or
//! the process dies before the acknowledgement. Nothing can be done about this pair of coincidences without reservations.
//!
//! # Owners that follow each other
//!
//! A reservation shows that somebody has had a row, and a free row shows nothing. So what may be at the portal since a former
//! owner counts as repeated (`b24_redelivery`): all that is listed until everything has been seen once, and what was seen
//! until then. That holds in reserve mode too, if the former owner had no reservations, until everything that is free has
//! been reserved once. The driver keeps in mind beyond its life that there was such an owner.
//!
//! # Rows that never rest
//!
//! A row that changes more often than the margin never becomes old enough. Beside the old rows each listing shows a page of
//! the young ones. One that has been seen young for [`PATIENCE`] is published as it is, at most once in that time. It is not
//! deleted then, but when it has come to rest and has been listed and published as it is at last.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, btree_map::Entry};

use serde::{Deserialize, Serialize};

use super::{
    exchange::{Delete, LIST_PAGE, Read},
    ledger::Place,
    queue::Received,
    seeded::{Bug, Seeded},
    types::{Millis, PortalTime, RowId},
};

/// How long a row must not have changed, in seconds of the portal's clock: so much may the clocks of its servers differ.
pub const MARGIN: i64 = 5;
/// How long a row that keeps changing waits before it is published as it is, and between two times.
pub const PATIENCE: Millis = Millis::secs(60);
/// How much longer one is waited for that changed in the very second of the answer: another change in that second would have
/// the same time, and so the same `ce_id`.
const SAME_SECOND_PATIENCE: Millis = Millis::secs(30);
/// Most young rows that are watched: far more objects than change more often than every few seconds.
const WATCHED: usize = 2000;

/// What conditional mode remembers between two listings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conditional {
    /// What the portal's clock says.
    clock: Option<PortalClock>,
    /// What is to be deleted once all of it is acknowledged.
    round: Option<Round>,
    /// Rows that were too young when they were seen.
    watch: BTreeMap<RowId, Watched>,
    /// Where the next page of young rows begins.
    young_after: Option<RowId>,
    inherited: Inherited,
    /// Rows that are free at the portal may have been published.
    open: bool,
    /// A deliberate fault, for the model.
    #[serde(skip)]
    pub seeded: Seeded,
}

/// The portal's clock as far as it can be told: at the origin of our clock it showed this, or a little more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct PortalClock {
    /// Milliseconds since 1970.
    origin: i64,
    /// See [`PortalTime::offset`].
    offset: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Round {
    delete: Delete,
    /// The outcome of an attempt is unknown, so that the next may find nothing.
    uncertain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Watched {
    /// From when on it is published as it is.
    ripe: Millis,
    /// From when on even though it may change once more in the second of its last change.
    overripe: Millis,
    /// What it was when it was last published as it was.
    published: Option<Version>,
}

/// A state of a row: the time of its last change, if that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Version {
    changed_at: Option<i64>,
}

impl Version {
    fn of(row: &Received) -> Self {
        Self { changed_at: row.changed_at }
    }
}

impl Watched {
    fn new(now: Millis, published: Option<Version>) -> Self {
        let ripe = now.plus(PATIENCE);
        Self { ripe, overripe: ripe.plus(SAME_SECOND_PATIENCE), published }
    }
}

/// Which free rows a former owner of the queue may have published: there is nothing at the portal that would tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Inherited {
    /// None.
    #[default]
    Nothing,
    /// All that have been seen so far, since not all have been seen; this is the highest.
    AtLeast(Option<RowId>),
    /// Those up to this one.
    UpTo(Option<RowId>),
}

impl Inherited {
    fn has(self, row: RowId) -> bool {
        match self {
            Self::Nothing => false,
            Self::AtLeast(_) => true,
            Self::UpTo(highest) => highest.is_some_and(|highest| row <= highest),
        }
    }
}

/// The rows of a listing that is believed.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// The T that it was asked with.
    pub before: PortalTime,
    /// The portal's own time when it began to work on it.
    pub time: PortalTime,
    /// The rows older than T, all from the first to the last.
    pub rows: &'a [Received],
    /// Whether there may be more of them.
    pub more: bool,
    /// A page of the others.
    pub young: &'a [Received],
}

/// A row to take in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The row.
    pub row: Received,
    /// Listed or passing.
    pub place: Place,
    /// It may have been produced before.
    pub redelivery: bool,
}

impl Conditional {
    /// The mode is used from now on, or a former owner has used it: then it is `fresh`.
    pub fn begin(&mut self, fresh: bool) {
        self.open = true;
        if fresh {
            self.inherited = Inherited::AtLeast(None);
        }
    }

    /// Whether rows that are free at the portal may have been published, so that the next owner has to know.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether a row that is free, or was a moment ago, may have been published as it is.
    pub fn may_repeat(&self, row: &Received) -> bool {
        let published = self.watch.get(&row.id).and_then(|watched| watched.published);
        published == Some(Version::of(row)) || self.inherited.has(row.id)
    }

    /// In reserve mode everything that was free has been reserved: whatever is free from now on is new.
    pub fn close(&mut self) {
        self.watch.clear();
        (self.open, self.inherited) = (false, Inherited::Nothing);
    }

    /// An answer has told the portal's time.
    pub fn heard(&mut self, now: Millis, time: PortalTime) {
        let origin = time.seconds.saturating_mul(1000).saturating_sub(signed(now));
        self.clock = Some(PortalClock { origin, offset: time.offset });
    }

    /// The next listing, of so many pages.
    pub fn next_list(&self, now: Millis, pages: u8) -> Read {
        // Nothing is older than 1970: an answer with nothing in it tells the time.
        let before = self.time(now).map_or(PortalTime { seconds: 0, offset: 0 }, |time| time.before(self.margin()));
        Read::List { before, pages, young_after: self.young_after }
    }

    /// Whether a listing can be believed: the portal's own time bears out that what it brings has rested for the margin.
    pub fn believes(&self, before: PortalTime, time: Option<PortalTime>) -> bool {
        bears_out(before, time, self.margin())
    }

    /// Takes in a listing that is believed. Everything in it that has rested makes the next round. Returns the rows to take
    /// in, and when the next of the young ones will be old enough.
    pub fn listed(&mut self, now: Millis, listing: &Listing<'_>) -> (Vec<Taken>, Option<Millis>) {
        let Listing { before, rows, young, more, .. } = *listing;
        self.learn(listing);
        let mut taken = Vec::with_capacity(rows.len());
        for row in rows {
            taken.push(Taken { row: *row, place: Place::Listed, redelivery: self.may_repeat(row) });
            self.watch.remove(&row.id);
        }
        self.round = rows.first().zip(rows.last()).map(|(first, last)| {
            let limit = u32::try_from(rows.len()).unwrap_or(u32::MAX);
            Round { delete: Delete { first: first.id, last: last.id, before, limit }, uncertain: false }
        });
        for row in self.look(now, listing) {
            taken.push(Taken { row, place: Place::Passing, redelivery: self.inherited.has(row.id) });
        }
        let whole = self.young_after.is_none() && young.len() < LIST_PAGE;
        if whole && !more {
            self.watch.retain(|id, _| young.iter().any(|row| row.id == *id));
        }
        self.young_after = young.last().map(|row| row.id).filter(|_| young.len() >= LIST_PAGE);
        taken.sort_by_key(|taken| taken.row.id);
        (taken, young.iter().map(|row| now.plus(rest(row, listing.time))).min())
    }

    /// Looks at the young rows; returns those that have waited for long enough.
    fn look(&mut self, now: Millis, listing: &Listing<'_>) -> Vec<Received> {
        let mut out = Vec::new();
        for row in listing.young {
            let full = self.watch.len() >= WATCHED;
            let watched = match self.watch.entry(row.id) {
                Entry::Vacant(_) if full => continue,
                Entry::Vacant(free) => free.insert(Watched::new(now, None)),
                Entry::Occupied(known) => known.into_mut(),
            };
            let ripe = if row.changed_at >= Some(listing.time.seconds) { watched.overripe } else { watched.ripe };
            if ripe <= now && watched.published != Some(Version::of(row)) {
                *watched = Watched::new(now, Some(Version::of(row)));
                out.push(*row);
            }
        }
        out
    }

    /// What a former owner has left is known when all has been seen.
    fn learn(&mut self, listing: &Listing<'_>) {
        if let Inherited::AtLeast(known) = self.inherited {
            let seen = listing.rows.iter().chain(listing.young).map(|row| row.id).max();
            let highest = known.max(seen);
            // The last page of the young ones; those of earlier pages have been seen.
            let whole = !listing.more && listing.young.len() < LIST_PAGE;
            self.inherited = if whole { Inherited::UpTo(highest) } else { Inherited::AtLeast(highest) };
        }
    }

    /// What is to be deleted now that all of it is acknowledged.
    pub fn deletion(&self, now: Millis) -> Option<Delete> {
        let mut delete = self.round?.delete;
        if self.seeded.has(Bug::DeleteWhateverChanged) {
            delete.before.seconds = i64::MAX;
        }
        if self.seeded.has(Bug::DeleteByTheTimeOfNow) {
            delete.before = self.time(now).map_or(delete.before, |time| time.before(MARGIN));
        }
        Some(delete)
    }

    /// The deletion is done and has brought so many rows. Returns whether that can be: without a doubt about an earlier
    /// attempt, a round of which nothing at all is deleted is a sign of trouble.
    pub fn deleted(&mut self, rows: usize) -> bool {
        self.round.take().is_none_or(|round| round.uncertain || rows > 0)
    }

    /// The outcome of the deletion is unknown.
    pub fn uncertain(&mut self) {
        if let Some(round) = &mut self.round {
            round.uncertain = true;
        }
    }

    /// Whether something waits to be deleted.
    pub fn has_round(&self) -> bool {
        self.round.is_some()
    }

    /// The portal's time, not too late.
    fn time(&self, now: Millis) -> Option<PortalTime> {
        let clock = self.clock?;
        Some(PortalTime { seconds: clock.origin.saturating_add(signed(now)).div_euclid(1000), offset: clock.offset })
    }

    fn margin(&self) -> i64 {
        if self.seeded.has(Bug::NoMargin) { 0 } else { MARGIN }
    }

    /// Moves the origin of our time to `now` and that of the portal's by `seconds`, for the model.
    #[cfg(test)]
    pub fn rebase(&mut self, now: Millis, seconds: i64, clamp: impl Fn(i64) -> i64) {
        if let Some(clock) = &mut self.clock {
            clock.origin += signed(now) - seconds * 1000;
        }
        if let Some(round) = &mut self.round {
            round.delete.before.seconds = clamp(round.delete.before.seconds - seconds);
        }
        for watched in self.watch.values_mut() {
            watched.ripe = watched.ripe.since(now);
            watched.overripe = watched.overripe.since(now);
            if let Some(Version { changed_at: Some(at) }) = &mut watched.published {
                *at = clamp(*at - seconds);
            }
        }
    }
}

/// Whether the portal's own time bears out that what is older than `before` has rested for `margin` seconds.
pub fn bears_out(before: PortalTime, time: Option<PortalTime>, margin: i64) -> bool {
    time.is_some_and(|time| before.seconds <= time.before(margin).seconds)
}

/// How long until a young row is old enough, if it does not change again. At least a second, so that one which the portal
/// calls young and whose time says otherwise is not asked for without end.
fn rest(row: &Received, time: PortalTime) -> Millis {
    let most = MARGIN + 1;
    let rest = row.changed_at.map_or(most, |at| at.saturating_add(most).saturating_sub(time.seconds));
    Millis::secs(rest.clamp(1, most).unsigned_abs())
}

fn signed(at: Millis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}
