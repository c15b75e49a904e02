//! `b24kafka` moves the offline events of Bitrix24 portals into Apache Kafka and loses none of them.
//!
//! # The map
//!
//! ```text
//! portal queue --get (reserve)--> bitrix --> runner --> kafka --acknowledgements--> runner --clear--> portal queue
//!                                               |
//!                                           protocol          decides; never acts
//! ```
//!
//! # Who may import whom
//!
//! ```text
//! main -> cli -> app -> fleet -> runner -> protocol
//!                 |       +-> registry  +-> bitrix -> protocol::{types, exchange}
//!                 +-> http              +-> kafka  -> protocol::types
//!                 +-> config, telemetry +-> metrics (a leaf)
//! ```
//!
//! `protocol` imports the standard library only, and serde's derive macros. `bitrix`, `kafka`, `http` and `registry` never import each other.
//! `sim` imports nothing of the bridge but the catalogue. `tests/tidy.rs` checks all of this.

pub mod app;
pub mod bitrix;
pub mod chain;
pub mod cli;
pub mod config;
pub mod fleet;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod protocol;
pub mod registry;
pub mod runner;
pub mod sim;
pub mod telemetry;
