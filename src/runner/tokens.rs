//! The tokens of one portal: performs what `protocol::token` asks for, one refresh at a time for all queues.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::Mutex;

use super::clock::{Clock, unix_seconds};
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
        types::Millis,
    },
    registry::{PortalRecord, Registry},
};

/// Why there is no access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoToken {
    /// Try again after this span.
    Wait(Millis, &'static str),
    /// Only a new installation helps.
    Rejected,
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
}

/// The tokens of one portal. Clones share them.
#[derive(Clone)]
pub struct Tokens {
    inner: Arc<Mutex<Inner>>,
    edges: Arc<Edges>,
}

struct Edges {
    app: App,
    client: Client,
    registry: Registry,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Tokens {
    /// The stored record, and the refresh token of the configuration as a spare.
    pub fn new(
        record: PortalRecord,
        spare: Option<SecretString>,
        app: App,
        client: Client,
        registry: Registry,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let inner = Inner { machine: Token::new(), record, granted: None, spare, trouble: None };
        let edges = Edges { app, client, registry, metrics, clock };
        Self { inner: Arc::new(Mutex::new(inner)), edges: Arc::new(edges) }
    }

    /// The access token to use, refreshed if there is none.
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

    /// Asks again although the refresh token was rejected; for the slow probe of a parked portal.
    ///
    /// # Errors
    /// Why there is no access token.
    pub async fn probe(&self) -> Result<(Generation, Access), NoToken> {
        self.drive(Some(Input::Probe)).await
    }

    /// Waits until no refresh is under way.
    pub async fn settled(&self) {
        drop(self.inner.lock().await);
    }

    /// In a task of its own: whoever waits may be stopped, a refresh under way must not be.
    async fn drive(&self, input: Option<Input>) -> Result<(Generation, Access), NoToken> {
        let (inner, edges) = (self.inner.clone(), self.edges.clone());
        let task = tokio::spawn(async move {
            let mut inner = inner.lock().await;
            if let Some(access) = inner.usable().filter(|(usable, _)| !refuses(input, *usable)) {
                return Ok(access);
            }
            let now = edges.clock.now();
            let start = match (inner.machine.usable(), input) {
                (Some(usable), _) => Input::Unauthorized(usable),
                (None, Some(input)) if inner.machine.is_rejected() => input,
                (None, _) => Input::Timer,
            };
            let mut next = inner.machine.step(now, start);
            while let Some(action) = next {
                let Some(answer) = edges.perform(&mut inner, action).await else { break };
                next = inner.machine.step(edges.clock.now(), answer);
            }
            inner.usable().ok_or_else(|| inner.why(edges.clock.now()))
        });
        task.await.unwrap_or(Err(NoToken::Wait(Millis::secs(1), "the refresh was stopped")))
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
        if self.machine.is_rejected() {
            return NoToken::Rejected;
        }
        let wait = self.machine.deadline().map_or(Millis::secs(1), |deadline| deadline.since(now));
        match &self.trouble {
            Some(NoToken::Wait(_, why)) => NoToken::Wait(wait, why),
            Some(trouble) => trouble.clone(),
            None => NoToken::Wait(wait, "a refresh is under way"),
        }
    }

    fn wait(&mut self, why: &'static str) {
        self.trouble = Some(NoToken::Wait(Millis(0), why));
    }
}

impl Edges {
    /// `None` ends the refresh.
    async fn perform(&self, inner: &mut Inner, action: Action) -> Option<Input> {
        match action {
            Action::Mark => {
                #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
                let marked = PortalRecord { refreshing_since: Some(unix_seconds() as i64), ..inner.record.clone() };
                let stored = self.store(inner, &marked).await;
                if stored {
                    inner.record = marked;
                }
                Some(Input::Marked(stored))
            }
            Action::Ask => Some(Input::Asked(self.ask(inner).await)),
            Action::Store => {
                let Some(granted) = inner.granted.clone() else { return Some(Input::Stored(false)) };
                let record = PortalRecord {
                    access_token: Some(granted.access_token),
                    refresh_token: Some(granted.refresh_token),
                    refreshing_since: None,
                    ..inner.record.clone()
                };
                let stored = self.store(inner, &record).await;
                if stored {
                    inner.record = record;
                    inner.granted = None;
                    inner.trouble = None;
                    self.count(Refresh::Granted);
                    tracing::info!(portal = %inner.record.member_id, "refreshed the portal's tokens");
                }
                Some(Input::Stored(stored))
            }
            Action::Use(_) | Action::Park => None,
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
            let timer = self.metrics.rest_request_seconds.with_label_values(&[Call::Oauth.as_str()]).start_timer();
            let answer = self.client.refresh(&self.app, &presented).await;
            timer.observe_duration();
            let (outcome, called, counted) = match answer {
                Ok(granted) if granted.member_id.as_deref().is_some_and(|id| id != inner.record.member_id.as_str()) => {
                    inner.wait("the OAuth server answered for another portal");
                    (Outcome::Refused, CallOutcome::Refused, Refresh::Refused)
                }
                Ok(granted) => {
                    inner.granted = Some(granted);
                    self.called(CallOutcome::Done);
                    return Outcome::Granted;
                }
                Err(RefreshError::Rejected) => (Outcome::Rejected, CallOutcome::Refused, Refresh::Rejected),
                Err(RefreshError::Unpaid) => {
                    inner.trouble = Some(NoToken::Unpaid);
                    (Outcome::Refused, CallOutcome::Refused, Refresh::Refused)
                }
                Err(RefreshError::Misconfigured { .. }) => {
                    inner.trouble = Some(NoToken::Misconfigured);
                    (Outcome::Refused, CallOutcome::Refused, Refresh::Refused)
                }
                Err(RefreshError::NotSent { .. }) => {
                    inner.wait("the OAuth server cannot be reached");
                    (Outcome::Refused, CallOutcome::Refused, Refresh::Refused)
                }
                Err(RefreshError::Unknown { .. }) => {
                    inner.wait("the OAuth server's answer is not known");
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

    fn called(&self, outcome: CallOutcome) {
        self.metrics.rest_requests.with_label_values(&[Call::Oauth.as_str(), outcome.as_str()]).inc();
    }

    fn count(&self, outcome: Refresh) {
        self.metrics.token_refreshes.with_label_values(&[outcome.as_str()]).inc();
    }
}
