//! `[[portals]]`: portals known in advance.

use secrecy::SecretString;
use url::Url;

use crate::protocol::types::PortalId;

/// One of `[[portals]]`. The registry's tokens, if it has any, win over these.
#[derive(Clone, Debug)]
pub struct Portal {
    /// Its `member_id`.
    pub member_id: PortalId,
    /// Its REST endpoint with a trailing slash, e.g. `https://example.bitrix24.com/rest/`.
    pub endpoint: Url,
    /// Optional: the refresh token is enough.
    pub access_token: Option<SecretString>,
    /// The refresh token to begin with.
    pub refresh_token: Option<SecretString>,
    /// Which callbacks to believe; if absent it comes with the first verified one.
    pub application_token: Option<SecretString>,
    /// Its request limit.
    pub plan: Plan,
}

/// The request limit of a portal (protocol reference section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plan {
    /// Ask `app.info`; `Standard` when in doubt.
    #[default]
    Auto,
    /// 50 requests, draining at 2 per second.
    Standard,
    /// 250 requests, draining at 5 per second.
    Enterprise,
    /// No limit: self-hosted.
    Unlimited,
}
