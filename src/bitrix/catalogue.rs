//! The catalogue of events, compiled in: which entity an event is about, what changed, and where the id is.
//!
//! Read once, on first use, into data that lives as long as the process: entities and names are `&'static str`, so
//! rows and metric labels cost nothing. Nothing here depends on the rest of the bridge but the vocabulary.

mod identity;
mod select;

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
};

use serde::Deserialize;

pub use self::{
    identity::entity_id,
    select::{UnknownSelector, expand},
};
use crate::protocol::types::Change;

/// The entity of every event that the catalogue does not know.
pub const OTHER: &str = "other";

const SOURCE: &str = include_str!("catalogue/events.json");

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::read);

/// What is known about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, upper case; of a pattern the part before the number, with the underscore.
    pub event: &'static str,
    /// Whether a number follows the name, as in `ONCRMDYNAMICITEMADD_147`.
    pub pattern: bool,
    /// What it is about, e.g. `crm.deal`.
    pub entity: &'static str,
    /// What happened.
    pub change: Change,
    /// Where the parts of the id are; all of them are needed. Empty if the event has no id.
    pub key_parts: Vec<Path>,
    /// Where the id is if it is not there; one of them is enough.
    pub alternates: Vec<Path>,
    /// The right that an application needs, e.g. `crm`.
    pub scope: &'static str,
    /// Whether it can be bound as an offline event.
    pub offline: bool,
    /// Whether the documentation advises against it.
    pub deprecated: bool,
    /// The REST method that reads the object, if there is one.
    pub read_method: Option<&'static str>,
}

/// A way into an event's data. An empty one is the data itself.
pub type Path = Vec<Step>;

/// One step of a [`Path`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into the member of that name.
    Member(&'static str),
    /// Into the first member or element.
    First,
}

impl Entry {
    /// The name for people: that of a pattern ends with what has to be put there.
    pub fn display_name(&self) -> String {
        if self.pattern { format!("{}<entityTypeId>", self.event) } else { self.event.to_owned() }
    }
}

/// Every event, by name.
pub fn entries() -> &'static [Entry] {
    &CATALOGUE.entries
}

/// The entry of an event by its name in upper case.
pub fn find(event: &str) -> Option<&'static Entry> {
    let at = CATALOGUE.by_name.get(event).or_else(|| {
        let name = event.trim_end_matches(|c: char| c.is_ascii_digit());
        CATALOGUE.patterns.get(name).filter(|_| name.len() < event.len())
    })?;
    entries().get(*at)
}

/// The closed set of entities, [`OTHER`] included, in alphabetical order.
pub fn entities() -> &'static [&'static str] {
    &CATALOGUE.entities
}

struct Catalogue {
    entries: Vec<Entry>,
    by_name: HashMap<&'static str, usize>,
    /// Patterns by their name up to the number.
    patterns: HashMap<&'static str, usize>,
    entities: Vec<&'static str>,
}

/// An entry of the file; what the bridge does not need is left out.
#[derive(Deserialize)]
struct Wire {
    event: &'static str,
    pattern: bool,
    entity: &'static str,
    change: &'static str,
    key_parts: Option<Vec<Vec<&'static str>>>,
    id_path_alternates: Vec<Vec<&'static str>>,
    scope: &'static str,
    offline: bool,
    deprecated: bool,
    read_method: Option<ReadMethod>,
}

#[derive(Deserialize)]
struct ReadMethod {
    method: Option<&'static str>,
}

impl Catalogue {
    fn read() -> Self {
        // The file is part of the program and a test reads all of it: it cannot be broken in a program that runs.
        let wire: Vec<Wire> = serde_json::from_str(SOURCE).unwrap_or_default();
        let mut entries: Vec<Entry> = wire.into_iter().map(Entry::from).collect();
        entries.sort_by_key(|entry| (entry.event, entry.pattern));
        let (mut by_name, mut patterns) = (HashMap::new(), HashMap::new());
        for (at, entry) in entries.iter().enumerate() {
            if entry.pattern { &mut patterns } else { &mut by_name }.insert(entry.event, at);
        }
        let mut entities: BTreeSet<&'static str> = entries.iter().map(|entry| entry.entity).collect();
        entities.insert(OTHER);
        Self { entries, by_name, patterns, entities: entities.into_iter().collect() }
    }
}

impl From<Wire> for Entry {
    fn from(wire: Wire) -> Self {
        let event = wire.event.find('<').and_then(|end| wire.event.get(..end)).unwrap_or(wire.event);
        Self {
            event,
            pattern: wire.pattern,
            entity: wire.entity,
            change: match wire.change {
                "add" => Change::Add,
                "update" => Change::Update,
                "delete" => Change::Delete,
                _ => Change::Other,
            },
            key_parts: wire.key_parts.unwrap_or_default().into_iter().map(path).collect(),
            alternates: wire.id_path_alternates.into_iter().map(path).collect(),
            scope: wire.scope,
            offline: wire.offline,
            deprecated: wire.deprecated,
            read_method: wire.read_method.and_then(|read| read.method),
        }
    }
}

fn path(names: Vec<&'static str>) -> Path {
    names.into_iter().map(|name| if name == "*" { Step::First } else { Step::Member(name) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_read_and_found_again() {
        assert_eq!(entries().len(), 212);
        for entry in entries() {
            let name = if entry.pattern { format!("{}147", entry.event) } else { entry.event.to_owned() };
            assert_eq!(find(&name), Some(entry), "{name}");
            assert_eq!(name, name.to_ascii_uppercase());
            assert!(entities().contains(&entry.entity), "{name}");
            assert!(!entry.offline || entry.event != "ONAPPINSTALL");
        }
        assert_eq!(entities().len(), 75);
        assert_eq!(entries().iter().filter(|e| e.offline).count(), 192);
    }

    #[test]
    fn a_pattern_needs_its_number() {
        let plain = find("ONCRMDYNAMICITEMADD").expect("plain");
        let typed = find("ONCRMDYNAMICITEMADD_147").expect("typed");
        assert!(!plain.pattern && typed.pattern);
        assert_eq!(plain.entity, typed.entity);
        for unknown in
            ["ONCRMDYNAMICITEMADD_", "ONCRMDYNAMICITEMADD_X", "ONCRMDEALADD_1", "", "_", "_1", "oncrmdealadd", "É_1"]
        {
            assert_eq!(find(unknown), None, "{unknown}");
        }
    }
}
