//! Refreshing tokens at the OAuth server (protocol reference section 4).
//!
//! The request is a GET whose query holds secrets: its address is never logged, and neither is what comes back. One
//! refresh of a portal at a time and storing the new pair before using it are the caller's duty.

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use url::Url;

use super::{
    client::{Answered, Client},
    error::{CallError, Trouble},
    json,
    wire::scalar,
};
use crate::config::app::App;

/// When a refresh is given up. The OAuth server is no portal: it does not work on an answer for a minute, and a stop waits
/// for a refresh that is under way.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A new pair of tokens and whose they are.
#[derive(Clone)]
pub struct Tokens {
    /// Good for `expires_in`.
    pub access_token: SecretString,
    /// Replaces the one that was presented; good for 180 days.
    pub refresh_token: SecretString,
    /// Which portal they belong to.
    pub member_id: Option<String>,
    /// Its domain.
    pub domain: Option<String>,
    /// Where its REST is, if the answer holds an address.
    pub client_endpoint: Option<Url>,
    /// Life of the access token in seconds.
    pub expires_in: Option<u64>,
    /// What the application may do, e.g. `crm,task`.
    pub scope: Option<String>,
    /// `F` free, `D` demo, `T` trial, `P` paid, `L` local, `S` subscription.
    pub status: Option<String>,
}

/// Why there are no new tokens.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RefreshError {
    /// The refresh token is not good (any more): only a new installation helps.
    #[error("the refresh token was rejected; the application has to be installed again on this portal")]
    Rejected,
    /// The application is to be paid.
    #[error("the application or the portal's plan has to be paid")]
    Unpaid,
    /// The application's own credentials are refused: every portal has this problem.
    #[error("the OAuth server refuses the application ({code}); check app.client_id and app.client_secret")]
    Misconfigured {
        /// The server's code.
        code: Box<str>,
    },
    /// The request certainly never left.
    #[error("the OAuth server cannot be reached ({code}); {}", remedy(code))]
    NotSent {
        /// Why.
        code: Box<str>,
    },
    /// The pair may have been exchanged, or may still be.
    #[error("the outcome of the refresh is unknown ({code})")]
    Unknown {
        /// Why.
        code: Box<str>,
    },
}

impl Client {
    /// Asks the OAuth server for a sign of life, without any secret: that it refuses such a question is the sign.
    ///
    /// # Errors
    /// [`RefreshError::NotSent`] if it cannot be reached, [`RefreshError::Unknown`] if what answers is broken.
    pub async fn reach_oauth(&self, app: &App) -> Result<(), RefreshError> {
        match self.get(app.oauth_url.clone(), TIMEOUT).await {
            Ok(answered) if answered.status() >= 500 => {
                Err(RefreshError::Unknown { code: format!("HTTP_{}", answered.status()).into() })
            }
            Ok(_) => Ok(()),
            Err(CallError { trouble: Trouble::NotSent, code, .. }) => Err(RefreshError::NotSent { code }),
            Err(CallError { code, .. }) => Err(RefreshError::Unknown { code }),
        }
    }

    /// Exchanges a refresh token for a new pair.
    ///
    /// # Errors
    /// [`RefreshError`]. After [`RefreshError::Unknown`] the same token may be presented again.
    pub async fn refresh(&self, app: &App, refresh_token: &SecretString) -> Result<Tokens, RefreshError> {
        let mut url = app.oauth_url.clone();
        url.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", &app.client_id)
            .append_pair("client_secret", app.client_secret.expose_secret())
            .append_pair("refresh_token", refresh_token.expose_secret());
        match self.get(url, TIMEOUT).await {
            Ok(answered) => read(&answered),
            Err(CallError { trouble: Trouble::NotSent, code, .. }) => Err(RefreshError::NotSent { code }),
            Err(CallError { code, .. }) => Err(RefreshError::Unknown { code }),
        }
    }
}

/// What to do about a request that never left.
fn remedy(code: &str) -> &'static str {
    match code {
        "DNS" => "check app.oauth_url and the name resolution of this machine",
        "TLS" => "its certificate is not trusted: SSL_CERT_FILE can name the authority of a proxy that opens TLS",
        _ => "check app.oauth_url, the firewall and the proxy settings (HTTPS_PROXY)",
    }
}

fn read(answered: &Answered) -> Result<Tokens, RefreshError> {
    let body = answered.body();
    let status = answered.status();
    let unknown = |code: &str| RefreshError::Unknown { code: CallError::unknown(code).code };
    if (300..400).contains(&status) || status >= 500 {
        return Err(unknown(&format!("HTTP_{status}")));
    }
    if serde_json::from_str::<&serde_json::value::RawValue>(body).is_err() {
        return Err(unknown(if status == 200 { "NOT_JSON" } else { "NOT_JSON_ERROR" }));
    }
    let body = body.trim_ascii();
    if let Some(code) = json::member(body, "error").and_then(scalar::text_or_number).filter(|code| !code.is_empty()) {
        if json::only_member(body, "error").is_none() || json::member(body, "refresh_token").is_some() {
            return Err(unknown("CONTRADICTION"));
        }
        let code = CallError::unknown(&code).code;
        return Err(match &*code {
            "INVALID_GRANT" => RefreshError::Rejected,
            "PAYMENT_REQUIRED" => RefreshError::Unpaid,
            "INVALID_CLIENT" | "INVALID_REQUEST" | "INVALID_SCOPE" | "UNAUTHORIZED_CLIENT" | "WRONG_CLIENT" => {
                RefreshError::Misconfigured { code }
            }
            _ => RefreshError::Unknown { code },
        });
    }
    if status != 200 {
        return Err(unknown(&format!("HTTP_{status}")));
    }
    tokens(body).ok_or_else(|| unknown("NO_TOKENS"))
}

fn tokens(body: &str) -> Option<Tokens> {
    let text = |key| json::member(body, key).and_then(scalar::text_or_number).filter(|text| !text.is_empty());
    // Two values of one name: which of them is good would show an hour later, or never.
    let secret = |key| json::only_member(body, key).and_then(scalar::text).filter(|text| !text.is_empty());
    Some(Tokens {
        access_token: SecretString::from(secret("access_token")?.into_owned()),
        refresh_token: SecretString::from(secret("refresh_token")?.into_owned()),
        member_id: text("member_id").map(String::from),
        domain: text("domain").map(String::from),
        client_endpoint: text("client_endpoint").and_then(|url| url.parse().ok()),
        expires_in: json::member(body, "expires_in").and_then(scalar::integer).and_then(|s| s.try_into().ok()),
        scope: text("scope").map(String::from),
        status: text("status").map(String::from),
    })
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("member_id", &self.member_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(status: u16, body: &str) -> Result<Tokens, RefreshError> {
        read(&Answered::new(status, body))
    }

    #[test]
    fn a_new_pair_is_read() {
        let body = r#"{"access_token":"aa","refresh_token":"rr","expires":1795515330,"expires_in":"3600","scope":"app",
            "domain":"oauth.example","client_endpoint":"https:\/\/p.example\/rest\/","member_id":"a223","status":"L"}"#;
        let tokens = outcome(200, body).expect("tokens");
        assert_eq!((tokens.access_token.expose_secret(), tokens.refresh_token.expose_secret()), ("aa", "rr"));
        assert_eq!(tokens.client_endpoint.as_ref().map(Url::as_str), Some("https://p.example/rest/"));
        assert_eq!((tokens.member_id.as_deref(), tokens.expires_in), (Some("a223"), Some(3600)));
        assert_eq!(format!("{tokens:?}"), r#"Tokens { member_id: Some("a223"), .. }"#);
    }

    #[test]
    fn every_refusal_has_its_kind() {
        let error = |status, body: &str| outcome(status, body).expect_err(body);
        assert_eq!(error(400, r#"{"error":"invalid_grant","error_description":"x"}"#), RefreshError::Rejected);
        assert_eq!(error(200, r#"{"error":"INVALID_GRANT"}"#), RefreshError::Rejected);
        assert_eq!(error(402, r#"{"error":"PAYMENT_REQUIRED"}"#), RefreshError::Unpaid);
        for code in ["invalid_client", "invalid_request", "invalid_scope"] {
            let body = format!(r#"{{"error":"{code}"}}"#);
            assert_eq!(error(401, &body), RefreshError::Misconfigured { code: code.to_ascii_uppercase().into() });
        }
        for (status, body) in [
            (500, r#"{"error":"invalid_grant"}"#),
            (200, "<html>"),
            (200, r#"{"access_token":"aa"}"#),
            (200, r#"{"access_token":"aa","refresh_token":""}"#),
            (403, "{}"),
            (302, ""),
            (400, r#"{"error":"something_new"}"#),
            (200, r#"{"error":"invalid_grant","access_token":"aa","refresh_token":"rr"}"#),
            (200, r#"{"error":"invalid_grant","error":""}"#),
            (200, r#"{"access_token":"aa","refresh_token":"rr","refresh_token":"ss"}"#),
            (200, r#"{"access_token":"aa","access_token":"bb","refresh_token":"rr"}"#),
        ] {
            assert!(matches!(error(status, body), RefreshError::Unknown { .. }), "{status} {body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(status in 200_u16..600, body in ".{0,60}|\\{\"access_token\":.{0,30}") {
            let _ = outcome(status, &body);
        }
    }
}
