//! Templates of topics and keys: text with placeholders, parsed once and checked.
//!
//! A template that exists can be rendered for every event; whatever is wrong with one is found when it is parsed. The
//! configuration checks and `tap` use the same types as the producer.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

/// The longest name of a topic that Kafka accepts, in characters.
pub const MAX_TOPIC: usize = 249;
/// What an empty connector is called in a topic.
const PLAIN_CONNECTOR: &str = "default";
/// Characters of the digest that tells shortened names apart.
const DIGEST_CHARS: usize = 16;

/// A template of topic names; placeholders `{entity}`, `{event}`, `{member_id}`, `{connector}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate(Arc<[Part]>);

/// A template of record keys; the placeholders of a topic and `{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate(Arc<[Part]>);

/// What placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// `{entity}`
    pub entity: &'a str,
    /// `{event}`, in either case.
    pub event: &'a str,
    /// `{member_id}`
    pub member_id: &'a str,
    /// `{connector}`
    pub connector: &'a str,
    /// `{id}`
    pub id: &'a str,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// There is nothing in it.
    #[error("the template is empty")]
    Empty,
    /// A placeholder that does not exist, or not in this template.
    #[error("there is no placeholder {{{name}}} here; known are {known}")]
    Unknown {
        /// The name between the braces.
        name: String,
        /// The names that would be right.
        known: String,
    },
    /// A `{` without its `}`.
    #[error("a {{ has no }} after it")]
    Unclosed,
    /// A `}` without its `{`.
    #[error("a }} has no {{ before it")]
    Unopened,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Entity,
    Event,
    MemberId,
    Connector,
    Id,
}

impl TopicTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// The first [`TemplateFault`] in it.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        parse(text, &[Field::Entity, Field::Event, Field::MemberId, Field::Connector]).map(Self)
    }

    /// The name for one event: always one that Kafka accepts.
    ///
    /// Foreign characters become `_`. A name over [`MAX_TOPIC`] keeps its beginning and gets a digest of the whole, so
    /// that two long names stay two.
    pub fn render(&self, fields: Fields<'_>) -> String {
        let connector = if fields.connector.is_empty() { PLAIN_CONNECTOR } else { fields.connector };
        let name = render(&self.0, Fields { connector, ..fields });
        if is_topic(&name) { name } else { make_topic(&name) }
    }

    /// Whether the name is the same for every event of a queue.
    pub fn is_fixed(&self) -> bool {
        !self.0.iter().any(|part| matches!(part, Part::Field(Field::Entity | Field::Event | Field::Id)))
    }

    /// Whether `topic` could have been made from this template (a shortened name is matched by its text alone).
    pub fn matches(&self, topic: &str) -> bool {
        let mut pieces = vec![String::new()];
        for part in self.0.iter() {
            match (part, pieces.last_mut()) {
                (Part::Text(text), Some(last)) => last.extend(text.chars().map(topic_char)),
                _ => pieces.push(String::new()),
            }
        }
        glob(&pieces, topic)
    }
}

impl KeyTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// The first [`TemplateFault`] in it.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        parse(text, &[Field::Entity, Field::Event, Field::MemberId, Field::Connector, Field::Id]).map(Self)
    }

    /// The key of one event.
    pub fn render(&self, fields: Fields<'_>) -> String {
        render(&self.0, fields)
    }
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Event => "event",
            Self::MemberId => "member_id",
            Self::Connector => "connector",
            Self::Id => "id",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.name())
    }
}

fn parse(text: &str, allowed: &[Field]) -> Result<Arc<[Part]>, TemplateFault> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        if rest[at..].starts_with('}') {
            return Err(TemplateFault::Unopened);
        }
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        let (name, after) = rest[at + 1..].split_once('}').ok_or(TemplateFault::Unclosed)?;
        let field = allowed.iter().find(|field| field.name() == name).ok_or_else(|| TemplateFault::Unknown {
            name: name.to_owned(),
            known: allowed.iter().map(Field::to_string).collect::<Vec<_>>().join(", "),
        })?;
        parts.push(Part::Field(*field));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    if parts.is_empty() { Err(TemplateFault::Empty) } else { Ok(parts.into()) }
}

fn render(parts: &[Part], fields: Fields<'_>) -> String {
    let mut out = String::with_capacity(64);
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Field(Field::Entity) => out.push_str(fields.entity),
            Part::Field(Field::Event) => out.extend(fields.event.chars().map(|c| c.to_ascii_lowercase())),
            Part::Field(Field::MemberId) => out.push_str(fields.member_id),
            Part::Field(Field::Connector) => out.push_str(fields.connector),
            Part::Field(Field::Id) => out.push_str(fields.id),
        }
    }
    out
}

/// Whether Kafka accepts the name of a topic as it is.
pub fn is_topic(name: &str) -> bool {
    (1..=MAX_TOPIC).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn topic_char(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }
}

fn make_topic(name: &str) -> String {
    let mut topic: String = name.chars().map(topic_char).collect();
    if topic.len() > MAX_TOPIC {
        topic.truncate(MAX_TOPIC - DIGEST_CHARS - 1);
        topic.push('-');
        for byte in Sha256::digest(name.as_bytes()).iter().take(DIGEST_CHARS / 2) {
            topic.push_str(&format!("{byte:02x}"));
        }
    }
    match topic.as_str() {
        "" | "." => "_".to_owned(),
        ".." => "__".to_owned(),
        _ => topic,
    }
}

/// Whether `text` is the pieces in their order with at least one character between each two of them.
fn glob(pieces: &[String], text: &str) -> bool {
    let [first, rest @ ..] = pieces else { return false };
    let Some(mut text) = text.strip_prefix(first.as_str()) else { return false };
    let [middle @ .., last] = rest else { return text.is_empty() };
    for piece in middle {
        let Some(at) = text.get(1..).and_then(|tail| tail.find(piece.as_str())) else { return false };
        text = &text[1 + at + piece.len()..];
    }
    text.strip_suffix(last.as_str()).is_some_and(|between| !between.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields<'static> =
        Fields { entity: "crm.deal", event: "ONCRMDEALUPDATE", member_id: "a1", connector: "", id: "123" };

    fn topic(template: &str, fields: Fields<'_>) -> String {
        TopicTemplate::parse(template).expect(template).render(fields)
    }

    #[test]
    fn every_placeholder_is_filled_in() {
        assert_eq!(topic("bitrix24.{entity}", FIELDS), "bitrix24.crm.deal");
        assert_eq!(topic("{member_id}-{event}.{connector}", FIELDS), "a1-oncrmdealupdate.default");
        let key = KeyTemplate::parse("{member_id}:{entity}:{id}:{connector}:{event}").expect("key");
        assert_eq!(key.render(FIELDS), "a1:crm.deal:123::oncrmdealupdate");
    }

    #[test]
    fn a_topic_is_always_one_that_kafka_accepts() {
        fn connector(connector: &str) -> Fields<'_> {
            Fields { connector, ..FIELDS }
        }
        assert_eq!(topic("{connector}", connector("my sync/ü")), "my_sync__");
        assert_eq!(topic("a b.{entity}", FIELDS), "a_b.crm.deal");
        assert_eq!(topic(".", FIELDS), "_");
        assert_eq!(topic("{connector}", connector("..")), "__");
        let long = ["x".repeat(300), "x".repeat(301)].map(|name| topic("{connector}", connector(&name)));
        assert!(long.iter().all(|name| is_topic(name) && name.len() == MAX_TOPIC), "{long:?}");
        assert_ne!(long[0], long[1]);
        assert_eq!(topic("{connector}", connector(&"y".repeat(MAX_TOPIC))), "y".repeat(MAX_TOPIC));
    }

    #[test]
    fn faults_are_named() {
        let fault = |text| TopicTemplate::parse(text).expect_err(text);
        assert_eq!(fault(""), TemplateFault::Empty);
        assert_eq!(fault("a{entity"), TemplateFault::Unclosed);
        assert_eq!(fault("a}b"), TemplateFault::Unopened);
        assert_eq!(
            fault("a.{id}").to_string(),
            "there is no placeholder {id} here; known are {entity}, {event}, {member_id}, {connector}"
        );
        assert!(KeyTemplate::parse("{Entity}").is_err());
    }

    #[test]
    fn a_name_is_recognised_by_its_template() {
        let template = |text| TopicTemplate::parse(text).expect(text);
        assert!(template("bitrix24.{entity}").matches("bitrix24.crm.deal"));
        assert!(!template("bitrix24.{entity}").matches("bitrix24."));
        assert!(!template("bitrix24.{entity}").matches("other.crm.deal"));
        assert!(template("all").matches("all") && !template("all").matches("all2"));
        assert!(template("p.{member_id}.{entity}.v1").matches("p.a1.crm.deal.v1"));
        assert!(!template("p.{member_id}.{entity}.v1").matches("p.a1.v1"));
        assert!(template("{entity}").matches("x") && !template("{entity}").matches(""));
        assert!(template("fixed").is_fixed() && template("{member_id}").is_fixed());
        assert!(!template("{entity}").is_fixed());
    }
}
