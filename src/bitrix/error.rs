//! What can go wrong with a call, and the one table that says what each answer means (protocol reference section 3).
//!
//! Nothing in here holds an address, a token or a body, so errors may be shown and logged anywhere.

use std::time::Duration;

use thiserror::Error;

use crate::protocol::{
    exchange::{Answer, Cleared, Deleted, Exchange, ReadAnswer},
    types::Millis,
};

/// Longest code that is kept, in bytes; real ones have at most 35.
const MAX_CODE: usize = 48;

/// A call that was not answered with a result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{trouble} ({code})")]
pub struct CallError {
    /// What it means.
    pub trouble: Trouble,
    /// The portal's code in upper case, or one of ours for what never was a portal's answer (`TIMEOUT`, `NOT_JSON`,
    /// `HTTP_502`...); letters, digits and `_` only.
    pub code: Box<str>,
    /// When the portal says that asking again makes sense; a span from now.
    pub retry_after: Option<Duration>,
}

/// What an unsuccessful answer means to the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Trouble {
    /// The request certainly never left.
    #[error("the portal cannot be reached")]
    NotSent,
    /// It may have been executed, or may still be: no answer, a broken one, or one that does not say.
    #[error("the outcome of the call is unknown")]
    Unknown,
    /// The access token is not accepted; a refresh may help.
    #[error("the portal does not accept the access token")]
    Unauthorized {
        /// Whether the token was good once.
        expired: bool,
    },
    /// The token is good but has no right to this.
    #[error("the application or its user has no right to this call")]
    Forbidden,
    /// The portal's plan does not include this.
    #[error("the plan of the portal does not include this call")]
    Unlicensed,
    /// The portal is closed.
    #[error("the portal has been closed")]
    Deleted,
    /// The portal's support has blocked the application.
    #[error("the portal has blocked the application")]
    Blocked,
    /// Too many requests.
    #[error("the portal takes no more requests for now")]
    RateLimited,
    /// The time budget of this method is used up.
    #[error("the method has used up its time at the portal")]
    OperationTime {
        /// When the oldest part of the budget comes back, in seconds since 1970 by the portal's clock, if it says so.
        until: Option<i64>,
    },
    /// The call itself is wrong: our fault, or the configuration's. Certainly not executed.
    #[error("the portal refuses the call as wrong")]
    Ours,
}

impl Trouble {
    /// Whether the call was certainly not executed. Everything else calls for recovery, never for a blind retry.
    pub const fn refused(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

impl CallError {
    pub(super) fn new(trouble: Trouble, code: &str) -> Self {
        Self { trouble, code: sanitise(code), retry_after: None }
    }

    pub(super) fn unknown(code: &str) -> Self {
        Self::new(Trouble::Unknown, code)
    }

    /// The error behind a portal's own code. `status` is that of the HTTP answer, 200 for a command within a batch.
    pub(super) fn coded(status: u16, code: &str) -> Self {
        let code = sanitise(code);
        Self { trouble: classify(status, &code), code, retry_after: None }
    }

    /// Whether the call was certainly not executed.
    pub const fn refused(&self) -> bool {
        self.trouble.refused()
    }

    /// What is known of every part of `exchange` if all of it ended like this.
    pub fn answer<R>(&self, exchange: &Exchange) -> Answer<R> {
        Answer {
            clears: vec![self.cleared(); exchange.clears.len()],
            deleted: exchange.delete.map_or(Deleted::NotAsked, |_| self.deleted()),
            read: exchange.read.map_or(ReadAnswer::NotAsked, |_| self.read()),
            time: None,
        }
    }

    pub(super) fn cleared(&self) -> Cleared {
        if self.refused() { Cleared::Refused { retry_after: self.hint() } } else { Cleared::Unknown }
    }

    pub(super) fn deleted<R>(&self) -> Deleted<R> {
        if !self.refused() {
            return Deleted::Unknown;
        }
        Deleted::Refused { retry_after: self.hint(), rests: matches!(self.trouble, Trouble::OperationTime { .. }) }
    }

    fn hint(&self) -> Option<Millis> {
        self.retry_after.map(|span| Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    pub(super) fn read<R>(&self) -> ReadAnswer<R> {
        if !self.refused() {
            return ReadAnswer::Unknown;
        }
        ReadAnswer::Refused { retry_after: self.hint(), smaller: matches!(self.trouble, Trouble::OperationTime { .. }) }
    }
}

/// The table of protocol reference section 3. A server's own failure leaves the outcome open whatever it says beside
/// it, unless the code shows that the call was turned away at the door.
fn classify(status: u16, code: &str) -> Trouble {
    match (code, status) {
        ("EXPIRED_TOKEN", _) => Trouble::Unauthorized { expired: true },
        ("INVALID_TOKEN" | "NO_AUTH_FOUND", _) => Trouble::Unauthorized { expired: false },
        (
            "ACCESS_DENIED" | "USER_ACCESS_ERROR" | "INVALID_CREDENTIALS" | "INSUFFICIENT_SCOPE" | "WRONG_AUTH_TYPE",
            _,
        ) => Trouble::Forbidden,
        ("WRONG_LICENSE", _) => Trouble::Unlicensed,
        ("PORTAL_DELETED", _) => Trouble::Deleted,
        ("OVERLOAD_LIMIT", _) => Trouble::Blocked,
        ("QUERY_LIMIT_EXCEEDED", _) => Trouble::RateLimited,
        ("OPERATION_TIME_LIMIT", _) => Trouble::OperationTime { until: None },
        (_, 408 | 500..) => Trouble::Unknown,
        (
            "ERROR_ARGUMENT"
            | "ERROR_EVENT_NOT_FOUND"
            | "INVALID_REQUEST"
            | "ERROR_METHOD_NOT_FOUND"
            | "ERROR_BATCH_LENGTH_EXCEEDED"
            | "ERROR_BATCH_METHOD_NOT_ALLOWED",
            _,
        ) => Trouble::Ours,
        (_, 401) => Trouble::Unauthorized { expired: false },
        (_, 403) => Trouble::Forbidden,
        (_, 429) => Trouble::RateLimited,
        (_, 400..=499) => Trouble::Ours,
        // A command within a batch failed in a way that the reference does not list, or a redirect: it cannot be told.
        _ => Trouble::Unknown,
    }
}

/// A foreign code that is safe to show: the first characters that a code may hold, in upper case.
fn sanitise(code: &str) -> Box<str> {
    let fits = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let code: String = code.chars().take(MAX_CODE).take_while(fits).map(|c| c.to_ascii_uppercase()).collect();
    if code.is_empty() { "NO_CODE".into() } else { code.into_boxed_str() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_in_either_case() {
        let trouble = |status, code| CallError::coded(status, code).trouble;
        assert_eq!(trouble(401, "expired_token"), Trouble::Unauthorized { expired: true });
        assert_eq!(trouble(401, "NO_AUTH_FOUND"), Trouble::Unauthorized { expired: false });
        assert_eq!(trouble(403, "insufficient_scope"), Trouble::Forbidden);
        assert_eq!(trouble(403, "wrong_license"), Trouble::Unlicensed);
        assert_eq!(trouble(500, "PORTAL_DELETED"), Trouble::Deleted);
        assert_eq!(trouble(503, "QUERY_LIMIT_EXCEEDED"), Trouble::RateLimited);
        assert_eq!(trouble(503, "OVERLOAD_LIMIT"), Trouble::Blocked);
        assert_eq!(trouble(429, "OPERATION_TIME_LIMIT"), Trouble::OperationTime { until: None });
        assert_eq!(trouble(400, "ERROR_CORE"), Trouble::Ours);
        assert_eq!(trouble(200, "ERROR_ARGUMENT"), Trouble::Ours);
    }

    #[test]
    fn what_the_table_does_not_know_is_unknown_unless_the_status_says_otherwise() {
        for (status, code) in [(500, "INTERNAL_SERVER_ERROR"), (503, ""), (504, "0"), (200, "ERROR_CORE"), (302, "X")] {
            assert!(!CallError::coded(status, code).refused(), "{status} {code}");
        }
        for (status, code) in [(404, "ERROR_METHOD_NOT_FOUND"), (403, "SOMETHING"), (401, ""), (429, "")] {
            assert!(CallError::coded(status, code).refused(), "{status} {code}");
        }
    }

    #[test]
    fn a_foreign_code_cannot_carry_anything() {
        assert_eq!(&*CallError::coded(400, "a token=s3cret").code, "A");
        assert_eq!(&*CallError::coded(400, "<script>").code, "NO_CODE");
        assert_eq!(CallError::coded(400, &"X".repeat(1000)).code.len(), MAX_CODE);
        assert_eq!(CallError::unknown("TIMEOUT").to_string(), "the outcome of the call is unknown (TIMEOUT)");
    }
}
