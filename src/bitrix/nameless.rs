//! Takes rows without a usable `ID` away from the portal, by their messages.
//!
//! A reserved row is cleared. A free one can only be deleted by a `get` that answers with it, so it is looked at first: the
//! condition that it is deleted under must find that row and no other, just as the portal shows it now.

use url::form_urlencoded::byte_serialize;

use super::{
    client::{Access, Client},
    error::{CallError, Trouble},
    exchange::{
        BatchRequest, OperatingTime,
        answer::removal::{self, Looked},
        page_key, portal_time,
    },
};
use crate::protocol::types::{Connector, Hold, Mark, NamelessRow, Removal};

/// What became of a request to remove rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Removed {
    /// One outcome per row, in the order asked.
    pub outcomes: Vec<Removal>,
    /// Rows that were deleted, as they were at that moment. They are gone from the portal.
    pub brought: Vec<NamelessRow>,
    /// Why one of them is not done, if so.
    pub trouble: Option<CallError>,
    /// As in [`Exchanged`](super::exchange::Exchanged).
    pub operating: Vec<OperatingTime>,
}

impl Client {
    /// Asks what the conditions find that free rows would be deleted under. Changes nothing.
    ///
    /// # Errors
    /// [`CallError`] if the request as a whole has no answer.
    pub async fn look(
        &self,
        access: &Access,
        connector: &Connector,
        rows: &[(Mark, Hold)],
    ) -> Result<Looked, CallError> {
        let commands = rows.iter().enumerate().map(|(n, (_, hold))| Ok((page_key(n), look(hold)?)));
        let batch = BatchRequest::new(commands.collect::<Result<_, _>>()?);
        let answered = self.call(access, "batch", Some(connector), &batch).await?;
        removal::looked(rows, &answered)
    }

    /// Removes rows: reserved ones, and free ones that were looked at.
    ///
    /// # Errors
    /// [`CallError`] if the request as a whole has no answer.
    pub async fn remove(
        &self,
        access: &Access,
        connector: &Connector,
        rows: &[(Mark, Hold)],
    ) -> Result<Removed, CallError> {
        let commands = rows.iter().enumerate().map(|(n, (_, hold))| Ok((removal::key(n, hold), remove(hold)?)));
        let batch = BatchRequest::new(commands.collect::<Result<_, _>>()?);
        let answered = self.call(access, "batch", Some(connector), &batch).await?;
        removal::read(rows, &answered)
    }
}

fn unfit() -> CallError {
    CallError::new(Trouble::Ours, "NOTHING_TO_TAKE_HOLD_OF")
}

/// `%3D` is `=`, `%3C` is `<`.
fn look(hold: &Hold) -> Result<String, CallError> {
    let Hold::Free { message, before } = hold else { return Err(unfit()) };
    Ok(format!(
        "event.offline.list?filter[%3DPROCESS_ID]=&filter[%3DERROR]=0&filter[%3DMESSAGE_ID]={}&filter[%3CTIMESTAMP_X]={}&order[ID]=ASC",
        message.as_str(),
        portal_time(*before)?,
    ))
}

/// A clear names its one message; without a list it would take the whole reservation.
fn remove(hold: &Hold) -> Result<String, CallError> {
    match hold {
        Hold::Reserved { process, message } => Ok(format!(
            "event.offline.clear?process_id={}&message_id[]={}",
            byte_serialize(process.as_str().as_bytes()).collect::<String>(),
            message.as_str(),
        )),
        Hold::Free { message, before } => Ok(format!(
            "event.offline.get?clear=1&order[ID]=ASC&limit=1&filter[%3DMESSAGE_ID]={}&filter[%3CTIMESTAMP_X]={}",
            message.as_str(),
            portal_time(*before)?,
        )),
        Hold::Nothing | Hold::Gone => Err(unfit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::types::{MessageId, PortalTime, ProcessId};

    fn pairs(command: &str) -> (String, Vec<(String, String)>) {
        let (method, query) = command.split_once('?').expect("a query");
        (method.to_owned(), url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    #[test]
    fn each_command_names_one_message_and_nothing_else() {
        let text = "0123456789abcdef0123456789abcdef";
        let message = MessageId::new(text).expect("a message");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let reserved = Hold::Reserved { process: ProcessId::new("a&b").expect("one"), message: message.clone() };
        let (method, query) = pairs(&remove(&reserved).expect("a command"));
        assert_eq!(method, "event.offline.clear");
        assert_eq!(query, [pair("process_id", "a&b"), pair("message_id[]", text)]);
        assert!(look(&reserved).is_err());
        let free = Hold::Free { message, before: PortalTime { seconds: 1_795_515_330, offset: 10_800 } };
        let (method, query) = pairs(&remove(&free).expect("a command"));
        assert_eq!(method, "event.offline.get");
        let conditions = [pair("filter[=MESSAGE_ID]", text), pair("filter[<TIMESTAMP_X]", "2026-11-24T13:15:30+03:00")];
        for wanted in conditions.iter().cloned().chain([pair("clear", "1"), pair("limit", "1")]) {
            assert!(query.contains(&wanted), "{wanted:?} in {query:?}");
        }
        let (method, query) = pairs(&look(&free).expect("a command"));
        assert_eq!(method, "event.offline.list");
        for wanted in conditions.into_iter().chain([pair("filter[=PROCESS_ID]", ""), pair("filter[=ERROR]", "0")]) {
            assert!(query.contains(&wanted), "{wanted:?} in {query:?}");
        }
        for hold in [Hold::Nothing, Hold::Gone] {
            assert!(remove(&hold).is_err() && look(&hold).is_err());
        }
    }
}
