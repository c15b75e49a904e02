//! `[fetch]`: how rows are fetched.

use std::time::Duration;

/// `[fetch]`
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Least rows that one `get` asks for, at least 1.
    pub limit_min: u32,
    /// Most rows that one `get` asks for; not below `limit_min`.
    pub limit_max: u32,
    /// First wait of an idle queue.
    pub poll_min: Duration,
    /// Longest wait of an idle queue; not below `poll_min`.
    pub poll_max: Duration,
    /// When a request is given up; the portal ends it at 60 s whatever this is.
    pub request_timeout: Duration,
}
