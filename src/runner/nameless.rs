//! The rows of one queue that have no name: what they say, and the work on them beside the work of the queue.
//!
//! Hardly any queue ever has one, so a queue has a shelf for them only from the first one on.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use super::{
    Doing, Done, Runner, Work,
    abandoned::Abandoned,
    letters::Letters,
    publishing::failures,
    session::{Removals, Session},
};
use crate::{
    kafka::{producer::Producer, record::Recorder},
    metrics::Metrics,
    protocol::{
        nameless::{Event, Nameless},
        queue::Input,
        types::{Connector, Delivery, Hindrance, Hold, Malformed, Mark, Millis, NamelessRow, Refusal},
    },
};

/// What is told of a row that stays.
pub(super) const STUCK: &str =
    "a row without a usable id is in the dead letters and cannot be removed at the portal: nothing names it there";

type Reports = Vec<(Mark, Delivery)>;

/// The rows of one queue that have no name.
pub(super) struct Shelf {
    machine: Nameless,
    /// The last call of the queue was for them.
    had_its_turn: bool,
    /// What the rows say whose dead letters are not acknowledged.
    contents: BTreeMap<Mark, Malformed>,
    /// Dead letters that are on their way.
    publishing: Option<Pin<Box<dyn Future<Output = Reports> + Send>>>,
    session: Arc<Session>,
    connector: Connector,
    producer: Producer,
    dead_letter_topic: Arc<str>,
    metrics: Arc<Metrics>,
    letters: Arc<Letters>,
    abandoned: Arc<Abandoned>,
}

impl Shelf {
    /// An empty one.
    fn new(of: &Runner) -> Self {
        Self {
            machine: Nameless::default(),
            had_its_turn: false,
            contents: BTreeMap::new(),
            publishing: None,
            session: of.session.clone(),
            connector: of.connector.clone(),
            producer: of.producer.clone(),
            dead_letter_topic: of.dead_letter_topic.clone(),
            metrics: of.metrics.clone(),
            letters: of.letters.clone(),
            abandoned: of.abandoned.clone(),
        }
    }

    /// The portal has shown these rows.
    fn take(&mut self, rows: Vec<NamelessRow>) {
        for NamelessRow { mark, hold, content } in rows {
            let gone = hold == Hold::Gone;
            if !self.machine.found(mark, hold) {
                continue;
            }
            self.contents.insert(mark, content);
            // One that an earlier runner of the queue has left is counted already.
            if !self.abandoned.take_up(self.session.portal(), &self.connector, mark) {
                self.metrics.flow(|m| {
                    m.rows_received.with_label_values(&["other"]).inc();
                    m.rows_held.inc();
                    self.session.series().moved(1, 1);
                });
            }
            let (portal, connector) = (self.session.portal(), self.connector.as_str());
            if gone {
                tracing::warn!(
                    %portal, connector, %mark,
                    "a row came from its deletion without a usable id; until Kafka has it, this process has the only copy",
                );
            }
        }
    }

    /// Produces what is due, beside everything else.
    fn publish(&mut self, now: Millis, recorder: &Recorder) {
        if self.publishing.is_some() {
            return;
        }
        let (mut marks, mut records, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for (mark, reason) in self.machine.letters(now) {
            match self.contents.get(&mark) {
                Some(content) => {
                    marks.push(mark);
                    records.push(recorder.nameless_letter(&self.dead_letter_topic, mark, content, reason));
                }
                // Nothing was produced, so nothing may be acknowledged.
                None => missing.push((mark, Delivery::Failed(Hindrance::Passing))),
            }
        }
        if marks.is_empty() && missing.is_empty() {
            return;
        }
        let producer = self.producer.clone();
        self.publishing = Some(Box::pin(async move {
            let reports = marks.into_iter().zip(producer.publish(records).await);
            reports.chain(missing).collect()
        }));
    }

    /// Waits for the reports of dead letters; without end if none are on their way.
    pub(super) async fn reports(shelf: &mut Option<Box<Self>>) -> Reports {
        let Some(publishing) = shelf.as_mut().and_then(|shelf| shelf.publishing.as_mut()) else {
            return std::future::pending().await;
        };
        publishing.await
    }

    /// Takes in the reports of dead letters.
    fn reported(&mut self, now: Millis, reports: &[(Mark, Delivery)]) {
        self.publishing = None;
        for (class, records) in failures(reports.iter().map(|(_, delivery)| delivery)) {
            self.metrics.produce_failures.with_label_values(&[class.as_str()]).inc_by(records);
        }
        for event in self.machine.delivered(now, reports) {
            self.tell(event);
        }
    }

    /// Takes in what became of removals. Returns whether a row is removed.
    fn removed(&mut self, now: Millis, removals: Removals) -> bool {
        // First what was deleted: as it was published it is no news while its removal is awaited.
        self.take(removals.brought);
        let events = self.machine.removed(now, &removals.outcomes);
        for event in &events {
            self.tell(*event);
        }
        events.iter().any(|event| matches!(event, Event::Removed(_)))
    }

    fn tell(&mut self, event: Event) {
        let (portal, connector) = (self.session.portal(), self.connector.as_str());
        match event {
            Event::Settled(mark, reason) => {
                self.contents.remove(&mark);
                self.metrics.flow(|m| {
                    m.dead_letters.with_label_values(&[reason.as_str()]).inc();
                    m.rows_held.dec();
                    self.session.series().moved(0, -1);
                });
                self.letters.note(portal, None, None, reason);
                tracing::warn!(
                    %portal, connector, %mark, reason = reason.as_str(),
                    "a row without a usable id went to the dead letters",
                );
            }
            Event::LetterRefused(mark, reason) => self.tell_refused(mark, reason),
            Event::Removed(_) => self.metrics.rows_cleared.inc(),
            Event::Stuck(mark) => tracing::error!(%portal, connector, %mark, "{STUCK}"),
        }
    }

    fn tell_refused(&self, mark: Mark, reason: Refusal) {
        let (portal, connector) = (self.session.portal(), self.connector.as_str());
        tracing::error!(
            %portal, connector, %mark, topic = &*self.dead_letter_topic, reason = reason.as_str(),
            "the dead-letter topic refuses a dead letter; its row stays at the portal until the topic takes it",
        );
    }
}

impl Runner {
    /// An answer has brought rows that have no name.
    pub(super) fn shelve(&mut self, rows: Vec<NamelessRow>) {
        if rows.is_empty() {
            return;
        }
        let mut shelf = self.nameless.take().unwrap_or_else(|| Box::new(Shelf::new(self)));
        shelf.take(rows);
        self.nameless = Some(shelf);
    }

    /// Nothing waits any longer if somebody says that what was in the way is mended, or that the queue is to come to rest.
    pub(super) fn mended(&mut self, input: &Input) {
        if matches!(input, Input::Resume | Input::Drain)
            && let Some(shelf) = &mut self.nameless
        {
            shelf.machine.resume();
        }
    }

    /// Takes in the reports of their dead letters.
    pub(super) fn reported(&mut self, reports: &[(Mark, Delivery)]) {
        let now = self.clock.now();
        if let Some(shelf) = &mut self.nameless {
            shelf.reported(now, reports);
        }
    }

    /// Takes in what became of their removals. Returns whether a row is removed.
    pub(super) fn removed(&mut self, removals: Removals) -> bool {
        let now = self.clock.now();
        self.nameless.as_mut().is_some_and(|shelf| shelf.removed(now, removals))
    }

    /// Begins what is due of them beside the work of the queue.
    pub(super) fn tend(&mut self) {
        if self.nameless.is_none() {
            return;
        }
        self.follow();
        let now = self.clock.now();
        if let Some(shelf) = &mut self.nameless {
            shelf.publish(now, &self.recorder);
        }
        self.update(now);
    }

    /// What the queue does next. Rows go to Kafka first; removals take turns with the machine's own calls, one call of a queue
    /// at a time, since two `get`s at once could meet the same rows.
    pub(super) fn choose(&mut self, next: &mut Option<Work>) -> Option<Doing> {
        let Some(shelf) = &mut self.nameless else { return next.take().map(|work| work.doing) };
        let full = shelf.machine.is_full();
        let turn = std::mem::replace(&mut shelf.had_its_turn, false);
        let first = next.take_if(|work| work.publishes || (turn && !(full && work.deletes)));
        if let Some(work) = first {
            return Some(work.doing);
        }
        if let Some(removal) = self.remove() {
            return Some(removal);
        }
        next.take_if(|work| !(full && work.deletes)).map(|work| work.doing)
    }

    fn remove(&mut self) -> Option<Doing> {
        let shelf = self.nameless.as_mut()?;
        let rows = shelf.machine.removals(self.clock.now());
        if rows.is_empty() {
            return None;
        }
        shelf.had_its_turn = true;
        let (session, connector) = (self.session.clone(), self.connector.clone());
        Some(Box::pin(async move { Done::Removed(session.remove(&connector, rows).await) }))
    }

    /// When something is due of them. While a call of the queue is under way (`busy`) no removal is.
    pub(super) fn beside(&self, busy: bool) -> Option<Millis> {
        let machine = &self.nameless.as_ref()?.machine;
        if busy { machine.letters_at() } else { machine.deadline() }
    }

    /// Whether any of them is not done with.
    pub(super) fn owes(&self) -> bool {
        self.nameless.as_ref().is_some_and(|shelf| !shelf.machine.is_empty())
    }

    /// Whoever asks is told where all rows stand.
    pub(super) fn update(&self, now: Millis) {
        self.status.update(&self.queue, self.nameless.as_ref().map(|shelf| &shelf.machine), now);
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.abandoned.leave_nameless(self.session.portal(), &self.connector, self.machine.held());
        let rows = self.machine.only_here();
        if rows > 0 {
            let (portal, connector) = (self.session.portal(), self.connector.as_str());
            tracing::error!(
                %portal, connector, rows,
                "stopped before Kafka had rows that came from their deletion without a usable id: they are lost",
            );
        }
    }
}
