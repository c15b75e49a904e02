//! `[http]` and `[admin]`: the two listeners.

use std::{net::SocketAddr, time::Duration};

use secrecy::SecretString;
use url::Url;

/// `[http]`: what Bitrix24 calls.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How Bitrix24 reaches it; if set, `ONOFFLINEEVENT` is bound.
    pub public_url: Option<Url>,
    /// `minTimeout` of `ONOFFLINEEVENT`.
    pub wake_min: Duration,
}

/// `[admin]`: what operators and Prometheus call.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where to listen.
    pub listen: SocketAddr,
    /// For calls that change something; `None` refuses those calls.
    pub token: Option<SecretString>,
}
