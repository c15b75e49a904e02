//! What is made of calls from outside: nothing is believed before it is verified (protocol reference section 4).
//!
//! ```text
//! shows the portal's application_token? --yes--> believed
//!     | no
//! an installation, or a known portal's wake-up, with a refresh token? --no--> forged
//!     | yes
//! exchanged at the configured OAuth server: does the answer name the same portal? --no--> forged
//!     | yes
//! the answer's endpoint is allowed, and answers app.info with the answer's token? --no--> forged
//!     | yes
//! the answer's token is an administrator's (profile), or its refresh token was the one that we hold? --no--> refused
//!     | yes
//! believed: the answer's endpoint and tokens are taken, and the application_token that came along
//! ```
//!
//! What was delivered is used for nothing but the exchange, and a token is presented once. An installation that shows the
//! right application_token brings its tokens by the same exchange: it may be an old one that is sent again, and then the
//! exchange brings nothing and nothing changes. Every user of a portal has tokens of his own for the application, and only
//! an administrator's open its queues: those of anybody else never replace ours. A wake-up of a portal that is not served is not looked into: there would
//! be nothing to wake, and the exchange would rotate the tokens of whoever serves it.

mod limits;
mod proof;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use self::{limits::Limits, proof::Found};
use super::{Parts, portal::Portal, roster::Roster};
use crate::{
    metrics::labels::{Callback, PortalState},
    protocol::types::PortalId,
    runner::standing::Reason,
};

/// Proofs at once: each is an exchange at the OAuth server and a call to a portal.
const AT_ONCE: usize = 8;
/// How long a call waits for its turn before it is told to come again.
const TURN_PATIENCE: Duration = Duration::from_secs(5);

/// What a call says.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What it is about.
    pub kind: Callback,
    /// Whose it says it is.
    pub portal: PortalId,
    /// What it shows to be believed.
    pub application_token: Option<SecretString>,
    /// What it can prove itself with.
    pub refresh_token: Option<SecretString>,
    /// Where it says the portal is.
    pub place: Option<String>,
}

/// What is found out about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is authentic, and done or under way.
    Taken,
    /// It is not from whom it says, or nothing proves that it is.
    Forged,
    /// Its user is no administrator of the portal.
    NoAdmin,
    /// It cannot be looked into now.
    Busy,
}

/// Where calls are looked into. Clones share it.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    roster: Roster,
    parts: Arc<Parts>,
    places: Semaphore,
    limits: Mutex<Limits>,
    /// Portals that something is being proven for: one thing at a time, or those who forge calls of one portal would take
    /// all places.
    looking: Mutex<BTreeSet<PortalId>>,
}

/// That something is being proven for a portal.
struct Looking<'a>(&'a Inner, PortalId);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        lock(&self.0.looking).remove(&self.1);
    }
}

impl Desk {
    /// For the portals of this process.
    pub fn new(roster: Roster, parts: Arc<Parts>) -> Self {
        let (places, limits, looking) = (Semaphore::new(AT_ONCE), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { roster, parts, places, limits, looking }))
    }

    /// Looks into a call from this source, and does what it is for if it is authentic.
    pub async fn judge(&self, claim: Claim, source: IpAddr) -> Verdict {
        let known = self.known(&claim.portal);
        let shown = claim.application_token.as_ref();
        let authentic = known.as_ref().zip(shown).is_some_and(|(portal, shown)| portal.believes(shown));
        match (claim.kind, authentic, known) {
            (Callback::Other, true, _) => Verdict::Taken,
            (Callback::Uninstall, true, _) => self.uninstall(&claim.portal).await,
            (Callback::Wake, true, Some(portal)) => {
                self.0.roster.wake(&claim.portal);
                self.heal(&portal, claim, source);
                Verdict::Taken
            }
            (Callback::Install, true, Some(portal)) if claim.refresh_token.is_none() => {
                portal.reinstalled();
                Verdict::Taken
            }
            (Callback::Install, ..) | (Callback::Wake, false, Some(_)) => self.verify(claim, source, authentic).await,
            (Callback::Other | Callback::Uninstall, false, _) | (Callback::Wake, ..) => Verdict::Forged,
        }
    }

    /// A portal on which the application is installed, as far as is known.
    fn known(&self, id: &PortalId) -> Option<Arc<Portal>> {
        let removed = |portal: &Portal| portal.session().standing().snapshot().state == PortalState::Removed;
        self.0.roster.get(id).filter(|portal| !removed(portal))
    }

    async fn uninstall(&self, id: &PortalId) -> Verdict {
        match self.0.roster.uninstall(id).await {
            Ok(()) => Verdict::Taken,
            Err(error) => {
                tracing::error!(portal = %id, %error, "the portal cannot be uninstalled");
                Verdict::Busy
            }
        }
    }

    /// An authentic wake-up carries fresh tokens: for a portal whose own are dead, or are refused for want of rights, they
    /// are worth an exchange. It goes on by itself; the next wake-up brings others if there is no room now.
    fn heal(&self, portal: &Arc<Portal>, claim: Claim, source: IpAddr) {
        let reason = portal.session().standing().snapshot().reason;
        let useless = matches!(reason, Some(Reason::NeedsReinstall | Reason::Forbidden));
        let Some(shown) = claim.refresh_token.clone().filter(|_| useless) else { return };
        if self.0.places.available_permits() > 0 {
            let (desk, portal) = (self.clone(), portal.clone());
            tokio::spawn(async move {
                // The very token that we hold has no more rights than we have.
                if reason != Some(Reason::Forbidden) || !portal.session().tokens().holds(&shown).await {
                    desk.verify(claim, source, true).await;
                }
            });
        }
    }

    /// Has the call prove itself with its refresh token.
    async fn verify(&self, claim: Claim, source: IpAddr, authentic: bool) -> Verdict {
        let Some(refresh_token) = claim.refresh_token.clone() else { return Verdict::Forged };
        let clock = self.0.parts.shared.clock;
        if !authentic {
            if !lock(&self.0.limits).admits(source, clock.now()) {
                return Verdict::Busy;
            }
            let hosts = self.0.parts.client.hosts();
            let place = claim.place.as_deref().filter(|_| self.known(&claim.portal).is_none());
            if let Some(Err(why)) = place.map(|place| hosts.check_place(place)) {
                tracing::warn!(
                    portal = %claim.portal, %source, error = %why, "a call leads to a place that is not allowed",
                );
                lock(&self.0.limits).failed(source, clock.now());
                return Verdict::Forged;
            }
        }
        let digest = Sha256::digest(refresh_token.expose_secret()).into();
        if !lock(&self.0.limits).present(digest) {
            tracing::debug!(portal = %claim.portal, %source, "a call is sent again");
            return Verdict::Forged;
        }
        let (portal, kind) = (claim.portal.clone(), claim.kind);
        let found = self.in_turn(claim, refresh_token).await;
        tracing::debug!(%portal, %source, kind = kind.as_str(), ?found, "a call was looked into");
        match found {
            Found::Authentic => Verdict::Taken,
            Found::Forged | Found::Powerless => {
                if !authentic {
                    lock(&self.0.limits).failed(source, clock.now());
                }
                if found == Found::Powerless { Verdict::NoAdmin } else { Verdict::Forged }
            }
            Found::Open => {
                lock(&self.0.limits).forget(digest);
                Verdict::Busy
            }
        }
    }

    async fn in_turn(&self, claim: Claim, refresh_token: SecretString) -> Found {
        let (inner, id) = (&*self.0, claim.portal.clone());
        if !lock(&inner.looking).insert(id.clone()) {
            return Found::Open;
        }
        let _looking = Looking(inner, id.clone());
        let Ok(Ok(_place)) = tokio::time::timeout(TURN_PATIENCE, inner.places.acquire()).await else {
            return Found::Open;
        };
        let (desk, parts) = (self.clone(), inner.parts.clone());
        let work = move |roster: Roster| async move {
            Ok(match desk.known(&claim.portal) {
                Some(portal) => proof::of_known(&roster, &parts, &portal, claim, &refresh_token).await,
                None => proof::of_stranger(&roster, &parts, claim, &refresh_token).await,
            })
        };
        inner.roster.change(id, work).await.unwrap_or(Found::Open)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
