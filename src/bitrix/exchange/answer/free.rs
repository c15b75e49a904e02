//! The listing of free rows: what is deleted later depends on it, so it is believed only if nothing in it is odd.

#[cfg(test)]
mod tests;

use std::cell::LazyCell;

use super::{Reader, page_key};
use crate::{
    bitrix::{
        error::CallError,
        wire::{Rows, read_row},
    },
    protocol::{
        exchange::{LIST_PAGE, ReadAnswer},
        types::{Millis, PortalTime, Row, RowId},
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

impl Reader<'_> {
    /// The old rows up to the first page that is missing, and the young ones.
    pub(super) fn free(
        &mut self,
        before: PortalTime,
        pages: usize,
        took: Millis,
    ) -> Result<ReadAnswer<Row>, CallError> {
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
            self.take_free(&key, &rows, &mut run, |at| at < before.seconds)?;
            more = run.ended || rows.rows.len() >= LIST_PAGE || self.batch.result_next.get(&key).is_some();
            if run.ended || rows.rows.len() < LIST_PAGE {
                break;
            }
        }
        if more && run.rows.is_empty() {
            return Err(CallError::unknown("NO_USABLE_ROW"));
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
        self.take_free(&key, &rows, &mut run, |at| at >= before.seconds)?;
        Ok(run.rows)
    }

    /// Appends the rows of a page to the run. A row that breaks the order or a condition that was asked for shows that the
    /// portal heeds neither, and would not heed them in a deletion.
    fn take_free(
        &mut self,
        key: &str,
        rows: &Rows<'_>,
        run: &mut Run,
        fits: impl Fn(i64) -> bool,
    ) -> Result<(), CallError> {
        let whole = LazyCell::new(|| self.elements(key, false));
        let mut unreadable = 0;
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
            let Some(row) = id.and_then(|_| read_row(raw, || whole.get(n).copied())) else {
                unreadable += 1;
                run.ended = !run.rows.is_empty();
                continue;
            };
            if !raw.is_free() || row.changed_at().is_some_and(|at| !fits(at)) {
                return Err(CallError::unknown("FILTER_NOT_HEEDED"));
            }
            run.rows.push(row);
        }
        self.unreadable += unreadable;
        Ok(())
    }
}
