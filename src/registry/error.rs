//! What can go wrong with the registry.

use std::{io, path::PathBuf};

/// Why the registry cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Another process holds the lock.
    #[error(
        "the registry {} is in use by another b24kafka ({}); stop that one, or give this one its own registry.path",
        dir.display(),
        pid.map_or_else(|| "its process is not known".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The registry's directory.
        dir: PathBuf,
        /// The process that holds it, by its own account.
        pid: Option<u32>,
    },
    /// The disk, or a right on it.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The portal's file could not be read at the start; writing over it might destroy the only copy of its tokens.
    #[error("{} could not be read at the start and is kept as it is; move it away and start again", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
    },
    /// The record cannot be written down.
    #[error("the record of portal {member_id} cannot be written as JSON")]
    Unwritable {
        /// The portal.
        member_id: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The process is ending; whether it was done is unknown.
    #[error("the registry was stopped in the middle of a call")]
    Stopped,
}
