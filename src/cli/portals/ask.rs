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
use url::{Url, form_urlencoded};

use crate::{cli::output::printable, protocol::types::PortalId};

/// How long one answer may take: it is computed from memory.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a change may take: a portal that is brought to rest has half a minute for it, and its tokens as long again.
const CHANGE: Duration = Duration::from_secs(180);
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
        let client = Client::builder().no_proxy().build().map_err(AskError::Client)?;
        Ok(Self { place: Place { address: address.to_owned(), by }, token, client })
    }

    /// Who is asked.
    pub fn address(&self) -> &str {
        &self.place.address
    }

    /// One page of portals: the answer as it is.
    ///
    /// # Errors
    /// [`AskError::Away`] and [`AskError::Stranger`]; [`AskError::Refused`] if it does not understand the query.
    pub async fn portals(&self, query: &[(&str, String)]) -> Result<Value, AskError> {
        let mut path = "api/portals".to_owned();
        if !query.is_empty() {
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
            path.push('?');
            path.push_str(&query);
        }
        match self.call(Method::GET, &path, None).await? {
            (StatusCode::OK, body) => self.read(&body),
            (status @ StatusCode::BAD_REQUEST, body) => Err(self.refused(status, &body)),
            (status, _) => Err(self.stranger(&format!("status {status}"))),
        }
    }

    /// One portal: the answer as it is.
    ///
    /// # Errors
    /// As [`portals`](Self::portals), and [`AskError::Unknown`]
    pub async fn portal(&self, member_id: &PortalId) -> Result<Value, AskError> {
        match self.call(Method::GET, &format!("api/portals/{member_id}"), None).await? {
            (StatusCode::OK, body) => self.read(&body),
            (StatusCode::NOT_FOUND, _) => Err(AskError::Unknown(self.place.clone(), member_id.clone())),
            (status, _) => Err(self.stranger(&format!("status {status}"))),
        }
    }

    /// Has a portal changed: the answer in the bridge's own words, as text or as JSON.
    ///
    /// # Errors
    /// [`AskError::Refused`] with what the bridge says, [`AskError::Away`] and [`AskError::Token`]
    pub async fn change(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, AskError> {
        let (status, body) = self.call(method, path, body).await?;
        if status.is_success() { Ok(any(&body)) } else { Err(self.refused(status, &body)) }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> AskError {
        let said = Some(in_words(&any(body))).filter(|said| !said.is_empty());
        let said = said.unwrap_or_else(|| "it gives no reason".to_owned());
        AskError::Refused { place: self.place.clone(), status, said }
    }

    /// An answer of the API in the form that is expected.
    ///
    /// # Errors
    /// [`AskError::Stranger`]
    pub fn form<T: DeserializeOwned>(&self, answer: &Value) -> Result<T, AskError> {
        T::deserialize(answer).map_err(|error| self.stranger(&error.to_string()))
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Vec<u8>), AskError> {
        let away = |error: reqwest::Error| AskError::Away(self.place.clone(), root(&error));
        let url = format!("http://{}/{path}", self.place.address);
        let url = Url::parse(&url).map_err(|error| AskError::Away(self.place.clone(), error.to_string()))?;
        let patience = if method == Method::GET { ANSWER } else { CHANGE };
        let mut request = self.client.request(method, url).timeout(patience);
        if let Some(body) = body {
            request = request.json(body);
        }
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

/// An answer as JSON, or as the text that it is.
fn any(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).trim().to_owned()))
}

/// What the bridge says, in one line for people.
pub(super) fn in_words(answer: &Value) -> String {
    let words = ["message", "reason", "error", "detail"].iter().find_map(|key| answer.get(key)?.as_str());
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
