//! From portals to runners: who is served, by which tasks, until when.

pub mod callbacks;
pub mod plan;
pub mod portal;
pub mod roster;
pub mod upkeep;

use std::{sync::Arc, time::Duration};

use crate::{
    bitrix::{client::Client, oauth},
    config::{app::App, portals},
    metrics::{
        Metrics,
        labels::{self, PortalState},
        portals::Doing,
    },
    protocol::types::{Millis, PortalId},
    registry::{PortalRecord, RefusedFile, Registry},
    runner::{Shared, standing::Reason},
};
use portal::{Broken, Portal, QueuePlan};
use roster::Roster;
use upkeep::wakes::Wanted;

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
    pub app: Arc<App>,
    /// Whether deletes are followed by tombstones.
    pub tombstones: bool,
    /// How portals are asked to announce rows, if they can reach us.
    pub wake_ups: Option<Wanted>,
    /// The span between looks at bindings and error rows while all is as it should be.
    pub look_again: Millis,
}

/// All portals of this process, from the start to the stop.
pub struct Fleet {
    roster: Roster,
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

/// Portals are first called this far apart, so that a start is no storm; a single portal does not wait. Of so many that the
/// last one would wait for longer than an idle queue does, each waits less.
const APART: Duration = Duration::from_millis(20);

/// How long tokens that are being refreshed or stored may hold up a stop, beyond the grace period: longer than a refresh
/// can take.
const TOKENS_GRACE: Duration = oauth::TIMEOUT.saturating_add(Duration::from_secs(5));

impl Fleet {
    /// Starts a task for each portal of the registry and of the configuration.
    pub fn start(configured: &[portals::Portal], parts: &Arc<Parts>, stored: Vec<PortalRecord>) -> Self {
        let roster = Roster::new(parts.clone(), configured);
        let portals = merge(configured, stored);
        let apart = apart(portals.len(), Duration::from_millis(parts.shared.settings.poll_max.0));
        for (index, (record, _)) in (0..).zip(portals) {
            roster.take_in(record, apart * index);
        }
        Self { roster }
    }

    /// The portals while they come and go.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Whether an exchange has worked with any portal, or there is none to be served.
    pub fn has_worked(&self) -> bool {
        let portals = self.roster.all();
        let mut served = portals.iter().filter(|portal| portal.is_served()).peekable();
        served.peek().is_none() || served.any(|portal| portal.session().standing().snapshot().last_success.is_some())
    }

    /// Waits for a task to break. A queue whose task is gone would be served by nobody while all looks well.
    pub async fn broken(&self) -> Broken {
        self.roster.broken().await
    }

    /// Brings all queues to rest: what is in flight is finished and confirmed, nothing new is read, no portal comes or goes.
    pub async fn drain(&self, grace: Duration) -> Rest {
        self.roster.drain(grace, TOKENS_GRACE).await
    }
}

/// How far apart so many portals are first called: all of them `within` this time.
fn apart(portals: usize, within: Duration) -> Duration {
    APART.min(within / u32::try_from(portals).unwrap_or(u32::MAX).max(1))
}

/// Sets the gauges that are computed when somebody asks.
pub fn gauge(portals: &[Arc<Portal>], metrics: &Metrics) {
    for state in PortalState::ALL {
        let count = portals.iter().filter(|portal| portal.session().standing().snapshot().state == *state).count();
        metrics.portals.with_label_values(&[state.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    for reason in labels::ParkedReason::ALL {
        let parked_so = |portal: &&Arc<Portal>| {
            let seen = portal.session().standing().snapshot();
            seen.state == PortalState::Parked && seen.reason.map(Reason::as_str) == Some(reason.as_str())
        };
        let count = portals.iter().filter(parked_so).count();
        metrics.portals_parked.with_label_values(&[reason.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    for mode in labels::Mode::ALL {
        let of_mode = |portal: &&Arc<Portal>| portal.session().licence().mode().as_str() == mode.as_str();
        let served = portals.iter().filter(|portal| portal.is_served());
        let queues: usize = served.filter(of_mode).map(|portal| portal.queues().len()).sum();
        metrics.queues.with_label_values(&[mode.as_str()]).set(i64::try_from(queues).unwrap_or(i64::MAX));
    }
    let oldest = |since: fn(&Portal) -> Option<f64>| {
        portals.iter().filter_map(|portal| since(portal)).reduce(f64::min).unwrap_or(0.0)
    };
    metrics.oldest_held.set(oldest(Portal::held_since));
    metrics.oldest_unconfirmed.set(oldest(Portal::unconfirmed_since));
    let unconfirmed: u64 = portals.iter().map(|portal| portal.unconfirmed()).sum();
    metrics.rows_unconfirmed.set(i64::try_from(unconfirmed).unwrap_or(i64::MAX));
    let budget = portals.iter().filter_map(|portal| portal.session().budget_used()).reduce(f64::max);
    metrics.rest_budget_used.set(budget.unwrap_or(0.0));
    metrics.by_portal().gauge(portals.iter().map(|portal| {
        let seen = portal.session().standing().snapshot();
        let parked = seen.state == PortalState::Parked;
        Doing { member_id: portal.id().as_str(), parked, last_success: seen.last_success.unwrap_or(0.0) }
    }));
}

/// Portals of the configuration that can be served: one whose record cannot be read is not, since nothing could be stored
/// of it, and since nobody knows whether it is parked.
pub fn readable(configured: &[portals::Portal], refused: &[RefusedFile]) -> Vec<portals::Portal> {
    let refused: Vec<PortalId> = refused.iter().filter_map(RefusedFile::portal).collect();
    configured.iter().filter(|portal| !refused.contains(&portal.member_id)).cloned().collect()
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
        // What is named in the configuration is to be served, and where it is, is the operator's own word, unless an
        // installation has said otherwise since: that was there.
        record.removed_at = None;
        if record.installed_at.is_none() || record.refresh_token.is_none() {
            record.endpoint = portal.endpoint.clone();
        } else if record.endpoint != portal.endpoint {
            tracing::warn!(
                portal = %portal.member_id, configured = portal.endpoint.host_str(), installed = record.domain(),
                "the portal has moved since it was configured; it is called where the application was installed last",
            );
        }
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

    fn size_of_portal<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    fn size_of_queue<A, B, F>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn each_reason_has_its_series() {
        let reasons = [
            Reason::NeedsReinstall,
            Reason::Forbidden,
            Reason::Unlicensed,
            Reason::Unpaid,
            Reason::Deleted,
            Reason::Blocked,
            Reason::Operator,
        ];
        let words: Vec<_> = labels::ParkedReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words, reasons.map(Reason::as_str));
    }

    /// There are thousands of each, and all they do most of the time is to wait.
    #[test]
    fn the_tasks_of_a_portal_and_of_a_queue_are_small() {
        let (portal, queue) = (size_of_portal(portal::Task::run), size_of_queue(crate::runner::Runner::run));
        println!("the task of a portal takes {portal} bytes, that of a queue {queue}");
        assert!(portal <= 2048 && queue <= 3072, "{portal} and {queue} bytes");
    }

    #[test]
    fn a_start_is_spread_and_ends_within_the_longest_wait_of_an_idle_queue() {
        let minute = Duration::from_secs(60);
        assert_eq!(apart(0, minute), APART);
        assert_eq!(apart(100, minute), APART);
        let last = apart(5_000, minute) * 4_999;
        assert!(last <= minute && last > minute * 9 / 10, "{last:?}");
    }

    #[test]
    fn the_newer_tokens_of_the_registry_win_and_the_place_of_the_configuration_does() {
        let id = PortalId::new("a1").expect("an id");
        let url = |text: &str| Url::parse(text).expect("a URL");
        let mut stored = PortalRecord::new(id.clone(), url("https://old.bitrix24.com/rest/"));
        stored.refresh_token = Some(SecretString::from("newer"));
        let configured = portals::Portal {
            member_id: id.clone(),
            endpoint: url("https://new.bitrix24.com/rest/"),
            access_token: None,
            refresh_token: Some(SecretString::from("older")),
            application_token: None,
            plan: portals::Plan::Auto,
        };
        let merged = merge(std::slice::from_ref(&configured), vec![stored.clone()]);
        let [(record, Some(_))] = merged.as_slice() else { panic!("one portal: {merged:?}") };
        assert_eq!(record.endpoint.host_str(), Some("new.bitrix24.com"));
        assert_eq!(record.refresh_token.as_ref().map(|t| t.expose_secret().to_owned()), Some("newer".to_owned()));

        stored.installed_at = Some(7);
        let merged = merge(std::slice::from_ref(&configured), vec![stored.clone()]);
        assert_eq!(merged[0].0.domain(), "old.bitrix24.com", "the application was installed there");

        let merged = merge(&[configured], vec![stored.uninstalled(9)]);
        let record = &merged[0].0;
        assert!(record.is_served() && record.domain() == "new.bitrix24.com", "a start is the operator's word");
        assert_eq!(record.refresh_token.as_ref().map(|t| t.expose_secret().to_owned()), Some("older".to_owned()));
        let gone = PortalRecord::new(id, url("https://old.bitrix24.com/rest/")).uninstalled(9);
        assert!(!merge(&[], vec![gone])[0].0.is_served(), "nobody has named it");
    }
}
