//! How many requests are on their way at the same time, over all portals, and who goes first.
//!
//! A place is what a request needs of *us*: processor time and memory for its answer. So a request gives its place back
//! when it has been waiting for its portal for [`PATIENCE`]: a portal that hangs costs a connection and nothing that
//! others wait for, however many of its kind there are. Its next request is admitted at a door of its own, which has
//! fewer places, and waits there for its like only. One quick answer, and it is trusted again.
//!
//! ```text
//! woken ------------------------------------+--> places --> request --quick--> done
//! everybody else --> three quarters of them-+        after PATIENCE: the place is free, the portal is slow
//! slow portals --> places of their own ------------> request --quick--> trusted again
//! ```
//!
//! A quarter of the places is kept for portals that were woken: whatever else is due, somebody waits for those.
//! Everybody waits in the order of coming, so nobody waits for ever. A portal has one request per queue and one for its
//! upkeep on its way at most, so it cannot take more places than that.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a request holds its place. Portals answer within some tenths of a second, and a large answer within two
/// seconds, or less is asked for; what takes longer than that waits for something that is not here.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Of the places, this part is kept for portals that were woken.
const KEPT: usize = 4;
/// Slow portals have this part of the number of places, beside those.
const SLOW: usize = 4;
/// Token refreshes at the same time: one server does them for all portals, each takes it some tenths of a second, and
/// after a night without the bridge every portal needs one. Each of them also writes two files here.
const REFRESHES: usize = 16;

/// The doors of one process.
#[derive(Debug)]
pub struct Gate {
    places: Semaphore,
    /// Who was not woken needs one of these first.
    unwoken: Semaphore,
    slow: Semaphore,
    refreshes: Semaphore,
    patience: Duration,
}

/// Why a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody says that there are rows, or the queue is brought to rest.
    Woken,
    /// It is due.
    Due,
}

/// What is remembered of a portal between its requests.
#[derive(Debug, Default)]
pub struct Pace {
    slow: AtomicBool,
}

/// A place, until it is dropped.
struct Place<'a> {
    _place: SemaphorePermit<'a>,
    _unwoken: Option<SemaphorePermit<'a>>,
}

impl Gate {
    /// With so many places.
    pub fn new(places: usize) -> Self {
        Self::with(places, PATIENCE)
    }

    fn with(places: usize, patience: Duration) -> Self {
        let places = places.max(1);
        Self {
            places: Semaphore::new(places),
            unwoken: Semaphore::new(places.saturating_sub(places / KEPT).max(1)),
            slow: Semaphore::new((places / SLOW).max(1)),
            refreshes: Semaphore::new(REFRESHES),
            patience,
        }
    }

    /// Makes a request when there is a place for it. `waits` is told once if there is none at once.
    pub async fn pass<T>(
        &self,
        pace: &Pace,
        urgency: Urgency,
        waits: impl FnOnce(),
        request: impl Future<Output = T>,
    ) -> T {
        let place = self.enter(pace, urgency, waits).await;
        let mut request = std::pin::pin!(request);
        tokio::select! {
            biased;
            done = &mut request => {
                pace.slow.store(false, Relaxed);
                return done;
            }
            () = tokio::time::sleep(self.patience) => {}
        }
        pace.slow.store(true, Relaxed);
        drop(place);
        request.await
    }

    /// One of the refreshes that may be under way, until it is dropped.
    pub async fn refresh(&self) -> Option<SemaphorePermit<'_>> {
        self.refreshes.acquire().await.ok()
    }

    async fn enter(&self, pace: &Pace, urgency: Urgency, waits: impl FnOnce()) -> Option<Place<'_>> {
        let mut waits = Some(waits);
        if pace.slow.load(Relaxed) {
            return Some(Place { _place: acquire(&self.slow, &mut waits).await?, _unwoken: None });
        }
        let unwoken = match urgency {
            Urgency::Woken => None,
            Urgency::Due => Some(acquire(&self.unwoken, &mut waits).await?),
        };
        Some(Place { _place: acquire(&self.places, &mut waits).await?, _unwoken: unwoken })
    }
}

/// `None` never comes: the doors are not closed while somebody can stand before them.
async fn acquire<'a>(door: &'a Semaphore, waits: &mut Option<impl FnOnce()>) -> Option<SemaphorePermit<'a>> {
    if let Ok(permit) = door.try_acquire() {
        return Some(permit);
    }
    if let Some(waits) = waits.take() {
        waits();
    }
    door.acquire().await.ok()
}

#[cfg(test)]
mod tests;
