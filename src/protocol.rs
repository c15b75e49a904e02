//! The protocol core: pure state machines that decide, and never act.
//!
//! # Contract
//!
//! - [`queue::Queue::step`] takes the time and one [`queue::Input`], and appends [`queue::Action`]s. It never blocks and
//!   never fails: every input is answered in every state, a stale or doubled one harmlessly.
//! - The driver performs all actions of one step before it makes the next, and answers each
//!   [`queue::Action::Exchange`] with exactly one [`queue::Input::Exchanged`], and each row of a publication with one
//!   [`types::Delivery`]. What it does not know it reports as unknown, never as done or refused.
//! - [`queue::Queue::deadline`] is the only timer. Firing late or twice is harmless.
//! - No IO, no clock, no randomness, no logger: `clippy.toml` names what is forbidden here. States, inputs and actions are
//!   `Clone + Debug + Eq + Hash` over ordered collections, so that a state is a state of the exhaustive model
//!   (`tests/model.rs`, which compiles these very files on their own). They also have a form as text: an input is a line of
//!   a trace (`b24kafka run --trace`), which can be replayed.
//!
//! [`invariants`] names what holds in every state.

// The core is pure: clippy.toml lists what it must not call, use or expand, each with the reason.
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]
// It is total, too: it answers every input in every state.
#![deny(clippy::unwrap_used, clippy::panic, clippy::todo, clippy::unimplemented)]
// The core is pure: clippy.toml lists what it must not call, use or expand, each with the reason.
pub mod conditional;
pub mod exchange;
pub mod invariants;
pub mod ledger;
pub mod nameless;
pub mod pace;
pub mod queue;
pub mod recovery;
pub mod seeded;
pub mod token;
pub mod types;
