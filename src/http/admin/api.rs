//! `/api/portals`: who may call, what is read of a call, and how it is answered.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use super::{
    View,
    portal::{Addition, Change, Changed, Kind, PortalView},
    query::{Page, Query},
    refusal::Refusal,
};

/// The largest body of a call, in bytes: an addition is smaller than a kilobyte.
const BODY: usize = 16 << 10;
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn list(State(view): State<Arc<View>>, RawQuery(query): RawQuery) -> Result<Json<Page>, Refusal> {
    let query = Query::read(query.as_deref().unwrap_or_default())?;
    Ok(Json(query.page((view.portals)())))
}

pub(super) async fn show(
    State(view): State<Arc<View>>,
    Path(member_id): Path<String>,
) -> Result<Json<PortalView>, Refusal> {
    (view.portal)(&member_id).map(Json).ok_or_else(Refusal::unknown_portal)
}

pub(super) async fn add(State(view): State<Arc<View>>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    authorize(&view, &headers)?;
    let body = read(body).await?;
    // Only the place: the message may quote what stands there.
    let addition: Addition = serde_json::from_slice(&body).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Refusal::malformed(format!(
            "the body is not the JSON of a portal ({place}): give member_id, endpoint and refresh_token"
        ))
    })?;
    answer(&view, Change::Add(addition)).await
}

/// The body of a call.
pub(super) async fn read(body: Body) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_PATIENCE, to_bytes(body, BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let message = format!("the body is larger than {} KiB, or ends too early", BODY >> 10);
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
        }
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come in time")),
    }
}

pub(super) async fn remove(
    State(view): State<Arc<View>>,
    Path(member_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorize(&view, &headers)?;
    answer(&view, Change::Remove(member_id)).await
}

pub(super) async fn act(
    State(view): State<Arc<View>>,
    Path((member_id, action)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let change = match action.as_str() {
        "park" => Change::Park,
        "resume" => Change::Resume,
        "poll" => Change::Poll,
        "sweep-errors" => Change::SweepErrors,
        _ => return Err(Refusal::new(StatusCode::NOT_FOUND, "no_such_path", "there is nothing at this path")),
    };
    authorize(&view, &headers)?;
    answer(&view, change(member_id)).await
}

async fn answer(view: &View, change: Change) -> Result<Response, Refusal> {
    let changed: Changed = (view.change)(change).await?;
    let status = match changed.kind {
        Kind::Done => StatusCode::OK,
        Kind::Created => StatusCode::CREATED,
        Kind::Begun => StatusCode::ACCEPTED,
    };
    Ok((status, Json(changed)).into_response())
}

/// Whether a call that changes something may be made.
pub(super) fn authorize(view: &View, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &view.token else {
        let message = "calls that change something need admin.token in the configuration";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "no_token", message));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Digests take the same time to compare however much of the token was guessed.
    if Sha256::digest(given) == Sha256::digest(token.expose_secret()) {
        Ok(())
    } else {
        let message = "this call needs the bearer token of admin.token";
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message))
    }
}
