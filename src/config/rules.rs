//! What other parts of the program know about values: which events there are, what a template may hold, which options
//! of the producer would break the promise. All questions of the configuration to them are asked here.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{form::quote, reader::nearest};
use crate::kafka::{
    options,
    template::{self, KeyTemplate, TopicTemplate},
};

/// What a selector of `queues.events` stands for: a name, an entity, or `crm.*`. The error says what is wrong.
pub(super) fn events(selector: &str) -> Result<Vec<String>, String> {
    let wanted = selector.trim();
    let family = wanted.strip_suffix(".*").map(|family| format!("{family}."));
    let names: Vec<String> = catalogue()
        .into_iter()
        .filter(|event| event.offline)
        .filter(|event| match &family {
            Some(family) => !event.pattern && event.entity.starts_with(family.as_str()),
            None => event.matches(wanted),
        })
        .map(|event| if event.pattern { wanted.to_uppercase() } else { event.event })
        .collect();
    if !names.is_empty() {
        return Ok(names);
    }
    let known = catalogue();
    let known: Vec<&str> = known.iter().flat_map(|event| [event.event.as_str(), event.entity.as_str()]).collect();
    Err(match nearest(wanted, &known) {
        Some(nearest) => format!("is {}, which selects no event (the nearest known name is {nearest})", quote(wanted)),
        None => format!("is {}, which selects no event", quote(wanted)),
    })
}

/// Checks the template of a topic's name.
pub(super) fn topic(text: &str) -> Result<String, String> {
    TopicTemplate::parse(text).map(|_| text.to_owned()).map_err(|fault| format!("is {}: {fault}", quote(text)))
}

/// Checks the template of a record's key.
pub(super) fn key(text: &str) -> Result<String, String> {
    KeyTemplate::parse(text).map(|_| text.to_owned()).map_err(|fault| format!("is {}: {fault}", quote(text)))
}

/// Checks the name of a topic: what Kafka allows.
pub(super) fn topic_name(name: &str) -> Result<String, String> {
    if template::is_topic(name) { Ok(name.to_owned()) } else { Err(format!("is {}", quote(name))) }
}

/// An option of librdkafka that is refused.
pub(super) struct Refused {
    /// Which one.
    pub option: String,
    /// What is wrong with it, to be read behind its name.
    pub wrong: String,
    /// What to do instead.
    pub right: String,
}

/// Which options of librdkafka would break the promise, have a key of their own here, or do not exist.
pub(super) fn refused(options: &BTreeMap<String, String>) -> Vec<Refused> {
    let refused = options::check(options).into_iter();
    let said = |refused: options::Refused| Refused {
        option: refused.option,
        wrong: format!("is refused: {}", refused.reason),
        right: refused.instead,
    };
    refused.map(said).collect()
}

/// What is needed here of an event of the catalogue.
#[derive(Deserialize)]
struct Known {
    event: String,
    pattern: bool,
    entity: String,
    offline: bool,
}

impl Known {
    fn matches(&self, wanted: &str) -> bool {
        if self.entity == wanted {
            return !self.pattern;
        }
        if !self.pattern {
            return self.event.eq_ignore_ascii_case(wanted);
        }
        let prefix = self.event.split('<').next().unwrap_or_default();
        let number = wanted.to_uppercase().strip_prefix(prefix).map(str::to_owned);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    }
}

fn catalogue() -> Vec<Known> {
    serde_json::from_str(include_str!("../bitrix/catalogue/events.json")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_names_entities_and_families() {
        assert_eq!(events("oncrmdealupdate").expect("a name"), ["ONCRMDEALUPDATE"]);
        assert!(events("crm.deal").expect("an entity").contains(&"ONCRMDEALADD".into()));
        assert!(events("crm.*").expect("a family").len() > 20);
        assert_eq!(events("ONCRMDYNAMICITEMADD_128").expect("a pattern"), ["ONCRMDYNAMICITEMADD_128"]);
        for unknown in ["", "crm", "*", "ONNOTHING", "ONCRMDYNAMICITEMADD_", "ONOFFLINEEVENT"] {
            assert!(events(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn templates_name_what_they_do_not_know() {
        assert!(topic("bitrix24.{entity}").is_ok());
        assert!(key("{member_id}:{entity}:{id}").is_ok());
        for bad in ["", "a{", "a}", "{id}", "{ entity}", "{a{b}}", "{entity}}"] {
            assert!(topic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn options_that_break_the_promise_are_refused() {
        let names = ["acks", "linger.ms", "sasl.password"];
        let refused = refused(&names.map(|name| (name.to_owned(), "1".to_owned())).into());
        let named: Vec<&str> = refused.iter().map(|refused| refused.option.as_str()).collect();
        assert_eq!(named, ["acks", "sasl.password"]);
        assert!(refused[1].right.contains("kafka.security.password"));
    }
}
