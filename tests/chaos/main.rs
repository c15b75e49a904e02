//! Chaos on real Kafka: whatever dies, freezes, refuses or lies, no row is lost and none stays hidden.
//!
//! The bridge is a process of its own, the broker is Apache Kafka, the portals are simulated. Rows flow while things go
//! wrong at moments that a seed decides; then the world heals, and the portals' ledgers are held against what Kafka's own
//! client reads back. Every scenario ends with a line of the table that `table` keeps.
//!
//! `make test` runs a short version. `make chaos` runs the long one on a new seed; `B24KAFKA_CHAOS_SEED=...` repeats it,
//! as far as moments can be repeated.

mod bridge;
mod broker;
mod cluster;
mod disk;
mod feed;
mod plan;
mod portals;
mod pressure;
mod secrets;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod threads;
mod topics;
