//! The metrics, all of them, in one place.
