//! The admin listener: what orchestrators, Prometheus and operators ask.
//!
//! It computes nothing: the answers come from [`View`], which the application fills.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::watch};

/// What somebody asks for with a portal's `member_id`.
type Command<T> = Box<dyn Fn(&str) -> T + Send + Sync>;

/// Where the answers come from.
pub struct View {
    /// The latch of `/ready`: set once, never taken back.
    pub ready: watch::Receiver<bool>,
    /// `/health`, computed anew at each call.
    pub health: Box<dyn Fn() -> Health + Send + Sync>,
    /// `/metrics`, computed anew at each call.
    pub metrics: Box<dyn Fn() -> Result<String, String> + Send + Sync>,
    /// `/api/portals`
    pub portals: Box<dyn Fn() -> Vec<PortalView> + Send + Sync>,
    /// Polls a portal's queues at once, whatever it waits for; `None` if there is no such portal.
    pub poll: Command<Option<Polled>>,
    /// Whether the process's loops turn.
    pub live: Box<dyn Fn() -> bool + Send + Sync>,
    /// For calls that change something; `None` refuses them.
    pub token: Option<SecretString>,
}

/// The truth about the process, from progress and not from "connected".
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// Whether all is well enough to leave it alone.
    pub healthy: bool,
    /// What is wrong with the whole, in sentences; empty if nothing is.
    pub problems: Vec<String>,
    /// What is wrong with a part of the portals, in sentences: somebody should look, but the others are served.
    pub warnings: Vec<String>,
    /// Whether the broker answers.
    pub broker: Broker,
    /// Portals by state.
    pub portals: std::collections::BTreeMap<&'static str, u64>,
    /// Those of them that should be served and do not answer as they should.
    pub portals_silent: u64,
    /// Rows that are received and not yet acknowledged.
    pub rows_held: u64,
    /// Rows that are acknowledged and not yet known to be cleared at the portal.
    pub rows_unconfirmed: u64,
}

/// What is known of the broker.
#[derive(Clone, Debug, Serialize)]
pub struct Broker {
    /// Whether it answered a short time ago.
    pub answering: bool,
    /// Whether it acknowledges what is sent to it.
    pub acknowledging: bool,
    /// How long ago it last answered, in seconds.
    pub last_answer_seconds: Option<u64>,
    /// How long ago it last acknowledged a record, in seconds.
    pub last_acknowledgement_seconds: Option<u64>,
}

/// One portal in `/api/portals`.
#[derive(Clone, Debug, Serialize)]
pub struct PortalView {
    /// Its identity.
    pub member_id: String,
    /// The host of its endpoint.
    pub domain: String,
    /// `starting`, `active`, `parked` or `removed`.
    pub state: &'static str,
    /// Why it is parked.
    pub reason: Option<&'static str>,
    /// What to do about it.
    pub advice: Option<&'static str>,
    /// `reserve` or `conditional`.
    pub mode: &'static str,
    /// What went wrong last, if nothing has worked since.
    pub last_error: Option<String>,
    /// When a request last worked, in seconds since 1970.
    pub last_success: Option<f64>,
    /// Events that its queues should have and have not.
    pub unbound: Vec<UnboundView>,
    /// Its queues.
    pub queues: Vec<QueueView>,
}

/// An event that a queue should have and has not.
#[derive(Clone, Debug, Serialize)]
pub struct UnboundView {
    /// Which queue.
    pub connector: String,
    /// Which event.
    pub event: String,
    /// What the portal said when it was to be bound.
    pub code: String,
}

/// What a poll meets.
#[derive(Clone, Debug, Serialize)]
pub struct Polled {
    /// The portal's state when it was polled.
    pub state: &'static str,
    /// Why it was parked, if it was.
    pub reason: Option<&'static str>,
    /// What happens now.
    pub message: &'static str,
}

/// One queue of a portal.
#[derive(Clone, Debug, Serialize)]
pub struct QueueView {
    /// `auth_connector`.
    pub connector: String,
    /// Rows that are received and not yet acknowledged.
    pub held: u64,
    /// Rows that are acknowledged and not yet known to be cleared.
    pub unconfirmed: u64,
    /// How many rows the next `get` asks for.
    pub limit: u32,
    /// Whether a topic cannot be written, so that its rows wait for somebody to mend that.
    pub barred: bool,
}

#[derive(Serialize)]
struct Page {
    portals: Vec<PortalView>,
    next: Option<String>,
}

/// The listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen: cannot listen on {0}")]
pub struct CannotListen(SocketAddr, #[source] std::io::Error);

/// Serves until the task is dropped.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn listen(
    address: SocketAddr,
    view: Arc<View>,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + 'static), CannotListen> {
    let fail = |error| CannotListen(address, error);
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let local = listener.local_addr().map_err(fail)?;
    let router = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/api/portals", get(portals))
        .route("/api/portals/{member_id}", get(portal))
        .route("/api/portals/{member_id}/poll", post(poll))
        .with_state(view);
    let serve = async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the admin listener has stopped");
        }
    };
    Ok((local, serve))
}

async fn live(State(view): State<Arc<View>>) -> Response {
    if (view.live)() {
        "live\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the process's loops do not turn\n").into_response()
    }
}

async fn ready(State(view): State<Arc<View>>) -> Response {
    if *view.ready.borrow() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn health(State(view): State<Arc<View>>) -> Response {
    let health = (view.health)();
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

async fn metrics(State(view): State<Arc<View>>) -> Response {
    match (view.metrics)() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

async fn portals(State(view): State<Arc<View>>) -> Json<Page> {
    Json(Page { portals: (view.portals)(), next: None })
}

async fn portal(State(view): State<Arc<View>>, Path(member_id): Path<String>) -> Response {
    match (view.portals)().into_iter().find(|portal| portal.member_id == member_id) {
        Some(portal) => Json(portal).into_response(),
        None => (StatusCode::NOT_FOUND, "no such portal\n").into_response(),
    }
}

async fn poll(State(view): State<Arc<View>>, Path(member_id): Path<String>, headers: HeaderMap) -> Response {
    if let Err(refused) = authorize(&view, &headers) {
        return refused.into_response();
    }
    match (view.poll)(&member_id) {
        Some(polled) => (StatusCode::ACCEPTED, Json(polled)).into_response(),
        None => (StatusCode::NOT_FOUND, "no such portal\n").into_response(),
    }
}

/// Whether a call that changes something may be made.
fn authorize(view: &View, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let Some(token) = &view.token else {
        return Err((StatusCode::FORBIDDEN, "calls that change something need admin.token in the configuration\n"));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Digests take the same time to compare however much of the token was guessed.
    if Sha256::digest(given) == Sha256::digest(token.expose_secret()) {
        Ok(())
    } else {
        Err((StatusCode::UNAUTHORIZED, "this call needs the bearer token of admin.token\n"))
    }
}
