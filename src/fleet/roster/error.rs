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
    /// The process stops.
    #[error("the bridge is being stopped")]
    Stopping,
    /// A fault of this program, which stops the process.
    #[error("the change of portal {0} has broken; this is a fault of b24kafka")]
    Broken(PortalId),
}
