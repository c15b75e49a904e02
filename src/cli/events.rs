//! `b24kafka events`: the catalogue.

use serde::Serialize;

use super::{failure::Failure, output};
use crate::bitrix::catalogue;

/// List the events that are known, with entity and change
#[derive(Debug, clap::Args)]
pub(super) struct Events {
    /// Only events whose name, entity or scope holds this, in any case; or a family such as crm.*
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("no event of the catalogue matches {0:?}; `b24kafka events` lists them all")]
struct NoMatch(String);

/// What is shown of an event.
#[derive(Debug, Serialize)]
struct Shown {
    event: String,
    entity: &'static str,
    change: &'static str,
    scope: &'static str,
    offline: bool,
    deprecated: bool,
}

impl Events {
    pub fn run(self) -> Result<(), Failure> {
        let mut events = catalogue();
        if let Some(filter) = &self.filter {
            events.retain(|event| event.matches(filter));
            if events.is_empty() {
                return Err(NoMatch(filter.clone()).into());
            }
        }
        events.sort_by(|a, b| (a.entity, &a.event).cmp(&(b.entity, &b.event)));
        if self.json {
            return output::json(&serde_json::to_value(&events)?);
        }
        let mut rows = vec![["EVENT", "ENTITY", "CHANGE", "SCOPE", ""]];
        rows.extend(
            events.iter().map(|event| [event.event.as_str(), event.entity, event.change, event.scope, event.note()]),
        );
        output::write(|out| output::table(out, &rows))
    }
}

impl Shown {
    fn matches(&self, filter: &str) -> bool {
        let filter = filter.to_lowercase();
        match filter.strip_suffix('*') {
            Some(family) if family.ends_with('.') => self.entity.starts_with(family),
            _ => {
                [self.event.as_str(), self.entity, self.scope].iter().any(|text| text.to_lowercase().contains(&filter))
            }
        }
    }

    fn note(&self) -> &'static str {
        match (self.offline, self.deprecated) {
            (true, false) => "",
            (true, true) => "deprecated",
            (false, false) => "never offline",
            (false, true) => "never offline, deprecated",
        }
    }
}

fn catalogue() -> Vec<Shown> {
    let show = |entry: &catalogue::Entry| Shown {
        event: entry.display_name(),
        entity: entry.entity,
        change: entry.change.as_str(),
        scope: entry.scope,
        offline: entry.offline,
        deprecated: entry.deprecated,
    };
    catalogue::entries().iter().map(show).collect()
}
