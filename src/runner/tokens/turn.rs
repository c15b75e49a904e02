//! Whose turn it is to change a portal's tokens, and what everybody else sees meanwhile.
//!
//! A turn may last as long as the OAuth server takes to answer. Calls that have a good access token do not wait for it:
//! they see what was left by the last turn, unless this one begins because that was refused.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use super::Inner;
use crate::{bitrix::client::Access, protocol::token::Generation};

/// What calls use.
type Usable = Option<(Generation, Access)>;

/// The tokens of one portal: seen by all, changed by one at a time.
#[derive(Clone)]
pub(super) struct Kept {
    inner: Arc<Turns<Inner>>,
    shown: Arc<Mutex<Usable>>,
}

/// The right to change them. What is usable in the end is shown.
pub(super) struct Turn {
    inner: OwnedMutexGuard<Inner>,
    shown: Arc<Mutex<Usable>>,
}

impl Kept {
    pub(super) fn new(inner: Inner) -> Self {
        let shown = Arc::new(Mutex::new(inner.usable()));
        Self { inner: Arc::new(Turns::new(inner)), shown }
    }

    /// Waits for its turn.
    pub(super) async fn turn(&self) -> Turn {
        Turn { inner: self.inner.clone().lock_owned().await, shown: self.shown.clone() }
    }

    /// What calls use now.
    pub(super) fn usable(&self) -> Usable {
        lock(&self.shown).clone()
    }
}

impl Turn {
    /// The access token is no good: whoever wants one waits for the end of this turn.
    pub(super) fn hide(&self) {
        *lock(&self.shown) = None;
    }
}

impl Deref for Turn {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&self.shown) = self.inner.usable();
    }
}

fn lock(shown: &Mutex<Usable>) -> MutexGuard<'_, Usable> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}
