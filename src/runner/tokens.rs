//! The tokens of one portal: performs what `protocol::token` asks for, one refresh at a time for all queues.

mod change;
mod proof;
mod turn;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};

pub use self::proof::Proof;
use self::turn::Kept;
use super::{
    Shared,
    clock::{Clock, unix_now},
    gate::Gate,
};
use crate::{
    bitrix::{
        client::{Access, Client},
        oauth::{self, RefreshError},
    },
    chain::chain,
    config::app::App,
    metrics::{
        Metrics,
        labels::{Call, CallOutcome, Refresh},
    },
    protocol::{
        token::{Action, Generation, Input, Outcome, Token},
        types::{Millis, PortalId},
    },
    registry::{PortalRecord, Registry},
};

/// Why there is no access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoToken {
    /// Try again after this span, and why.
    Wait(Millis, String),
    /// Only a new installation helps.
    Rejected,
    /// The refresh token that we were given for this portal belongs to that one.
    Foreign(String),
    /// The portal's subscription is not paid.
    Unpaid,
    /// The OAuth server refuses this application.
    Misconfigured,
}

struct Inner {
    machine: Token,
    record: PortalRecord,
    /// Granted, and not stored yet.
    granted: Option<oauth::Tokens>,
    /// The refresh token of the configuration, if the registry has another: tried once when that one is rejected, since
    /// the operator may have renewed it.
    spare: Option<SecretString>,
    /// What the last refresh ended with, if not with a new pair.
    trouble: Option<NoToken>,
    /// The process stops: no refresh is begun any more.
    closed: bool,
    /// The application was uninstalled: nothing is stored any more.
    retired: bool,
}

/// The span between tries to store a granted pair while the process stops.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// The tokens of one portal. Clones share them.
#[derive(Clone)]
pub struct Tokens {
    kept: Kept,
    edges: Arc<Edges>,
}

struct Edges {
    app: Arc<App>,
    client: Client,
    registry: Registry,
    metrics: Arc<Metrics>,
    clock: Clock,
    gate: Arc<Gate>,
    /// How often the OAuth server was asked.
    asked: AtomicU64,
}

impl Tokens {
    /// The stored record, and the refresh token of the configuration as a spare.
    pub fn new(
        record: PortalRecord,
        spare: Option<SecretString>,
        app: Arc<App>,
        client: Client,
        registry: Registry,
        shared: &Shared,
    ) -> Self {
        // Presented twice, a token that the server has rejected tells it of a thief.
        let stored = record.refresh_token.as_ref().map(ExposeSecret::expose_secret);
        let spare = spare.filter(|spare| stored != Some(spare.expose_secret()));
        let inner =
            Inner { machine: Token::new(), record, granted: None, spare, trouble: None, closed: false, retired: false };
        let (metrics, clock, gate) = (shared.metrics.clone(), shared.clock, shared.gate.clone());
        let edges = Edges { app, client, registry, metrics, clock, gate, asked: AtomicU64::new(0) };
        Self { kept: Kept::new(inner), edges: Arc::new(edges) }
    }

    /// The access token to use, refreshed if there is none. A refresh token that was rejected is presented again, since it
    /// may be good by now: whoever calls for a parked portal does so slowly.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn access(&self) -> Result<(Generation, Access), NoToken> {
        self.drive(None).await
    }

    /// The access token of this generation was refused: a new one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn refused(&self, generation: Generation) -> Result<(Generation, Access), NoToken> {
        self.drive(Some(Input::Unauthorized(generation))).await
    }

    /// Ends their life here: waits for a refresh that is under way, begins no other, and stores a pair that was granted
    /// and could not be stored so far, as often as it takes. Returns whether nothing is lost.
    pub async fn settle(&self) -> bool {
        let mut inner = self.kept.turn().await;
        inner.closed = true;
        while inner.granted.is_some() && !inner.retired {
            if self.edges.store_granted(&mut inner).await {
                break;
            }
            tokio::time::sleep(STORE_RETRY).await;
        }
        true
    }

    /// In a task of its own: whoever waits may be stopped, a refresh under way must not be.
    async fn drive(&self, input: Option<Input>) -> Result<(Generation, Access), NoToken> {
        if let Some(access) = self.kept.usable().filter(|(usable, _)| !refuses(input, *usable)) {
            return Ok(access);
        }
        let (kept, edges) = (self.kept.clone(), self.edges.clone());
        let asked = edges.asked.load(Relaxed);
        let task = tokio::spawn(async move {
            // Before the portal's own turn: a stop that settles the tokens of all portals must not wait for this.
            let _turn = edges.gate.refresh().await;
            let mut inner = kept.turn().await;
            if let Some(access) = inner.usable().filter(|(usable, _)| !refuses(input, *usable)) {
                return Ok(access);
            }
            if inner.retired {
                return Err(NoToken::Rejected);
            }
            if inner.closed {
                return Err(NoToken::Wait(Millis::secs(1), "the bridge is being stopped".to_owned()));
            }
            inner.hide();
            let start = match inner.machine.usable() {
                Some(usable) => Input::Unauthorized(usable),
                // Somebody else has asked while this one waited for its turn: once is enough.
                None if inner.machine.is_rejected() && edges.asked.load(Relaxed) == asked => Input::Probe,
                None => Input::Timer,
            };
            edges.advance(&mut inner, start).await;
            inner.usable().ok_or_else(|| inner.why(edges.clock.now()))
        });
        task.await.unwrap_or(Err(NoToken::Wait(Millis::secs(1), "the refresh was stopped".to_owned())))
    }
}

fn refuses(input: Option<Input>, usable: Generation) -> bool {
    matches!(input, Some(Input::Unauthorized(refused)) if refused == usable)
}

impl Inner {
    fn usable(&self) -> Option<(Generation, Access)> {
        let generation = self.machine.usable()?;
        let token = self.record.access_token.clone()?;
        Some((generation, Access { endpoint: self.record.endpoint.clone(), token }))
    }

    fn why(&self, now: Millis) -> NoToken {
        let wait = self.machine.deadline().map_or(Millis::secs(1), |deadline| deadline.since(now));
        match &self.trouble {
            Some(foreign @ NoToken::Foreign(_)) => foreign.clone(),
            _ if self.machine.is_rejected() => NoToken::Rejected,
            Some(NoToken::Wait(_, why)) => NoToken::Wait(wait, why.clone()),
            Some(trouble) => trouble.clone(),
            None => NoToken::Wait(wait, "a refresh is under way".to_owned()),
        }
    }

    fn wait(&mut self, why: impl Into<String>) {
        self.trouble = Some(NoToken::Wait(Millis(0), why.into()));
    }
}

impl Edges {
    /// Does all that the machine asks for after an input.
    async fn advance(&self, inner: &mut Inner, input: Input) {
        let mut next = inner.machine.step(self.clock.now(), input);
        while let Some(action) = next {
            let Some(answer) = self.perform(inner, action).await else { break };
            next = inner.machine.step(self.clock.now(), answer);
        }
    }

    /// `None` ends the refresh.
    async fn perform(&self, inner: &mut Inner, action: Action) -> Option<Input> {
        match action {
            Action::Mark => {
                self.reread(inner).await;
                let marked = PortalRecord { refreshing_since: Some(unix_now()), ..inner.record.clone() };
                let stored = self.store(inner, &marked).await;
                if stored {
                    inner.record = marked;
                }
                Some(Input::Marked(stored))
            }
            Action::Ask => Some(Input::Asked(self.ask(inner).await)),
            Action::Store => {
                let stored = inner.granted.is_some() && self.store_granted(inner).await;
                Some(Input::Stored(stored))
            }
            Action::Use(_) | Action::Park => None,
        }
    }

    /// Stores the pair that was granted.
    async fn store_granted(&self, inner: &mut Inner) -> bool {
        let Some(granted) = inner.granted.clone() else { return true };
        let record = PortalRecord {
            access_token: Some(granted.access_token),
            refresh_token: Some(granted.refresh_token),
            refreshing_since: None,
            ..inner.record.clone()
        };
        if !self.store(inner, &record).await {
            return false;
        }
        inner.record = record;
        inner.granted = None;
        inner.trouble = None;
        self.count(Refresh::Granted);
        tracing::info!(portal = %inner.record.member_id, "refreshed the portal's tokens");
        true
    }

    /// Another portal's refresh may have found tokens of this one and stored them: those are newer.
    async fn reread(&self, inner: &mut Inner) {
        let Ok(Some(stored)) = self.registry.load(inner.record.member_id.clone()).await else { return };
        let text = |token: &Option<SecretString>| token.as_ref().map(|token| token.expose_secret().to_owned());
        if stored.refresh_token.is_some() && text(&stored.refresh_token) != text(&inner.record.refresh_token) {
            inner.record.access_token = stored.access_token;
            let former = std::mem::replace(&mut inner.record.refresh_token, stored.refresh_token);
            inner.spare = inner.spare.take().or(former);
        }
    }

    /// The refresh token that we hold belongs to another portal, and that one's tokens have been exchanged: they are kept
    /// for it, where its own next refresh finds them.
    async fn hand_over(&self, inner: &mut Inner, owner: &str, granted: oauth::Tokens) {
        let portal = inner.record.member_id.clone();
        inner.trouble = Some(NoToken::Foreign(owner.to_owned()));
        let Some(owner) = PortalId::new(owner) else {
            tracing::error!(%portal, "the refresh token of this portal belongs to another, whose member_id is none");
            return;
        };
        let known = self.registry.load(owner.clone()).await;
        let record = match (known, granted.client_endpoint) {
            (Ok(Some(record)), _) => Some(record),
            (Ok(None), Some(endpoint)) => Some(PortalRecord::new(owner.clone(), endpoint)),
            _ => None,
        };
        let stored = match record {
            Some(record) => {
                let record = PortalRecord {
                    access_token: Some(granted.access_token),
                    refresh_token: Some(granted.refresh_token),
                    refreshing_since: None,
                    ..record
                };
                self.store(inner, &record).await
            }
            None => false,
        };
        inner.trouble = Some(NoToken::Foreign(owner.to_string()));
        if stored {
            tracing::error!(
                %portal, %owner,
                "the refresh token of this portal belongs to another one; its new tokens are kept in the registry for that one",
            );
        } else {
            tracing::error!(
                %portal, %owner,
                "the refresh token of this portal belongs to another one, whose new tokens cannot be kept: install the application there again",
            );
        }
    }

    async fn store(&self, inner: &mut Inner, record: &PortalRecord) -> bool {
        match self.registry.store(record.clone()).await {
            Ok(()) => true,
            Err(error) => {
                self.count(Refresh::NotStored);
                inner.wait("the registry cannot be written");
                let portal = &inner.record.member_id;
                tracing::error!(%portal, error = %chain(&error), "cannot store tokens; the portal waits");
                false
            }
        }
    }

    async fn ask(&self, inner: &mut Inner) -> Outcome {
        loop {
            let Some(presented) = inner.record.refresh_token.clone().or_else(|| inner.spare.take()) else {
                self.count(Refresh::Rejected);
                return Outcome::Rejected;
            };
            let (outcome, called, counted) = match self.present(&presented).await {
                Ok(granted) if granted.member_id.as_deref().is_some_and(|id| id != inner.record.member_id.as_str()) => {
                    let owner = granted.member_id.clone().unwrap_or_default();
                    self.hand_over(inner, &owner, granted).await;
                    (Outcome::Rejected, CallOutcome::Done, Refresh::Rejected)
                }
                Ok(granted) => {
                    inner.granted = Some(granted);
                    self.called(CallOutcome::Done);
                    return Outcome::Granted;
                }
                Err(RefreshError::Rejected) => {
                    inner.trouble = None;
                    (Outcome::Rejected, CallOutcome::Refused, Refresh::Rejected)
                }
                Err(RefreshError::Unpaid) => {
                    inner.trouble = Some(NoToken::Unpaid);
                    (Outcome::Refused, CallOutcome::Refused, Refresh::Refused)
                }
                Err(RefreshError::Misconfigured { .. }) => {
                    inner.trouble = Some(NoToken::Misconfigured);
                    (Outcome::Refused, CallOutcome::Refused, Refresh::Refused)
                }
                Err(error @ RefreshError::NotSent { .. }) => {
                    inner.wait(self.at_server(&error));
                    (Outcome::Refused, CallOutcome::Refused, Refresh::Refused)
                }
                Err(error @ RefreshError::Unknown { .. }) => {
                    inner.wait(self.at_server(&error));
                    (Outcome::Unknown, CallOutcome::Unknown, Refresh::Unknown)
                }
            };
            self.called(called);
            self.count(counted);
            match inner.spare.take() {
                Some(spare) if outcome == Outcome::Rejected => inner.record.refresh_token = Some(spare),
                spare => {
                    inner.spare = spare;
                    return outcome;
                }
            }
        }
    }

    async fn present(&self, refresh_token: &SecretString) -> Result<oauth::Tokens, RefreshError> {
        self.asked.fetch_add(1, Relaxed);
        let timer = self.metrics.rest_request_seconds.with_label_values(&[Call::Oauth.as_str()]).start_timer();
        let answer = self.client.refresh(&self.app, refresh_token).await;
        timer.observe_duration();
        answer
    }

    /// A failure with where it happened and where to look; no address with a query.
    fn at_server(&self, error: &RefreshError) -> String {
        let url = &self.app.oauth_url;
        format!("{error} at {}; check app.oauth_url, the network and the proxy", url.host_str().unwrap_or_default())
    }

    fn called(&self, outcome: CallOutcome) {
        self.metrics.rest_requests.with_label_values(&[Call::Oauth.as_str(), outcome.as_str()]).inc();
    }

    fn count(&self, outcome: Refresh) {
        self.metrics.token_refreshes.with_label_values(&[outcome.as_str()]).inc();
    }
}
