//! What is answered to a call that is not carried out: a word for programs and a sentence for people.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// A call is not carried out.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    /// A word that does not change.
    error: &'static str,
    /// What is wrong and what would be right. Holds nothing of what was sent.
    message: String,
}

impl Refusal {
    /// Says why.
    pub fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into() }
    }

    /// What was sent cannot be understood.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// There is no such portal.
    pub fn unknown_portal() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_portal", "no such portal")
    }

    /// It does not go together with the portal's state.
    pub fn conflict(error: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error, message)
    }

    /// It cannot be done now.
    pub fn unavailable(error: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}
