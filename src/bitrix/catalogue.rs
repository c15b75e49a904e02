//! The catalogue of events, compiled in: which entity an event is about, what changed, and where the id is.
