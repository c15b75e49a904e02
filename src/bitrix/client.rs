//! The HTTP side: one request, one answer, nothing repeated.
//!
//! TLS by rustls with the system's certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others), proxies as the
//! environment says, no redirects, limits on time and size. What was sent and what came back is never logged.

use std::{
    error::Error,
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Response, StatusCode, header, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::{
    error::{CallError, Trouble},
    hosts::{Guard, Hosts, Private},
    json,
    wire::{
        Envelope, scalar,
        time::{portal_time, unix_seconds},
    },
};
use crate::{
    config::fetch::Fetch,
    protocol::types::{Connector, PortalTime},
};

/// When a connection that does not come about is given up; what fails here was certainly not sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept: long enough for a queue that is being drained or polled every few seconds, and
/// shorter than servers usually do, since a request that meets a dying connection has an unknown outcome. Each portal has
/// a host of its own, so of thousands that are polled once a minute every second held open is memory and descriptors.
const IDLE_CONNECTION: Duration = Duration::from_secs(5);
/// Idle connections to one portal: its queues take turns more often than they call at the same time.
const IDLE_CONNECTIONS: usize = 2;
/// The longest wait that a portal can ask for with `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The code of a call that was not made, since the portal's name stands for an address that is not public.
pub const PRIVATE_ADDRESS: &str = "PRIVATE_ADDRESS";

/// Calls portals and the OAuth server. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Largest answer that is read, in bytes: a portal cannot fill our memory.
    most: usize,
    /// Where callbacks may lead to.
    hosts: Arc<Hosts>,
}

/// Where a portal is and what opens it.
#[derive(Clone)]
pub struct Access {
    /// The REST endpoint, e.g. `https://example.bitrix24.com/rest/`.
    pub endpoint: Url,
    /// The access token.
    pub token: SecretString,
}

/// The client cannot be built: no usable certificates, or broken proxy settings.
#[derive(Debug, thiserror::Error)]
#[error(
    "the HTTP client cannot be set up; check the system's CA certificates (or SSL_CERT_FILE) and the proxy settings"
)]
pub struct SetUpError(#[source] reqwest::Error);

/// An answer as it came, whatever it says.
pub(super) struct Answered {
    status: StatusCode,
    html: bool,
    retry_after: Option<Duration>,
    body: String,
    /// From the start of the request to the end of the answer.
    pub(super) elapsed: Duration,
}

/// What an answer holds besides its result.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// When the portal began, in seconds since 1970 by its own clock.
    pub started: Option<i64>,
    /// The same as the portal writes it; `None` if it says so twice.
    pub date: Option<PortalTime>,
    /// When it ended.
    pub finished: Option<i64>,
    /// How long it took by its own account.
    pub took: Option<Duration>,
}

impl Client {
    /// Sets the client up, for portals that the operator names.
    ///
    /// # Errors
    /// [`SetUpError`], before any request.
    pub fn new(fetch: &Fetch) -> Result<Self, SetUpError> {
        Self::guarded(fetch, Hosts::default())
    }

    /// Sets the client up, for portals that come by themselves too: connections to `hosts` lead to public addresses only.
    ///
    /// # Errors
    /// [`SetUpError`], before any request.
    pub fn guarded(fetch: &Fetch, hosts: Hosts) -> Result<Self, SetUpError> {
        let hosts = Arc::new(hosts);
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // It fails only if somebody else was faster, and then there is one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("b24kafka/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .timeout(fetch.request_timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .dns_resolver(Guard(hosts.clone()))
            .build()
            .map_err(SetUpError)?;
        let most = usize::try_from(fetch.response_limit).unwrap_or(usize::MAX);
        Ok(Self { http, most, hosts })
    }

    /// Where callbacks may lead to.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// One REST call. The token goes in the body, since addresses end up in logs of others.
    pub(super) async fn call(
        &self,
        access: &Access,
        method: &str,
        connector: Option<&Connector>,
        params: &impl Serialize,
    ) -> Result<Answered, CallError> {
        #[derive(Serialize)]
        struct Request<'a, P> {
            auth: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            auth_connector: Option<&'a str>,
            #[serde(flatten)]
            params: &'a P,
        }
        let auth_connector = connector.map(Connector::as_str).filter(|name| !name.is_empty());
        let request = Request { auth: access.token.expose_secret(), auth_connector, params };
        let body = serde_json::to_vec(&request).map_err(|_| CallError::new(Trouble::Ours, "UNWRITABLE_REQUEST"))?;
        let request = self
            .http
            .post(access.url(method))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body);
        send(request, self.most).await
    }

    /// One GET with a query that holds secrets, given up after `within`, however patient one is with portals.
    pub(super) async fn get(&self, url: Url, within: Duration) -> Result<Answered, CallError> {
        let request = self.http.get(url).header(header::ACCEPT, "application/json");
        send(request.timeout(within), self.most).await
    }
}

async fn send(request: reqwest::RequestBuilder, most: usize) -> Result<Answered, CallError> {
    let started = Instant::now();
    let response = request.send().await.map_err(|error| transport(&error))?;
    let status = response.status();
    let html = header_text(&response, header::CONTENT_TYPE).is_some_and(|kind| kind.contains("html"));
    let retry_after = header_text(&response, header::RETRY_AFTER)
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    let body = read_body(response, most).await?;
    Ok(Answered { status, html, retry_after, body, elapsed: started.elapsed() })
}

fn header_text(response: &Response, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

async fn read_body(mut response: Response, most: usize) -> Result<String, CallError> {
    let announced = response.content_length().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
    if announced > most {
        return Err(CallError::unknown("TOO_LARGE"));
    }
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if body.len() + chunk.len() > most {
            return Err(CallError::unknown("TOO_LARGE"));
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| CallError::unknown("NOT_UTF8"))
}

/// Only a connection that never came about proves that nothing was sent.
fn transport(error: &reqwest::Error) -> CallError {
    if error.is_connect() || error.is_builder() {
        let code = if caused_by::<Private>(error) {
            PRIVATE_ADDRESS
        } else if error.is_dns() {
            "DNS"
        } else if caused_by::<rustls::Error>(error) {
            "TLS"
        } else if error.is_timeout() {
            "CONNECT_TIMEOUT"
        } else {
            "CONNECT"
        };
        CallError::new(Trouble::NotSent, code)
    } else if error.is_timeout() {
        CallError::unknown("TIMEOUT")
    } else {
        CallError::unknown("BROKEN_ANSWER")
    }
}

/// Whether a cause of this kind lies somewhere below.
fn caused_by<E: Error + 'static>(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if inner.is::<E>() {
            return true;
        }
        // An IO error answers with the source of what it wraps and leaves out the wrapped error itself.
        let wrapped = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => inner.source(),
        };
    }
    false
}

impl Access {
    fn url(&self, method: &str) -> Url {
        let mut url = self.endpoint.clone();
        let slash = if url.path().ends_with('/') { "" } else { "/" };
        url.set_path(&format!("{}{slash}{method}", self.endpoint.path()));
        url
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("host", &self.endpoint.host_str()).finish_non_exhaustive()
    }
}

impl Answered {
    #[cfg(test)]
    pub(super) fn new(status: u16, body: &str) -> Self {
        let status = StatusCode::from_u16(status).expect("status");
        Self { status, html: false, retry_after: None, body: body.to_owned(), elapsed: Duration::from_millis(7) }
    }

    /// The text of the answer.
    pub(super) fn body(&self) -> &str {
        &self.body
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The result, or what the answer says instead.
    pub(super) fn result<'a, T: Deserialize<'a>>(&'a self) -> Result<(T, Clock), CallError> {
        // A list would do as an envelope by its order.
        if self.status.is_redirection() || !self.body.trim_ascii_start().starts_with('{') {
            return Err(self.no_result());
        }
        match serde_json::from_str::<Envelope<'a, T>>(&self.body) {
            Ok(envelope) => {
                let clock = Clock::read(envelope.time);
                let error = envelope.error.map(RawValue::get).and_then(|raw| self.error(raw, clock, envelope.time));
                match (error, envelope.result) {
                    (Some(error), _) => Err(error),
                    (None, Some(result)) if self.status.is_success() => Ok((result, clock)),
                    _ => Err(self.no_result()),
                }
            }
            // An error may lie beside a result of a kind that nobody expects.
            Err(_) => Err(match serde_json::from_str::<Envelope<'a, &RawValue>>(&self.body) {
                Ok(Envelope { error: Some(raw), time, .. }) => {
                    self.error(raw.get(), Clock::read(time), time).unwrap_or_else(|| self.no_result())
                }
                Ok(_) => CallError::unknown("ODD_RESULT"),
                Err(_) => self.no_result(),
            }),
        }
    }

    fn error(&self, raw: &str, clock: Clock, time: Option<&RawValue>) -> Option<CallError> {
        let code = scalar::text_or_number(raw).filter(|code| !code.is_empty())?;
        let mut error = CallError::coded(self.status(), &code).resets(time.map(RawValue::get), clock);
        if matches!(error.trouble, Trouble::RateLimited | Trouble::OperationTime { .. }) {
            error.retry_after = self.retry_after.or(error.retry_after);
        }
        Some(error)
    }

    /// Why there is nothing to read in the answer.
    fn no_result(&self) -> CallError {
        if !self.status.is_success() {
            CallError::unknown(&format!("HTTP_{}", self.status.as_u16()))
        } else if self.html {
            CallError::unknown("HTML")
        } else if self.body.trim_ascii_start().starts_with('{') && serde_json::from_str::<&RawValue>(&self.body).is_ok()
        {
            CallError::unknown("NO_RESULT")
        } else {
            CallError::unknown("NOT_JSON")
        }
    }
}

impl Clock {
    fn read(time: Option<&RawValue>) -> Self {
        let Some(time) = time.map(RawValue::get) else { return Self::default() };
        let date = |name| json::member(time, name).and_then(scalar::text).and_then(|text| unix_seconds(&text));
        let written = json::only_member(time, "date_start").and_then(scalar::text);
        let portal = written.and_then(|text| portal_time(&text));
        Self { started: date("date_start"), date: portal, finished: date("date_finish"), took: duration(time) }
    }
}

/// `duration` of a `time` block, in seconds there.
pub(super) fn duration(time: &str) -> Option<Duration> {
    let seconds = json::member(time, "duration").and_then(scalar::number)?;
    Duration::try_from_secs_f64(seconds).ok()
}

impl CallError {
    /// The same error with the time at which the method's budget comes back, from the `time` block that came with it.
    pub(super) fn resets(mut self, time: Option<&str>, clock: Clock) -> Self {
        if matches!(self.trouble, Trouble::OperationTime { .. }) {
            let until = time.and_then(|time| json::member(time, "operating_reset_at")).and_then(scalar::integer);
            self.trouble = Trouble::OperationTime { until };
            let span = until.zip(clock.finished.or(clock.started)).map(|(until, now)| until.saturating_sub(now));
            self.retry_after = span.and_then(|span| u64::try_from(span).ok()).map(Duration::from_secs);
        }
        self
    }
}

#[cfg(test)]
mod tests;
