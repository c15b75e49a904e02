//! What the log tells of a queue. Each line names the portal and the connector, so that one of them can be followed alone.

use super::publishing::Tally;
use crate::{
    metrics::labels::ProduceFailure,
    protocol::{
        queue::Fact,
        types::{Refusal, RowId},
    },
};

/// What one step brought.
pub(super) struct Told<'a> {
    /// Rows that an exchange brought; `None` if there was none.
    pub brought: Option<usize>,
    /// Rows of them that were found in a reservation that nobody held.
    pub recovered: u64,
    /// Rows that Kafka has acknowledged.
    pub acknowledged: u64,
    /// Rows that the portal has cleared.
    pub cleared: u64,
    /// Rows that Kafka did not acknowledge, by class.
    pub failed: &'a [(ProduceFailure, u64)],
}

impl Tally<'_> {
    /// What somebody wants to see who follows a portal in trouble.
    pub(super) fn tell(&self, told: &Told<'_>) {
        let (portal, connector) = (self.session.portal(), self.connector.as_str());
        if let Some(rows) = told.brought {
            tracing::debug!(%portal, connector, rows, "the portal has answered a read");
        }
        if told.recovered > 0 {
            tracing::info!(%portal, connector, rows = told.recovered, "found rows in a reservation that nobody held");
        }
        if told.acknowledged > 0 {
            tracing::debug!(%portal, connector, rows = told.acknowledged, "Kafka has acknowledged rows");
        }
        for (class, rows) in told.failed {
            tracing::debug!(%portal, connector, rows, class = class.as_str(), "Kafka has not acknowledged rows");
        }
        if told.cleared > 0 {
            tracing::debug!(%portal, connector, rows = told.cleared, "the portal has cleared rows");
        }
    }

    /// A row has become a dead letter.
    pub(super) fn tell_dead_letter(&self, row: RowId, reason: Refusal) {
        let (portal, connector) = (self.session.portal(), self.connector.as_str());
        tracing::warn!(%portal, connector, %row, reason = reason.as_str(), "a row went to the dead letters");
    }

    /// The topic of dead letters refuses one.
    pub(super) fn tell_refused_letter(&self, row: RowId, reason: Refusal) {
        let (portal, connector) = (self.session.portal(), self.connector.as_str());
        tracing::error!(
            %portal, connector, %row, topic = self.dead_letter_topic, reason = reason.as_str(),
            "the dead-letter topic refuses a dead letter; its row stays reserved until the topic takes it",
        );
    }

    /// A fact that is only for the log.
    pub(super) fn tell_fact(&self, fact: Fact) {
        let (portal, connector) = (self.session.portal(), self.connector.as_str());
        match fact {
            Fact::OnlyHere(row) => tracing::warn!(
                %portal, connector, %row,
                "a row changed at the moment of its deletion; until Kafka has it, this process has the only copy",
            ),
            Fact::WakeUpsMissed => {
                tracing::warn!(
                    %portal, connector,
                    "rows came that no wake-up announced: the queue is polled more often until wake-ups come again",
                );
                // An update of the application takes bindings away; events that are not bound make no rows.
                self.session.standing().look_again();
            }
            Fact::Disbelieved => tracing::warn!(
                %portal, connector,
                "a listing is not borne out by the portal's own time (time.date_start of the answer): nothing is taken from it, \
                 and it is asked for again",
            ),
            Fact::WakeUpsBack => tracing::info!(%portal, connector, "wake-ups come again"),
            _ => tracing::debug!(%portal, connector, "the outcome of a get is unknown; looking for what it reserved"),
        }
    }
}
