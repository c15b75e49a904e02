//! `[[portals]]`: portals known in advance.

use secrecy::SecretString;
use url::Url;

use super::{
    form::{Checked, Choice, Link, quote},
    reader::{Named, Section},
    secret::Secret,
};
use crate::protocol::types::PortalId;

/// The URL with a slash at its end, so that paths can be joined: `/rest` becomes `/rest/`. Servers and operators name places
/// without it, too.
pub fn with_slash(mut url: Url) -> Url {
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

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

const ACCESS_TOKEN: Secret = Secret {
    key: Named("access_token", "An access token to begin with; the refresh token is enough."),
    file: Named("access_token_file", "The same in a file."),
};
const REFRESH_TOKEN: Secret = Secret {
    key: Named(
        "refresh_token",
        "The refresh token to begin with; it is renewed and kept in the registry, whose token wins.",
    ),
    file: Named("refresh_token_file", "The same in a file."),
};
const APPLICATION_TOKEN: Secret = Secret {
    key: Named(
        "application_token",
        "Which callbacks to believe; without it the first one that can be verified brings it.",
    ),
    file: Named("application_token_file", "The same in a file."),
};

const EXAMPLE: &str = "give an endpoint such as \"https://example.bitrix24.com/rest/\"; a webhook cannot do it";

fn is_endpoint(url: &Url) -> bool {
    url.path().ends_with("/rest/")
}

/// Reads the endpoint of a portal that an operator adds while the bridge runs, as one of the configuration is read.
///
/// # Errors
/// What is wrong, to be read behind "the endpoint"; nothing of the text.
pub fn endpoint(text: &str, allow_http: bool) -> Result<Url, String> {
    let url = with_slash(Link { http: allow_http }.check(text)?);
    if is_endpoint(&url) { Ok(url) } else { Err(format!("does not end in /rest/: {EXAMPLE}")) }
}

impl Portal {
    pub(super) fn read(section: &mut Section<'_, '_>, allow_http: bool) -> Option<Self> {
        let member_id = section.required(
            Named("member_id", "The portal's identity; it does not change with its domain."),
            &Checked("a member_id of 1 to 64 letters and digits", |text| {
                PortalId::new(text).ok_or_else(|| format!("is {}", quote(text)))
            }),
        );
        let endpoint = section.required(Named("endpoint", "The portal's REST endpoint."), &Link { http: allow_http });
        let access_token = ACCESS_TOKEN.optional(section);
        let refresh_token = REFRESH_TOKEN.optional(section);
        let application_token = APPLICATION_TOKEN.optional(section);
        let plan = section.or(
            Named(
                "plan",
                "The portal's request limit: asked from the portal, \
 50 at 2 a second, 250 at 5 a second, or none (self-hosted).",
            ),
            "\"auto\"",
            &Choice(&[
                ("auto", Plan::Auto),
                ("standard", Plan::Standard),
                ("enterprise", Plan::Enterprise),
                ("unlimited", Plan::Unlimited),
            ]),
        );
        let endpoint = endpoint.map(with_slash).filter(|url| {
            let right = is_endpoint(url);
            if !right {
                section.fault("endpoint", "does not end in /rest/", EXAMPLE);
            }
            right
        });
        Some(Self {
            member_id: member_id?,
            endpoint: endpoint?,
            access_token: access_token?,
            refresh_token: refresh_token?,
            application_token: application_token?,
            plan: plan?,
        })
    }
}
