//! Which topics a configuration will write to, as far as that is known before the first row.

use std::collections::BTreeSet;

use crate::{
    bitrix::catalogue,
    config::{Config, queues::Queue},
    kafka::template::{Fields, TemplateFault, TopicTemplate},
};

/// The most topics that are looked at: a template with `{member_id}` has as many as there are portals, and more.
const MOST: usize = 500;

/// The topics.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Names that are known, the dead-letter topic included.
    pub known: BTreeSet<String>,
    /// Those of them that every event of some queue goes to, and the dead-letter topic: they will be needed.
    pub certain: BTreeSet<String>,
    /// Templates whose names are not known yet, each with the reason.
    pub open: Vec<(String, String)>,
}

impl Names {
    /// The topics for these portals.
    ///
    /// # Errors
    /// A template that cannot be read; the check of the configuration has let none pass.
    pub fn of(config: &Config, portals: &[&str]) -> Result<Self, TemplateFault> {
        let mut names = Self::default();
        for queue in &config.queues {
            names.queue(queue, queue.topic.as_ref().unwrap_or(&config.kafka.topic), portals)?;
        }
        if names.known.len() > MOST {
            let left = names.known.len() - MOST;
            names.open.push(("further topics".into(), format!("{left} more than the {MOST} that are looked at")));
            names.known = std::mem::take(&mut names.known).into_iter().take(MOST).collect();
        }
        for all in [&mut names.known, &mut names.certain] {
            all.insert(config.kafka.dead_letter_topic.clone());
        }
        Ok(names)
    }

    fn queue(&mut self, queue: &Queue, text: &str, portals: &[&str]) -> Result<(), TemplateFault> {
        let template = TopicTemplate::parse(text)?;
        let connector = queue.connector.as_str();
        let render = |entity, event, member_id| template.render(Fields { entity, event, member_id, connector, id: "" });
        let portals = if render("a", "a", "a") == render("a", "a", "b") { &[""] } else { portals };
        let mut open = |why: &str| self.open.push((format!("topics {text}"), why.to_owned()));
        if portals.is_empty() {
            open("no portal is known yet, and their names hold its member_id");
            return Ok(());
        }
        if template.is_fixed() {
            self.certain.extend(portals.iter().map(|member_id| render("", "", member_id)));
            self.known.extend(self.certain.iter().cloned());
            return Ok(());
        }
        if queue.events.is_empty() {
            open("the queue names no events, so the rows that are bound already will tell");
            return Ok(());
        }
        for event in &queue.events {
            let entity = catalogue::find(event).map_or(catalogue::OTHER, |entry| entry.entity);
            self.known.extend(portals.iter().map(|member_id| render(entity, event, member_id)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn names(text: &str, portals: &[&str]) -> (Vec<String>, Vec<String>) {
        let text = format!("[app]\nclient_id = \"a\"\nclient_secret = \"b\"\n{text}");
        let config = Config::parse(Path::new("test"), &text, std::iter::empty()).unwrap_or_else(|e| panic!("{e}"));
        let names = Names::of(&config, portals).expect("names");
        (names.known.into_iter().collect(), names.open.into_iter().map(|(what, _)| what).collect())
    }

    #[test]
    fn entities_come_from_the_events_of_the_queue() {
        let (known, open) = names("[[queues]]\nevents = [\"crm.deal\", \"ONTASKADD\"]\n", &[]);
        assert_eq!(known, ["bitrix24.crm.deal", "bitrix24.dead-letter", "bitrix24.task"]);
        assert!(open.is_empty());
        let queue = "[[queues]]\nconnector = \"sync\"\nevents = [\"crm.deal\"]\ntopic = \"{connector}.{member_id}\"\n";
        assert_eq!(names(queue, &["a1", "b2"]).0, ["bitrix24.dead-letter", "sync.a1", "sync.b2"]);
    }

    #[test]
    fn a_name_that_every_event_of_a_queue_has_will_be_needed() {
        let queues =
            "[[queues]]\nconnector = \"sync\"\ntopic = \"all.{connector}\"\n[[queues]]\nevents = [\"crm.deal\"]\n";
        let text = format!("[app]\nclient_id = \"a\"\nclient_secret = \"b\"\n{queues}");
        let config = Config::parse(Path::new("test"), &text, std::iter::empty()).unwrap_or_else(|e| panic!("{e}"));
        let names = Names::of(&config, &["a1"]).expect("names");
        assert_eq!(names.certain.into_iter().collect::<Vec<_>>(), ["all.sync", "bitrix24.dead-letter"]);
        assert!(names.known.contains("bitrix24.crm.deal"));
    }

    #[test]
    fn what_is_not_known_yet_is_said() {
        assert_eq!(names("", &["a1"]).1, ["topics bitrix24.{entity}"]);
        let (known, open) = names("[kafka]\ntopic = \"p.{member_id}\"\n", &[]);
        assert_eq!((known.len(), open), (1, vec!["topics p.{member_id}".to_owned()]));
        let many: Vec<String> = (0..600).map(|n| format!("m{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (known, open) = names("[kafka]\ntopic = \"p.{member_id}\"\n", &many);
        assert_eq!((known.len(), open), (MOST + 1, vec!["further topics".to_owned()]));
    }
}
