//! `[fetch]`: how rows are fetched.

use std::time::Duration;

use super::{
    form::{Size, Span, Whole},
    reader::{Named, Section},
};

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
    /// Most requests to portals that are on their way at the same time, those that a portal lets wait not counted.
    pub concurrency: usize,
    /// When a request is given up; the portal ends it at 60 s whatever this is.
    pub request_timeout: Duration,
    /// Most bytes of one answer that are read; a longer answer counts as lost.
    pub response_limit: u64,
}

impl Fetch {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let rows = Whole(1..=10_000);
        let wait = Span(Duration::from_millis(100), Duration::from_secs(3600));
        let requests = Whole(1..=10_000);
        // Below a second a portal's own work would end as an unknown outcome; past minutes nobody waits.
        let timeout = Span(Duration::from_secs(1), Duration::from_secs(600));
        let answer = Size(1 << 20, 1 << 30);
        let limit_min = section.or(
            Named(
                "limit_min",
                "Least rows that one request asks for; where the adaptive limit begins and what it falls back to.",
            ),
            "50",
            &rows,
        );
        let limit_max = section.or(
            Named("limit_max", "Most rows that one request asks for; the portal itself has no bound."),
            "1000",
            &rows,
        );
        let poll_min =
            section.or(Named("poll_min", "First wait of an idle queue before it asks again."), "\"1s\"", &wait);
        let poll_max =
            section.or(Named("poll_max", "Longest wait of an idle queue; waits stretch up to it."), "\"60s\"", &wait);
        let concurrency = section.or(
            Named(
                "concurrency",
                "Most requests to portals that are on their way at the same time; \
 one that its portal lets wait for more than three seconds counts no longer, and portals that do so have a quarter as many places of their own beside these.",
            ),
            "256",
            &requests,
        );
        let request_timeout = section.or(
            Named(
                "request_timeout",
                "When a request is given up. \
 The portal ends one at 60 s whatever this says, so the default waits a little longer.",
            ),
            "\"70s\"",
            &timeout,
        );
        let response_limit = section.or(
            Named("response_limit", "Largest answer of a portal that is read; guards the memory."),
            "\"64MiB\"",
            &answer,
        );
        if let (Some(min), Some(max)) = (limit_min, limit_max)
            && min > max
        {
            section.fault("limit_min", format!("is {min}, above limit_max = {max}"), "make it the smaller one");
        }
        if let (Some(min), Some(max)) = (poll_min, poll_max)
            && min > max
        {
            section.fault("poll_min", "is above poll_max", "make it the smaller one");
        }
        Some(Self {
            limit_min: u32::try_from(limit_min?).ok()?,
            limit_max: u32::try_from(limit_max?).ok()?,
            poll_min: poll_min?,
            poll_max: poll_max?,
            concurrency: usize::try_from(concurrency?).ok()?,
            request_timeout: request_timeout?,
            response_limit: response_limit?,
        })
    }
}
