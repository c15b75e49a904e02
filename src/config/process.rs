//! `[log]` and `[shutdown]`: the process itself.

use std::time::Duration;

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a `tracing` filter.
    pub level: String,
    /// For people or for machines.
    pub format: Format,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A readable line.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[shutdown]`
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// How long a stop may take.
    pub grace: Duration,
}
