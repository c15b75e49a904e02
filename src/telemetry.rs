//! Logging: lines to standard error, readable or JSON, with a level that can be changed while the process runs.
//!
//! What repeats is written seldom and counted ([`repeats`]), and single portals can be followed at debug level
//! ([`follow`]). docs/logging.md has the fields and the levels.

mod follow;
mod line;
mod repeats;
mod rest;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    collections::BTreeSet,
    io::{self, IsTerminal as _},
    panic::{self, PanicHookInfo},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tracing::Dispatch;
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{
        MakeWriter,
        format::{self, JsonFields},
    },
    layer::SubscriberExt as _,
    reload,
};

use crate::config::process::{Format, Log, check_filter};
use follow::Follow;
use line::{Ending, Lines};
use repeats::Repeats;

/// Changes what is logged. Clones change the same.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<Follow, Registry>,
    format: Format,
    repeats: Arc<Mutex<Repeats>>,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The level, or the filter.
    pub level: String,
    /// Portals that are followed at debug level, by their `member_id`.
    pub portals: BTreeSet<String>,
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

/// The log of this process, once it has begun.
static RUNNING: OnceLock<LogHandle> = OnceLock::new();

/// Tells how often each thing was left out that has not been told since, as [`LogHandle::sum_up`] does, if logging has begun.
pub fn sum_up() {
    if let Some(handle) = RUNNING.get() {
        handle.sum_up();
    }
}

/// Starts logging for the whole process; once.
///
/// # Errors
/// [`LogError::Level`] for a level that is none, [`LogError::Started`] the second time.
pub fn start(log: &Log) -> Result<LogHandle, LogError> {
    let (dispatch, handle) = build(log, io::stderr().is_terminal(), io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogError::Started)?;
    if log.format == Format::Json {
        let plain = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !tell_panic(info) {
                plain(info);
            }
        }));
    }
    Ok(RUNNING.get_or_init(|| handle).clone())
}

/// Whether this process logs for a machine, so that nothing else may be written among the lines.
pub fn is_json() -> bool {
    running().is_some_and(|log| log.format == Format::Json)
}

/// Logs a panic. Returns whether it could: not if the level is too high, nor out of the middle of a line.
fn tell_panic(info: &PanicHookInfo<'_>) -> bool {
    if !tracing::enabled!(tracing::Level::ERROR) {
        return false;
    }
    let backtrace = Backtrace::capture();
    let way = if backtrace.status() == BacktraceStatus::Captured { format!("\n{backtrace}") } else { String::new() };
    tracing::error!(error = %format_args!("{info}{way}"), "a part of b24kafka has panicked; this is a fault, please report it");
    true
}

/// The log of this process; `None` if it logs in another way, as a library in somebody's program does.
pub fn running() -> Option<&'static LogHandle> {
    RUNNING.get()
}

fn build<W>(log: &Log, ansi: bool, writer: W) -> Result<(Dispatch, LogHandle), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (layer, filter) = reload::Layer::new(Follow::new(parse(&log.level)?, log.portals.iter().cloned()));
    let registry = tracing_subscriber::registry().with(layer);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let repeats = Arc::<Mutex<Repeats>>::default();
    let dispatch = match log.format {
        Format::Text => {
            let format = Lines::new(format::format().with_ansi(ansi), Ending::Text, repeats.clone());
            Dispatch::new(registry.with(lines.with_ansi(ansi).event_format(format)))
        }
        Format::Json => {
            let format = Lines::new(format::format().json().flatten_event(true), Ending::Json, repeats.clone());
            Dispatch::new(registry.with(lines.fmt_fields(JsonFields::new()).event_format(format)))
        }
    };
    Ok((dispatch, LogHandle { filter, format: log.format, repeats }))
}

impl LogHandle {
    /// Changes the level, or the filter, from now on.
    ///
    /// # Errors
    /// [`LogError::Level`] for a level that is none; what held goes on holding.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let base = parse(level)?;
        self.filter.modify(|filter| filter.base = base).map_err(|_| LogError::Ended)
    }

    /// Follows these portals at debug level from now on, and no others.
    ///
    /// # Errors
    /// [`LogError::Ended`]
    pub fn follow(&self, portals: BTreeSet<String>) -> Result<(), LogError> {
        self.filter.modify(|filter| filter.portals = portals).map_err(|_| LogError::Ended)
    }

    /// Tells how often each thing was left out that has not been told since: this is the end.
    pub fn sum_up(&self) {
        let left_out = self.repeats.lock().unwrap_or_else(PoisonError::into_inner).take_left_out();
        rest::tell(left_out);
    }

    /// What is logged now.
    ///
    /// # Errors
    /// [`LogError::Ended`]
    pub fn logged(&self) -> Result<Logged, LogError> {
        let logged = |filter: &Follow| Logged { level: filter.base.to_string(), portals: filter.portals.clone() };
        self.filter.with_current(logged).map_err(|_| LogError::Ended)
    }
}

fn parse(level: &str) -> Result<EnvFilter, LogError> {
    let level = check_filter(level).map_err(LogError::Level)?;
    EnvFilter::builder().parse(&level).map_err(|_| LogError::Level(format!("is {level:?}")))
}

#[cfg(test)]
mod tests;
