//! The whole application in this process: simulated portals over HTTP, librdkafka's mock broker, injected faults.
//!
//! The judge is the simulator's ledger: every row that the portals ever had is in Kafka, nothing is left reserved, and the
//! portals have not been misused.

mod admin;
mod aftermath;
mod bindings;
mod caller;
mod chain;
mod conditional;
mod cycles;
mod employees;
mod flow;
mod forgeries;
mod health;
mod installs;
mod isolation;
mod kafka;
mod life;
mod limits;
mod log;
mod nameless;
#[path = "../support/port.rs"]
mod port;
mod portals;
mod records;
#[path = "../support/replay.rs"]
mod replay;
mod roster;
mod schema;
mod secrets;

mod stage;
mod starts;
mod sweep;
mod tokens;
mod truth;
mod upkeep;
mod visitors;
mod wakes;
