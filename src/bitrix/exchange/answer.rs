//! What the answer to an exchange says about each of its parts.
//!
//! The HTTP status is 200 even when every command failed. A command that is found neither among the results nor among
//! the errors may have been executed: unknown.

mod free;
pub(in crate::bitrix) mod removal;

use std::{cell::LazyCell, collections::BTreeMap, time::Duration};

use serde_json::value::RawValue;

use super::{Exchanged, OperatingTime, clear_key, page_key};
use crate::{
    bitrix::{
        client::{Answered, Clock, duration},
        error::CallError,
        json,
        wire::{Batch, Commands, DELETE, GET, Get, PAGE, RawRow, Rows, nameless, process, read_row, scalar},
    },
    protocol::{
        exchange::{Answer, Cleared, Deleted, Exchange, LIST_PAGE, Read, ReadAnswer},
        types::{Hold, MessageId, Millis, NamelessRow, ProcessId, Row},
    },
};

/// A full page without a row to go on behind: asking for what comes next would ask for the same page for ever.
pub const NO_USABLE_ROW: &str = "NO_USABLE_ROW";
/// How long it takes until such a page is asked for again: meanwhile its rows may be removed.
const STILL: Millis = Millis::secs(5);

/// Reads the answer to `exchange`.
pub(in crate::bitrix) fn read(exchange: &Exchange, answered: &Answered) -> Result<Exchanged, CallError> {
    let mut reader = Reader::of(answered)?;
    let took = reader.took(answered.elapsed);
    let (read, of_read) = match exchange.read {
        None => (ReadAnswer::NotAsked, None),
        Some(Read::Reserve { .. }) => split(reader.reserved(took)),
        Some(Read::Scan { pages, .. }) => reader.listed(usize::from(pages)),
        Some(Read::List { before, pages, .. }) => split(reader.free(before, usize::from(pages), took)),
    };
    let (deleted, of_delete) = match exchange.delete {
        None => (Deleted::NotAsked, None),
        Some(_) => match reader.deleted() {
            Ok(rows) => (Deleted::Done { rows }, None),
            Err(error) => (error.deleted(), Some(error)),
        },
    };
    let mut of_clears = None;
    let clears = (0..exchange.clears.len()).map(|n| reader.cleared(&clear_key(n), &mut of_clears)).collect();
    Ok(Exchanged {
        answer: Answer { clears, deleted, read, time: reader.clock.date },
        trouble: of_read.or(of_delete).or(of_clears),
        operating: reader.operating(),
        nameless: reader.nameless,
    })
}

fn split(read: Result<ReadAnswer<Row>, CallError>) -> (ReadAnswer<Row>, Option<CallError>) {
    match read {
        Ok(answer) => (answer, None),
        Err(error) if &*error.code == NO_USABLE_ROW => (stands_still(), Some(error)),
        Err(error) => (error.read(), Some(error)),
    }
}

/// A listing changes nothing, and this one leads nowhere until rows are gone: it rests, and the other calls do not.
fn stands_still() -> ReadAnswer<Row> {
    ReadAnswer::Refused { retry_after: Some(STILL), smaller: true }
}

/// How a reserved row without a name is taken hold of.
fn reserved(raw: &RawRow<'_>, process: &ProcessId, messages: &Messages) -> Hold {
    messages.only(raw).map_or(Hold::Nothing, |message| Hold::Reserved { process: process.clone(), message })
}

/// How often each message comes in one list of rows, within one reservation: it may be in several. Nothing if a row of the
/// list may be of any message.
struct Messages(BTreeMap<(Option<ProcessId>, MessageId), usize>);

impl Messages {
    fn of(rows: &[RawRow<'_>]) -> Self {
        let mut messages = BTreeMap::new();
        if rows.iter().any(RawRow::has_two_messages) {
            return Self(messages);
        }
        for row in rows {
            if let Some(message) = row.message() {
                *messages.entry((row.process(), message)).or_default() += 1;
            }
        }
        Self(messages)
    }

    /// The row's message, if no other row of the list has it: only then it can stand for the row.
    fn only(&self, raw: &RawRow<'_>) -> Option<MessageId> {
        let message = raw.message()?;
        (self.0.get(&(raw.process(), message.clone())) == Some(&1)).then_some(message)
    }
}

struct Reader<'a> {
    batch: Batch<'a, Commands<'a>>,
    clock: Clock,
    body: &'a str,
    nameless: Vec<NamelessRow>,
}

impl<'a> Reader<'a> {
    fn of(answered: &'a Answered) -> Result<Self, CallError> {
        let (batch, clock) = answered.result::<Batch<'_, Commands<'_>>>()?;
        Ok(Self { batch, clock, body: answered.body(), nameless: Vec::new() })
    }

    /// How long the `get` took by the portal's account; the whole request if it does not say.
    fn took(&self, elapsed: Duration) -> Millis {
        let took = self.batch.result_time.get(GET).and_then(duration).or(self.clock.took).unwrap_or(elapsed);
        Millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    }

    /// The error of a command, if it has one.
    fn error(&self, key: &str) -> Option<CallError> {
        let raw = self.batch.result_error.get(key)?;
        let code = scalar::text_or_number(json::member(raw, "error").unwrap_or(raw)).unwrap_or_default();
        Some(CallError::coded(200, &code).resets(self.batch.result_time.get(key), self.clock))
    }

    fn cleared(&self, key: &str, trouble: &mut Option<CallError>) -> Cleared {
        let said: Vec<&str> = self.batch.result.iter().flat_map(|result| result.others.all(key)).collect();
        let error = match self.error(key) {
            None if !said.is_empty() && said.iter().all(|said| scalar::yes(said)) => return Cleared::Done,
            None => CallError::unknown("NO_RESULT"),
            Some(_) if !said.is_empty() => CallError::unknown("CONTRADICTION"),
            Some(error) => error,
        };
        let cleared = error.cleared();
        trouble.get_or_insert(error);
        cleared
    }

    /// The rows of a `get`, and the reservation as it is written.
    fn got(&self, key: &str, get: Option<Get<'a>>) -> Result<(Option<&'a RawValue>, Rows<'a>), CallError> {
        if let Some(error) = self.error(key) {
            // A refusal beside a result may hide rows that are reserved, or gone.
            return Err(if get.is_some() { CallError::unknown("CONTRADICTION") } else { error });
        }
        let Some(Get { process_id, events: Some(events) }) = get else {
            return Err(CallError::unknown("NO_RESULT"));
        };
        if events.odd {
            return Err(CallError::unknown("ODD_RESULT"));
        }
        Ok((process_id, events))
    }

    fn reserved(&mut self, took: Millis) -> Result<ReadAnswer<Row>, CallError> {
        let get = self.batch.result.as_mut().and_then(|result| result.get.take());
        let (process_id, events) = self.got(GET, get)?;
        let process = process_id.and_then(|raw| process(raw.get()));
        if process.is_none() && !events.rows.is_empty() {
            // They are reserved, but under which id? Only a scan can tell.
            return Err(CallError::unknown("NO_PROCESS_ID"));
        }
        let rows = self.rows(GET, &events, process.as_ref());
        Ok(ReadAnswer::Reserved { process, rows, took })
    }

    /// What a deletion has brought.
    fn deleted(&mut self) -> Result<Vec<Row>, CallError> {
        let get = self.batch.result.as_mut().and_then(|result| result.deleted.take());
        let (_, events) = self.got(DELETE, get)?;
        Ok(self.rows(DELETE, &events, None))
    }

    /// The rows of a `get`; without a reservation they are gone from the portal.
    fn rows(&mut self, key: &str, events: &Rows<'a>, process: Option<&ProcessId>) -> Vec<Row> {
        let whole = LazyCell::new(|| self.elements(key, true));
        let messages = LazyCell::new(|| Messages::of(&events.rows));
        let mut rows = Vec::with_capacity(events.rows.len());
        let mut without_name = Vec::new();
        for (n, raw) in events.rows.iter().enumerate() {
            if let Some(row) = read_row(raw, || whole.get(n).copied()) {
                rows.push(row);
                continue;
            }
            let hold = match process {
                None => Hold::Gone,
                Some(process) => reserved(raw, process, &messages),
            };
            let place = process.map_or("", ProcessId::as_str);
            without_name.push(nameless(raw, place, hold, whole.get(n).copied()));
        }
        self.nameless.append(&mut without_name);
        rows.sort_unstable_by_key(|row| row.id);
        rows.dedup_by_key(|row| row.id);
        rows
    }

    /// The pages up to the first that is missing: behind that one, the next scan goes on.
    fn listed(&mut self, pages: usize) -> (ReadAnswer<Row>, Option<CallError>) {
        let mut found = Vec::new();
        let mut more = false;
        let mut trouble = None;
        for page in 0..pages {
            let key = page_key(page);
            match self.page(page, &key) {
                Ok(rows) => {
                    more = rows.rows.len() >= LIST_PAGE || self.batch.result_next.get(&key).is_some();
                    self.take_page(&key, &rows, &mut found);
                }
                Err(error) if page == 0 => return (error.read(), Some(error)),
                Err(error) => {
                    trouble = Some(error);
                    break;
                }
            }
        }
        if more && found.is_empty() {
            // Nothing to go on from: asking for what is behind the last row would ask the same for ever.
            return (stands_still(), Some(CallError::unknown(NO_USABLE_ROW)));
        }
        found.sort_by_key(|(_, row)| row.id);
        found.dedup_by_key(|(_, row)| row.id);
        (ReadAnswer::Listed { rows: found, more }, trouble)
    }

    fn page(&mut self, page: usize, key: &str) -> Result<Rows<'a>, CallError> {
        let result = self.batch.result.as_mut();
        let rows = result.and_then(|result| {
            let at = result.pages.iter().position(|(number, _)| *number == page)?;
            Some(result.pages.swap_remove(at).1)
        });
        if let Some(error) = self.error(key) {
            return Err(if rows.is_some() { CallError::unknown("CONTRADICTION") } else { error });
        }
        rows.filter(|rows| !rows.odd).ok_or_else(|| CallError::unknown("NO_RESULT"))
    }

    fn take_page(&mut self, key: &str, rows: &Rows<'a>, found: &mut Vec<(ProcessId, Row)>) {
        let whole = LazyCell::new(|| self.elements(key, false));
        let messages = LazyCell::new(|| Messages::of(&rows.rows));
        let mut without_name = Vec::new();
        for (n, raw) in rows.rows.iter().enumerate() {
            if raw.is_free() {
                // The filter was not heeded: it is not ours to recover.
                continue;
            }
            let process = raw.process();
            match process.clone().zip(read_row(raw, || whole.get(n).copied())) {
                Some((process, row)) => {
                    // Rows of one reservation share the text of its id.
                    let known = found.last().map(|(last, _)| last).filter(|last| **last == process).cloned();
                    found.push((known.unwrap_or(process), row));
                }
                None => {
                    let hold = process.as_ref().map_or(Hold::Nothing, |process| reserved(raw, process, &messages));
                    let place = process.as_ref().map_or("", ProcessId::as_str);
                    without_name.push(nameless(raw, place, hold, whole.get(n).copied()));
                }
            }
        }
        self.nameless.append(&mut without_name);
    }

    /// The rows of a command as they are written, for those that cannot be read; found by a second walk, since hardly
    /// any answer needs it.
    fn elements(&self, key: &str, within_events: bool) -> Vec<&'a str> {
        let list = ["result", "result", key].iter().try_fold(self.body, |value, key| json::member(value, key));
        let list = if within_events { list.and_then(|get| json::member(get, "events")) } else { list };
        list.map(|list| json::children(list).map(|child| child.value).collect()).unwrap_or_default()
    }

    fn operating(&self) -> Vec<OperatingTime> {
        let mut operating: Vec<OperatingTime> = Vec::new();
        for (key, time) in &self.batch.result_time.0 {
            let method = match &**key {
                GET | DELETE => "event.offline.get",
                key if key.starts_with(removal::DELETED) => "event.offline.get",
                key if key.starts_with(PAGE) => "event.offline.list",
                _ => "event.offline.clear",
            };
            let Some(seconds) = json::member(time.get(), "operating").and_then(scalar::number) else { continue };
            let reset_at = json::member(time.get(), "operating_reset_at").and_then(scalar::integer);
            // Later commands know more than earlier ones.
            operating.retain(|earlier| earlier.method != method);
            operating.push(OperatingTime { method, seconds, reset_at });
        }
        operating
    }
}

#[cfg(test)]
mod tests;
