//! The portals and their tokens, durably.
//!
//! Refresh tokens rotate: whoever loses a new one has lost the portal until the application is installed again. So
//! [`Registry::store`] returns only when the record would survive a crash, and a token may be used only then.
//! This module knows files and nothing of portals, Kafka or HTTP; it never logs, and its errors hold no token.

use std::{
    error::Error as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use crate::protocol::types::PortalId;

pub use self::{
    error::RegistryError,
    file::{FileRegistry, Opened, RefusedFile},
    record::{Grant, PortalRecord},
};

mod error;
mod file;
mod record;

/// The registry for tasks: the same calls, off the threads that must not block. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    file: Arc<FileRegistry>,
    /// What the last write failed with, if it did.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Registry {
    /// Opens the directory as [`FileRegistry::open`] does; what was found in it comes along.
    ///
    /// # Errors
    /// As [`FileRegistry::open`].
    pub async fn open(dir: &Path) -> Result<(Self, Vec<PortalRecord>, Vec<RefusedFile>), RegistryError> {
        let dir = dir.to_path_buf();
        let opened = blocking(move || FileRegistry::open(&dir)).await?;
        Ok((Self { file: Arc::new(opened.registry), trouble: Arc::default() }, opened.records, opened.refused))
    }

    /// Stores a record durably; see [`FileRegistry::store`].
    ///
    /// # Errors
    /// As [`FileRegistry::store`]. If the future is dropped, the record may be stored all the same.
    pub async fn store(&self, record: PortalRecord) -> Result<(), RegistryError> {
        let file = Arc::clone(&self.file);
        self.written(blocking(move || file.store(&record)).await)
    }

    /// The record as it is stored now; see [`FileRegistry::load`].
    ///
    /// # Errors
    /// As [`FileRegistry::load`].
    pub async fn load(&self, member_id: PortalId) -> Result<Option<PortalRecord>, RegistryError> {
        let file = Arc::clone(&self.file);
        blocking(move || file.load(&member_id)).await
    }

    /// Removes a record durably; see [`FileRegistry::remove`].
    ///
    /// # Errors
    /// As [`FileRegistry::remove`].
    pub async fn remove(&self, member_id: PortalId) -> Result<(), RegistryError> {
        let file = Arc::clone(&self.file);
        self.written(blocking(move || file.remove(&member_id)).await)
    }

    /// What the last write failed with, if it did; holds no token.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn written(&self, outcome: Result<(), RegistryError>) -> Result<(), RegistryError> {
        let told = |error: &RegistryError| match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        let trouble = outcome.as_ref().err().map(told);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        outcome
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
) -> Result<T, RegistryError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(RegistryError::Stopped))
}
