//! The admin listener: what orchestrators, Prometheus and operators ask.
//!
//! It computes nothing: the answers come from [`View`], which the application fills.

mod api;
pub mod log;
pub mod portal;
mod query;
pub mod refusal;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use secrecy::SecretString;
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};

use portal::{Change, Changing, PortalView};
use refusal::Refusal;

/// Looks for what has a name.
type Look<T> = Box<dyn Fn(&str) -> Option<T> + Send + Sync>;

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
    /// `/api/portals/{member_id}`; `None` if there is no such portal.
    pub portal: Look<PortalView>,
    /// Changes a portal. It is done, or begun, even if nobody waits for the end.
    pub change: Box<dyn Fn(Change) -> Changing + Send + Sync>,
    /// Changes what is logged.
    pub log: Box<dyn Fn(log::Change) -> Result<log::Logged, Refusal> + Send + Sync>,
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
    /// Whether the registry can be written.
    pub registry: Registry,
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

/// What is known of the registry.
#[derive(Clone, Debug, Serialize)]
pub struct Registry {
    /// Whether the last write worked, or none has failed yet.
    pub writable: bool,
    /// What the last write failed with, if it did. Holds no token.
    pub trouble: Option<String>,
}

/// The listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen: cannot listen on {0}")]
pub struct CannotListen(SocketAddr, #[source] std::io::Error);

/// Serves this and the status page until the task is dropped.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn listen(
    address: SocketAddr,
    view: Arc<View>,
    page: Router,
) -> Result<(SocketAddr, impl Future<Output = ()> + Send + 'static), CannotListen> {
    let fail = |error| CannotListen(address, error);
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let local = listener.local_addr().map_err(fail)?;
    let router = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/api/portals", get(api::list).post(api::add))
        .route("/api/portals/{member_id}", get(api::show).delete(api::remove))
        .route("/api/portals/{member_id}/{action}", post(api::act))
        .route("/api/log-level", put(log::change))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "no_such_path", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has no such method")
        })
        .with_state(view)
        .merge(page);
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
