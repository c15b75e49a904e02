//! The simulator against the protocol reference, over HTTP: a fake that nobody tests lies.

mod batch;
mod changes;
mod conditional;
mod faults;
mod limits;
mod offline;
mod portal;
mod tokens;
