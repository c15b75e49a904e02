//! The configuration: wire form to checked form, all faults in one run.
//!
//! Each section is a small struct in a file of its own, already checked: whoever holds one need not check again.
//! A part of the program takes its own section, never the whole.

pub mod app;
pub mod fetch;
pub mod http;
pub mod kafka;
pub mod portals;
pub mod process;
pub mod queues;
pub mod registry;

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
