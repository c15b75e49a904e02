//! The configuration: wire form to checked form, all faults in one run.
//!
//! Each section is a small struct in a file of its own, already checked: whoever holds one need not check again.
//! A part of the program takes its own section, never the whole.
//!
//! Values come from one TOML file and, above it, from variables `B24KAFKA__SECTION__KEY`; every secret `x` may also be
//! given as `x_file`. Relative paths are relative to the working directory.

use std::{collections::BTreeMap, path::Path};

pub use self::{
    fault::{Fault, Faults, Place},
    reader::Key,
    secret::{from_file as secret_in, from_reader as secret_from},
    source::environment,
};
use self::{
    reader::{Reader, Section},
    source::Sources,
};

pub mod app;
mod fault;
pub mod fetch;
mod form;
pub mod http;
pub mod kafka;
pub mod portals;
pub mod process;
pub mod queues;
mod reader;
pub mod registry;
mod rules;
mod secret;
mod source;

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[app]`
    pub app: app::App,
    /// `[[queues]]`, at least one.
    pub queues: Vec<queues::Queue>,
    /// `[[portals]]`
    pub portals: Vec<portals::Portal>,
    /// `[fetch]`
    pub fetch: fetch::Fetch,
    /// `[kafka]`
    pub kafka: kafka::Kafka,
    /// `[registry]`
    pub registry: registry::Registry,
    /// `[http]`
    pub http: http::Http,
    /// `[admin]`
    pub admin: http::Admin,
    /// `[log]`
    pub log: process::Log,
    /// `[shutdown]`
    pub shutdown: process::Shutdown,
}

impl Config {
    /// Loads the file and lays the variables over it; [`environment`] has those of this process.
    ///
    /// # Errors
    /// All faults at once. A file that cannot be read, or that is no TOML, is one fault: nothing can be said of the
    /// rest.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Self, Faults> {
        match source::read(path) {
            Ok(text) => Self::parse(path, &text, env),
            Err(fault) => Err(Faults::one(fault)),
        }
    }

    /// Reads the text of a file; `path` only names it in faults.
    ///
    /// # Errors
    /// All faults at once, as [`load`](Self::load).
    pub fn parse(path: &Path, text: &str, env: impl Iterator<Item = (String, String)>) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let sources = match Sources::new(path, text, env, &mut faults) {
            Ok(sources) => sources,
            Err(fault) => return Err(Faults::one(fault)),
        };
        let mut reader = Reader::new(&sources, faults);
        let config = reader.root(Self::read);
        match (Faults::new(reader.faults), config) {
            (None, Some(config)) => Ok(config),
            (Some(faults), _) => Err(faults),
            (None, None) => Err(Faults::one(Fault {
                place: Place::File(path.to_path_buf(), None),
                key: String::new(),
                wrong: "the configuration cannot be read, and no key is to blame".into(),
                right: "please report this".into(),
            })),
        }
    }

    /// Every key there is, in the order of the sections.
    pub fn keys() -> Vec<Key> {
        let text = "[[queues]]\n[[portals]]\n";
        let sources = Sources::new(Path::new(""), text, std::iter::empty(), &mut Vec::new());
        sources.map_or_else(
            |_| Vec::new(),
            |sources| {
                let mut reader = Reader::new(&sources, Vec::new());
                reader.root(Self::read);
                reader.keys
            },
        )
    }

    fn read(root: &mut Section<'_, '_>) -> Option<Self> {
        let app = root.section("app", app::App::read);
        // Whether it may be http is not known if [app] has faults; then no URL is blamed.
        let allow_http = app.as_ref().is_none_or(|app| app.allow_http);
        let queues = root.sections("queues", queues::Queue::read);
        let portals = root.sections("portals", |section| portals::Portal::read(section, allow_http));
        let fetch = root.section("fetch", fetch::Fetch::read);
        let kafka = root.section("kafka", kafka::Kafka::read);
        let registry = root.section("registry", registry::Registry::read);
        let http = root.section("http", |section| http::Http::read(section, allow_http));
        let admin = root.section("admin", http::Admin::read);
        let log = root.section("log", process::Log::read);
        let shutdown = root.section("shutdown", process::Shutdown::read);
        if let Some(queues) = &queues {
            let names = queues.iter().map(|queue| queue.connector.as_str());
            no_twins(root, "queues", "connector", names);
        }
        if let Some(portals) = &portals {
            let names = portals.iter().map(|portal| portal.member_id.as_str());
            no_twins(root, "portals", "member_id", names);
        }
        if let (Some(http), Some(admin)) = (&http, &admin)
            && http.listen == admin.listen
            && http.listen.port() != 0
        {
            root.fault_in_file("admin.listen", "is the address of http.listen too", "give each its own port");
        }
        let mut queues = queues?;
        if queues.is_empty() {
            queues.push(queues::Queue::plain());
        }
        Some(Self {
            app: app?,
            queues,
            portals: portals?,
            fetch: fetch?,
            kafka: kafka?,
            registry: registry?,
            http: http?,
            admin: admin?,
            log: log?,
            shutdown: shutdown?,
        })
    }
}

/// Each of the names stands once in its list.
fn no_twins<'n>(root: &mut Section<'_, '_>, list: &str, key: &str, names: impl Iterator<Item = &'n str>) {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, name) in names.enumerate() {
        if let Some(first) = first.get(name) {
            let wrong = format!("is {name:?}, as in {list}[{first}]");
            root.fault_in_file(&format!("{list}[{index}].{key}"), &wrong, "give each only once");
        } else {
            first.insert(name, index);
        }
    }
}

#[cfg(test)]
mod tests;
