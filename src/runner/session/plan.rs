//! What a session knows of the portal's plan, and what of it outlives the process.

use super::{Obstacle, Session, unix_now};
use crate::{
    chain::chain,
    protocol::types::{Millis, Mode},
};

/// When the registry cannot be written.
const REGISTRY_HOLD: Millis = Millis::secs(5);

impl Session {
    /// The portal's plan allows this mode, as it has said. That its rows are going to be published without being reserved
    /// is stored first: whoever serves the portal next has to know.
    ///
    /// # Errors
    /// It cannot be stored: the mode has not changed.
    pub async fn allow(&self, mode: Mode) -> Result<(), Obstacle> {
        let _turn = self.plan.lock().await;
        if mode == Mode::Conditional {
            if let Err(error) = self.tokens.unreserved(Some(unix_now())).await {
                tracing::error!(portal = %self.portal, error = %chain(&error), "cannot store the mode; the portal waits");
                self.standing.failed("the registry cannot be written".to_owned());
                return Err(Obstacle::wait(REGISTRY_HOLD));
            }
            self.licence.set_open(true);
        }
        if self.licence.set(mode) {
            match mode {
                Mode::Reserve => tracing::info!(portal = %self.portal, "the plan allows reservations: reserving rows"),
                Mode::Conditional => tracing::warn!(
                    portal = %self.portal,
                    "the plan lacks rest_offline_extended: reading without reservations, some seconds later",
                ),
            }
        }
        Ok(())
    }

    /// Nothing is left at the portal of the time without reservations. Has no effect if these have been taken away again.
    pub async fn close(&self) {
        let _turn = self.plan.lock().await;
        if self.licence.mode() != Mode::Reserve {
            return;
        }
        match self.tokens.unreserved(None).await {
            Ok(()) => self.licence.set_open(false),
            Err(error) => tracing::warn!(portal = %self.portal, error = %chain(&error), "cannot store the mode"),
        }
    }
}
