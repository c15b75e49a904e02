//! Hostile and odd input: every parser of foreign bytes, through the crate's public interface, against bytes that nobody
//! should send.
//!
//! Whatever comes, the outcome is a named error or a right value: no panic, no hang, no memory without bound, no redirect
//! followed. What is claimed to be known is held against an independent reading of the same bytes (`truth`), since a
//! wrong reading can lose a row: a clear taken for done, a reservation taken for an empty one.

mod answers;
mod calls;
mod child;
mod configuration;
mod fuzz;
mod generated;
mod http;
mod limits;
mod mutate;
mod registry;
mod stand;
mod targets;
mod truth;
mod wire;
