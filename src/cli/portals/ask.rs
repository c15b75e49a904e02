//! Questions to the admin API of a running bridge.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::protocol::types::PortalId;

/// How long one answer may take: it is computed from memory.
const ANSWER: Duration = Duration::from_secs(10);
/// How much of an answer is taken, in bytes: some hundred thousand portals.
const LARGEST: usize = 64 * 1024 * 1024;

/// The bridge, as its configuration says where it listens.
pub(super) struct Bridge {
    address: SocketAddr,
    client: Client,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The client could not be made.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
    /// The port is chosen by the system, and nobody but the bridge knows it.
    #[error("admin.listen is {0}, so the bridge listens on a port that cannot be known; give it a fixed one")]
    NoPort(SocketAddr),
    /// Nobody listens.
    #[error("no bridge answers on {0} (admin.listen): {1}; is `b24kafka run` running with this configuration?")]
    Away(SocketAddr, String),
    /// Somebody listens, and it is not the API.
    #[error("what {0} (admin.listen) answers is not the admin API of a bridge: {1}")]
    Stranger(SocketAddr, String),
    /// The bridge does not know the portal.
    #[error("the bridge on {0} does not know the portal {1}; `b24kafka portals list` shows those that it does")]
    Unknown(SocketAddr, PortalId),
}

impl Bridge {
    /// Prepares to ask the bridge that listens on `listen`.
    ///
    /// # Errors
    /// [`AskError::NoPort`] and [`AskError::Client`]
    pub fn new(listen: SocketAddr) -> Result<Self, AskError> {
        if listen.port() == 0 {
            return Err(AskError::NoPort(listen));
        }
        // The client wants one even though it will never speak TLS; if there is one already, that is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::builder().no_proxy().timeout(ANSWER).build().map_err(AskError::Client)?;
        Ok(Self { address: reachable(listen), client })
    }

    /// Who is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All portals: the answer as it is.
    ///
    /// # Errors
    /// [`AskError::Away`] and [`AskError::Stranger`]
    pub async fn portals(&self) -> Result<Value, AskError> {
        match self.get("api/portals").await? {
            (StatusCode::OK, body) => self.read(&body),
            (status, _) => Err(self.stranger(&format!("status {status}"))),
        }
    }

    /// One portal: the answer as it is.
    ///
    /// # Errors
    /// As [`portals`](Self::portals), and [`AskError::Unknown`]
    pub async fn portal(&self, member_id: &PortalId) -> Result<Value, AskError> {
        match self.get(&format!("api/portals/{member_id}")).await? {
            (StatusCode::OK, body) => self.read(&body),
            (StatusCode::NOT_FOUND, _) => Err(AskError::Unknown(self.address, member_id.clone())),
            (status, _) => Err(self.stranger(&format!("status {status}"))),
        }
    }

    /// An answer of the API in the form that is expected.
    ///
    /// # Errors
    /// [`AskError::Stranger`]
    pub fn form<T: DeserializeOwned>(&self, answer: &Value) -> Result<T, AskError> {
        T::deserialize(answer).map_err(|error| self.stranger(&error.to_string()))
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Vec<u8>), AskError> {
        let away = |error: reqwest::Error| AskError::Away(self.address, root(&error));
        let url = format!("http://{}/{path}", self.address);
        let url = Url::parse(&url).map_err(|error| AskError::Away(self.address, error.to_string()))?;
        let mut answer = self.client.get(url).send().await.map_err(away)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > LARGEST {
                return Err(self.stranger(&format!("over {LARGEST} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status(), body))
    }

    fn read(&self, body: &[u8]) -> Result<Value, AskError> {
        serde_json::from_slice(body).map_err(|error| self.stranger(&format!("no JSON ({error})")))
    }

    fn stranger(&self, what: &str) -> AskError {
        AskError::Stranger(self.address, what.to_owned())
    }
}

/// Where a listener is reached from its own machine: one on all addresses on the loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

/// The innermost cause, such as "Connection refused": what wraps it repeats the URL.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_the_loopback() {
        let reached = |listen: &str| reachable(listen.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(reached("[::]:9464"), "[::1]:9464");
        assert_eq!(reached("192.0.2.7:9464"), "192.0.2.7:9464");
        let port = Bridge::new(([127, 0, 0, 1], 0).into()).map(|bridge| bridge.address());
        assert!(matches!(port, Err(AskError::NoPort(_))));
    }
}
