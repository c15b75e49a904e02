//! Questions to the admin API of a running bridge.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::{cli::output::printable, protocol::types::PortalId};

/// How long one answer may take: it is computed from memory.
const ANSWER: Duration = Duration::from_secs(10);
/// How much of an answer is taken, in bytes: some hundred thousand portals.
const LARGEST: usize = 64 * 1024 * 1024;
/// How much of what the bridge says is told, in characters.
const SAID: usize = 500;

/// The bridge that is asked.
pub(super) struct Bridge {
    place: Place,
    token: Option<SecretString>,
    client: Client,
}

/// Where it is, as `HOST:PORT`, and what says so.
#[derive(Clone, Debug)]
pub(super) struct Place {
    address: String,
    by: &'static str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.by)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The client could not be made.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
    /// Neither a configuration nor an address.
    #[error("give -c FILE or --admin ADDRESS")]
    NoBridge,
    /// The port is chosen by the system, and nobody but the bridge knows it.
    #[error("admin.listen is {0}, so the bridge listens on a port that cannot be known; give it a fixed one")]
    NoPort(SocketAddr),
    /// Nobody listens.
    #[error("no bridge answers on {0}: {1}; is `b24kafka run` running there?")]
    Away(Place, String),
    /// Somebody listens, and it is not the API.
    #[error("what {0} answers is not the admin API of a bridge: {1}")]
    Stranger(Place, String),
    /// The bridge does not know the portal.
    #[error("the bridge on {0} does not know the portal {1}; `b24kafka portals list` shows those that it does")]
    Unknown(Place, PortalId),
    /// The token cannot be sent.
    #[error("the admin token holds characters that no HTTP header can carry")]
    Token,
    /// The bridge does not do it, and says why.
    #[error("the bridge on {place} does not do it: {said} ({}){}", status.as_u16(), hint(*status))]
    Refused {
        /// Who.
        place: Place,
        /// With which status.
        status: StatusCode,
        /// In its own words.
        said: String,
    },
}

impl Bridge {
    /// Prepares to ask the bridge that is configured to listen on `listen`.
    ///
    /// # Errors
    /// [`AskError::NoPort`] and [`AskError::Client`]
    pub fn configured(listen: SocketAddr, token: Option<SecretString>) -> Result<Self, AskError> {
        if listen.port() == 0 {
            return Err(AskError::NoPort(listen));
        }
        Self::at(&reachable(listen).to_string(), "admin.listen", token)
    }

    /// Prepares to ask the bridge at `HOST:PORT`, which `by` has named.
    ///
    /// # Errors
    /// [`AskError::Client`]
    pub fn at(address: &str, by: &'static str, token: Option<SecretString>) -> Result<Self, AskError> {
        // The client wants one even though it will never speak TLS; if there is one already, that is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::builder().no_proxy().timeout(ANSWER).build().map_err(AskError::Client)?;
        Ok(Self { place: Place { address: address.to_owned(), by }, token, client })
    }

    /// Who is asked.
    pub fn address(&self) -> &str {
        &self.place.address
    }

    /// All portals: the answer as it is.
    ///
    /// # Errors
    /// [`AskError::Away`] and [`AskError::Stranger`]
    pub async fn portals(&self) -> Result<Value, AskError> {
        match self.call(Method::GET, "api/portals").await? {
            (StatusCode::OK, body) => self.read(&body),
            (status, _) => Err(self.stranger(&format!("status {status}"))),
        }
    }

    /// One portal: the answer as it is.
    ///
    /// # Errors
    /// As [`portals`](Self::portals), and [`AskError::Unknown`]
    pub async fn portal(&self, member_id: &PortalId) -> Result<Value, AskError> {
        match self.call(Method::GET, &format!("api/portals/{member_id}")).await? {
            (StatusCode::OK, body) => self.read(&body),
            (StatusCode::NOT_FOUND, _) => Err(AskError::Unknown(self.place.clone(), member_id.clone())),
            (status, _) => Err(self.stranger(&format!("status {status}"))),
        }
    }

    /// Has a portal's queues asked at once: the answer in the bridge's own words, as text or as JSON.
    ///
    /// # Errors
    /// [`AskError::Refused`] with what the bridge says, [`AskError::Away`] and [`AskError::Token`]
    pub async fn poll(&self, member_id: &PortalId) -> Result<Value, AskError> {
        let (status, body) = self.call(Method::POST, &format!("api/portals/{member_id}/poll")).await?;
        let answer = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).trim().to_owned()));
        if status.is_success() {
            return Ok(answer);
        }
        let said = Some(in_words(&answer)).filter(|said| !said.is_empty());
        let said = said.unwrap_or_else(|| "it gives no reason".to_owned());
        Err(AskError::Refused { place: self.place.clone(), status, said })
    }

    /// An answer of the API in the form that is expected.
    ///
    /// # Errors
    /// [`AskError::Stranger`]
    pub fn form<T: DeserializeOwned>(&self, answer: &Value) -> Result<T, AskError> {
        T::deserialize(answer).map_err(|error| self.stranger(&error.to_string()))
    }

    async fn call(&self, method: Method, path: &str) -> Result<(StatusCode, Vec<u8>), AskError> {
        let away = |error: reqwest::Error| AskError::Away(self.place.clone(), root(&error));
        let url = format!("http://{}/{path}", self.place.address);
        let url = Url::parse(&url).map_err(|error| AskError::Away(self.place.clone(), error.to_string()))?;
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let request = request.build().map_err(|_| AskError::Token)?;
        let mut answer = self.client.execute(request).await.map_err(away)?;
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
        AskError::Stranger(self.place.clone(), what.to_owned())
    }
}

/// What the bridge says, in one line for people.
pub(super) fn in_words(answer: &Value) -> String {
    let words = ["reason", "error", "message", "detail"].iter().find_map(|key| answer.get(key)?.as_str());
    let words = words.or(answer.as_str()).map_or_else(|| answer.to_string(), str::to_owned);
    printable(&words.split_whitespace().collect::<Vec<_>>().join(" "), SAID)
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "; give it with --token-file FILE, B24KAFKA__ADMIN__TOKEN, or -c FILE",
        _ => "",
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
        let port = Bridge::configured(([127, 0, 0, 1], 0).into(), None).map(|bridge| bridge.place);
        assert!(matches!(port, Err(AskError::NoPort(_))));
    }
}
