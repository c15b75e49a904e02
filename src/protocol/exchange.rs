//! One HTTP request of a queue and what came of it: the words that the core and the Bitrix24 edge share.

use serde::{Deserialize, Serialize};

use super::types::{Millis, NonEmpty, PortalTime, ProcessId, RowId};

/// Most ids in one `clear` command: a server's PHP may cap the number of request variables.
pub const CLEAR_IDS: usize = 500;
/// Rows on one page of `event.offline.list` (protocol reference section 2).
pub const LIST_PAGE: usize = 50;
/// Most commands in one `batch` (protocol reference section 2).
pub const BATCH_COMMANDS: usize = 50;
/// Most pages in one scan: the clears need room too.
pub const SCAN_PAGES: u8 = 40;

/// One REST `batch` with `halt=0`: first every clear, then the deletion, then the read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exchange {
    /// Confirmations of what was reserved and has been acknowledged, at most [`CLEAR_IDS`] ids each.
    pub clears: Vec<Clear>,
    /// The same for what was listed and has been acknowledged.
    pub delete: Option<Delete>,
    /// What to read next, if anything.
    pub read: Option<Read>,
}

impl Exchange {
    /// Moves the portal's times in it, for the model.
    #[cfg(test)]
    pub fn rebase_portal(&mut self, shift: impl Fn(i64) -> i64) {
        if let Some(delete) = &mut self.delete {
            delete.before.seconds = shift(delete.before.seconds);
        }
        if let Some(Read::List { before, .. }) = &mut self.read {
            before.seconds = shift(before.seconds);
        }
    }
}

/// `event.offline.clear` with an explicit list; a clear without one cannot be written down (invariant I2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Clear {
    /// The reservation that the rows were received under.
    pub process: ProcessId,
    /// The rows, ascending.
    pub ids: NonEmpty<RowId>,
}

/// `event.offline.get` with `clear=1` for rows that were listed and published: it deletes those that are as they were.
///
/// It cannot be written down without its bounds. A row that has changed since it was listed has a later `TIMESTAMP_X`
/// than `before`, so it stays (protocol reference section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Delete {
    /// The first row of the listing.
    pub first: RowId,
    /// The last one.
    pub last: RowId,
    /// Only rows that were last changed before this time: the very condition that they were listed under.
    pub before: PortalTime,
    /// How many there were in the listing; positive.
    pub limit: u32,
}

/// The reading half of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Read {
    /// `event.offline.get` with `clear=0` and `order {"ID":"ASC"}`.
    Reserve {
        /// Most rows to reserve; positive.
        limit: u32,
    },
    /// `event.offline.list` of reserved rows that are no error rows, by `ID`, in pages of [`LIST_PAGE`].
    Scan {
        /// Only rows behind this one (keyset paging); `None` starts at the beginning.
        after: Option<RowId>,
        /// How many pages in this one request, 1 to [`SCAN_PAGES`].
        pages: u8,
    },
    /// `event.offline.list` of free rows that are no error rows, by `ID`, in pages of [`LIST_PAGE`].
    List {
        /// Only rows that were last changed before this time.
        before: PortalTime,
        /// How many pages in this one request, 1 to [`SCAN_PAGES`].
        pages: u8,
        /// Beside them one page of the other free rows, those that changed at that time or later, behind this row.
        young_after: Option<RowId>,
    },
}

/// What is known after an exchange. `R` is a row in the form that the caller needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer<R> {
    /// One outcome per clear, in the order of the exchange.
    pub clears: Vec<Cleared>,
    /// The outcome of the deletion.
    pub deleted: Deleted<R>,
    /// The outcome of the read.
    pub read: ReadAnswer<R>,
    /// The portal's own time when it began to work on the exchange, if it says so.
    pub time: Option<PortalTime>,
}

/// Nothing was asked, and nothing is known.
impl<R> Default for Answer<R> {
    fn default() -> Self {
        Self { clears: Vec::new(), deleted: Deleted::NotAsked, read: ReadAnswer::NotAsked, time: None }
    }
}

/// What is known of one clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleared {
    /// The portal said that it is done.
    Done,
    /// It was certainly not executed.
    Refused {
        /// When asking again makes sense, if the portal or the edge knows; a span from now.
        retry_after: Option<Millis>,
    },
    /// It may have been executed, or may still be.
    Unknown,
}

/// What is known of a deletion.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deleted<R> {
    /// Nothing was asked.
    NotAsked,
    /// These rows, as they were at that moment, are gone from the portal.
    Done {
        /// In the order of their ids.
        rows: Vec<R>,
    },
    /// It was certainly not executed.
    Refused {
        /// When asking again makes sense, if the portal or the edge knows; a span from now.
        retry_after: Option<Millis>,
        /// Whether the method's time budget is used up, which says nothing about the other methods.
        rests: bool,
    },
    /// It may have been executed, or may still be, up to 60 s after it was sent.
    Unknown,
}

/// What is known of the read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadAnswer<R> {
    /// Nothing was asked.
    NotAsked,
    /// The rows that are now reserved for us.
    Reserved {
        /// The reservation; `None` only if no row came with it.
        process: Option<ProcessId>,
        /// The rows in the order of their ids.
        rows: Vec<R>,
        /// How long the portal worked on the `get`, by its own account.
        took: Millis,
    },
    /// Rows that somebody has reserved.
    Listed {
        /// Each with its reservation, in the order of their ids, each id once.
        rows: Vec<(ProcessId, R)>,
        /// Whether rows behind the last one may exist (the last page was full).
        more: bool,
    },
    /// Rows that nobody has reserved.
    Free {
        /// Those that have not changed for long enough, in the order of their ids, each id once. The portal has applied the
        /// same condition to them that a [`Delete`] will, and they are all that it found between the first and the last.
        rows: Vec<R>,
        /// Whether more of them may exist.
        more: bool,
        /// The others, in the order of their ids; one page at most.
        young: Vec<R>,
        /// How long the portal worked on it, by its own account.
        took: Millis,
    },
    /// It was certainly not executed.
    Refused {
        /// When asking again makes sense, if the portal or the edge knows; a span from now.
        retry_after: Option<Millis>,
        /// Whether a smaller `limit` would help (the method's time budget is used up).
        smaller: bool,
    },
    /// It may have been executed, or may still be, up to 60 s after it was sent.
    Unknown,
}

impl<R> Answer<R> {
    /// The same answer with its rows in another form. What was deleted comes last: it is the newest that is known of it.
    pub fn map<S>(self, mut f: impl FnMut(R) -> S) -> Answer<S> {
        let Self { clears, deleted, read, time } = self;
        let read = read.map(&mut f);
        Answer { clears, deleted: deleted.map(f), read, time }
    }
}

impl<R> Deleted<R> {
    /// The same outcome with its rows in another form.
    pub fn map<S>(self, f: impl FnMut(R) -> S) -> Deleted<S> {
        match self {
            Self::NotAsked => Deleted::NotAsked,
            Self::Done { rows } => Deleted::Done { rows: rows.into_iter().map(f).collect() },
            Self::Refused { retry_after, rests } => Deleted::Refused { retry_after, rests },
            Self::Unknown => Deleted::Unknown,
        }
    }
}

impl<R> ReadAnswer<R> {
    /// The same answer with its rows in another form.
    pub fn map<S>(self, mut f: impl FnMut(R) -> S) -> ReadAnswer<S> {
        match self {
            Self::NotAsked => ReadAnswer::NotAsked,
            Self::Reserved { process, rows, took } => {
                ReadAnswer::Reserved { process, rows: rows.into_iter().map(f).collect(), took }
            }
            Self::Listed { rows, more } => {
                ReadAnswer::Listed { rows: rows.into_iter().map(|(p, r)| (p, f(r))).collect(), more }
            }
            Self::Free { rows, more, young, took } => {
                let rows = rows.into_iter().map(&mut f).collect();
                ReadAnswer::Free { rows, more, young: young.into_iter().map(f).collect(), took }
            }
            Self::Refused { retry_after, smaller } => ReadAnswer::Refused { retry_after, smaller },
            Self::Unknown => ReadAnswer::Unknown,
        }
    }
}
