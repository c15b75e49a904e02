//! The Kafka edge: records, producer, topics, dead letters.
//!
//! Rows go in, one [`Delivery`](crate::protocol::types::Delivery) per row comes out; nothing counts as acknowledged
//! that Kafka has not acknowledged. What follows from a delivery is decided by the protocol core, never here.

use rdkafka::error::KafkaError;

pub mod consumer;
pub mod counters;
pub mod dead_letter;
pub mod health;
pub mod options;
pub mod producer;
pub mod record;
pub mod statistics;
pub mod template;
pub mod topics;

/// An error in words, without the values of options, which may be secrets.
fn reason(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, option, _) => format!("librdkafka does not take the option {option}"),
        KafkaError::ClientCreation(reason) => reason.clone(),
        error => error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string()),
    }
}
