//! One exchange of a queue: from the core's words to one REST `batch` and back (protocol reference section 2).

pub(super) mod answer;

pub use self::answer::NO_USABLE_ROW;

use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use url::form_urlencoded::byte_serialize;

use super::{
    client::{Access, Client},
    error::{CallError, Trouble},
    wire::{DELETE, GET, PAGE, time},
};
use crate::protocol::{
    exchange::{Answer, BATCH_COMMANDS, CLEAR_IDS, Clear, Delete, Exchange, LIST_PAGE, Read},
    types::{Connector, NamelessRow, PortalTime, Row, RowId},
};

/// What is known after an exchange that was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchanged {
    /// What became of every part of it.
    pub answer: Answer<Row>,
    /// Why a part of it is not done: of the read if it is the read, else of the first clear.
    pub trouble: Option<CallError>,
    /// What the portal says about the time budgets of the methods that were called.
    pub operating: Vec<OperatingTime>,
    /// Rows without a usable `ID`, or found without saying whose they are.
    pub nameless: Vec<NamelessRow>,
}

/// How much of a method's time budget is used (protocol reference section 3).
#[derive(Clone, Debug, PartialEq)]
pub struct OperatingTime {
    /// The REST method.
    pub method: &'static str,
    /// Seconds used within the last ten minutes; portals allow 420 or 480.
    pub seconds: f64,
    /// When the oldest minute drops out, in seconds since 1970 by the portal's clock.
    pub reset_at: Option<i64>,
}

impl Client {
    /// Sends the clears and the read of one queue as one request, in this order, and tells what is known of each.
    ///
    /// `connector` goes with the request and not with its commands: within a `batch` the portal looks for it there.
    ///
    /// # Errors
    /// [`CallError`] if the request as a whole has no answer; [`CallError::answer`] says what that means for its parts.
    pub async fn exchange(
        &self,
        access: &Access,
        connector: &Connector,
        exchange: &Exchange,
    ) -> Result<Exchanged, CallError> {
        let batch = BatchRequest::new(commands(exchange)?);
        let answered = self.call(access, "batch", Some(connector), &batch).await?;
        answer::read(exchange, &answered)
    }
}

/// The parameters of `batch`.
#[derive(Serialize)]
pub(super) struct BatchRequest {
    halt: u8,
    cmd: Commands,
}

impl BatchRequest {
    pub(super) fn new(commands: Vec<(String, String)>) -> Self {
        Self { halt: 0, cmd: Commands(commands) }
    }
}

/// Keys and commands; a map whose order is the order of execution.
struct Commands(Vec<(String, String)>);

impl Serialize for Commands {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, command)| (key, command)))
    }
}

/// The key of the `n`th clear.
fn clear_key(n: usize) -> String {
    format!("c{n}")
}

/// The key of the `n`th page of a scan or a listing; young rows have the page behind the last one.
pub(super) fn page_key(n: usize) -> String {
    format!("{PAGE}{n}")
}

fn commands(exchange: &Exchange) -> Result<Vec<(String, String)>, CallError> {
    let mut commands = Vec::with_capacity(exchange.clears.len() + 1);
    for (n, clear) in exchange.clears.iter().enumerate() {
        commands.push((clear_key(n), clear_command(clear)?));
    }
    if let Some(delete) = &exchange.delete {
        commands.push((DELETE.to_owned(), delete_command(delete)?));
    }
    match exchange.read {
        None => {}
        Some(Read::Reserve { limit }) => {
            // Without `clear=0` the rows would be deleted before the answer is sent; in any other order than by ID an
            // object that changes often would move to the tail for ever.
            commands.push((GET.to_owned(), format!("event.offline.get?clear=0&order[ID]=ASC&limit={}", limit.max(1))));
        }
        Some(Read::Scan { after, pages }) => {
            commands.extend((0..usize::from(pages)).map(|page| (page_key(page), page_command(after, page))));
        }
        Some(Read::List { before, pages, young_after }) => {
            let before = portal_time(before)?;
            let pages = usize::from(pages);
            commands.extend((0..pages).map(|page| (page_key(page), free_command(&before, page))));
            commands.push((page_key(pages), young_command(&before, young_after)));
        }
    }
    if commands.is_empty() || commands.len() > BATCH_COMMANDS {
        return Err(CallError::new(Trouble::Ours, "BAD_NUMBER_OF_COMMANDS"));
    }
    Ok(commands)
}

fn clear_command(clear: &Clear) -> Result<String, CallError> {
    let ids = clear.ids.as_slice();
    if ids.len() > CLEAR_IDS {
        return Err(CallError::new(Trouble::Ours, "TOO_MANY_IDS"));
    }
    let mut command = String::with_capacity(64 + ids.len() * 16);
    command.push_str("event.offline.clear?process_id=");
    command.extend(byte_serialize(clear.process.as_str().as_bytes()));
    for id in ids {
        // Writing to a String cannot fail.
        let _ = write!(command, "&id[]={id}");
    }
    Ok(command)
}

/// `%3E` is `>`, `%3D` is `=`: reserved rows that are no error rows, behind the last one that is known.
fn page_command(after: Option<RowId>, page: usize) -> String {
    let after = after.map_or(0, RowId::get);
    let start = page * LIST_PAGE;
    format!(
        "event.offline.list?filter[%3EPROCESS_ID]=&filter[%3DERROR]=0&filter[%3EID]={after}&order[ID]=ASC&start={start}"
    )
}

/// The portal's own way to write a time, fit for a query: a bare `+` would become a blank there.
pub(super) fn portal_time(time: PortalTime) -> Result<String, CallError> {
    let written = time::write(time).ok_or_else(|| CallError::new(Trouble::Ours, "BAD_TIME"))?;
    Ok(byte_serialize(written.as_bytes()).collect())
}

/// `%3C` is `<`: the conditions of the listing, word for word, and its range.
fn delete_command(delete: &Delete) -> Result<String, CallError> {
    let Delete { first, last, before, limit } = delete;
    let before = portal_time(*before)?;
    Ok(format!(
        "event.offline.get?clear=1&order[ID]=ASC&limit={}&filter[%3E%3DID]={first}&filter[%3C%3DID]={last}&filter[%3CTIMESTAMP_X]={before}",
        (*limit).max(1)
    ))
}

/// Free rows that are old enough. Each page begins behind the last row of the one before, by name: an offset would skip
/// rows if others went away between two pages, and what is skipped is not published before it is deleted.
fn free_command(before: &str, page: usize) -> String {
    let after = match page.checked_sub(1) {
        None => "0".to_owned(),
        Some(earlier) => format!("$result[{}][{}][ID]", page_key(earlier), LIST_PAGE - 1),
    };
    format!(
        "event.offline.list?filter[%3DPROCESS_ID]=&filter[%3DERROR]=0&filter[%3CTIMESTAMP_X]={before}&filter[%3EID]={after}&order[ID]=ASC"
    )
}

/// Free rows that are not.
fn young_command(before: &str, after: Option<RowId>) -> String {
    let after = after.map_or(0, RowId::get);
    format!(
        "event.offline.list?filter[%3DPROCESS_ID]=&filter[%3DERROR]=0&filter[%3E%3DTIMESTAMP_X]={before}&filter[%3EID]={after}&order[ID]=ASC"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::types::{NonEmpty, ProcessId};

    fn clear(process: &str, ids: std::ops::RangeInclusive<u64>) -> Clear {
        let ids = ids.filter_map(RowId::new).collect();
        Clear { process: ProcessId::new(process).expect("process"), ids: NonEmpty::new(ids).expect("ids") }
    }

    #[test]
    fn clears_come_first_and_the_get_never_deletes() {
        let exchange = Exchange {
            clears: vec![clear("a&b", 1..=2), clear("c", 9..=9)],
            delete: None,
            read: Some(Read::Reserve { limit: 400 }),
        };
        let want = [
            ("c0", "event.offline.clear?process_id=a%26b&id[]=1&id[]=2"),
            ("c1", "event.offline.clear?process_id=c&id[]=9"),
            ("get", "event.offline.get?clear=0&order[ID]=ASC&limit=400"),
        ];
        let got = commands(&exchange).expect("commands");
        assert_eq!(got.iter().map(|(k, c)| (k.as_str(), c.as_str())).collect::<Vec<_>>(), want);
        let json = serde_json::to_string(&BatchRequest::new(got)).expect("json");
        assert!(json.starts_with(r#"{"halt":0,"cmd":{"c0":"event.offline.clear"#), "{json}");
    }

    #[test]
    fn pages_go_by_id_behind_the_last_one() {
        let exchange =
            Exchange { clears: vec![], delete: None, read: Some(Read::Scan { after: RowId::new(77), pages: 2 }) };
        let got = commands(&exchange).expect("commands");
        let (key, second) = &got[1];
        assert_eq!(key, "page1");
        let query = second.strip_prefix("event.offline.list?").expect("list");
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let want = [
            ("filter[>PROCESS_ID]", ""),
            ("filter[=ERROR]", "0"),
            ("filter[>ID]", "77"),
            ("order[ID]", "ASC"),
            ("start", "50"),
        ];
        assert_eq!(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), want);
    }

    #[test]
    fn a_deletion_carries_the_conditions_of_its_listing_and_comes_before_the_next_one() {
        let before = PortalTime { seconds: 1_795_515_330, offset: 10_800 };
        let row = |id| RowId::new(id).expect("positive");
        let delete = Delete { first: row(3), last: row(90), before, limit: 7 };
        let read = Read::List { before: before.before(-1), pages: 2, young_after: RowId::new(70) };
        let got = commands(&Exchange { clears: vec![], delete: Some(delete), read: Some(read) }).expect("commands");
        assert_eq!(got.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["delete", "page0", "page1", "page2"]);
        let pairs = |n: usize| {
            let (_, query) = got[n].1.split_once('?').expect("a query");
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect::<Vec<_>>()
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let deletion = pairs(0);
        for part in [
            pair("clear", "1"),
            pair("limit", "7"),
            pair("filter[>=ID]", "3"),
            pair("filter[<=ID]", "90"),
            pair("filter[<TIMESTAMP_X]", "2026-11-24T13:15:30+03:00"),
        ] {
            assert!(deletion.contains(&part), "{part:?} in {deletion:?}");
        }
        assert!(pairs(1).contains(&pair("filter[>ID]", "0")));
        assert!(pairs(2).contains(&pair("filter[>ID]", "$result[page0][49][ID]")));
        assert!(pairs(2).contains(&pair("filter[<TIMESTAMP_X]", "2026-11-24T13:15:31+03:00")));
        assert!(pairs(3).contains(&pair("filter[>ID]", "70")));
        assert!(pairs(3).contains(&pair("filter[>=TIMESTAMP_X]", "2026-11-24T13:15:31+03:00")));
    }

    #[test]
    fn what_a_portal_would_refuse_is_not_sent() {
        let code = |exchange: &Exchange| commands(exchange).expect_err("refused").code.into_string();
        assert_eq!(code(&Exchange { clears: vec![clear("p", 1..=501)], delete: None, read: None }), "TOO_MANY_IDS");
        assert_eq!(code(&Exchange { clears: vec![], delete: None, read: None }), "BAD_NUMBER_OF_COMMANDS");
        let many = Exchange {
            clears: vec![clear("p", 1..=1); 11],
            delete: None,
            read: Some(Read::Scan { after: None, pages: 40 }),
        };
        assert_eq!(code(&many), "BAD_NUMBER_OF_COMMANDS");
    }
}
