//! Which portals there are, while they come and go.
//!
//! A change of a portal is stored before it is told as done, takes its turn with other changes of the same portal, and goes
//! on to its end even if whoever asked for it has gone. Once the process stops, changes are refused; those that have begun
//! are part of the stop.

mod change;
mod error;
mod sweep;
mod turns;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{RwLock, watch},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use super::{
    Parts, Rest,
    portal::{Broken, Portal, Task},
};
use crate::{config::portals, protocol::types::PortalId, registry::PortalRecord};
pub use crate::{registry::Grant, runner::sweep::Swept};
pub use change::{Installed, Removed, Resumed};
pub use error::RosterError;
use turns::Turns;

/// The portals of this process. Clones share them.
#[derive(Clone)]
pub struct Roster {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Arc<Parts>,
    /// Those of the configuration: an operator's own word.
    configured: BTreeMap<PortalId, portals::Portal>,
    state: Mutex<State>,
    turns: Turns,
    /// Held for reading by each change, and for writing by the stop.
    changes: RwLock<()>,
    /// The first task that has broken.
    broken: watch::Sender<Option<String>>,
    /// When everything has to be at rest, once the process stops.
    stop: watch::Sender<Option<Instant>>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<PortalId, Entry>,
    /// What [`Roster::all`] answers, until something changes.
    all: Option<Arc<[Arc<Portal>]>>,
    /// The process stops.
    closed: bool,
}

struct Entry {
    portal: Arc<Portal>,
    /// `None` if the portal is not served, or is being brought to rest by a change.
    task: Option<JoinHandle<()>>,
}

impl Roster {
    /// No portal yet.
    pub(super) fn new(parts: Arc<Parts>, configured: &[portals::Portal]) -> Self {
        let configured = configured.iter().map(|portal| (portal.member_id.clone(), portal.clone())).collect();
        let inner = Inner {
            parts,
            configured,
            state: Mutex::default(),
            turns: Turns::default(),
            changes: RwLock::default(),
            broken: watch::Sender::new(None),
            stop: watch::Sender::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A portal by its id, served or not.
    pub fn get(&self, id: &PortalId) -> Option<Arc<Portal>> {
        self.state().entries.get(id).map(|entry| entry.portal.clone())
    }

    /// All portals by id, those too that are not served. Cheap: the list is made anew only after a change.
    pub fn all(&self) -> Arc<[Arc<Portal>]> {
        let mut state = self.state();
        let State { entries, all, .. } = &mut *state;
        all.get_or_insert_with(|| entries.values().map(|entry| entry.portal.clone()).collect()).clone()
    }

    /// There may be new rows: the portal's queues are polled at once, or as soon as what they are at is done, however often
    /// this is said meanwhile; one that waits for its turn at a start is begun with. A portal in trouble is not tried any sooner. Returns whether the portal is one that is served.
    pub fn wake(&self, id: &PortalId) -> bool {
        let Some(portal) = self.get(id).filter(|portal| portal.is_served()) else { return false };
        portal.wake();
        true
    }

    /// Takes a portal in and starts its task, unless it is not to be served or the process stops.
    pub(super) fn take_in(&self, record: PortalRecord, delay: Duration) -> Arc<Portal> {
        let known = self.inner.configured.get(&record.member_id).cloned();
        let id = record.member_id.clone();
        let (portal, task) = Portal::new(&self.inner.parts, record, known);
        self.put(id, portal.clone(), task, delay);
        portal
    }

    /// Puts a portal in the place of the one that was there, and starts its task.
    fn put(&self, id: PortalId, portal: Arc<Portal>, task: Task, delay: Duration) {
        let mut state = self.state();
        let task = (portal.is_served() && !state.closed).then(|| self.spawn(task, delay));
        state.entries.insert(id, Entry { portal, task });
        state.all = None;
    }

    fn spawn(&self, task: Task, delay: Duration) -> JoinHandle<()> {
        let watched = Watched { name: task.name(), broken: self.inner.broken.clone() };
        let parts = self.inner.parts.clone();
        tokio::spawn(async move {
            if let Err(Broken(what)) = task.run(parts, delay).await {
                watched.tell(what);
            }
        })
    }

    /// Waits for a task to break. A queue whose task is gone would be served by nobody while all looks well.
    pub(super) async fn broken(&self) -> Broken {
        let mut broken = self.inner.broken.subscribe();
        let told = broken.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
        match told {
            Some(what) => Broken(what),
            // The sender lives as long as this does.
            None => std::future::pending().await,
        }
    }

    /// Refuses changes from now on, and brings all queues to rest: what is in flight is finished and confirmed, nothing new
    /// is read.
    pub(super) async fn drain(&self, grace: Duration, tokens_grace: Duration) -> Rest {
        let until = Instant::now() + grace;
        let tasks: Vec<JoinHandle<()>> = {
            let mut state = self.state();
            state.closed = true;
            state.entries.values_mut().filter_map(|entry| entry.task.take()).collect()
        };
        self.inner.stop.send_replace(Some(until));
        let portals = self.all();
        for portal in portals.iter() {
            portal.drain().await;
        }
        let mut ending: JoinSet<()> = JoinSet::new();
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        for task in tasks {
            ending.spawn(async move { task.await.unwrap_or_default() });
        }
        let finished = tokio::time::timeout_at(until, async { while ending.join_next().await.is_some() {} }).await;
        let busy = if finished.is_ok() { 0 } else { portals.iter().map(|portal| portal.busy()).sum() };
        aborts.iter().for_each(tokio::task::AbortHandle::abort);
        while ending.join_next().await.is_some() {}
        // Changes that have begun keep to the same deadline with what they bring to rest, and need some time to store it.
        let tokens_until = Instant::now() + tokens_grace;
        let changes = tokio::time::timeout_at(tokens_until, self.inner.changes.write()).await;
        if changes.is_err() {
            tracing::error!("a change of a portal has not come to its end; the next start goes on from what is stored");
        }
        // A queue at rest holds nothing: what a change has brought to rest in time, or has not.
        let left: usize = portals.iter().map(|portal| portal.unfinished()).sum();
        Rest {
            queues: left.max(busy),
            held: portals.iter().map(|portal| portal.held()).sum(),
            hiding: portals.iter().map(|portal| portal.hiding()).sum(),
            lost: settle_tokens(&portals, tokens_until).await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells if the task that it is in ends by a panic.
struct Watched {
    name: String,
    broken: watch::Sender<Option<String>>,
}

impl Watched {
    fn tell(&self, what: String) {
        self.broken.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(what);
            first
        });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(self.name.clone());
        }
    }
}

/// A pair that was granted and not stored is the only living one: the last thing to wait for. Returns whose could not be
/// saved.
async fn settle_tokens(portals: &[Arc<Portal>], until: Instant) -> Vec<PortalId> {
    let mut settling = JoinSet::new();
    for portal in portals {
        let portal = portal.clone();
        settling.spawn(async move {
            let settled = tokio::time::timeout_at(until, portal.session().settle()).await;
            (!settled.unwrap_or(false)).then(|| portal.id().clone())
        });
    }
    settling.join_all().await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told_and_the_first_one_counts() {
        let broken = watch::Sender::new(None);
        let watched = |name: &str| Watched { name: name.to_owned(), broken: broken.clone() };
        drop(watched("portal well"));
        assert_eq!(*broken.borrow(), None, "an end is no break");
        let watched_one = watched("portal a1");
        let task = tokio::spawn(async move {
            let _watched = watched_one;
            panic!("a fault");
        });
        assert!(task.await.expect_err("it breaks").is_panic());
        watched("portal b2").tell("portal b2".to_owned());
        assert_eq!(broken.borrow().as_deref(), Some("portal a1"));
    }
}
