//! One HTTP request of a queue and what came of it: the words that the core and the Bitrix24 edge share.

use serde::{Deserialize, Serialize};

use super::types::{Millis, NonEmpty, ProcessId, RowId};

/// Most ids in one `clear` command: a server's PHP may cap the number of request variables.
pub const CLEAR_IDS: usize = 500;
/// Rows on one page of `event.offline.list` (protocol reference section 2).
pub const LIST_PAGE: usize = 50;
/// Most commands in one `batch` (protocol reference section 2).
pub const BATCH_COMMANDS: usize = 50;
/// Most pages in one scan: the clears need room too.
pub const SCAN_PAGES: u8 = 40;

/// One REST `batch` with `halt=0`: first every clear, then the read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exchange {
    /// Confirmations of what has been acknowledged, at most [`CLEAR_IDS`] ids each.
    pub clears: Vec<Clear>,
    /// What to read next, if anything.
    pub read: Option<Read>,
}

/// `event.offline.clear` with an explicit list; a clear without one cannot be written down (invariant I2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Clear {
    /// The reservation that the rows were received under.
    pub process: ProcessId,
    /// The rows, ascending.
    pub ids: NonEmpty<RowId>,
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
}

/// What is known after an exchange. `R` is a row in the form that the caller needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer<R> {
    /// One outcome per clear, in the order of the exchange.
    pub clears: Vec<Cleared>,
    /// The outcome of the read.
    pub read: ReadAnswer<R>,
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
            Self::Refused { retry_after, smaller } => ReadAnswer::Refused { retry_after, smaller },
            Self::Unknown => ReadAnswer::Unknown,
        }
    }
}
