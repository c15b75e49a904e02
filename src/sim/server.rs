//! The HTTP server: connections, routes, and answers that never arrive.
//!
//! A portal answers at `/p/{number}/rest/{method}`, an incoming webhook at `/p/{number}/rest/{user}/{secret}/{method}`,
//! the OAuth server at `/oauth/token/`. A connection that a fault cuts is closed without a byte of an answer.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::stream;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{
    failure::Failure,
    faults::{Level, Trouble},
    load::Load,
    oauth::{self, Application},
    php::{Php, parse_query},
    portal::Shared,
    rest,
    tokens::Tokens,
};

/// Largest request body.
const BODY_LIMIT: usize = 16 << 20;
/// Wait after a failed accept: the process may be short of files for a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) portals: Vec<Arc<Shared>>,
    pub(super) application: Application,
    pub(super) load: Load,
    /// Turns true, or loses its sender, when the server stops.
    pub(super) stop: watch::Receiver<bool>,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut by a scripted fault")]
pub(super) struct Cut;

/// What goes back to the client.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn failure(failure: &Failure) -> Self {
        Self { status: failure.status, body: failure.json() }
    }
}

/// Accepts connections until told to stop; then those that are open end after the request that they are at.
pub(super) async fn serve(listener: TcpListener, world: Arc<World>) {
    let mut stop = world.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, world.clone()))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, world: Arc<World>) {
    let _ = stream.set_nodelay(true);
    let mut stop = world.stop.clone();
    let service = service_fn(move |request| answer(request, world.clone()));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // Errors end here on purpose: a cut connection is one of them.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn answer(request: Request<Incoming>, world: Arc<World>) -> Result<Response<Body>, Cut> {
    let mut stop = world.stop.clone();
    tokio::select! {
        answer = route(request, &world) => answer,
        _ = stop.changed() => Err(Cut),
    }
}

async fn route(request: Request<Incoming>, world: &Arc<World>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default();
    let form = parts.headers.get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/x-www-form"));
    let Ok(body) = to_bytes(Body::new(body), BODY_LIMIT).await else {
        return Ok(page(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let Some(params) = params(query, &body, form) else {
        return Ok(json(Reply::failure(&Failure::new(400, "INVALID_REQUEST", "The request body cannot be read"))));
    };
    if path.trim_end_matches('/') == "/oauth/token" {
        return token(world, &params).await;
    }
    let Some((number, tail)) = path.strip_prefix("/p/").and_then(|rest| rest.split_once("/rest/")) else {
        return Ok(page(StatusCode::NOT_FOUND));
    };
    match number.parse::<usize>().ok().and_then(|n| world.portals.get(n)) {
        Some(portal) => {
            let _answering = world.load.enter();
            rest::answer(world, portal, tail, params).await
        }
        None => Ok(page(StatusCode::NOT_FOUND)),
    }
}

/// The parameters of a request: those of the body over those of the query.
fn params(query: &str, body: &Bytes, form: bool) -> Option<Php> {
    let mut params = parse_query(query);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Some(params);
    }
    let body =
        if form { parse_query(std::str::from_utf8(body).ok()?) } else { serde_json::from_slice::<Php>(body).ok()? };
    if params.entries().is_empty() {
        return matches!(body, Php::Map(_)).then_some(body);
    }
    for (key, value) in body.entries() {
        params.set(key, value.clone());
    }
    Some(params)
}

async fn token(world: &World, params: &Php) -> Result<Response<Body>, Cut> {
    let grant = match oauth::check(&world.application, params) {
        Ok(grant) => grant,
        Err(failure) => return Ok(json(Reply::failure(&failure))),
    };
    let Some(portal) = Tokens::portal_of(grant.text()).and_then(|n| world.portals.get(n)) else {
        return Ok(json(Reply::failure(&Failure::by_code("invalid_grant"))));
    };
    let _awaited = rest::Refreshing::new(portal);
    let trouble = {
        let mut state = portal.lock();
        state.requests.oauth += 1;
        let trouble = state.strike(&["oauth"], Level::OAuth);
        let unanswered = matches!(
            trouble,
            Some(Trouble::LostAnswer | Trouble::Late(_) | Trouble::Truncated | Trouble::Status { executed: true, .. })
        );
        state.requests.unanswered_refreshes += u64::from(unanswered);
        trouble
    };
    let exchange = || match oauth::exchange(portal, &grant) {
        Ok(body) => Reply { status: 200, body },
        Err(failure) => Reply::failure(&failure),
    };
    match trouble {
        None | Some(Trouble::Split(_) | Trouble::ExpireTokens | Trouble::Without(_)) => Ok(json(exchange())),
        Some(Trouble::LostRequest) => Err(Cut),
        Some(Trouble::LostAnswer) => {
            exchange();
            Err(Cut)
        }
        Some(Trouble::Slow(after)) => {
            let reply = exchange();
            tokio::time::sleep(after).await;
            Ok(json(reply))
        }
        Some(Trouble::Late(after)) => {
            let (portal, grant) = (portal.clone(), grant.clone());
            detached(world, async move {
                tokio::time::sleep(after).await;
                // Whether it works or not, nobody hears of it.
                let _ = oauth::exchange(&portal, &grant);
            })
            .await?;
            Ok(page(StatusCode::GATEWAY_TIMEOUT))
        }
        Some(Trouble::Status { status, executed }) => {
            if executed {
                exchange();
            }
            Ok(page(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)))
        }
        Some(Trouble::Truncated) => Ok(truncated(exchange())),
        Some(Trouble::Refuse(failure)) => Ok(json(Reply::failure(&failure))),
    }
}

/// A JSON answer.
pub(super) fn json(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

/// The page of a proxy or of maintenance.
pub(super) fn page(status: StatusCode) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut response =
        Response::new(Body::from(format!("<html><head><title>{title}</title></head><body>{title}</body></html>")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/html"));
    response
}

/// An answer that breaks off: its length is told, half of it is sent, and the connection ends.
pub(super) fn truncated(reply: Reply) -> Response<Body> {
    let length = reply.body.len();
    let half = Bytes::from(reply.body).slice(..length / 2);
    let parts = stream::iter([Ok::<_, Cut>(half), Err(Cut)]);
    let mut response = json(Reply { status: reply.status, body: String::new() });
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    *response.body_mut() = Body::from_stream(parts);
    response
}

/// Runs work that goes on when the client has gone, as the server's own processes do; it ends with the server.
pub(super) async fn detached<T: Send + 'static>(
    world: &World,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Cut> {
    let mut stop = world.stop.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            done = work => Some(done),
            _ = stop.changed() => None,
        }
    });
    task.await.ok().flatten().ok_or(Cut)
}
