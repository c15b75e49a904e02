//! The whole application in this process: simulated portals over HTTP, librdkafka's mock broker, injected faults.
//!
//! The judge is the simulator's ledger: every row that the portals ever had is in Kafka, nothing is left reserved, and the
//! portals have not been misused.

mod admin;
mod aftermath;
mod bindings;
mod cycles;
mod flow;
mod health;
mod isolation;
mod kafka;
mod life;
mod limits;
mod portals;
mod records;
#[path = "../support/replay.rs"]
mod replay;
mod roster;
mod schema;
mod secrets;

mod stage;
mod sweep;
mod tokens;
mod truth;
mod upkeep;
