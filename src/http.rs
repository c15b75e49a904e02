//! The listeners. The admin listener is separate from the public one, which Bitrix24 calls.

pub mod admin;
pub mod callback;
pub mod page;
