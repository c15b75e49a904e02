//! `PUT /api/log-level`: what is logged, changed while the bridge runs.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};

use super::{View, api, refusal::Refusal};
use crate::protocol::types::PortalId;

/// What to change; what is left out stays.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// A level or a filter, as in `log.level`.
    pub level: Option<String>,
    /// Which portals to follow at debug level, as in `log.portals`; the list takes the place of the last one.
    pub portals: Option<Vec<String>>,
}

/// What is logged from now on.
#[derive(Clone, Debug, Serialize)]
pub struct Logged {
    /// The level or the filter.
    pub level: String,
    /// Portals that are followed at debug level.
    pub portals: Vec<String>,
}

pub(super) async fn change(
    State(view): State<Arc<View>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Logged>, Refusal> {
    api::authorize(&view, &headers)?;
    let change: Change = serde_json::from_slice(&api::read(body).await?)
        .map_err(|_| Refusal::malformed(r#"give {"level": "debug"}, {"portals": ["..."]}, or both in one object"#))?;
    let ids = change.portals.as_deref().unwrap_or_default();
    if let Some(place) = ids.iter().position(|id| PortalId::new(id).is_none()) {
        return Err(Refusal::malformed(format!("portals[{place}] is no member_id: give 1 to 64 letters and digits")));
    }
    (view.log)(change).map(Json)
}
