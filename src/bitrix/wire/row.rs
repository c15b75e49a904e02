//! One row of the queue: from its fields as delivered to what the core and the Kafka edge know.

use std::{
    borrow::Cow,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{scalar, scalars_are, time::unix_seconds};
use crate::{
    bitrix::{catalogue, redact::redact},
    protocol::types::{
        Body, Change, EntityKey, Event, Hold, Malformed, Mark, MessageId, NamelessRow, ProcessId, Row, RowId,
    },
};

/// What stands for a field that came more than once: nobody knows which of its values holds. No JSON value begins so.
const TWICE: &str = "?";

/// A row's fields as they are written in the answer; absent ones are empty, which no JSON value is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawRow<'a> {
    id: &'a str,
    timestamp_x: &'a str,
    event_name: &'a str,
    event_data: &'a str,
    event_additional: &'a str,
    message_id: &'a str,
    process_id: &'a str,
}

impl RawRow<'_> {
    /// The reservation that the row belongs to; `None` for a free one and for one whose reservation cannot be told.
    pub fn process(&self) -> Option<ProcessId> {
        process(self.process_id)
    }

    /// Whether the row says that nobody has reserved it.
    pub fn is_free(&self) -> bool {
        scalar::text(self.process_id).is_some_and(|id| id.is_empty())
    }

    /// Its identity; a row without one becomes a dead letter, see [`nameless`].
    pub fn id(&self) -> Option<RowId> {
        RowId::new(scalar::integer(self.id)?.try_into().ok()?)
    }

    /// `MESSAGE_ID`, if a portal would accept it as one.
    pub fn message(&self) -> Option<MessageId> {
        MessageId::new(&scalar::text(self.message_id)?)
    }

    /// Whether it says `MESSAGE_ID` more than once: any of them may be meant.
    pub fn has_two_messages(&self) -> bool {
        self.message_id == TWICE
    }

    /// `TIMESTAMP_X` in seconds since 1970, if it can be read.
    pub fn changed_at(&self) -> Option<i64> {
        unix_seconds(&scalar::text(self.timestamp_x)?)
    }
}

/// A reservation's id: a text, or a whole number as it is written. Of other numbers nobody can say how the portal would
/// spell them as a text, and a clear with another spelling confirms nothing while it is answered with yes.
pub fn process(raw: &str) -> Option<ProcessId> {
    let whole = || Some(raw).filter(|raw| raw.bytes().all(|byte| byte.is_ascii_digit())).map(Cow::Borrowed);
    ProcessId::new(&scalar::text(raw).or_else(whole)?)
}

/// What a row says; `None` if it has no usable `ID`. `whole` gives the row's JSON, for the one that cannot be read.
pub fn read_row<'a>(raw: &RawRow<'_>, whole: impl FnOnce() -> Option<&'a str>) -> Option<Row> {
    let id = raw.id()?;
    let body = match event(raw) {
        Ok(event) => Body::Event(Box::new(event)),
        Err(detail) => {
            let changed_at = raw.changed_at();
            let raw = redact(whole().unwrap_or("{}"));
            Body::Malformed(Box::new(Malformed { detail: detail.into(), changed_at, raw }))
        }
    };
    Some(Row { id, body })
}

/// What a row says that nothing names, or of which nobody can say whose it is. `place` is the reservation that it is in,
/// `""` if none is known.
///
/// `get` and `list` show different columns, so what a row says is what both of them show.
pub fn nameless(raw: &RawRow<'_>, place: &str, hold: Hold, whole: Option<&str>) -> NamelessRow {
    let whole = whole.unwrap_or("{}");
    let mut digest = Sha256::new();
    let fields = [raw.timestamp_x, raw.event_name, raw.event_data, raw.event_additional, raw.message_id];
    // What has none of the columns is what it is as a whole. A digest is shown, so there is no secret in what it is made of.
    let alone = [whole];
    let said: &[&str] = if fields.iter().any(|field| !field.is_empty()) { &fields } else { &alone };
    for part in std::iter::once(place.into()).chain(said.iter().map(|part| redact(part))) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let mark = digest.finalize().iter().take(16).fold(0, |mark, byte| mark << 8 | u128::from(*byte));
    let detail = match (raw.id(), &hold) {
        (None, _) => "ID is no positive number",
        (Some(_), Hold::Gone) => "it had no ID until it was removed",
        (Some(_), _) => "PROCESS_ID is neither a text nor a whole number",
    };
    let content = Malformed { detail: detail.into(), changed_at: raw.changed_at(), raw: redact(whole) };
    NamelessRow { mark: Mark(mark), hold, content }
}

/// The longest name, id or time in bytes. They go into headers, which nothing shortens: with a longer one even a dead letter
/// could be larger than any broker takes. Real ones have some dozens.
const LONGEST: usize = 1024;

/// The words in the error name fields only: they end up in a dead letter's `detail`.
fn event(raw: &RawRow<'_>) -> Result<Event, &'static str> {
    let name = scalar::text(raw.event_name).filter(|name| !name.is_empty()).ok_or("EVENT_NAME is no text")?;
    let name = upper(name);
    let timestamp_x = scalar::text(raw.timestamp_x).ok_or("TIMESTAMP_X is no text")?;
    let changed_at = unix_seconds(&timestamp_x).ok_or("TIMESTAMP_X is no ISO 8601 time with an offset")?;
    let message_id = scalar::text(raw.message_id).filter(|id| !id.is_empty()).ok_or("MESSAGE_ID is no text")?;
    let entry = catalogue::find(&name);
    let data = data(raw.event_data, entry).ok_or("EVENT_DATA is neither an object, a list nor empty")?;
    let entity = entry.map_or(catalogue::OTHER, |entry| entry.entity);
    let entity_id: Box<str> = catalogue::entity_id(entry, &data, &message_id).into();
    for (text, fault) in [
        (&*name, "EVENT_NAME is too long"),
        (&*timestamp_x, "TIMESTAMP_X is too long"),
        (&*message_id, "MESSAGE_ID is too long"),
        (&*entity_id, "the id of the entity in EVENT_DATA is too long"),
    ] {
        if text.len() > LONGEST {
            return Err(fault);
        }
    }
    if raw.event_additional == TWICE {
        return Err("EVENT_ADDITIONAL is there twice");
    }
    let additional = if raw.event_additional.is_empty() { "false".into() } else { redact(raw.event_additional) };
    let user_id = crate::bitrix::json::member(&additional, "user_id").and_then(scalar::integer);
    Ok(Event {
        key: key(entity, &entity_id),
        entity,
        change: entry.map_or(Change::Other, |entry| entry.change),
        entity_id,
        changed_at,
        user_id,
        name: name.into(),
        timestamp_x: timestamp_x.into(),
        message_id: message_id.into(),
        data,
        additional,
    })
}

/// The class of an entity: the hash has fixed keys, so that the same rows give the same trace.
fn key(entity: &str, entity_id: &str) -> EntityKey {
    let mut hasher = DefaultHasher::new();
    (entity, entity_id).hash(&mut hasher);
    EntityKey(hasher.finish())
}

fn upper(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_lowercase()) { Cow::Owned(name.to_ascii_uppercase()) } else { name }
}

/// An object, or a list with something in it (PHP writes an array with the keys 0, 1, ... so). A bare text or number
/// only for the events whose id is the data itself.
fn data(raw: &str, entry: Option<&catalogue::Entry>) -> Option<Box<str>> {
    match raw.as_bytes().first()? {
        b'{' => Some(redact(raw)),
        b'[' => Some(redact(raw)).map(|list| if &*list == "[]" { "{}".into() } else { list }),
        b'f' | b'n' => Some("{}".into()),
        b'"' | b'-' | b'0'..=b'9' => {
            let itself = entry.is_some_and(|entry| entry.key_parts.iter().any(Vec::is_empty));
            itself.then(|| redact(raw))
        }
        _ => None,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawRow<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowVisitor)
    }
}

struct RowVisitor;

enum Field {
    Id,
    TimestampX,
    EventName,
    EventData,
    EventAdditional,
    MessageId,
    ProcessId,
    Another,
}

impl<'de> Visitor<'de> for RowVisitor {
    type Value = RawRow<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut row = RawRow::default();
        while let Some(field) = map.next_key()? {
            let slot = match field {
                Field::Id => &mut row.id,
                Field::TimestampX => &mut row.timestamp_x,
                Field::EventName => &mut row.event_name,
                Field::EventData => &mut row.event_data,
                Field::EventAdditional => &mut row.event_additional,
                Field::MessageId => &mut row.message_id,
                Field::ProcessId => &mut row.process_id,
                Field::Another => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let value = map.next_value::<&RawValue>()?.get();
            *slot = if slot.is_empty() { value } else { TWICE };
        }
        Ok(row)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(RawRow::default())
    }

    scalars_are!(RawRow::default());
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor;
        impl Visitor<'_> for FieldVisitor {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E>(self, name: &str) -> Result<Field, E> {
                Ok(match name {
                    "ID" => Field::Id,
                    "TIMESTAMP_X" => Field::TimestampX,
                    "EVENT_NAME" => Field::EventName,
                    "EVENT_DATA" => Field::EventData,
                    "EVENT_ADDITIONAL" => Field::EventAdditional,
                    "MESSAGE_ID" => Field::MessageId,
                    "PROCESS_ID" => Field::ProcessId,
                    _ => Field::Another,
                })
            }
        }
        deserializer.deserialize_str(FieldVisitor)
    }
}

#[cfg(test)]
mod tests;
