//! `[[queues]]`: which queues of each portal are read.

use crate::protocol::types::Connector;

/// One of `[[queues]]`; it exists on every portal.
#[derive(Clone, Debug)]
pub struct Queue {
    /// `auth_connector`; `""` is the plain queue.
    pub connector: Connector,
    /// Names of events to bind, upper case, expanded from names, entities and `crm.*`; empty binds nothing.
    pub events: Vec<String>,
    /// Instead of `kafka.topic`.
    pub topic: Option<String>,
}
