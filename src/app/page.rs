//! Ties the status page to the parts that know what it shows.

use std::sync::Arc;

use super::history::{self, History};
use crate::{
    config::{self, Config},
    http::{
        admin::View,
        page::{self, DeadLetter, Facts, Place, Sums},
    },
    metrics::{Metrics, Totals},
    protocol::types::RowId,
    registry::Registry,
    runner::letters::{Letter, Letters},
};

/// The routes of the page.
pub(super) fn build(
    config: &Config,
    view: Arc<View>,
    metrics: &Arc<Metrics>,
    history: &History,
    registry: &Registry,
    letters: &Arc<Letters>,
) -> axum::Router {
    let (metrics, history, registry, letters) = (metrics.clone(), history.clone(), registry.clone(), letters.clone());
    let config::registry::Registry::File { path } = &config.registry;
    let place = format!("files in {}", path.display());
    page::router(Arc::new(Facts {
        view,
        sums: Box::new(move || sums(&metrics.totals())),
        history: Box::new(move || history.samples().iter().map(sums).collect()),
        every: history::EVERY,
        registry: Box::new(move || Place { name: place.clone(), trouble: registry.trouble() }),
        dead_letters: Box::new(move || letters.last().into_iter().map(letter).collect()),
        dead_letter_topic: config.kafka.dead_letter_topic.clone(),
    }))
}

fn sums(totals: &Totals) -> Sums {
    let Totals { received, acknowledged, cleared, dead, requests, held } = *totals;
    Sums { received, acknowledged, cleared, dead, requests, held }
}

fn letter(letter: Letter) -> DeadLetter {
    DeadLetter {
        at: letter.at,
        member_id: letter.portal.to_string(),
        row: letter.row.map(RowId::get),
        event: letter.event,
        reason: letter.reason.as_str(),
    }
}
