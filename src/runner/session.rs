//! The calls to one portal: budget, tokens, standing. Shared by the portal's queues.
//!
//! Whatever goes wrong ends here as one of two things: the portal certainly did not do it (refused, with a hint when to
//! come back), or nobody knows (unknown).

mod exchange;
mod nameless;
mod outcome;
mod plan;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use secrecy::SecretString;
use url::Url;

use super::{
    Shared,
    clock::{Clock, millis, unix_now, unix_seconds},
    gate::{Gate, Pace, Urgency},
    licence::Licence,
    limits::{Budget, Left, Limits, seconds},
    standing::{Reason, Standing},
    tokens::{NoToken, Tokens},
};
use crate::{
    bitrix::{
        client::{Access, Client},
        error::{CallError, Trouble},
    },
    metrics::{
        Metrics,
        labels::{Call, CallOutcome, Limit},
        portals::PortalSeries,
    },
    protocol::{
        pace::Bucket,
        types::{Millis, PortalId},
    },
    registry::{Grant, PortalRecord, RegistryError},
};
pub use nameless::Removals;
use outcome::outcome_of;

/// After `QUERY_LIMIT_EXCEEDED`: the counter drains by two a second, and others spend from it too.
const QUERY_LIMIT_HOLD: Millis = Millis::secs(5);
/// After `OPERATION_TIME_LIMIT` without a time: one of the ten buckets of a minute has to drop out.
const OPERATION_HOLD: Millis = Millis::secs(60);

/// What kept a call from working.
#[derive(Debug)]
pub struct Obstacle {
    /// Whether the portal certainly did not carry it out.
    pub refused: bool,
    /// When to come back, if that is known.
    pub retry_after: Option<Millis>,
    /// Whether asking for less would help.
    pub smaller: bool,
    /// The portal's own word, if it gave one: for callers that can do without.
    pub code: Option<String>,
}

impl Obstacle {
    fn wait(retry_after: Millis) -> Self {
        Self { refused: true, retry_after: Some(retry_after), smaller: false, code: None }
    }
}

/// The calls to one portal.
pub struct Session {
    limits: Limits,
    portal: PortalId,
    /// The host of its endpoint, which an installation may change.
    domain: Mutex<Arc<str>>,
    client: Client,
    tokens: Tokens,
    standing: Standing,
    licence: Licence,
    /// The plan and what the registry says of it change together.
    plan: tokio::sync::Mutex<()>,
    /// `None`: the portal has no limit.
    bucket: Mutex<Option<Bucket>>,
    metrics: Arc<Metrics>,
    series: PortalSeries,
    /// Rows without a usable id that have come, each time that they came.
    nameless: AtomicU64,
    clock: Clock,
    gate: Arc<Gate>,
    pace: Pace,
}

impl Session {
    /// For one portal whose requests are limited by `bucket`; `open` if it was read without reservations before.
    pub fn new(
        portal: PortalId,
        domain: &str,
        client: Client,
        tokens: Tokens,
        bucket: Option<Bucket>,
        open: bool,
        shared: &Shared,
    ) -> Self {
        let (domain, bucket) = (Mutex::new(domain.into()), Mutex::new(bucket));
        let series = shared.metrics.by_portal().of(portal.as_str());
        Self {
            limits: Limits::default(),
            portal,
            domain,
            client,
            tokens,
            standing: Standing::new(shared.probes),
            licence: Licence::new(open),
            plan: tokio::sync::Mutex::default(),
            bucket,
            metrics: shared.metrics.clone(),
            series,
            nameless: AtomicU64::default(),
            clock: shared.clock,
            gate: shared.gate.clone(),
            pace: Pace::default(),
        }
    }

    /// How the portal's plan allows its queues to be read.
    pub fn licence(&self) -> &Licence {
        &self.licence
    }

    /// Whether the portal is served.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whose calls these are.
    pub fn portal(&self) -> &PortalId {
        &self.portal
    }

    /// The host of its endpoint.
    pub fn domain(&self) -> Arc<str> {
        self.domain.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a call would be made now: the portal is not parked, or it is time to try.
    pub fn may_be_called(&self) -> bool {
        self.standing.wait(self.clock.now()).is_none()
    }

    /// The portal's tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// An installation has brought a new pair, and perhaps a new place; see [`Tokens::renew`].
    ///
    /// # Errors
    /// As [`Tokens::renew`].
    pub async fn renew(&self, grant: Grant) -> Result<PortalRecord, RegistryError> {
        let record = self.tokens.renew(grant, unix_now()).await?;
        *self.domain.lock().unwrap_or_else(PoisonError::into_inner) = record.domain().into();
        Ok(record)
    }

    /// What is counted for this portal alone, if anything is.
    pub fn series(&self) -> &PortalSeries {
        &self.series
    }

    /// How much of its budget of requests is used, from 0 to 1; `None` if it has no limit.
    pub fn budget_used(&self) -> Option<f64> {
        let bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.as_ref().map(|bucket| bucket.used(self.clock.now()))
    }

    /// A verified callback tells something of the portal; see [`Tokens::learn`].
    ///
    /// # Errors
    /// As [`Tokens::learn`].
    pub async fn learn(
        &self,
        place: Option<Url>,
        application_token: Option<SecretString>,
    ) -> Result<PortalRecord, RegistryError> {
        let record = self.tokens.learn(place, application_token, unix_now()).await?;
        *self.domain.lock().unwrap_or_else(PoisonError::into_inner) = record.domain().into();
        Ok(record)
    }

    /// Ends the life of its tokens here, see [`Tokens::settle`].
    pub async fn settle(&self) -> bool {
        self.tokens.settle().await
    }

    /// The portal's budget of requests has become known.
    pub fn limit(&self, bucket: Option<Bucket>) {
        let mut present = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        match (present.as_mut(), &bucket) {
            (Some(present), Some(known)) => present.resize(known),
            _ => *present = bucket,
        }
    }

    /// A call that is due and that nobody waits for.
    ///
    /// # Errors
    /// What kept it from working.
    pub async fn call<T, F>(&self, kind: Call, call: impl Fn(Access) -> F) -> Result<T, Obstacle>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        self.call_as(Urgency::Due, kind, call).await
    }

    /// Any call that needs an access token: within the budgets, with one refresh if the token is refused.
    async fn call_as<T, F>(&self, urgency: Urgency, kind: Call, call: impl Fn(Access) -> F) -> Result<T, Obstacle>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        if let Some(wait) = self.standing.wait(self.clock.now()) {
            return Err(Obstacle::wait(wait));
        }
        let mut got = self.tokens.access().await;
        let mut refreshed = false;
        loop {
            let (generation, access) = got.map_err(|none| self.no_token(&none))?;
            self.permit().await;
            let seconds = self.metrics.rest_request_seconds.with_label_values(&[kind.as_str()]);
            let request = async {
                let timer = seconds.start_timer();
                let result = call(access).await;
                timer.observe_duration();
                result
            };
            let result = self.gate.pass(&self.pace, urgency, || self.waited(Limit::Concurrency), request).await;
            let outcome = result.as_ref().map_or_else(outcome_of, |_| CallOutcome::Done);
            self.metrics.rest_requests.with_label_values(&[kind.as_str(), outcome.as_str()]).inc();
            self.series.requested();
            match result {
                Ok(done) => return Ok(done),
                Err(error) if outcome == CallOutcome::Unauthorized && !refreshed => {
                    tracing::debug!(portal = %self.portal, code = error.code, "the access token is refused");
                    refreshed = true;
                    got = self.tokens.refused(generation).await;
                }
                Err(error) => return Err(self.obstacle(&error)),
            }
        }
    }

    /// What the portal's limits leave.
    pub fn limits(&self) -> Left {
        let now = self.clock.now();
        let unix = |at: Millis| unix_seconds() + seconds(at.since(now));
        let bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = bucket.as_ref().map(|bucket| {
            let (spent, ceiling, held_until) = bucket.spent(now);
            Budget { spent, ceiling, per_second: bucket.per_second(), held_until: held_until.map(unix) }
        });
        let (methods, rests) = self.limits.get(now);
        Left { budget, methods, rests_until: rests.map(unix) }
    }

    /// When the last pause ends, or has ended, that a used up limit of the portal has brought.
    pub fn paused_until(&self) -> Option<Instant> {
        self.limits.paused_until()
    }

    /// When a parked portal is tried again, in seconds since 1970.
    pub fn tried_at(&self) -> Option<f64> {
        self.standing.wait(self.clock.now()).map(|wait| unix_seconds() + seconds(wait))
    }

    /// Waits until the portal's budget allows one more request.
    pub async fn permit(&self) {
        loop {
            let now = self.clock.now();
            let taken = {
                let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
                bucket.as_mut().map_or(Ok(()), |bucket| bucket.take(now))
            };
            let Err(until) = taken else { return };
            self.waited(Limit::Budget);
            tokio::time::sleep(Duration::from_millis(until.since(now).0.max(1))).await;
        }
    }

    fn waited(&self, limit: Limit) {
        self.metrics.limit_waits.with_label_values(&[limit.as_str()]).inc();
    }

    fn no_token(&self, none: &NoToken) -> Obstacle {
        match none {
            NoToken::Wait(span, why) => {
                self.standing.failed(why.clone());
                Obstacle::wait(*span)
            }
            NoToken::Rejected => self.park(Reason::NeedsReinstall, "the refresh token is rejected"),
            NoToken::Foreign(owner) => {
                let why = format!("the refresh token that is configured for it belongs to portal {owner}");
                self.park(Reason::NeedsReinstall, &why)
            }
            NoToken::Unpaid => self.park(Reason::Unpaid, "PAYMENT_REQUIRED"),
            NoToken::Misconfigured => self.park(Reason::Forbidden, "the OAuth server refuses this application"),
        }
    }

    /// The portal cannot be served until something outside changes.
    pub fn park(&self, reason: Reason, error: &str) -> Obstacle {
        let (wait, news) = self.standing.park(self.clock.now(), reason, error.to_owned());
        if news {
            tracing::warn!(
                portal = %self.portal, reason = reason.as_str(), error, retry_s = wait.0 / 1000,
                "the portal is parked: {}", reason.advice(),
            );
        }
        Obstacle::wait(wait)
    }

    /// What follows from a call's failure; the table of the protocol reference, section 3, last column.
    fn obstacle(&self, error: &CallError) -> Obstacle {
        let parked = |reason| Obstacle { code: Some(error.code.to_string()), ..self.park(reason, &error.code) };
        match error.trouble {
            Trouble::Unauthorized { .. } => parked(Reason::NeedsReinstall),
            Trouble::Forbidden => parked(Reason::Forbidden),
            Trouble::Unlicensed => parked(Reason::Unlicensed),
            Trouble::Deleted => parked(Reason::Deleted),
            Trouble::Blocked => parked(Reason::Blocked),
            Trouble::RateLimited => {
                self.waited(Limit::Query);
                let hold = error.retry_after.map_or(QUERY_LIMIT_HOLD, millis);
                self.limits.pause(hold);
                let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bucket) = bucket.as_mut() {
                    bucket.exhausted(self.clock.now(), hold);
                }
                Obstacle::wait(hold)
            }
            Trouble::OperationTime { .. } => {
                self.waited(Limit::OperationTime);
                let hold = error.retry_after.map_or(OPERATION_HOLD, millis);
                self.limits.rest(self.clock.now().plus(hold));
                self.limits.pause(hold);
                Obstacle { smaller: true, ..Obstacle::wait(hold) }
            }
            Trouble::Ours => {
                tracing::error!(portal = %self.portal, code = error.code, "the portal does not understand a request");
                self.standing.failed(error.code.to_string());
                Obstacle { refused: true, retry_after: None, smaller: false, code: Some(error.code.to_string()) }
            }
            Trouble::NotSent | Trouble::Unknown => {
                self.standing.failed(error.to_string());
                tracing::warn!(portal = %self.portal, %error, "a request failed; it is tried again");
                let refused = matches!(error.trouble, Trouble::NotSent);
                Obstacle { refused, retry_after: None, smaller: false, code: None }
            }
        }
    }
}
