//! The Bitrix24 edge: typed calls over HTTP, tolerant of PHP, classified by the protocol reference.
//!
//! Every call has one of three outcomes: done, refused (it was certainly not executed), or unknown. The edge never
//! repeats a call by itself, keeps no state of a queue, and lets no token out: not into errors, logs or rows.

pub mod bindings;
pub mod catalogue;
pub mod client;
pub mod error;
pub mod errors;
pub mod exchange;
pub mod features;
pub mod hosts;
mod json;
pub mod nameless;
pub mod oauth;
mod redact;
mod wire;

pub use self::{
    client::{Access, Client},
    error::{CallError, Trouble},
    exchange::{Exchanged, OperatingTime},
};
