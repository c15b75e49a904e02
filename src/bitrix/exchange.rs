//! One exchange of a queue: from the core's words to one REST `batch` and back (protocol reference section 2).

pub(super) mod answer;

use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use url::form_urlencoded::byte_serialize;

use super::{
    client::{Access, Client},
    error::{CallError, Trouble},
    wire::{GET, PAGE},
};
use crate::protocol::{
    exchange::{Answer, BATCH_COMMANDS, CLEAR_IDS, Clear, Exchange, LIST_PAGE, Read},
    types::{Connector, Row, RowId},
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
    /// When the portal began to work on it, in seconds since 1970 by the portal's clock.
    pub server_time: Option<i64>,
    /// Rows without a usable `ID`, or found reserved without a usable `PROCESS_ID`: they can be neither published nor
    /// cleared, only reported.
    pub unreadable: usize,
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

/// The key of the `n`th page of a scan.
pub(super) fn page_key(n: usize) -> String {
    format!("{PAGE}{n}")
}

fn commands(exchange: &Exchange) -> Result<Vec<(String, String)>, CallError> {
    let mut commands = Vec::with_capacity(exchange.clears.len() + 1);
    for (n, clear) in exchange.clears.iter().enumerate() {
        commands.push((clear_key(n), clear_command(clear)?));
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
        let exchange =
            Exchange { clears: vec![clear("a&b", 1..=2), clear("c", 9..=9)], read: Some(Read::Reserve { limit: 400 }) };
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
        let exchange = Exchange { clears: vec![], read: Some(Read::Scan { after: RowId::new(77), pages: 2 }) };
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
    fn what_a_portal_would_refuse_is_not_sent() {
        let code = |exchange: &Exchange| commands(exchange).expect_err("refused").code.into_string();
        assert_eq!(code(&Exchange { clears: vec![clear("p", 1..=501)], read: None }), "TOO_MANY_IDS");
        assert_eq!(code(&Exchange { clears: vec![], read: None }), "BAD_NUMBER_OF_COMMANDS");
        let many = Exchange { clears: vec![clear("p", 1..=1); 11], read: Some(Read::Scan { after: None, pages: 40 }) };
        assert_eq!(code(&many), "BAD_NUMBER_OF_COMMANDS");
    }
}
