//! Error rows: what somebody has put aside with `event.offline.error` (protocol reference section 2).
//!
//! A plain `get` does not return them, and every repeat of such an event is merged into the row that is put aside, so an
//! object may be silent for good. They are counted, and taken only when an operator asks for it.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    client::{Access, Client},
    error::CallError,
    exchange::{BatchRequest, Exchanged, answer, page_key},
    json,
    wire::{GET, scalar},
};
use crate::protocol::{
    exchange::{Exchange, Read},
    types::{Connector, RowId},
};

/// How error rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorRead {
    /// Those that a sweep has reserved and not removed, behind a row; one page.
    Reserved {
        /// Only rows behind this one.
        after: Option<RowId>,
    },
    /// So many that nobody has reserved: they are reserved with this.
    Reserve {
        /// Most rows; positive.
        limit: u32,
    },
}

impl Client {
    /// How many error rows a queue has, reserved ones included.
    ///
    /// # Errors
    /// [`CallError`]; asking again is harmless.
    pub async fn count_errors(&self, access: &Access, connector: &Connector) -> Result<u64, CallError> {
        #[derive(Serialize)]
        struct List {
            filter: Filter,
        }
        #[derive(Serialize)]
        struct Filter {
            #[serde(rename = "=ERROR")]
            error: u8,
        }
        let list = List { filter: Filter { error: 1 } };
        let answered = self.call(access, "event.offline.list", Some(connector), &list).await?;
        answered.result::<&RawValue>()?;
        let total = json::only_member(answered.body().trim_ascii(), "total").and_then(scalar::integer);
        total.and_then(|total| u64::try_from(total).ok()).ok_or_else(|| CallError::unknown("NO_TOTAL"))
    }

    /// Reads error rows. Those that are reserved are cleared like any others, by an exchange.
    ///
    /// # Errors
    /// [`CallError`] if the request as a whole has no answer.
    pub async fn errors(
        &self,
        access: &Access,
        connector: &Connector,
        read: ErrorRead,
    ) -> Result<Exchanged, CallError> {
        let (command, like) = command(read);
        let answered = self.call(access, "batch", Some(connector), &BatchRequest::new(vec![command])).await?;
        answer::read(&Exchange { clears: Vec::new(), delete: None, read: Some(like) }, &answered)
    }
}

/// The command, and the read of a queue that is answered in the same way.
fn command(read: ErrorRead) -> ((String, String), Read) {
    match read {
        ErrorRead::Reserve { limit } => {
            let limit = limit.max(1);
            // Without `clear=0` the rows would be deleted before the answer is sent.
            let get = format!("event.offline.get?error=1&clear=0&order[ID]=ASC&limit={limit}");
            ((GET.to_owned(), get), Read::Reserve { limit })
        }
        ErrorRead::Reserved { after } => {
            let behind = after.map_or(0, RowId::get);
            let list = format!(
                "event.offline.list?filter[%3EPROCESS_ID]=&filter[%3DERROR]=1&filter[%3EID]={behind}&order[ID]=ASC&start=0"
            );
            ((page_key(0), list), Read::Scan { after, pages: 1 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_rows_are_reserved_and_never_deleted_by_a_read() {
        let ((key, get), _) = command(ErrorRead::Reserve { limit: 50 });
        assert_eq!((key.as_str(), get.as_str()), ("get", "event.offline.get?error=1&clear=0&order[ID]=ASC&limit=50"));
        let ((_, list), _) = command(ErrorRead::Reserved { after: RowId::new(7) });
        let query = list.strip_prefix("event.offline.list?").expect("list");
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        for pair in [("filter[>PROCESS_ID]", ""), ("filter[=ERROR]", "1"), ("filter[>ID]", "7")] {
            assert!(pairs.iter().any(|(k, v)| (k.as_str(), v.as_str()) == pair), "{pair:?}");
        }
    }
}
