//! `[[queues]]`: which queues of each portal are read.

use super::{
    form::{AnyText, Checked, Switch},
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
    /// Whether every other event of this queue is unbound.
    pub unbind_others: bool,
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
        let unbind_others = section.or(
            Named(
                "unbind_others",
                "Whether events that are bound to this queue and not listed in events are unbound. \
 Other queues and online handlers are left alone.",
            ),
            "false",
            &Switch,
        );
        let topic = section.optional(
            Named("topic", "Template of the topic's name for this queue, instead of kafka.topic."),
            &Checked(super::kafka::TOPIC, rules::topic),
        );
        if unbind_others == Some(true) && events.as_ref().is_some_and(Vec::is_empty) {
            section.fault("unbind_others", "would unbind every event, as events is empty", "list the events to keep");
            return None;
        }
        let mut names: Vec<String> = events?.into_iter().flatten().collect();
        names.sort();
        names.dedup();
        Some(Self {
            connector: Connector::new(&connector?),
            events: names,
            unbind_others: unbind_others?,
            topic: topic?,
        })
    }

    /// What is read if no queue is given: the plain one, binding nothing.
    pub(super) fn plain() -> Self {
        Self { connector: Connector::default(), events: Vec::new(), unbind_others: false, topic: None }
    }
}
