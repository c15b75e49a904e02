//! Logging: lines to standard error, readable or JSON, with a level that can be changed while the process runs.

use std::io::{self, IsTerminal as _};

use tracing::Dispatch;
use tracing_subscriber::{EnvFilter, Registry, layer::SubscriberExt as _, reload};

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
    let (dispatch, handle) = build(log)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogError::Started)?;
    Ok(handle)
}

fn build(log: &Log) -> Result<(Dispatch, LogHandle), LogError> {
    let (layer, filter) = reload::Layer::new(parse(&log.level)?);
    let registry = tracing_subscriber::registry().with(layer);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let dispatch = match log.format {
        Format::Text => Dispatch::new(registry.with(lines.with_ansi(io::stderr().is_terminal()))),
        Format::Json => Dispatch::new(registry.with(lines.json().flatten_event(true))),
    };
    Ok((dispatch, LogHandle { filter }))
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
        for format in [Format::Text, Format::Json] {
            let (dispatch, handle) = build(&Log { level: "warn".into(), format }).expect("built");
            tracing::dispatcher::with_default(&dispatch, || {
                assert!(tracing::enabled!(tracing::Level::WARN) && !tracing::enabled!(tracing::Level::INFO));
                handle.set("debug").expect("changed");
                assert!(tracing::enabled!(tracing::Level::DEBUG));
                assert!(matches!(handle.set("inof"), Err(LogError::Level(_))));
                assert_eq!(handle.current(), "debug");
                handle.set("off").expect("changed");
                assert!(!tracing::enabled!(tracing::Level::ERROR));
            });
        }
    }
}
