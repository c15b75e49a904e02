//! `[[queues]]`: which queues of each portal are read.

use super::{
    form::{AnyText, Checked},
    reader::{Named, Section},
    rules,
};
use crate::protocol::types::Connector;

const EVENT: &str =
    "an event, an entity or a family such as \"ONTASKADD\", \"crm.deal\" or \"crm.*\" (see `b24kafka events`)";

/// One of `[[queues]]`; it exists on every portal.
#[derive(Clone, Debug)]
pub struct Queue {
    /// `auth_connector`; `""` is the plain queue.
    pub connector: Connector,
    /// Names of events to bind, upper case, expanded from names, entities and `crm.*`; empty binds nothing.
    pub events: Vec<String>,
    /// Instead of `kafka.topic`.
    pub topic: Option<String>,
}

impl Queue {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let connector = section.or(
            Named(
                "connector",
                "The auth_connector of the handlers; each value is a queue of its own, and \"\" is the plain one.",
            ),
            "\"\"",
            &AnyText,
        );
        let events = section.each(
            Named(
                "events",
                "What to bind on every portal: names, entities, or all entities of a family as in \"crm.*\". \
 None: read what is bound already.",
            ),
            "[]",
            &Checked(EVENT, rules::events),
        );
        let topic = section.optional(
            Named("topic", "Template of the topic's name for this queue, instead of kafka.topic."),
            &Checked(super::kafka::TOPIC, rules::topic),
        );
        let mut names: Vec<String> = events?.into_iter().flatten().collect();
        names.sort();
        names.dedup();
        Some(Self { connector: Connector::new(&connector?), events: names, topic: topic? })
    }

    /// What is read if no queue is given: the plain one, binding nothing.
    pub(super) fn plain() -> Self {
        Self { connector: Connector::default(), events: Vec::new(), topic: None }
    }
}
