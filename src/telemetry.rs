//! Logging: lines to standard error, readable or JSON, with a level that can be changed while the process runs.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

use crate::config::process::{Format, Log, check_filter};

/// Changes what is logged. Clones change the same.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Why logging does not begin, or does not change.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error("the log level {0}; give error, warn, info, debug, trace, off or a list of target=level")]
    Level(String),
    /// Something else in this process logs already.
    #[error("logging has been started already")]
    Started,
    /// Logging has ended.
    #[error("logging has ended")]
    Ended,
}

/// Starts logging for the whole process; once.
///
/// # Errors
/// [`LogError::Level`] for a level that is none, [`LogError::Started`] the second time.
pub fn start(log: &Log) -> Result<LogHandle, LogError> {
    let (filter, handle) = reload::Layer::new(parse(&log.level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let started = match log.format {
        Format::Text => registry.with(lines.with_ansi(io::stderr().is_terminal())).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(|_| LogError::Started)?;
    Ok(LogHandle { filter: handle })
}

impl LogHandle {
    /// Changes the level, or the filter, from now on.
    ///
    /// # Errors
    /// [`LogError::Level`] for a level that is none; what held goes on holding.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        self.filter.reload(parse(level)?).map_err(|_| LogError::Ended)
    }

    /// What is logged now.
    pub fn current(&self) -> String {
        self.filter.with_current(EnvFilter::to_string).unwrap_or_default()
    }
}

fn parse(level: &str) -> Result<EnvFilter, LogError> {
    let level = check_filter(level).map_err(LogError::Level)?;
    EnvFilter::builder().parse(&level).map_err(|_| LogError::Level(format!("is {level:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_changes_while_the_process_runs() {
        let handle = start(&Log { level: "warn".into(), format: Format::Json }).expect("started");
        assert!(tracing::enabled!(tracing::Level::WARN) && !tracing::enabled!(tracing::Level::INFO));
        assert!(matches!(start(&Log { level: "info".into(), format: Format::Text }), Err(LogError::Started)));
        handle.set("debug").expect("changed");
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(matches!(handle.set("inof"), Err(LogError::Level(_))));
        assert_eq!(handle.current(), "debug");
        handle.set("off").expect("changed");
        assert!(!tracing::enabled!(tracing::Level::ERROR));
    }
}
