//! The portals and their tokens, durably.
