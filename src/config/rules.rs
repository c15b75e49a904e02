//! What other parts of the program know about values: which events there are, what a template may hold, which options
//! of the producer would break the promise. All questions of the configuration to them are asked here.

use std::collections::BTreeMap;

use super::form::quote;
use crate::{
    bitrix::catalogue,
    kafka::{
        options,
        template::{self, KeyTemplate, TopicTemplate},
    },
};

/// What a selector of `queues.events` stands for: a name, an entity, or `crm.*`. The error says what is wrong.
pub(super) fn events(selector: &str) -> Result<Vec<String>, String> {
    let expanded = catalogue::expand(selector).map(|names| names.into_iter().map(str::to_owned).collect());
    expanded.map_err(|unknown| match unknown.nearest {
        Some(nearest) => {
            format!("is {}, which selects no event (the nearest known name is {nearest})", quote(selector))
        }
        None => format!("is {}, which selects no event", quote(selector)),
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
