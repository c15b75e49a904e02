//! The Kafka edge: records, producer, topics, dead letters.
//!
//! Rows go in, one [`Delivery`](crate::protocol::types::Delivery) per row comes out; nothing counts as acknowledged
//! that Kafka has not acknowledged. What follows from a delivery is decided by the protocol core, never here.

pub mod counters;
pub mod dead_letter;
pub mod health;
pub mod options;
pub mod producer;
pub mod record;
pub mod template;
pub mod topics;
