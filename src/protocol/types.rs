//! The vocabulary of the protocol: identities, rows, and times.
//!
//! Everything here is plain data. The edges (`bitrix`, `kafka`, `registry`) may import this module and
//! [`exchange`](super::exchange), and nothing else of the core.

mod nameless;

use std::{fmt, num::NonZeroU64, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::nameless::*;

/// A point on the clock of one process, in milliseconds since an origin that the edge chooses.
///
/// The core never reads a clock; differences are all that matters to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Millis {
    /// `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Self(n * 1000)
    }

    /// This time and a span after it; never wraps.
    #[must_use]
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to this time, or zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// A point on a portal's own clock, which ticks in whole seconds.
///
/// It is compared with nothing but other times of the same portal: our clock and the portal's need not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortalTime {
    /// Seconds since 1970 (UTC).
    pub seconds: i64,
    /// The portal's offset from UTC in seconds: a time goes back to the portal as the portal writes times.
    pub offset: i32,
}

impl PortalTime {
    /// So many seconds before this time.
    #[must_use]
    pub const fn before(self, seconds: i64) -> Self {
        Self { seconds: self.seconds.saturating_sub(seconds), offset: self.offset }
    }
}

/// How the rows of a portal's queues are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Rows are reserved, published, and cleared by name: with the feature `rest_offline_extended`.
    #[default]
    Reserve,
    /// Rows are listed, published, and deleted if they have not changed since: without it.
    Conditional,
}

impl Mode {
    /// The word in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Conditional => "conditional",
        }
    }
}

/// A Bitrix24 installation: its `member_id`. The domain of a portal may change, this does not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortalId(Arc<str>);

/// The longest `member_id` that is accepted, in characters. Real ones have 32.
pub const MAX_MEMBER_ID: usize = 64;

impl PortalId {
    /// Checks a `member_id`: 1 to 64 ASCII letters and digits, since it names files and keys.
    pub fn new(member_id: &str) -> Option<Self> {
        let fits = (1..=MAX_MEMBER_ID).contains(&member_id.len());
        (fits && member_id.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| Self(member_id.into()))
    }

    /// The `member_id`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PortalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PortalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `auth_connector` of a queue; `""` is the plain one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connector(Arc<str>);

impl Connector {
    /// Any text is a connector.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name, `""` for the plain queue.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One portal x one connector: the unit of ordering, ownership and recovery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId {
    /// Whose queue it is.
    pub portal: PortalId,
    /// Which of the portal's queues it is.
    pub connector: Connector,
}

/// The `ID` of a row: positive, ascending, unique within a portal, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowId(NonZeroU64);

impl RowId {
    /// `None` for 0: the server refuses an `id` that is not positive (protocol reference section 2).
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id that the portal gave to a reservation; never empty (an empty one means "free" to the server).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessId(Arc<str>);

impl ProcessId {
    /// `None` for an empty text.
    pub fn new(id: &str) -> Option<Self> {
        (!id.is_empty()).then(|| Self(id.into()))
    }

    /// The id as the portal spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProcessId {
    type Error = &'static str;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        Self::new(&id).ok_or("the id of a reservation is never empty")
    }
}

impl From<ProcessId> for String {
    fn from(id: ProcessId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The equality class of a row's entity: rows of one entity have one key.
///
/// It is a hash of entity and id. A collision only makes two entities wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityKey(pub u64);

/// A list with at least one element, kept in the order it was built in.
///
/// `event.offline.clear` with an empty list deletes the whole reservation, so a clear holds one of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>")]
pub struct NonEmpty<T>(Vec<T>);

impl<T> NonEmpty<T> {
    /// `None` if there is nothing in it.
    pub fn new(items: Vec<T>) -> Option<Self> {
        (!items.is_empty()).then_some(Self(items))
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<T> TryFrom<Vec<T>> for NonEmpty<T> {
    type Error = &'static str;

    fn try_from(items: Vec<T>) -> Result<Self, Self::Error> {
        Self::new(items).ok_or("the list is empty")
    }
}

/// What happened to the entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It came to be.
    Add,
    /// It changed.
    Update,
    /// It is gone.
    Delete,
    /// Anything else, and every event that the catalogue does not know.
    Other,
}

impl Change {
    /// The word in records and in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Other => "other",
        }
    }
}

/// Why a row can never become a record; the `b24_reason` of its dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The record is larger than the producer or the topic allows.
    TooLarge,
    /// The broker refused the record as invalid.
    InvalidRecord,
    /// The portal's row itself cannot be read.
    MalformedRow,
}

impl Refusal {
    /// All of them, for closed sets of metric labels.
    pub const ALL: [Self; 3] = [Self::TooLarge, Self::InvalidRecord, Self::MalformedRow];

    /// The word in headers, values and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::InvalidRecord => "invalid_record",
            Self::MalformedRow => "malformed_row",
        }
    }
}

/// What became of a row that was handed to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Kafka has acknowledged every record that was made from this very row.
    Acknowledged,
    /// Not acknowledged for now; it may have been written all the same.
    Failed(Hindrance),
    /// Refused for good, if it was produced alone: a broker refuses a whole batch for one bad record in it.
    Refused(Refusal),
}

/// Why a row was not acknowledged for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hindrance {
    /// Time-out, transport, too few replicas, a broken producer: try again soon.
    Passing,
    /// Unknown topic or no right to it: somebody has to act; try again slowly.
    Route,
}

/// A row of the portal's queue, read and checked. Tokens inside its data are redacted already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its identity within the portal.
    pub id: RowId,
    /// What it says.
    pub body: Body,
}

impl Row {
    /// `TIMESTAMP_X` in seconds since 1970 (UTC), if it can be read.
    pub fn changed_at(&self) -> Option<i64> {
        match &self.body {
            Body::Event(event) => Some(event.changed_at),
            Body::Malformed(malformed) => malformed.changed_at,
        }
    }
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A readable event.
    Event(Box<Event>),
    /// A row with an id and something else that cannot be read: it becomes a dead letter.
    Malformed(Box<Malformed>),
}

/// A readable event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `EVENT_NAME`, upper case.
    pub name: Box<str>,
    /// The entity by the catalogue, `other` for an event that it does not know.
    pub entity: &'static str,
    /// What happened to it, by the catalogue.
    pub change: Change,
    /// Which one, by the catalogue's path into the data; never empty.
    pub entity_id: Box<str>,
    /// The class of `entity` and `entity_id`.
    pub key: EntityKey,
    /// `TIMESTAMP_X` in seconds since 1970 (UTC).
    pub changed_at: i64,
    /// `TIMESTAMP_X` as delivered.
    pub timestamp_x: Box<str>,
    /// `MESSAGE_ID`; the same for every change of one object, so no deduplication id.
    pub message_id: Box<str>,
    /// Who made the change, if the portal says so.
    pub user_id: Option<i64>,
    /// `EVENT_DATA`: a JSON object (or a list, or for an event whose data is nothing but its id a text or number),
    /// compact, redacted, otherwise byte for byte as delivered; `{}` if there is none.
    pub data: Box<str>,
    /// `EVENT_ADDITIONAL`: compact, redacted JSON, as delivered.
    pub additional: Box<str>,
}

/// A row that has an id but cannot be read as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, in words; no foreign text beyond field names.
    pub detail: Box<str>,
    /// `TIMESTAMP_X` in seconds since 1970 (UTC), if that can be read.
    pub changed_at: Option<i64>,
    /// The whole row as delivered: compact, redacted JSON.
    pub raw: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_id_names_a_file_safely() {
        for good in ["a", "a223c6b3710f85df22e9377d6c4f7553", &"Z9".repeat(32)] {
            assert_eq!(PortalId::new(good).expect(good).as_str(), good);
        }
        for bad in ["", "../x", "a b", "ä", "a.b", &"x".repeat(65)] {
            assert_eq!(PortalId::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn dangerous_values_cannot_be_built() {
        assert_eq!(RowId::new(0), None);
        assert_eq!(ProcessId::new(""), None);
        assert_eq!(NonEmpty::<RowId>::new(Vec::new()), None);
    }

    #[test]
    fn spans_never_wrap() {
        assert_eq!(Millis(5).since(Millis(7)), Millis(0));
        assert_eq!(Millis(u64::MAX).plus(Millis(1)), Millis(u64::MAX));
    }
}
