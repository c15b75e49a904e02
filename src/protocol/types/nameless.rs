//! Rows that have no name: those that come without a usable `ID`.

use std::fmt;

use super::{Malformed, Millis, PortalTime, ProcessId};

/// What stands for the name of such a row: a digest of all that it says and of the reservation that it is in. Two rows
/// that say the same in one place are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u128);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A `MESSAGE_ID` that a portal accepts as one. It is unique among the rows of one reservation, and among the free ones of
/// a queue (protocol reference section 1), so it names a row there and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Box<str>);

impl MessageId {
    /// `None` unless it has 32 letters and digits: portals refuse any other length (protocol reference section 2).
    pub fn new(id: &str) -> Option<Self> {
        (id.len() == 32 && id.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| Self(id.into()))
    }

    /// As the portal spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// By what such a row can be taken hold of at its portal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// It is reserved: `event.offline.clear` removes it by its message.
    Reserved {
        /// The reservation.
        process: ProcessId,
        /// The message, which no other row of the answer has.
        message: MessageId,
    },
    /// It is free, and was last changed before `before`: `event.offline.get` with `clear=1` and these conditions removes it
    /// if it still is as it was.
    Free {
        /// The message, which no other row of the page has.
        message: MessageId,
        /// The very condition that it was listed under.
        before: PortalTime,
    },
    /// Nothing names it, so it stays until the portal drops it.
    Nothing,
    /// It is not there any more: a deletion has brought it.
    Gone,
}

/// A row without a usable `ID`. Tokens inside its data are redacted already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamelessRow {
    /// What stands for its name.
    pub mark: Mark,
    /// Where it is.
    pub hold: Hold,
    /// What it says.
    pub content: Malformed,
}

/// What is known of the removal of such a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Removal {
    /// It is removed.
    Done,
    /// It is not there any more, or not as it was: somebody else has removed it, or it has changed and is shown again.
    Elsewhere,
    /// It cannot be removed in this way, now or later.
    Impossible,
    /// It was certainly not removed.
    Refused {
        /// When asking again makes sense, if the portal or the edge knows; a span from now.
        retry_after: Option<Millis>,
    },
    /// It may have been removed, or may still be.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_32_letters_and_digits() {
        assert!(MessageId::new(&"a1".repeat(16)).is_some());
        for bad in ["", "a", &"a".repeat(31), &"a".repeat(33), &"a&".repeat(16), &"ä".repeat(16)] {
            assert_eq!(MessageId::new(bad), None, "{bad}");
        }
        assert_eq!(Mark(255).to_string(), format!("{}ff", "0".repeat(30)));
    }
}
