//! How long the bridge bears what it cannot change, and how often it looks at what others may have changed.

use crate::{protocol::types::Millis, runner::standing::Probes};

/// The spans of an application. They are no settings: an operator has no ground to choose others.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two looks at the bindings and the error rows of a portal while all is as it should be.
    pub look_again: Millis,
    /// Before a parked portal is tried again.
    pub probes: Probes,
    /// Rows that are held for longer than this, in seconds, are not waiting for a slow broker: somebody has to act.
    pub held: f64,
    /// Rows that wait for longer than this, in seconds, to be cleared: more than any pause of a method's time budget of ten
    /// minutes.
    pub unconfirmed: f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { look_again: Millis::secs(24 * 3600), probes: Probes::default(), held: 120.0, unconfirmed: 900.0 }
    }
}
