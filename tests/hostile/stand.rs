//! A client of the product and the server that answers it, driven from a test without a runtime of its own.

use std::{future::Future, time::Duration};

use b24kafka::{
    bitrix::{
        Access, CallError, Client, Exchanged,
        bindings::{Binding, Bound},
        features::{AppInfo, RESERVATIONS},
        nameless::Removed,
        oauth::{RefreshError, Tokens},
    },
    config::{app::App, fetch::Fetch},
    protocol::{
        exchange::{Clear, Delete, Exchange, Read},
        types::{Connector, Hold, Mark, MessageId, NonEmpty, PortalTime, ProcessId, Removal, RowId},
    },
};
use tokio::runtime::{Builder, Runtime};

use crate::wire::{Reply, Wire};

/// Far more than any call may take here, a refresh included: what lasts so long hangs.
const HANGS: Duration = Duration::from_secs(60);
/// Not a token of anything: it must not be found where it does not belong.
pub const TOKEN: &str = "t0ps3cret";

pub struct Stand {
    runtime: Runtime,
    pub wire: Wire,
    client: Client,
    access: Access,
    app: App,
}

impl Stand {
    /// With a time-out and a limit of answers that no ordinary case meets.
    pub fn new() -> Self {
        Self::limited(Duration::from_secs(10), 16 << 20)
    }

    pub fn limited(request_timeout: Duration, response_limit: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let wire = runtime.block_on(Wire::start());
        let second = Duration::from_secs(1);
        let fetch = Fetch {
            limit_min: 50,
            limit_max: 1000,
            poll_min: second,
            poll_max: second,
            concurrency: 8,
            request_timeout,
            response_limit,
        };
        let app = App {
            client_id: "local.1".to_owned(),
            client_secret: TOKEN.into(),
            oauth_url: wire.url("/oauth/token/"),
            allowed_hosts: vec![],
            allow_http: true,
        };
        let access = Access { endpoint: wire.url("/rest/"), token: TOKEN.into() };
        Self { client: Client::new(&fetch).expect("a client"), runtime, wire, access, app }
    }

    /// What every call from here on is answered with.
    pub fn body(&self, status: u16, body: &[u8]) {
        self.wire.reply(Reply::Body(status, body.to_vec()));
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(HANGS, future).await };
        self.runtime.block_on(limited).expect("it hangs")
    }

    pub fn exchange(&self, exchange: &Exchange) -> Result<Exchanged, CallError> {
        let outcome = self.wait(self.client.exchange(&self.access, &Connector::default(), exchange));
        if let Err(error) = &outcome {
            discreet(&format!("{error} {error:?}"));
        }
        outcome
    }

    pub fn bindings(&self) -> Result<Vec<Binding>, CallError> {
        self.wait(self.client.bindings(&self.access))
    }

    pub fn events(&self) -> Result<Vec<String>, CallError> {
        self.wait(self.client.events(&self.access))
    }

    pub fn bind(&self, events: &[&str]) -> Result<Bound, CallError> {
        let events: Vec<String> = events.iter().map(|name| (*name).to_owned()).collect();
        self.wait(self.client.bind(&self.access, &Connector::default(), &events, false))
    }

    pub fn feature(&self) -> Result<bool, CallError> {
        self.wait(self.client.feature(&self.access, RESERVATIONS))
    }

    pub fn app_info(&self) -> Result<AppInfo, CallError> {
        self.wait(self.client.app_info(&self.access))
    }

    /// A look at the row of [`answers::removed`](crate::answers::removed).
    pub fn look(&self) -> Result<Vec<Option<Removal>>, CallError> {
        self.wait(self.client.look(&self.access, &Connector::default(), &[free()]))
    }

    /// The removal of a reserved row, and of that one.
    pub fn remove(&self) -> Result<Removed, CallError> {
        let process = ProcessId::new("p").expect("a process");
        let hold = Hold::Reserved { process, message: message() };
        self.wait(self.client.remove(&self.access, &Connector::default(), &[(Mark(1), hold), free()]))
    }

    pub fn refresh(&self) -> Result<Tokens, RefreshError> {
        let outcome = self.wait(self.client.refresh(&self.app, &TOKEN.into()));
        if let Err(error) = &outcome {
            discreet(&format!("{error} {error:?}"));
        }
        outcome
    }
}

/// An error shows neither what was sent nor where to.
fn discreet(shown: &str) {
    assert!(!shown.contains(TOKEN) && !shown.contains("127.0.0.1"), "{shown}");
}

fn message() -> MessageId {
    MessageId::new(&crate::answers::message(1)).expect("a message")
}

fn free() -> (Mark, Hold) {
    let before = PortalTime { seconds: 1_795_515_331, offset: 10_800 };
    (Mark(2), Hold::Free { message: message(), before })
}

/// Clears and a reservation in one exchange.
pub fn reserve(clears: usize) -> Exchange {
    let ids = NonEmpty::new(RowId::new(1).into_iter().collect()).expect("ids");
    let clear = Clear { process: ProcessId::new("p").expect("a process"), ids };
    Exchange { clears: vec![clear; clears], delete: None, read: Some(Read::Reserve { limit: 50 }) }
}

/// A scan of so many pages.
pub fn scan(pages: u8) -> Exchange {
    Exchange { clears: vec![], delete: None, read: Some(Read::Scan { after: None, pages }) }
}

/// A deletion and a listing of so many pages, of rows that are older than those of [`answers`](crate::answers).
pub fn list(pages: u8) -> Exchange {
    let before = PortalTime { seconds: 1_795_515_331, offset: 10_800 };
    let row = |id| RowId::new(id).expect("positive");
    let delete = Delete { first: row(1), last: row(9), before, limit: 5 };
    Exchange { clears: vec![], delete: Some(delete), read: Some(Read::List { before, pages, young_after: None }) }
}
