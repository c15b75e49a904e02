//! `[log]` and `[shutdown]`: the process itself.

use std::time::Duration;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::{
    form::{Checked, Choice, Span, quote},
    reader::{Named, Section},
};
use crate::protocol::types::PortalId;

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a `tracing` filter.
    pub level: String,
    /// For people or for machines.
    pub format: Format,
    /// Portals that are followed at debug level, by their `member_id`.
    pub portals: Vec<String>,
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

impl Log {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let level = section.or(
            Named("level", "How much is logged; changeable while the bridge runs."),
            "\"info\"",
            &Checked(
                "error, warn, info, debug, trace or off, or a list such as \"info,b24kafka::runner=debug\"",
                check_filter,
            ),
        );
        let format = section.or(
            Named("format", "A readable line for people, or one JSON object a line for machines."),
            "\"text\"",
            &Choice(&[("text", Format::Text), ("json", Format::Json)]),
        );
        let portals = section.each(
            Named("portals", "Portals, by member_id, whose lines are logged down to debug whatever the level is."),
            "[]",
            &Checked("a member_id of 1 to 64 letters and digits", |text| {
                PortalId::new(text).map(|_| text.to_owned()).ok_or_else(|| format!("is {}", quote(text)))
            }),
        );
        Some(Self { level: level?, format: format?, portals: portals? })
    }
}

impl Shutdown {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let bounds = Span(Duration::from_secs(1), Duration::from_secs(3600));
        let grace = section.or(
            Named("grace", "How long a stop may take; what is still reserved then is found again at the next start."),
            "\"30s\"",
            &bounds,
        );
        Some(Self { grace: grace? })
    }
}

/// Checks a filter of `tracing`. A lone word has to be a level: as a target it would silence everything else.
pub(crate) fn check_filter(text: &str) -> Result<String, String> {
    let wrong = || format!("is {}", quote(text));
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default();
        // The parser would take an empty level for "error".
        if level.is_empty() || level.parse::<LevelFilter>().is_err() {
            return Err(wrong());
        }
    }
    EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::check_filter;

    #[test]
    fn a_misspelt_level_is_no_target() {
        for good in ["info", "WARN", "off", "info,b24kafka::runner=debug", "warn,hyper=error"] {
            assert!(check_filter(good).is_ok(), "{good}");
        }
        for bad in ["", "warn, hyper=error", "inof", "info,", "info,b24kafka", "a=b", "[[="] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
