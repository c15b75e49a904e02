//! What is kept of a portal, and how it is written down.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{config::portals::with_slash, protocol::types::PortalId};

/// The version of the form on disk. A reader refuses a newer one: it may hold what this one would drop.
pub(super) const FORMAT: u64 = 2;
/// What a record has that is served like any other: the oldest form that can say all of it is written, so that a reader
/// of that form reads it, and refuses one that must not be served.
const PLAIN_FORMAT: u64 = 1;

/// A portal as the registry keeps it (protocol reference section 4).
#[derive(Clone, Debug)]
pub struct PortalRecord {
    /// Its identity.
    pub member_id: PortalId,
    /// Its REST endpoint with a trailing slash.
    pub endpoint: Url,
    /// The last access token; lives an hour.
    pub access_token: Option<SecretString>,
    /// The last refresh token; lives 180 days, and each refresh replaces it.
    pub refresh_token: Option<SecretString>,
    /// Which callbacks to believe.
    pub application_token: Option<SecretString>,
    /// The user that the tokens speak for.
    pub user_id: Option<i64>,
    /// What the tokens may do, as the portal says it.
    pub scope: Option<String>,
    /// The application's status, as the portal says it.
    pub status: Option<String>,
    /// When a refresh was begun whose outcome is not stored yet, in unix seconds. Found at a start it means that the
    /// refresh token may have been rotated, with the answer lost.
    pub refreshing_since: Option<i64>,
    /// When the application was installed, in unix seconds; `None` for a portal of the configuration.
    pub installed_at: Option<i64>,
    /// Since when an operator has it parked, in unix seconds: it is not served until he says otherwise.
    pub held_since: Option<i64>,
    /// When the application was uninstalled, in unix seconds. Nothing but its place is kept then.
    pub removed_at: Option<i64>,
    /// Since when its queues have been read without reservations, in unix seconds: what is free at the portal may have
    /// been published.
    pub unreserved_since: Option<i64>,
}

/// What an installation brings: whoever hands it on has verified it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Which portal.
    pub member_id: PortalId,
    /// Its REST endpoint with a trailing slash.
    pub endpoint: Url,
    /// An access token; the refresh token is enough.
    pub access_token: Option<SecretString>,
    /// The refresh token to go on with.
    pub refresh_token: SecretString,
    /// Which callbacks to believe from now on; `None` leaves what is known.
    pub application_token: Option<SecretString>,
    /// The user that the tokens speak for, if it is told.
    pub user_id: Option<i64>,
    /// What the tokens may do, if it is told.
    pub scope: Option<String>,
    /// The application's status, if it is told.
    pub status: Option<String>,
}

impl PortalRecord {
    /// A portal of which nothing but its place is known.
    pub fn new(member_id: PortalId, endpoint: Url) -> Self {
        Self {
            member_id,
            endpoint: with_slash(endpoint),
            access_token: None,
            refresh_token: None,
            application_token: None,
            user_id: None,
            scope: None,
            status: None,
            refreshing_since: None,
            installed_at: None,
            held_since: None,
            removed_at: None,
            unreserved_since: None,
        }
    }

    /// The record after an installation at `now`, in unix seconds. A portal that an operator has parked stays so.
    #[must_use]
    pub fn granted(self, grant: Grant, now: i64) -> Self {
        Self {
            member_id: self.member_id,
            endpoint: grant.endpoint,
            access_token: grant.access_token,
            refresh_token: Some(grant.refresh_token),
            application_token: grant.application_token.or(self.application_token),
            user_id: grant.user_id.or(self.user_id),
            scope: grant.scope.or(self.scope),
            status: grant.status.or(self.status),
            refreshing_since: None,
            installed_at: Some(now),
            held_since: self.held_since,
            removed_at: None,
            unreserved_since: self.unreserved_since,
        }
    }

    /// What is kept of it after the application was uninstalled at `now`, in unix seconds: no secret. A later
    /// installation has to prove itself like that of a stranger.
    #[must_use]
    pub fn uninstalled(&self, now: i64) -> Self {
        let place = Self::new(self.member_id.clone(), self.endpoint.clone());
        Self { installed_at: self.installed_at, removed_at: Some(now), ..place }
    }

    /// Whether it is neither parked by an operator nor uninstalled.
    pub fn is_served(&self) -> bool {
        self.held_since.is_none() && self.removed_at.is_none()
    }

    /// The host of the endpoint, without a port: the `domain` of its records.
    pub fn domain(&self) -> &str {
        self.endpoint.host_str().unwrap_or_default()
    }

    /// The record as JSON.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let shown = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let mut json = serde_json::to_vec_pretty(&Stored {
            format: if self.is_served() { PLAIN_FORMAT } else { FORMAT },
            member_id: self.member_id.as_str().to_owned(),
            endpoint: self.endpoint.as_str().to_owned(),
            access_token: shown(&self.access_token),
            refresh_token: shown(&self.refresh_token),
            application_token: shown(&self.application_token),
            user_id: self.user_id,
            scope: self.scope.clone(),
            status: self.status.clone(),
            refreshing_since: self.refreshing_since,
            installed_at: self.installed_at,
            held_since: self.held_since,
            removed_at: self.removed_at,
            unreserved_since: self.unreserved_since,
        })?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads a record; the error says what is wrong and holds nothing of the text.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, String> {
        if json.iter().all(u8::is_ascii_whitespace) {
            return Err("is empty".into());
        }
        let foreign = |error: serde_json::Error| {
            // Only the place: the message may quote what stands there.
            let what = if error.is_eof() { "ends too early" } else { "is no portal record" };
            format!("{what} (line {}, column {})", error.line(), error.column())
        };
        if json.trim_ascii_start().first() != Some(&b'{') {
            // A list of the right length would do by its order.
            return Err("is no portal record (line 1, column 1)".into());
        }
        match serde_json::from_slice::<Header>(json).map_err(foreign)?.format {
            PLAIN_FORMAT..=FORMAT => {}
            newer if newer > FORMAT => return Err(format!("has format {newer}; this version reads {FORMAT}")),
            unknown => return Err(format!("has the unknown format {unknown}")),
        }
        let stored: Stored = serde_json::from_slice(json).map_err(foreign)?;
        let endpoint = Url::parse(&stored.endpoint).ok().filter(|url| url.has_host() && url.path().ends_with('/'));
        Ok(Self {
            member_id: PortalId::new(&stored.member_id).ok_or("has no valid member_id")?,
            endpoint: endpoint.ok_or("has no valid endpoint")?,
            access_token: stored.access_token.map(SecretString::from),
            refresh_token: stored.refresh_token.map(SecretString::from),
            application_token: stored.application_token.map(SecretString::from),
            user_id: stored.user_id,
            scope: stored.scope,
            status: stored.status,
            refreshing_since: stored.refreshing_since,
            installed_at: stored.installed_at,
            held_since: stored.held_since,
            removed_at: stored.removed_at,
            unreserved_since: stored.unreserved_since,
        })
    }
}

/// What every version of the form begins with.
#[derive(Deserialize)]
struct Header {
    format: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u64,
    member_id: String,
    endpoint: String,
    access_token: Option<String>,
    refresh_token: Option<String>,
    application_token: Option<String>,
    user_id: Option<i64>,
    scope: Option<String>,
    status: Option<String>,
    refreshing_since: Option<i64>,
    installed_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removed_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreserved_since: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> PortalRecord {
        let endpoint = Url::parse("https://example.bitrix24.com:8443/rest/").expect("a URL");
        PortalRecord {
            access_token: Some("acc3ss".into()),
            refresh_token: Some("r3fresh".into()),
            refreshing_since: Some(1_700_000_000),
            unreserved_since: Some(1_700_000_001),
            ..PortalRecord::new(PortalId::new("a1").expect("an id"), endpoint)
        }
    }

    #[test]
    fn a_place_without_its_last_slash_can_be_read_again() {
        let endpoint = Url::parse("https://a.bitrix24.com/rest").expect("a URL");
        let record = PortalRecord::new(PortalId::new("a1").expect("an id"), endpoint);
        let read = PortalRecord::from_json(&record.to_json().expect("JSON")).expect("a record");
        assert_eq!(read.endpoint.as_str(), "https://a.bitrix24.com/rest/");
    }

    #[test]
    fn a_record_survives_the_round_trip() {
        let json = record().to_json().expect("JSON");
        let read = PortalRecord::from_json(&json).expect("a record");
        assert_eq!(read.to_json().expect("JSON"), json);
        assert_eq!(read.refresh_token.expect("a token").expose_secret(), "r3fresh");
        assert_eq!((read.refreshing_since, read.unreserved_since), (Some(1_700_000_000), Some(1_700_000_001)));
    }

    #[test]
    fn a_portal_that_is_not_served_is_hidden_from_readers_that_would_serve_it() {
        let parked = PortalRecord { held_since: Some(7), ..record() };
        let json = String::from_utf8(parked.to_json().expect("JSON")).expect("UTF-8");
        assert!(json.contains("\"format\": 2"), "{json}");
        assert_eq!(PortalRecord::from_json(json.as_bytes()).expect("a record").held_since, Some(7));
        let json = String::from_utf8(record().to_json().expect("JSON")).expect("UTF-8");
        assert!(json.contains("\"format\": 1") && !json.contains("held_since"), "{json}");
    }

    #[test]
    fn what_is_left_of_an_uninstalled_portal_opens_nothing_and_an_installation_revives_it() {
        let gone = PortalRecord { application_token: Some("b3lieve".into()), ..record() }.uninstalled(9);
        let json = String::from_utf8(gone.to_json().expect("JSON")).expect("UTF-8");
        assert!(!json.contains("acc3ss") && !json.contains("r3fresh") && !json.contains("b3lieve"), "{json}");
        assert!(!gone.is_served());
        let grant = Grant {
            member_id: gone.member_id.clone(),
            endpoint: Url::parse("https://new.bitrix24.com/rest/").expect("a URL"),
            access_token: None,
            refresh_token: "n3w".into(),
            application_token: None,
            user_id: Some(3),
            scope: None,
            status: None,
        };
        let back = gone.granted(grant, 11);
        assert!(back.is_served() && back.application_token.is_none());
        assert_eq!((back.domain(), back.user_id, back.installed_at), ("new.bitrix24.com", Some(3), Some(11)));
    }

    #[test]
    fn a_record_shows_no_token_and_has_a_domain() {
        let text = format!("{:?}", record());
        assert!(!text.contains("acc3ss") && !text.contains("r3fresh"), "{text}");
        assert_eq!(record().domain(), "example.bitrix24.com");
    }

    #[test]
    fn what_is_no_record_is_refused_without_quoting_it() {
        let whole = String::from_utf8(record().to_json().expect("JSON")).expect("UTF-8");
        for (json, begin) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("{\"a\":\"s3cr3t\"}", "is no portal record"),
            ("[1,\"a1\",\"https://a/\",null,null,null,null,null,null,null,null]", "is no portal record"),
            ("\u{0}\u{0}", "is no portal record"),
            (&whole[..whole.len() / 2], "ends too early"),
            (&whole.replace("\"format\": 1", "\"format\": 3"), "has format 3; this version reads 2"),
            (&whole.replace("\"format\": 1", "\"format\": 0"), "has the unknown format 0"),
            (&whole.replace("\"a1\"", "\"../x\""), "has no valid member_id"),
            (&whole.replace("https://", ""), "has no valid endpoint"),
            (&whole.replace("\"scope\"", "\"s3cr3t\""), "is no portal record"),
        ] {
            let wrong = PortalRecord::from_json(json.as_bytes()).expect_err(json);
            assert!(wrong.starts_with(begin) && !wrong.contains("s3cr3t"), "{wrong}");
        }
    }
}
