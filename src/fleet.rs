//! From portals to runners: who is served, by which tasks, until when.

pub mod portal;
pub mod upkeep;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    bitrix::{client::Client, oauth},
    config::{app::App, portals},
    metrics::{
        Metrics,
        labels::{Mode, PortalState},
    },
    protocol::types::PortalId,
    registry::{PortalRecord, Registry},
    runner::Shared,
};
use portal::{Broken, Portal, QueuePlan};

/// What every portal is made from.
pub struct Parts {
    /// What all queues share.
    pub shared: Shared,
    /// Calls to portals.
    pub client: Client,
    /// Where tokens are kept.
    pub registry: Registry,
    /// The queues of each portal.
    pub queues: Vec<QueuePlan>,
    /// The application.
    pub app: App,
    /// Whether deletes are followed by tombstones.
    pub tombstones: bool,
}

/// All portals of this process.
pub struct Fleet {
    portals: Vec<Arc<Portal>>,
    tasks: JoinSet<Result<(), Broken>>,
    stop: watch::Sender<bool>,
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Queues that did not come to rest in time.
    pub queues: usize,
    /// Rows that are reserved and not acknowledged; the next start recovers them.
    pub held: u64,
    /// Queues of which a `get` of unknown outcome may have reserved rows, or may still; the next start recovers those too.
    pub hiding: usize,
    /// Portals whose new tokens were granted and could not be stored: they have to be installed again.
    pub lost: Vec<PortalId>,
}

/// Portals are first called within this span, so that a start is no storm; a single portal does not wait.
const SPREAD_PER_PORTAL: Duration = Duration::from_millis(20);

/// How long tokens that are being refreshed or stored may hold up a stop, beyond the grace period: longer than a refresh
/// can take.
const TOKENS_GRACE: Duration = oauth::TIMEOUT.saturating_add(Duration::from_secs(5));

impl Fleet {
    /// Starts a task for each portal of the registry and of the configuration.
    pub fn start(configured: &[portals::Portal], parts: &Arc<Parts>, stored: Vec<PortalRecord>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut portals = Vec::new();
        for (index, (record, known)) in merge(configured, stored).into_iter().enumerate() {
            let (portal, tasked) = Portal::new(parts, record, known);
            let delay = SPREAD_PER_PORTAL * u32::try_from(index).unwrap_or(u32::MAX);
            tasks.spawn(tasked.run(parts.clone(), stopped.clone(), delay));
            portals.push(portal);
        }
        Self { portals, tasks, stop }
    }

    /// The portals, in no particular order.
    pub fn portals(&self) -> &[Arc<Portal>] {
        &self.portals
    }

    /// Whether an exchange has worked with any portal, or there is none.
    pub fn has_worked(&self) -> bool {
        self.portals.is_empty()
            || self.portals.iter().any(|portal| portal.session().standing().snapshot().last_success.is_some())
    }

    /// Waits for a task to break. A queue whose task is gone would be served by nobody while all looks well.
    pub async fn broken(&mut self) -> Broken {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Err(broken))) => return broken,
                Some(Err(error)) if error.is_panic() => return Broken("a portal".to_owned()),
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Brings all queues to rest: what is in flight is finished and confirmed, nothing new is read.
    pub async fn drain(&mut self, grace: Duration) -> Rest {
        let _ = self.stop.send(true);
        for portal in &self.portals {
            portal.drain().await;
        }
        let finished = tokio::time::timeout(grace, async { while self.tasks.join_next().await.is_some() {} }).await;
        let queues = if finished.is_ok() { 0 } else { self.portals.iter().map(|portal| portal.busy()).sum() };
        self.tasks.shutdown().await;
        Rest {
            queues,
            held: self.portals.iter().map(|portal| portal.held()).sum(),
            hiding: self.portals.iter().map(|portal| portal.hiding()).sum(),
            lost: self.settle_tokens().await,
        }
    }

    /// A pair that was granted and not stored is the only living one: the last thing to wait for. Returns whose could not
    /// be saved.
    async fn settle_tokens(&self) -> Vec<PortalId> {
        let until = tokio::time::Instant::now() + TOKENS_GRACE;
        let mut settling = JoinSet::new();
        for portal in &self.portals {
            let portal = portal.clone();
            settling.spawn(async move {
                let settled = tokio::time::timeout_at(until, portal.session().settle()).await;
                (!settled.unwrap_or(false)).then(|| portal.id().clone())
            });
        }
        settling.join_all().await.into_iter().flatten().collect()
    }
}

/// Sets the gauges that are computed when somebody asks.
pub fn gauge(portals: &[Arc<Portal>], metrics: &Metrics) {
    for state in PortalState::ALL {
        let count = portals.iter().filter(|portal| portal.session().standing().snapshot().state == *state).count();
        metrics.portals.with_label_values(&[state.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let queues: usize = portals.iter().map(|portal| portal.queues().len()).sum();
    metrics.queues.with_label_values(&[Mode::Reserve.as_str()]).set(i64::try_from(queues).unwrap_or(i64::MAX));
    let oldest = portals.iter().filter_map(|portal| portal.held_since()).reduce(f64::min);
    metrics.oldest_held.set(oldest.unwrap_or(0.0));
}

/// Portals of the registry and of the configuration by `member_id`. The registry's tokens win: they are newer.
pub fn merge(
    configured: &[portals::Portal],
    stored: Vec<PortalRecord>,
) -> Vec<(PortalRecord, Option<portals::Portal>)> {
    let mut all: std::collections::BTreeMap<PortalId, (PortalRecord, Option<portals::Portal>)> =
        stored.into_iter().map(|record| (record.member_id.clone(), (record, None))).collect();
    for portal in configured {
        let fresh = PortalRecord::new(portal.member_id.clone(), portal.endpoint.clone());
        let (record, known) = all.entry(portal.member_id.clone()).or_insert((fresh, None));
        // Where a portal is, is the operator's own word.
        record.endpoint = portal.endpoint.clone();
        if record.refresh_token.is_none() {
            record.access_token.clone_from(&portal.access_token);
            record.refresh_token.clone_from(&portal.refresh_token);
        }
        if record.application_token.is_none() {
            record.application_token.clone_from(&portal.application_token);
        }
        *known = Some(portal.clone());
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use secrecy::{ExposeSecret, SecretString};
    use url::Url;

    use super::*;

    #[test]
    fn the_newer_tokens_of_the_registry_win_and_the_place_of_the_configuration_does() {
        let id = PortalId::new("a1").expect("an id");
        let url = |text: &str| Url::parse(text).expect("a URL");
        let mut stored = PortalRecord::new(id.clone(), url("https://old.bitrix24.com/rest/"));
        stored.refresh_token = Some(SecretString::from("newer"));
        let configured = portals::Portal {
            member_id: id,
            endpoint: url("https://new.bitrix24.com/rest/"),
            access_token: None,
            refresh_token: Some(SecretString::from("older")),
            application_token: None,
            plan: portals::Plan::Auto,
        };
        let merged = merge(&[configured], vec![stored]);
        let [(record, Some(_))] = merged.as_slice() else { panic!("one portal: {merged:?}") };
        assert_eq!(record.endpoint.host_str(), Some("new.bitrix24.com"));
        assert_eq!(record.refresh_token.as_ref().map(|t| t.expose_secret().to_owned()), Some("newer".to_owned()));
    }
}
