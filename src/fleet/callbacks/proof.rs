//! The proof itself: an exchange at the OAuth server, and a call to the portal that its answer names.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::Claim;
use crate::{
    bitrix::{
        client::{Access, PRIVATE_ADDRESS},
        error::{CallError, Trouble},
        oauth::{RefreshError, Tokens},
    },
    config::portals::with_slash,
    fleet::{
        Parts,
        portal::Portal,
        roster::{Grant, Roster},
    },
    metrics::labels::{Call, CallOutcome, Callback, Refresh},
    protocol::types::PortalId,
    runner::tokens::Proof,
};

/// A call that failed for now is repeated within this span; whoever called does not wait much longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The pause before it is repeated.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a portal may take to answer `app.info` or `profile`.
const ANSWER: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The call is from the portal, and what it brought is taken.
    Authentic,
    /// It is from the portal, and from somebody who is no administrator there: his tokens open none of its queues.
    Powerless,
    /// It proves nothing.
    Forged,
    /// Nobody can tell for now.
    Open,
}

/// A call of a portal that is served, or that an operator has parked. In the portal's turn.
pub async fn of_known(
    roster: &Roster,
    parts: &Parts,
    portal: &Portal,
    claim: Claim,
    refresh_token: &SecretString,
) -> Found {
    let told = match portal.session().tokens().prove(refresh_token).await {
        Proof::Ours(told) => told,
        Proof::Another(granted, known) => {
            let told = granted.client_endpoint.clone();
            match bring(parts, portal, granted, known).await {
                Found::Authentic => told,
                found => return found,
            }
        }
        Proof::Nothing => return Found::Forged,
        Proof::Foreign(granted) => {
            hand_over(roster, parts, granted, refresh_token).await;
            return Found::Forged;
        }
        Proof::Open => return Found::Open,
    };
    let Ok((_, access)) = portal.session().tokens().access().await else { return Found::Open };
    let place = new_place(parts, portal.id(), &access.endpoint, told);
    let there = Access { endpoint: place.clone().unwrap_or_else(|| access.endpoint.clone()), ..access };
    match answers(parts, &there).await {
        Found::Authentic => {}
        // Its tokens are good and stored all the same: whatever kept it from being served may be over.
        found => {
            portal.reinstalled();
            return found;
        }
    }
    if let Err(error) = portal.learn(place, claim.application_token).await {
        tracing::error!(portal = %portal.id(), %error, "what a callback brought cannot be stored");
        return Found::Open;
    }
    if claim.kind == Callback::Install {
        tracing::info!(portal = %portal.id(), "the application was installed again; the portal's tokens are renewed");
    }
    portal.reinstalled();
    roster.wake(portal.id());
    Found::Authentic
}

/// Takes the pair of another user than the one whose pair we hold, if he is an administrator: with the tokens of anybody
/// else every read would be refused.
async fn bring(parts: &Parts, portal: &Portal, granted: Tokens, known: Url) -> Found {
    let id = portal.id();
    let endpoint = new_place(parts, id, &known, granted.client_endpoint.clone()).unwrap_or(known);
    let tokens = portal.session().tokens();
    let found = administers(parts, &Access { endpoint, token: granted.access_token.clone() }).await;
    match found {
        Found::Authentic => {
            if !tokens.bring(granted).await {
                return Found::Open;
            }
        }
        Found::Open => {
            tracing::warn!(portal = %id, "a call is not taken for now: the portal does not say whose tokens it brings");
            tokens.set_aside(granted).await;
        }
        Found::Powerless => tracing::warn!(
            portal = %id, "a call is refused: its tokens are of a user who is no administrator; the portal's own are kept",
        ),
        Found::Forged => {}
    }
    found
}

/// A call of a portal on which the application is not installed, as far as is known. In the portal's turn.
pub async fn of_stranger(roster: &Roster, parts: &Parts, claim: Claim, refresh_token: &SecretString) -> Found {
    // An exchange rotates the token, so it is made only for somebody whose pair can be stored.
    if let Err(error) = parts.registry.load(claim.portal.clone()).await {
        tracing::error!(portal = %claim.portal, %error, "an installation is not taken for now: it cannot be stored");
        return Found::Open;
    }
    let granted = match exchange(parts, refresh_token).await {
        Ok(granted) => granted,
        Err(found) => return found,
    };
    if granted.member_id.as_deref() != Some(claim.portal.as_str()) {
        tracing::warn!(portal = %claim.portal, "a call shows the refresh token of another portal");
        hand_over(roster, parts, granted, refresh_token).await;
        return Found::Forged;
    }
    let Some(endpoint) = granted.client_endpoint.clone().map(with_slash) else {
        tracing::warn!(portal = %claim.portal, "the OAuth server does not say where the portal is");
        return Found::Forged;
    };
    if let Err(why) = parts.client.hosts().check(&endpoint) {
        tracing::warn!(
            portal = %claim.portal, host = endpoint.host_str(), error = %why,
            "the application was installed on a portal that is not allowed; it is not called",
        );
        return Found::Forged;
    }
    let access = Access { endpoint: endpoint.clone(), token: granted.access_token.clone() };
    let found = match answers(parts, &access).await {
        Found::Authentic => administers(parts, &access).await,
        found => found,
    };
    match found {
        Found::Authentic => {}
        Found::Powerless => {
            tracing::warn!(
                portal = %claim.portal,
                "an installation is refused: its user is no administrator; have an administrator install the application",
            );
            return found;
        }
        found => {
            tracing::warn!(portal = %claim.portal, "the portal does not confirm the installation; install it again there");
            return found;
        }
    }
    let grant = Grant {
        member_id: claim.portal,
        endpoint,
        access_token: Some(granted.access_token),
        refresh_token: granted.refresh_token,
        application_token: claim.application_token,
        user_id: None,
        scope: granted.scope,
        status: granted.status,
    };
    install(roster, grant).await
}

/// Stores what was granted; it is the only living pair, so that a disk that is full for a moment is waited for.
async fn install(roster: &Roster, grant: Grant) -> Found {
    let until = Instant::now() + PATIENCE;
    loop {
        match roster.install_now(grant.clone()).await {
            Ok(_) => return Found::Authentic,
            Err(error) if Instant::now() >= until => {
                tracing::error!(
                    portal = %grant.member_id, %error,
                    "the installation cannot be stored and is lost: install the application there again",
                );
                return Found::Open;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The place to call a portal at from now on, if it is another one: where the OAuth server says it is, if that is allowed.
fn new_place(parts: &Parts, portal: &PortalId, known: &Url, told: Option<Url>) -> Option<Url> {
    let told = told.map(with_slash).filter(|told| told != known)?;
    match parts.client.hosts().check(&told) {
        Ok(()) => Some(told),
        Err(why) => {
            tracing::warn!(
                %portal, host = told.host_str(), error = %why,
                "the portal has moved to a place that is not allowed; it is called where it was",
            );
            None
        }
    }
}

/// A pair of a portal that somebody else spoke for. If we serve that portal and hold the token that was presented, the new
/// pair is the only living one and is kept; otherwise it is taken as from a call of that portal.
async fn hand_over(roster: &Roster, parts: &Parts, granted: Tokens, presented: &SecretString) {
    let owner = granted.member_id.as_deref().and_then(PortalId::new);
    let Some(portal) = owner.and_then(|owner| roster.get(&owner)) else { return };
    let tokens = portal.session().tokens();
    if tokens.holds(presented).await {
        tokens.bring(granted).await;
    } else {
        let known = tokens.place().await;
        bring(parts, &portal, granted, known).await;
    }
}

async fn exchange(parts: &Parts, refresh_token: &SecretString) -> Result<Tokens, Found> {
    let metrics = &parts.shared.metrics;
    let until = Instant::now() + PATIENCE;
    loop {
        let timer = metrics.rest_request_seconds.with_label_values(&[Call::Oauth.as_str()]).start_timer();
        let answer = parts.client.refresh(&parts.app, refresh_token).await;
        timer.observe_duration();
        let outcome = match &answer {
            Ok(_) => CallOutcome::Done,
            Err(RefreshError::Unknown { .. }) => CallOutcome::Unknown,
            Err(_) => CallOutcome::Refused,
        };
        metrics.rest_requests.with_label_values(&[Call::Oauth.as_str(), outcome.as_str()]).inc();
        match answer {
            Ok(granted) => {
                metrics.token_refreshes.with_label_values(&[Refresh::Granted.as_str()]).inc();
                return Ok(granted);
            }
            Err(RefreshError::Rejected) => return Err(Found::Forged),
            Err(RefreshError::NotSent { .. } | RefreshError::Unknown { .. }) if Instant::now() + PAUSE < until => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(%error, "a call cannot be verified for now");
                return Err(Found::Open);
            }
        }
    }
}

/// Whether the portal knows the application by this token.
async fn answers(parts: &Parts, access: &Access) -> Found {
    ask(parts, Call::AppInfo, || async { parts.client.app_info(access).await.map(|_| Found::Authentic) }).await
}

/// Whether the token is an administrator's. A portal that refuses to say so has said nothing.
async fn administers(parts: &Parts, access: &Access) -> Found {
    let told = |admin| if admin { Found::Authentic } else { Found::Powerless };
    match ask(parts, Call::Profile, || async { parts.client.is_admin(access).await.map(told) }).await {
        Found::Forged => Found::Open,
        found => found,
    }
}

/// Asks a portal something, again if it fails for now.
async fn ask<F>(parts: &Parts, call: Call, question: impl Fn() -> F) -> Found
where
    F: Future<Output = Result<Found, CallError>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = tokio::time::timeout(ANSWER, question()).await;
        let (outcome, found) = match &asked {
            Ok(Ok(found)) => (CallOutcome::Done, *found),
            Ok(Err(CallError { code, .. })) if **code == *PRIVATE_ADDRESS => (CallOutcome::Refused, Found::Forged),
            Ok(Err(error)) => match error.trouble {
                Trouble::NotSent | Trouble::Unknown => (CallOutcome::Unknown, Found::Open),
                Trouble::RateLimited | Trouble::OperationTime { .. } => (CallOutcome::Limited, Found::Open),
                Trouble::Unauthorized { .. } => (CallOutcome::Unauthorized, Found::Forged),
                _ => (CallOutcome::Refused, Found::Forged),
            },
            Err(_) => (CallOutcome::Unknown, Found::Open),
        };
        let metrics = &parts.shared.metrics;
        metrics.rest_requests.with_label_values(&[call.as_str(), outcome.as_str()]).inc();
        if found != Found::Open || Instant::now() + PAUSE >= until {
            return found;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
