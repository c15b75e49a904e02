//! The shapes of answers, tolerant of PHP: numbers as text, `false` or `[]` where a map belongs, lists as maps.
//!
//! A body is parsed once, in one pass, and borrowed from: the values of a row are not looked into here. Only broken
//! JSON is an error; a value of another kind than expected is kept as "odd" for whoever knows what it means.

mod batch;
mod row;
pub mod scalar;
pub mod time;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::{
    batch::{Batch, Commands, DELETE, Entries, GET, Get, PAGE, Rows},
    row::{RawRow, nameless, process, read_row},
};

/// What is around every answer of a portal (protocol reference section 3).
#[derive(Deserialize)]
pub struct Envelope<'a, T> {
    /// The result, if the call succeeded.
    pub result: Option<T>,
    /// A code as text or number, if it did not.
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
    /// How long it took and what the portal's clock says.
    #[serde(borrow)]
    pub time: Option<&'a RawValue>,
}

/// Methods of a visitor for values that are no container: all of them make `$odd`.
macro_rules! scalars_are {
    ($odd:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($odd)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($odd)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($odd)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($odd)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($odd)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($odd)
        }
    };
}
use scalars_are;
