//! What goes into a queue's machine and what comes out of it.

use serde::{Deserialize, Serialize};

use super::super::{
    exchange::{Answer, Exchange},
    ledger::Publication,
    types::{Delivery, EntityKey, Millis, Mode, Refusal, RowId},
};

/// How a queue is worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Least rows that one `get` asks for.
    pub limit_min: u32,
    /// Most rows that one `get` asks for.
    pub limit_max: u32,
    /// First wait of an idle queue.
    pub poll_min: Millis,
    /// Longest wait of an idle queue.
    pub poll_max: Millis,
    /// The span between sweeps for hidden reservations while the queue is idle; `None` for none.
    pub sweep: Option<Millis>,
}

/// A row as the machine sees it; its content stays with the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Received {
    /// Its identity.
    pub id: RowId,
    /// The class of its entity.
    pub key: EntityKey,
    /// It cannot be read and becomes a dead letter.
    pub malformed: bool,
    /// When the portal says that it was last changed, in seconds since 1970, if that can be read.
    pub changed_at: Option<i64>,
}

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The queue is ours from now on, and nobody else's.
    TakeOver,
    /// Somebody says that there are new rows.
    Wake,
    /// Wake-ups are bound, with so long a pause between two of them at least; or they are not.
    WakeUps(Option<Millis>),
    /// What kept the queue from working is over: an operator or a callback says so.
    Resume,
    /// There are, or may be, more rows than the last read has told of, since it met some that have no name.
    More,
    /// The portal's plan asks for this mode from now on. Whatever is under way is brought to its end.
    Mode(Mode),
    /// Time has passed.
    Timer,
    /// Bring the queue to rest: read nothing new, finish and confirm what is held.
    Drain,
    /// The answer to the exchange.
    Exchanged(Answer<Received>),
    /// What became of rows that were handed to Kafka.
    Delivered(Vec<(RowId, Delivery)>),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Send this request, and answer with [`Input::Exchanged`].
    Exchange(Exchange),
    /// Hand this row's record, or dead letter, to Kafka, in the order of the actions.
    Publish(Publication),
    /// A fact for metrics and log; nothing hangs on it.
    Note(Fact),
    /// The queue is at rest.
    Drained,
}

impl From<Publication> for Action {
    fn from(publication: Publication) -> Self {
        Self::Publish(publication)
    }
}

/// Something that the machine has learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A row was received; `recovered` if it was found reserved.
    Received {
        /// Which row.
        row: RowId,
        /// It was found by a scan.
        recovered: bool,
        /// It was held already, under another reservation: its content counts anew, the reception does not.
        again: bool,
    },
    /// A row's record was acknowledged for the first time.
    Acknowledged(RowId),
    /// A row's dead letter was acknowledged for the first time.
    DeadLettered(RowId, Refusal),
    /// A row's dead letter is refused too, and no smaller one can be made: the row is held until an operator acts.
    LetterRefused(RowId, Refusal),
    /// The portal has confirmed the removal of so many rows.
    Cleared(usize),
    /// The outcome of a `get` is unknown; scans are due.
    UnknownGet,
    /// A listing was answered that cannot be believed: nothing of it is taken, and it is asked for again.
    Disbelieved,
    /// A row was found that no wake-up announced: the queue is polled as if there were none.
    WakeUpsMissed,
    /// A wake-up came again.
    WakeUpsBack,
    /// A row changed at the very moment of its deletion: its last state was not published before it was gone from the
    /// portal, and this process has the only copy until its record is acknowledged.
    OnlyHere(RowId),
}
