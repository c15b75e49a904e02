//! Why a portal is not changed.

use crate::{protocol::types::PortalId, registry::RegistryError};

/// Why a portal is not changed.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// There is no such portal.
    #[error("no such portal")]
    Unknown,
    /// The application was uninstalled there.
    #[error("the application was uninstalled on this portal; only a new installation brings it back")]
    Uninstalled,
    /// It is one of the configuration's.
    #[error(
        "the portal is in [[portals]] of the configuration and would be back with the next start; take it out there and restart, or park it"
    )]
    Configured,
    /// It cannot be stored, so it is not done.
    #[error("the registry cannot be written, so nothing was changed")]
    Registry(#[from] RegistryError),
    /// It is done, and a restart undoes it.
    #[error("the portal is not served any more, but its record cannot be removed from the registry; try again")]
    Left(#[source] RegistryError),
    /// Nobody serves it now.
    #[error("the portal is not served now; see its state")]
    NotServed,
    /// Its plan has no reservations.
    #[error(
        "the plan of the portal has no reservations (rest_offline_extended), and without them error rows cannot be taken \
         without the risk of losing one"
    )]
    NoReservations,
    /// It does not come to rest.
    #[error("the portal has rows under way that cannot be finished now; try again when Kafka and the portal answer")]
    Restless,
    /// The process stops.
    #[error("the bridge is being stopped")]
    Stopping,
    /// A fault of this program, which stops the process.
    #[error("the change of portal {0} has broken; this is a fault of b24kafka")]
    Broken(PortalId),
}
