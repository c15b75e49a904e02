//! The Bitrix24 edge: typed calls over HTTP, tolerant of PHP, classified by the protocol reference.

pub mod catalogue;
mod json;
