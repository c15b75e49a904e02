//! The protocol core: pure state machines.
//!
//! No IO, no clock, no randomness, no logger, no allocation-free heroics: inputs are values, outputs are a list of
//! actions, and the same input in the same state always gives the same result.

pub mod exchange;
pub mod types;
