//! What the answer says about rows that were looked at, or removed, by their messages.

#[cfg(test)]
mod tests;

use super::Reader;
use crate::{
    bitrix::{
        client::Answered,
        error::{CallError, Trouble},
        exchange::page_key,
        nameless::Removed,
        wire::{Get, nameless},
    },
    protocol::{
        exchange::Cleared,
        types::{Hold, Mark, NamelessRow, Removal},
    },
};

/// What was found where rows were looked for: one per row, `None` if the row is there as it was.
pub type Looked = Vec<Option<Removal>>;

/// What the keys of removals begin with that are a `get`; the number of the row follows.
pub(super) const DELETED: &str = "gone";

/// The key of the removal of the `n`th row.
pub(in crate::bitrix) fn key(n: usize, hold: &Hold) -> String {
    match hold {
        Hold::Free { .. } => format!("{DELETED}{n}"),
        _ => format!("r{n}"),
    }
}

/// Reads the answer to a look at `rows`.
pub(in crate::bitrix) fn looked(rows: &[(Mark, Hold)], answered: &Answered) -> Result<Looked, CallError> {
    let mut reader = Reader::of(answered)?;
    Ok(rows.iter().enumerate().map(|(n, (mark, hold))| reader.look(n, *mark, hold)).collect())
}

/// Reads the answer to a removal of `rows`.
pub(in crate::bitrix) fn read(rows: &[(Mark, Hold)], answered: &Answered) -> Result<Removed, CallError> {
    let mut reader = Reader::of(answered)?;
    let mut trouble = None;
    let mut brought = Vec::new();
    let outcomes = rows.iter().enumerate().map(|(n, (_, hold))| {
        let key = key(n, hold);
        match hold {
            Hold::Free { .. } => {
                reader.deletion(&key, &mut brought).unwrap_or_else(|error| failed(error, &mut trouble))
            }
            _ => reader.clear(&key, &mut trouble),
        }
    });
    let outcomes = outcomes.collect();
    Ok(Removed { outcomes, brought, trouble, operating: reader.operating() })
}

fn failed(error: CallError, trouble: &mut Option<CallError>) -> Removal {
    let removal = match (error.trouble, error.cleared()) {
        // It would be refused again and again.
        (Trouble::Ours, _) => Removal::Impossible,
        (_, Cleared::Refused { retry_after }) => Removal::Refused { retry_after },
        (_, Cleared::Done | Cleared::Unknown) => Removal::Unknown,
    };
    trouble.get_or_insert(error);
    removal
}

impl Reader<'_> {
    fn look(&mut self, n: usize, mark: Mark, hold: &Hold) -> Option<Removal> {
        let Hold::Free { message, .. } = hold else { return Some(Removal::Impossible) };
        let rows = match self.page(n, &page_key(n)) {
            Ok(rows) => rows,
            Err(error) => return Some(failed(error, &mut None)),
        };
        match rows.rows.as_slice() {
            // It has gone, or has changed and is listed again.
            [] => Some(Removal::Elsewhere),
            [row] if row.message().as_ref() == Some(message) => {
                let now = nameless(row, "", Hold::Nothing, self.elements(&page_key(n), false).first().copied()).mark;
                (now != mark).then_some(Removal::Elsewhere)
            }
            // The portal does not heed the condition, and would not heed it in a deletion.
            _ => Some(Removal::Impossible),
        }
    }

    fn clear(&self, key: &str, trouble: &mut Option<CallError>) -> Removal {
        if let Some(error) = self.error(key).filter(|error| error.trouble == Trouble::Ours) {
            return failed(error, trouble);
        }
        match self.cleared(key, trouble) {
            Cleared::Done => Removal::Done,
            Cleared::Refused { retry_after } => Removal::Refused { retry_after },
            Cleared::Unknown => Removal::Unknown,
        }
    }

    fn deletion(&mut self, key: &str, brought: &mut Vec<NamelessRow>) -> Result<Removal, CallError> {
        let said: Vec<&str> = self.batch.result.iter().flat_map(|result| result.others.all(key)).collect();
        let get = match said.as_slice() {
            [] => None,
            [get] => serde_json::from_str::<Get<'_>>(get).ok(),
            _ => return Err(CallError::unknown("CONTRADICTION")),
        };
        let (_, events) = self.got(key, get)?;
        let whole = self.elements(key, true);
        let gone = |(n, raw)| nameless(raw, "", Hold::Gone, whole.get(n).copied());
        brought.extend(events.rows.iter().enumerate().map(gone));
        Ok(if events.rows.is_empty() { Removal::Elsewhere } else { Removal::Done })
    }
}
