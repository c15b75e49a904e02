//! Rows that came without a usable id: nobody can name them, so they can be neither published nor cleared.

use std::sync::atomic::Ordering::Relaxed;

use super::Session;
use crate::protocol::types::Connector;

impl Session {
    /// An answer had so many of them. It may have them again: those that are reserved stay so.
    pub(super) fn unreadable(&self, connector: &Connector, rows: usize) {
        if rows == 0 {
            return;
        }
        let count = rows as u64;
        self.unreadable.fetch_add(count, Relaxed);
        self.metrics.rows_unreadable.inc_by(count);
        let connector = connector.as_str();
        tracing::error!(
            portal = %self.portal, connector, rows,
            "rows without a usable id: they can be neither published nor cleared",
        );
    }

    /// How many have come since the start of this process, each time that they came.
    pub fn rows_unreadable(&self) -> u64 {
        self.unreadable.load(Relaxed)
    }
}
