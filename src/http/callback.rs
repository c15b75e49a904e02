//! The public listener: what Bitrix24 calls. Everything that comes in was written by strangers.
//!
//! It reads little and believes nothing: a body of limited size within a limited time becomes a [`Call`], and whether
//! that is authentic is decided elsewhere. Answers are 200 taken, 400 malformed, 403 not authentic or not by an administrator, 413 too large, 503 too
//! busy. Each call is counted by what it was and what came of it.
//!
//! A source is the address of the connection. What a proxy says in `X-Forwarded-For` can be written by anybody and is not
//! looked at, so behind a proxy all calls are of one source.

pub mod call;
mod connections;
mod form;
mod page;

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use futures_util::StreamExt as _;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_LENGTH};
use tokio::{net::TcpListener, sync::watch};

pub use self::call::{Call, Malformed};
use crate::metrics::{
    Metrics,
    labels::{Callback, CallbackOutcome},
};

/// Where events go, behind the path of `http.public_url`.
pub const EVENT: &str = "bitrix24/event";
/// Where the application's install page is.
pub const INSTALL: &str = "bitrix24/install";
/// Largest body, in bytes: an installation has about two KiB.
const BODY_LIMIT: usize = 64 << 10;
/// What of a body that is too large is still read and forgotten, in bytes: whoever sends it would not see our answer if
/// the connection were closed in the middle of it.
const FORGOTTEN: usize = 1 << 20;
/// How long that may take.
const FORGET_PATIENCE: Duration = Duration::from_secs(1);
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// What is found out about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is authentic, and done or under way.
    Taken,
    /// It is not from whom it says, or nothing proves that it is.
    Forged,
    /// Its user is no administrator of the portal.
    NoAdmin,
    /// It cannot be looked into now.
    Busy,
}

/// A verdict that is on its way.
pub type Judging = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// Where calls go.
pub struct Door {
    /// Looks into a call from this source.
    pub judge: Box<dyn Fn(Call, IpAddr) -> Judging + Send + Sync>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// A path that a proxy may leave in front of ours: that of `http.public_url`, with a slash at both ends.
    pub prefix: String,
}

/// The public listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("http.listen: cannot listen on {0}")]
pub struct CannotListen(SocketAddr, #[source] std::io::Error);

/// Serves until `stop` is true and the open calls are answered.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn listen(
    address: SocketAddr,
    door: Arc<Door>,
    stop: watch::Receiver<bool>,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + 'static), CannotListen> {
    let fail = |error| CannotListen(address, error);
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let local = listener.local_addr().map_err(fail)?;
    let full = {
        let door = door.clone();
        move || door.count(Callback::Other, CallbackOutcome::Busy)
    };
    let answer = move |request, source| {
        let door = door.clone();
        async move { door.answer(request, source).await }
    };
    Ok((local, connections::serve(listener, answer, full, stop)))
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoBody {
    TooLarge,
    Broken,
}

impl Door {
    async fn answer(&self, request: Request<Incoming>, source: IpAddr) -> Response<Body> {
        let path = request.uri().path();
        let path = path.strip_prefix(self.prefix.as_str()).or_else(|| path.strip_prefix('/')).unwrap_or(path);
        let installs = match path {
            EVENT => false,
            INSTALL => true,
            _ => return page::text(StatusCode::NOT_FOUND, "there is nothing here\n"),
        };
        if request.method() != Method::POST {
            return page::only_post();
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let (kind, outcome) = match body(request).await {
            Err(NoBody::TooLarge) => (None, CallbackOutcome::TooLarge),
            Err(NoBody::Broken) => (None, CallbackOutcome::Malformed),
            Ok(body) => {
                let read = if installs { Call::install } else { Call::event };
                match read(query.as_bytes(), &body) {
                    Err(malformed) => {
                        tracing::debug!(%source, error = %malformed, "a call cannot be read");
                        (None, CallbackOutcome::Malformed)
                    }
                    Ok(call) => (Some(call.kind), self.judge(call, source).await),
                }
            }
        };
        self.count(kind.unwrap_or(if installs { Callback::Install } else { Callback::Other }), outcome);
        if installs { installation(outcome) } else { event(outcome) }
    }

    async fn judge(&self, call: Call, source: IpAddr) -> CallbackOutcome {
        match (self.judge)(call, source).await {
            Verdict::Taken => CallbackOutcome::Taken,
            Verdict::Forged => CallbackOutcome::Forged,
            Verdict::NoAdmin => CallbackOutcome::NoAdmin,
            Verdict::Busy => CallbackOutcome::Busy,
        }
    }

    fn count(&self, kind: Callback, outcome: CallbackOutcome) {
        self.metrics.callbacks.with_label_values(&[kind.as_str(), outcome.as_str()]).inc();
    }
}

async fn body(request: Request<Incoming>) -> Result<Vec<u8>, NoBody> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut stream = Body::new(request.into_body()).into_data_stream();
    let whole = async {
        if announced.is_some_and(|bytes| bytes > BODY_LIMIT as u64) {
            return Err(NoBody::TooLarge);
        }
        let mut body = Vec::new();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|_| NoBody::Broken)?;
            if body.len() + piece.len() > BODY_LIMIT {
                return Err(NoBody::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    };
    let read = tokio::time::timeout(BODY_PATIENCE, whole).await.unwrap_or(Err(NoBody::Broken));
    if read == Err(NoBody::TooLarge) {
        let forget = async {
            let mut forgotten = 0;
            while let Some(Ok(piece)) = stream.next().await {
                forgotten += piece.len();
                if forgotten > FORGOTTEN {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(FORGET_PATIENCE, forget).await;
    }
    read
}

fn status(outcome: CallbackOutcome) -> StatusCode {
    match outcome {
        CallbackOutcome::Taken => StatusCode::OK,
        CallbackOutcome::Malformed => StatusCode::BAD_REQUEST,
        CallbackOutcome::Forged | CallbackOutcome::NoAdmin => StatusCode::FORBIDDEN,
        CallbackOutcome::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        CallbackOutcome::Busy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The answer to an event.
fn event(outcome: CallbackOutcome) -> Response<Body> {
    let line = match outcome {
        CallbackOutcome::Taken => "taken\n",
        CallbackOutcome::Malformed => "this cannot be read\n",
        CallbackOutcome::Forged => "this is not authentic\n",
        CallbackOutcome::NoAdmin => "this takes an administrator of the portal\n",
        CallbackOutcome::TooLarge => "this is too large\n",
        CallbackOutcome::Busy => "too busy, try again later\n",
    };
    page::text(status(outcome), line)
}

/// The page that an administrator sees in the portal.
fn installation(outcome: CallbackOutcome) -> Response<Body> {
    let why = match outcome {
        CallbackOutcome::Taken => return page::installed(),
        CallbackOutcome::Malformed => "this is no call of a portal",
        CallbackOutcome::Forged => "the portal's call could not be verified",
        CallbackOutcome::NoAdmin => "only an administrator of the portal can install it",
        CallbackOutcome::TooLarge => "the call is too large",
        CallbackOutcome::Busy => "it cannot be verified just now, please install it again in a moment",
    };
    page::not_installed(status(outcome), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_status_on_both_paths() {
        for outcome in CallbackOutcome::ALL {
            assert_eq!(event(*outcome).status(), installation(*outcome).status());
        }
        assert_eq!(installation(CallbackOutcome::Taken).status(), 200);
        assert_eq!(event(CallbackOutcome::Forged).status(), 403);
    }
}
