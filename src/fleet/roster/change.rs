//! The changes: install, uninstall, remove, park, resume.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

use super::{Roster, Watched, error::RosterError};
use crate::{
    fleet::{TOKENS_GRACE, portal::Portal},
    metrics::labels::PortalState,
    protocol::types::PortalId,
    registry::{Grant, PortalRecord},
    runner::clock::unix_now,
};

/// How long a portal that is parked or removed may take to finish and confirm what is in flight.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// The same for one whose application was uninstalled: what we hold of it is the only copy, as its queue is gone, so Kafka
/// gets time to take it. Nothing can be confirmed there any more, and nothing waits for that.
const UNINSTALL_GRACE: Duration = Duration::from_secs(60);
/// How often it is looked whether anything is left to wait for.
const LOOK: Duration = Duration::from_millis(100);

/// What an installation has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// The portal was not known; it is served now.
    Added,
    /// It was uninstalled before; it is served again.
    Revived,
    /// It was known: its tokens are renewed, and it is polled at once.
    Renewed,
    /// Its tokens are renewed, and an operator has it parked: it stays so.
    Held,
}

/// How a portal was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Whether all that was in flight was finished and confirmed.
    pub at_rest: bool,
    /// Rows that Kafka has not acknowledged. They are reserved at the portal; whoever serves it next finds them.
    pub held: u64,
    /// Rows that Kafka has acknowledged and that are not known to be cleared at the portal.
    pub unconfirmed: u64,
    /// Queues of which a request whose outcome is not known may have reserved rows, or may still.
    pub hiding: usize,
}

/// What a resume meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// An operator had it parked; it is served again.
    Released,
    /// It was not parked by an operator: what keeps it from being served is tried again now.
    Tried,
}

/// Where the answer goes of whoever asked for a change.
type Told<T> = oneshot::Sender<Result<T, RosterError>>;

impl Roster {
    /// Takes a portal in, or renews the tokens of one that is known. Stored durably when this returns; a portal that was
    /// parked is tried at once, and its events are bound.
    ///
    /// # Errors
    /// [`RosterError::Registry`], [`RosterError::Stopping`]: nothing has changed then.
    pub async fn install(&self, grant: Grant) -> Result<Installed, RosterError> {
        let id = grant.member_id.clone();
        self.change(id, |roster| async move { roster.install_now(grant).await }).await
    }

    /// The application was uninstalled on the portal. Returns when that is stored durably; what Kafka has not acknowledged
    /// yet is awaited after that. What is kept of the portal holds no secret, and the next installation revives it.
    /// Uninstalling twice is no error.
    ///
    /// # Errors
    /// [`RosterError::Unknown`], [`RosterError::Registry`], [`RosterError::Stopping`]: nothing has changed then.
    pub async fn uninstall(&self, id: &PortalId) -> Result<(), RosterError> {
        let portal = id.clone();
        self.begin(id.clone(), |roster, told| async move { roster.uninstall_now(&portal, told).await }).await
    }

    /// Brings a portal to rest and forgets it and its tokens. Its events stay bound.
    ///
    /// # Errors
    /// [`RosterError::Configured`], [`RosterError::Unknown`], [`RosterError::Stopping`]: nothing has changed then.
    /// [`RosterError::Left`].
    pub async fn remove(&self, id: &PortalId) -> Result<Removed, RosterError> {
        let portal = id.clone();
        self.change(id.clone(), |roster| async move { roster.remove_now(&portal).await }).await
    }

    /// Brings a portal to rest and keeps it so, over restarts too, until [`Roster::resume`].
    ///
    /// # Errors
    /// [`RosterError::Unknown`], [`RosterError::Uninstalled`], [`RosterError::Registry`], [`RosterError::Stopping`]: nothing
    /// has changed then.
    pub async fn park(&self, id: &PortalId) -> Result<Removed, RosterError> {
        let portal = id.clone();
        self.change(id.clone(), |roster| async move { roster.park_now(&portal).await }).await
    }

    /// Serves a portal again that an operator has parked; any other is tried at once, whatever it waits for.
    ///
    /// # Errors
    /// As [`Roster::park`].
    pub async fn resume(&self, id: &PortalId) -> Result<Resumed, RosterError> {
        let portal = id.clone();
        self.change(id.clone(), |roster| async move { roster.resume_now(&portal).await }).await
    }

    /// [`Roster::install`], for who has the portal's turn.
    pub(in crate::fleet) async fn install_now(&self, grant: Grant) -> Result<Installed, RosterError> {
        let (id, known) = (grant.member_id.clone(), self.get(&grant.member_id));
        let installed = match &known {
            Some(portal) if state(portal) != PortalState::Removed => {
                portal.renew(grant).await?;
                if portal.is_served() { Installed::Renewed } else { Installed::Held }
            }
            _ => {
                let record = PortalRecord::new(id.clone(), grant.endpoint.clone()).granted(grant, unix_now());
                self.inner.parts.registry.store(record.clone()).await?;
                self.take_in(record, Duration::ZERO);
                if known.is_some() { Installed::Revived } else { Installed::Added }
            }
        };
        match installed {
            Installed::Added => tracing::info!(portal = %id, "the application was installed on a new portal"),
            Installed::Revived => tracing::info!(portal = %id, "the application was installed on the portal again"),
            Installed::Renewed => tracing::info!(portal = %id, "an installation has renewed the portal's tokens"),
            Installed::Held => tracing::info!(
                portal = %id, "an installation has renewed the portal's tokens; it stays parked, as an operator has it",
            ),
        }
        Ok(installed)
    }

    async fn uninstall_now(&self, id: &PortalId, told: Told<()>) {
        let Some(portal) = self.get(id) else { return answer(told, Err(RosterError::Unknown)) };
        if state(&portal) == PortalState::Removed {
            return answer(told, Ok(()));
        }
        let record = match portal.session().tokens().retire(unix_now()).await {
            Ok(record) => record,
            Err(error) => return answer(told, Err(error.into())),
        };
        portal.session().standing().remove();
        tracing::info!(portal = %id, "the application was uninstalled on the portal; it is not served any more");
        answer(told, Ok(()));
        // A request that was sent while the tokens were good may still bring rows that nobody else will ever see.
        let nothing_left = |portal: &Portal| portal.held() == 0 && portal.awaited() == 0 && !portal.may_be_called();
        self.bring_to_rest(id, &portal, UNINSTALL_GRACE, nothing_left).await;
        if portal.held() > 0 {
            tracing::error!(
                portal = %id, rows = portal.held(),
                "rows of the uninstalled portal are given up: Kafka has not acknowledged them in time",
            );
        }
        if portal.awaited() > 0 {
            tracing::error!(
                portal = %id, queues = portal.awaited(),
                "rows of the uninstalled portal may be given up: it has not answered in time",
            );
        }
        // In its place one without tokens in memory.
        self.take_in(record, Duration::ZERO);
    }

    async fn remove_now(&self, id: &PortalId) -> Result<Removed, RosterError> {
        if self.inner.configured.contains_key(id) {
            return Err(RosterError::Configured);
        }
        let portal = self.get(id).ok_or(RosterError::Unknown)?;
        portal.session().standing().remove();
        let removed = self.put_away(id, &portal).await;
        self.inner.parts.registry.remove(id.clone()).await.map_err(RosterError::Left)?;
        let mut state = self.state();
        state.entries.remove(id);
        state.all = None;
        tracing::info!(portal = %id, "an operator has removed the portal");
        Ok(removed)
    }

    async fn park_now(&self, id: &PortalId) -> Result<Removed, RosterError> {
        let portal = self.present(id)?;
        if portal.is_served() {
            portal.session().tokens().hold(Some(unix_now())).await?;
            portal.session().standing().hold();
            tracing::info!(portal = %id, "an operator has parked the portal");
        }
        Ok(self.put_away(id, &portal).await)
    }

    async fn resume_now(&self, id: &PortalId) -> Result<Resumed, RosterError> {
        let portal = self.present(id)?;
        if portal.is_served() {
            portal.resume();
            return Ok(Resumed::Tried);
        }
        let record = portal.session().tokens().hold(None).await?;
        self.take_in(record, Duration::ZERO);
        tracing::info!(portal = %id, "an operator has the portal served again");
        Ok(Resumed::Released)
    }

    /// A portal on which the application is installed.
    pub(super) fn present(&self, id: &PortalId) -> Result<Arc<Portal>, RosterError> {
        let portal = self.get(id).ok_or(RosterError::Unknown)?;
        if state(&portal) == PortalState::Removed { Err(RosterError::Uninstalled) } else { Ok(portal) }
    }

    /// Brings a portal to rest, and its tokens too, so that nothing is stored of it later.
    async fn put_away(&self, id: &PortalId, portal: &Portal) -> Removed {
        let at_rest = self.bring_to_rest(id, portal, GRACE, |_| false).await;
        if tokio::time::timeout(TOKENS_GRACE, portal.session().settle()).await.is_err() {
            tracing::error!(portal = %id, "new tokens of the portal could not be stored");
        }
        Removed { at_rest, held: portal.held(), unconfirmed: portal.unconfirmed(), hiding: portal.hiding() }
    }

    /// Ends the portal's task: what is in flight is finished and confirmed, as long as the grace lasts, the process does not
    /// stop, and there is something to wait for. Returns whether it came to rest.
    pub(super) async fn bring_to_rest(
        &self,
        id: &PortalId,
        portal: &Portal,
        grace: Duration,
        in_vain: impl Fn(&Portal) -> bool,
    ) -> bool {
        let Some(mut task) = self.take_task(id) else { return true };
        portal.drain().await;
        let (until, mut stop) = (Instant::now() + grace, self.inner.stop.subscribe());
        loop {
            let cut = stop.borrow_and_update().map_or(until, |stop| stop.min(until));
            tokio::select! {
                _ = &mut task => return true,
                () = tokio::time::sleep_until(cut) => break,
                _ = stop.changed() => {}
                () = tokio::time::sleep(LOOK) => {
                    if in_vain(portal) {
                        break;
                    }
                }
            }
        }
        task.abort();
        let _ = task.await;
        false
    }

    fn take_task(&self, id: &PortalId) -> Option<JoinHandle<()>> {
        self.state().entries.get_mut(id)?.task.take()
    }

    /// Does some work on a portal in its turn: no other change of it is made meanwhile, a stop waits for it, and it goes on
    /// if this is dropped.
    ///
    /// # Errors
    /// [`RosterError::Stopping`], [`RosterError::Broken`], and those of the work.
    pub(in crate::fleet) async fn change<T, F>(
        &self,
        id: PortalId,
        work: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<T, RosterError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RosterError>> + Send,
    {
        self.begin(id, |roster, told| async move { answer(told, work(roster).await) }).await
    }

    /// Begins a change in its turn; it goes on if this is dropped. Returns what it tells.
    async fn begin<T, F>(
        &self,
        id: PortalId,
        work: impl FnOnce(Self, Told<T>) -> F + Send + 'static,
    ) -> Result<T, RosterError>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let (told, answered) = oneshot::channel();
        let (roster, portal) = (self.clone(), id.clone());
        let watched = Watched { name: format!("portal {id}"), broken: self.inner.broken.clone() };
        tokio::spawn(async move {
            let _watched = watched;
            let _part_of_the_stop = roster.inner.changes.read().await;
            let _turn = roster.inner.turns.of(&portal).await;
            if roster.state().closed {
                answer(told, Err(RosterError::Stopping));
            } else {
                work(roster.clone(), told).await;
            }
        });
        answered.await.unwrap_or(Err(RosterError::Broken(id)))
    }
}

/// Whoever asked may have gone.
fn answer<T>(told: Told<T>, result: Result<T, RosterError>) {
    let _ = told.send(result);
}

/// Its state.
pub(super) fn state(portal: &Portal) -> PortalState {
    portal.session().standing().snapshot().state
}
