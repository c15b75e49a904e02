//! Taking the error rows of a portal, on an operator's request.
//!
//! Its queues come to rest for it, so that there is one reader and nothing is under way, and are taken over anew after it.

use std::time::Duration;

use super::{Roster, Swept, change, error::RosterError};
use crate::{
    fleet::{plan, portal::Portal},
    metrics::labels::PortalState,
    protocol::types::{Mode, PortalId},
    runner::sweep::Sweep,
};

/// Rows that one request takes at most, and some more: a portal does not wait for long.
const MOST: u64 = 1000;

impl Roster {
    /// Publishes the error rows of a portal's queues, late and marked so, and removes each after its acknowledgement: about a
    /// thousand of each queue at once.
    ///
    /// # Errors
    /// [`RosterError::NotServed`], [`RosterError::NoReservations`], [`RosterError::Restless`] and those of
    /// [`Roster::resume`]: no row was touched then.
    pub async fn sweep(&self, id: &PortalId) -> Result<Swept, RosterError> {
        let portal = id.clone();
        self.change(id.clone(), |roster| async move { roster.sweep_now(&portal).await }).await
    }

    async fn sweep_now(&self, id: &PortalId) -> Result<Swept, RosterError> {
        let portal = self.present(id)?;
        if change::state(&portal) != PortalState::Active {
            return Err(RosterError::NotServed);
        }
        match plan::mode(portal.session(), &self.inner.parts).await {
            Ok(Mode::Reserve) => {}
            Ok(Mode::Conditional) => return Err(RosterError::NoReservations),
            Err(_) => return Err(RosterError::NotServed),
        }
        let swept = if self.bring_to_rest(id, &portal, change::GRACE, |_| false).await {
            Ok(self.sweep_queues(&portal).await)
        } else {
            Err(RosterError::Restless)
        };
        let (again, task) = portal.again(self.inner.configured.get(id));
        self.put(id.clone(), again, task, Duration::ZERO);
        swept
    }

    async fn sweep_queues(&self, portal: &Portal) -> Swept {
        let parts = &self.inner.parts;
        let mut all = Swept { left: Some(0), ..Swept::default() };
        for (queue, plan) in portal.queues().iter().zip(&parts.queues) {
            let recorder = portal.recorder(plan, parts);
            let sweep =
                Sweep { shared: &parts.shared, session: portal.session(), connector: queue.connector(), recorder };
            let swept = sweep.run(MOST, || self.state().closed).await;
            if let Some(left) = swept.left {
                queue.status().counted(left);
            }
            all.swept += swept.swept;
            all.held += swept.held;
            all.unconfirmed += swept.unconfirmed;
            all.left = all.left.zip(swept.left).map(|(all, left)| all + left);
            all.trouble = all.trouble.or(swept.trouble);
            if all.trouble.is_some() {
                break;
            }
        }
        tracing::info!(
            portal = %portal.id(), rows = all.swept, left = all.left, error = all.trouble, "swept the portal's error rows",
        );
        all
    }
}
