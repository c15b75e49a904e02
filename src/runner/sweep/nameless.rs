//! Error rows that have no name: each becomes a dead letter, and is then removed by its message.

use std::collections::BTreeMap;

use super::{Sweep, Swept, TRIES};
use crate::{
    protocol::{
        nameless::{Event, Nameless},
        types::{Malformed, Mark, NamelessRow},
    },
    runner::{clock::Clock, nameless::STUCK, publishing::failures},
};

impl Sweep<'_> {
    /// Publishes and removes these rows, as far as that works at once.
    pub(super) async fn nameless(&self, rows: Vec<NamelessRow>, swept: &mut Swept) {
        let clock: Clock = self.shared.clock;
        let mut machine = Nameless::default();
        let mut contents: BTreeMap<Mark, Malformed> = BTreeMap::new();
        for NamelessRow { mark, hold, content } in rows {
            machine.found(mark, hold);
            contents.insert(mark, content);
        }
        // One round takes a hundred of them, and one that is too large takes two.
        for _ in 0..contents.len().div_ceil(100) * TRIES {
            let due = machine.letters(clock.now());
            let records = due.iter().filter_map(|(mark, reason)| {
                let topic = &self.shared.dead_letter_topic;
                Some(self.recorder.nameless_letter(topic, *mark, contents.get(mark)?, *reason))
            });
            let records: Vec<_> = records.collect();
            if records.is_empty() {
                break;
            }
            let deliveries = self.shared.producer.publish(records).await;
            let metrics = &self.shared.metrics;
            for (class, records) in failures(deliveries.iter()) {
                metrics.produce_failures.with_label_values(&[class.as_str()]).inc_by(records);
            }
            let reports: Vec<_> = due.iter().map(|(mark, _)| *mark).zip(deliveries).collect();
            for event in machine.delivered(clock.now(), &reports) {
                self.tell(&event);
                if let Event::Settled(_, reason) = event {
                    // Counted as received only now, like any other row of a sweep.
                    metrics.flow(|m| {
                        m.rows_received.with_label_values(&["other"]).inc();
                        m.dead_letters.with_label_values(&[reason.as_str()]).inc();
                        self.session.series().moved(1, 0);
                    });
                    self.shared.letters.note(self.session.portal(), None, None, reason);
                }
            }
        }
        let held = machine.held().count() as u64;
        loop {
            let due = machine.removals(clock.now());
            if due.is_empty() {
                break;
            }
            let removals = self.session.remove(self.connector, due).await;
            let events = machine.removed(clock.now(), &removals.outcomes);
            events.iter().for_each(|event| self.tell(event));
            let removed = events.iter().filter(|event| matches!(event, Event::Removed(_))).count() as u64;
            self.shared.metrics.rows_cleared.inc_by(removed);
            swept.swept += removed;
        }
        let unconfirmed = (machine.len() + machine.stuck()) as u64 - held;
        swept.held += held;
        swept.unconfirmed += unconfirmed;
        if held > 0 {
            swept.trouble = Some("Kafka has not taken every row".to_owned());
        } else if unconfirmed > 0 {
            swept.trouble = Some("the portal has not confirmed that every row is removed".to_owned());
        }
    }

    fn tell(&self, event: &Event) {
        let (portal, connector) = (self.session.portal(), self.connector.as_str());
        match event {
            Event::Stuck(mark) => tracing::error!(%portal, connector, %mark, "{STUCK}"),
            Event::LetterRefused(mark, reason) => tracing::error!(
                %portal, connector, %mark, topic = &*self.shared.dead_letter_topic, reason = reason.as_str(),
                "the dead-letter topic refuses a dead letter; its row stays at the portal until the topic takes it",
            ),
            Event::Settled(..) | Event::Removed(_) => {}
        }
    }
}
