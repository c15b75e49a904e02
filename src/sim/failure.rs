//! A refusal of the portal: HTTP status, code and text (protocol reference section 3).

use std::borrow::Cow;

use super::php::quote;

/// `{"error": code, "error_description": text}` with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status when it is the answer of a whole request; in a `batch` it is not seen.
    pub status: u16,
    /// `error`.
    pub code: Cow<'static, str>,
    /// `error_description`.
    pub text: Cow<'static, str>,
}

impl Failure {
    /// Any refusal.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: code.into(), text: text.into() }
    }

    /// `ERROR_ARGUMENT`: the caller's mistake.
    pub fn argument(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "ERROR_ARGUMENT", text)
    }

    /// `ACCESS_DENIED`.
    pub fn denied() -> Self {
        Self::new(403, "ACCESS_DENIED", "Access denied! Administrator authorization required")
    }

    /// `WRONG_LICENSE`: a feature that the plan does not have.
    pub fn license() -> Self {
        Self::new(403, "WRONG_LICENSE", "Extended offline events are not available on the current plan")
    }

    /// The refusal with the status and text that belong to a code of the reference's table.
    pub fn by_code(code: &str) -> Self {
        let (status, text) = match code {
            "expired_token" => (401, "The access token provided has expired."),
            "invalid_token" => (401, "Unable to get application by token"),
            "NO_AUTH_FOUND" => (401, "Wrong authorization data"),
            "QUERY_LIMIT_EXCEEDED" => (503, "Too many requests"),
            "OPERATION_TIME_LIMIT" => (429, "Method is blocked due to operation time limit."),
            "OVERLOAD_LIMIT" => (503, "REST API is blocked due to overload."),
            "PORTAL_DELETED" => (403, "Portal was deleted"),
            "ERROR_CORE" | "INVALID_REQUEST" | "invalid_grant" | "invalid_request" | "invalid_scope" => {
                (400, "Refused")
            }
            "invalid_client" => (401, "Refused"),
            "PAYMENT_REQUIRED" => (402, "Payment required"),
            "WRONG_LICENSE" => return Self::license(),
            "ACCESS_DENIED" => return Self::denied(),
            _ => (403, "Refused"),
        };
        Self::new(status, code.to_owned(), text)
    }

    /// The JSON object.
    pub fn json(&self) -> String {
        format!(r#"{{"error":{},"error_description":{}}}"#, quote(&self.code), quote(&self.text))
    }
}
