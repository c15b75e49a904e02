//! The listing of free rows: what is deleted later depends on it, so it is believed only if nothing in it is odd.

#[cfg(test)]
mod tests;

use std::cell::LazyCell;

use super::{Messages, NO_USABLE_ROW, Reader, page_key};
use crate::{
    bitrix::{
        error::CallError,
        wire::{Rows, nameless, read_row},
    },
    protocol::{
        exchange::{LIST_PAGE, ReadAnswer},
        types::{Hold, Millis, PortalTime, Row, RowId},
    },
};

/// The rows that were found one after the other, as far as they can be told.
#[derive(Default)]
struct Run {
    rows: Vec<Row>,
    /// The highest id that was met, whether its row was taken or not.
    last: Option<RowId>,
    /// A row that cannot be told ends the run: a deletion names its first and its last row, and must not have that one
    /// between them.
    ended: bool,
}

/// The condition that a page was asked for with.
#[derive(Clone, Copy)]
enum Age {
    /// Last changed before this time.
    Old(PortalTime),
    /// At this time or later.
    Young(PortalTime),
}

impl Age {
    fn fits(self, at: i64) -> bool {
        match self {
            Self::Old(before) => at < before.seconds,
            Self::Young(before) => at >= before.seconds,
        }
    }
}

impl Reader<'_> {
    /// The old rows up to the first page that is missing, and the young ones.
    pub(super) fn free(
        &mut self,
        before: PortalTime,
        pages: usize,
        took: Millis,
    ) -> Result<ReadAnswer<Row>, CallError> {
        let known = self.nameless.len();
        let read = self.old_and_young(before, pages, took);
        if read.as_ref().is_err_and(|error| &*error.code != NO_USABLE_ROW) {
            // What a listing says that is not believed is no ground to remove anything.
            self.nameless.truncate(known);
        }
        read
    }

    fn old_and_young(&mut self, before: PortalTime, pages: usize, took: Millis) -> Result<ReadAnswer<Row>, CallError> {
        let mut run = Run::default();
        let mut more = false;
        for page in 0..pages {
            let key = page_key(page);
            let rows = match self.page(page, &key) {
                Ok(rows) => rows,
                Err(error) if page == 0 => return Err(error),
                // There is more, as the page before shows, and the next listing goes on there.
                Err(_) => break,
            };
            self.take_free(&key, &rows, &mut run, Age::Old(before))?;
            more = run.ended || rows.rows.len() >= LIST_PAGE || self.batch.result_next.get(&key).is_some();
            if run.ended || rows.rows.len() < LIST_PAGE {
                break;
            }
        }
        if more && run.rows.is_empty() {
            return Err(CallError::unknown(NO_USABLE_ROW));
        }
        let young = self.young(before, pages)?;
        // What has changed between the two commands is young now.
        run.rows.retain(|row| young.binary_search_by_key(&row.id, |young| young.id).is_err());
        Ok(ReadAnswer::Free { rows: run.rows, more, young, took })
    }

    fn young(&mut self, before: PortalTime, pages: usize) -> Result<Vec<Row>, CallError> {
        let key = page_key(pages);
        let rows = self.page(pages, &key)?;
        let mut run = Run::default();
        self.take_free(&key, &rows, &mut run, Age::Young(before))?;
        Ok(run.rows)
    }

    /// Appends the rows of a page to the run. A row that breaks the order or a condition that was asked for shows that the
    /// portal heeds neither, and would not heed them in a deletion.
    fn take_free(&mut self, key: &str, rows: &Rows<'_>, run: &mut Run, age: Age) -> Result<(), CallError> {
        let whole = LazyCell::new(|| self.elements(key, false));
        let messages = LazyCell::new(|| Messages::of(&rows.rows));
        let mut without_name = Vec::new();
        for (n, raw) in rows.rows.iter().enumerate() {
            let id = raw.id();
            // Also behind the end of the run: a row that belongs into its range may lie there.
            if id.is_some_and(|id| run.last.is_some_and(|last| id <= last)) {
                return Err(CallError::unknown("ODD_ORDER"));
            }
            run.last = id.or(run.last);
            // What is more than a page comes again in the next listing.
            if run.ended || n >= LIST_PAGE {
                continue;
            }
            let row = id.and_then(|_| read_row(raw, || whole.get(n).copied()));
            let reserved = if row.is_some() { !raw.is_free() } else { raw.process().is_some() };
            if reserved || raw.changed_at().is_some_and(|at| !age.fits(at)) {
                return Err(CallError::unknown("FILTER_NOT_HEEDED"));
            }
            if let Some(row) = row {
                run.rows.push(row);
                continue;
            }
            // No deletion names young rows, so their run may go on. A young one itself is an old one soon.
            run.ended = matches!(age, Age::Old(_)) && !run.rows.is_empty();
            if let Age::Old(before) = age {
                let message = messages.only(raw).filter(|_| raw.is_free() && raw.changed_at().is_some());
                let hold = message.map_or(Hold::Nothing, |message| Hold::Free { message, before });
                without_name.push(nameless(raw, "", hold, whole.get(n).copied()));
            }
        }
        self.nameless.append(&mut without_name);
        Ok(())
    }
}
