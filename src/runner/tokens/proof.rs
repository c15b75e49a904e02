//! A refresh token that a callback has delivered, and what the OAuth server says of it.
//!
//! To present it is to rotate the portal's chain, if it is of that chain. So it takes its turn with refreshes, since two
//! at once would present a token that the other has rotated, and what is granted is stored like any other pair: before it
//! is used, and as often as it takes, since it is the only living one then. A token that proves nothing changes nothing;
//! neither does one of another user of the portal, before it is known that he is an administrator: ours lives on. And
//! while the server is being asked, calls go on with the access token that they have.

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Edges, Inner, Tokens};
use crate::{
    bitrix::oauth::{self, RefreshError},
    metrics::labels::CallOutcome,
    protocol::token::Input,
    registry::PortalRecord,
    runner::clock::unix_now,
};

/// What a delivered refresh token proves.
#[derive(Debug)]
pub enum Proof {
    /// It was the one that we hold: its new pair is stored and in use. Where the server says that the portal is.
    Ours(Option<Url>),
    /// It was another one of this portal. Nothing has changed: whether the new pair is good for more than ours has to be
    /// asked, at the place that is known of the portal or at the one that the server says.
    Another(oauth::Tokens, Url),
    /// Nothing: it is dead, or nobody says whose it is.
    Nothing,
    /// It was another portal's, whose only living pair this is now.
    Foreign(oauth::Tokens),
    /// Nobody can tell for now. It may be presented again.
    Open,
}

impl Tokens {
    /// Presents a refresh token that a callback has delivered for this portal. Not to be dropped on the way: a pair that
    /// was granted would be lost.
    pub async fn prove(&self, delivered: &SecretString) -> Proof {
        let mut inner = self.kept.turn().await;
        if inner.retired {
            return Proof::Nothing;
        }
        let held = inner.holds(delivered);
        if held {
            let marked = PortalRecord { refreshing_since: Some(unix_now()), ..inner.record.clone() };
            if !self.edges.store(&mut inner, &marked).await {
                return Proof::Open;
            }
            inner.record = marked;
        }
        let granted = match self.edges.present(delivered).await {
            Ok(granted) => granted,
            Err(RefreshError::Rejected) => {
                self.edges.called(CallOutcome::Refused);
                return Proof::Nothing;
            }
            Err(error) => {
                let unknown = matches!(error, RefreshError::Unknown { .. });
                self.edges.called(if unknown { CallOutcome::Unknown } else { CallOutcome::Refused });
                tracing::warn!(portal = %inner.record.member_id, %error, "a callback cannot be verified for now");
                return Proof::Open;
            }
        };
        self.edges.called(CallOutcome::Done);
        match granted.member_id.as_deref() {
            // What we hold is of this portal, whether the answer says so or says nothing; its new pair is the only living one.
            id if held && id.is_none_or(|id| id == inner.record.member_id.as_str()) => {
                let place = granted.client_endpoint.clone();
                if self.edges.bring(&mut inner, granted).await { Proof::Ours(place) } else { Proof::Open }
            }
            Some(id) if id == inner.record.member_id.as_str() => Proof::Another(granted, inner.record.endpoint.clone()),
            Some(_) => Proof::Foreign(granted),
            None => Proof::Nothing,
        }
    }

    /// Whether this is the refresh token that we hold.
    pub async fn holds(&self, shown: &SecretString) -> bool {
        self.kept.turn().await.holds(shown)
    }

    /// Where the portal is, as far as is known.
    pub async fn place(&self) -> Url {
        self.kept.turn().await.record.endpoint.clone()
    }

    /// A pair of this portal of which nobody can tell for now whether it is an administrator's: it is tried when ours turns
    /// out to be dead, and taken at once if that is known already.
    pub async fn set_aside(&self, granted: oauth::Tokens) {
        let mut inner = self.kept.turn().await;
        if inner.retired {
            return;
        }
        if inner.machine.is_rejected() {
            self.edges.bring(&mut inner, granted).await;
        } else {
            inner.spare = Some(granted.refresh_token);
        }
    }

    /// A pair was granted for this portal in an exchange that somebody else made. Returns whether it is in use.
    pub async fn bring(&self, granted: oauth::Tokens) -> bool {
        let mut inner = self.kept.turn().await;
        !inner.retired && self.edges.bring(&mut inner, granted).await
    }
}

impl Edges {
    async fn bring(&self, inner: &mut Inner, granted: oauth::Tokens) -> bool {
        // Whatever was granted, given or wrong before is older than this.
        (inner.granted, inner.spare, inner.trouble) = (Some(granted), None, None);
        self.advance(inner, Input::Brought).await;
        inner.usable().is_some()
    }
}

impl Inner {
    /// Whether it is the refresh token that is stored. Digests take the same time to compare however much of it matches.
    fn holds(&self, delivered: &SecretString) -> bool {
        let digest = |token: &SecretString| Sha256::digest(token.expose_secret());
        self.record.refresh_token.as_ref().is_some_and(|stored| digest(stored) == digest(delivered))
    }
}
