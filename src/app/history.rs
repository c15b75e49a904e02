//! The sums of the last hour, for the status page: a sample every half minute, and nothing older is kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::metrics::{Metrics, Totals};

/// The span between two samples.
pub const EVERY: Duration = Duration::from_secs(30);
/// Samples that are kept: an hour and the one before it.
const KEPT: usize = 121;

/// The samples, oldest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<VecDeque<Totals>>>);

impl History {
    /// Takes samples until it is dropped.
    pub async fn keep(self, metrics: Arc<Metrics>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.add(metrics.totals());
        }
    }

    /// The samples.
    pub fn samples(&self) -> Vec<Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn add(&self, totals: Totals) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(totals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept() {
        let history = History::default();
        for received in 0..200 {
            history.add(Totals { received, ..Totals::default() });
        }
        let samples = history.samples();
        assert_eq!((samples.len(), samples[0].received, samples[120].received), (121, 79, 199));
    }
}
