//! What the tiers of tests share: a real Apache Kafka, a reader that is not librdkafka, and processes that never
//! outlive a test.
//!
//! A tier uses it with `mod support;`. Everything here blocks its thread and panics with a sentence when it cannot do
//! what was asked: it is test code. Inside an async test use a multi-threaded runtime and `block_in_place`, if other
//! tasks have to go on meanwhile.

#![allow(dead_code, reason = "each tier is a crate of its own and uses only a part of this")]

pub mod bridge;
pub mod broker;
pub mod disk;
pub mod java;
pub mod judge;
pub mod mock;
pub mod port;
pub mod process;
pub mod prometheus;
pub mod promtool;
pub mod reader;
pub mod replay;
pub mod rules;
