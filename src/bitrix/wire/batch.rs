//! The answer to a `batch` (protocol reference section 2): results and errors by the keys of our commands.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{RawRow, scalars_are};
use crate::protocol::exchange::BATCH_COMMANDS;

/// `result` of a batch; only a map is one. `C` reads its inner `result`.
pub struct Batch<'a, C> {
    /// Results of the commands that succeeded.
    pub result: Option<C>,
    /// Errors of those that did not.
    pub result_error: Entries<'a>,
    /// How long each took.
    pub result_time: Entries<'a>,
    /// Where the next page of each begins.
    pub result_next: Entries<'a>,
}

/// A map with raw values, in the order of the answer. Whatever is no map is an empty one.
#[derive(Debug, Default)]
pub struct Entries<'a>(pub Vec<(Box<str>, &'a RawValue)>);

impl<'a> Entries<'a> {
    /// The value under `key` as it is written.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.all(key).next()
    }

    /// Every value under `key`: an answer that contradicts itself has several.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| &**k == key).map(|(_, raw)| raw.get())
    }
}

/// The results of an exchange. What comes twice under one key is kept as odd: nobody knows which of the two holds.
#[derive(Debug, Default)]
pub struct Commands<'a> {
    /// Of the `get`.
    pub get: Option<Get<'a>>,
    /// Of the one that deletes.
    pub deleted: Option<Get<'a>>,
    /// Of the pages of a scan, by their number.
    pub pages: Vec<(usize, Rows<'a>)>,
    /// Of everything else.
    pub others: Entries<'a>,
}

/// The key of the `get` among the commands of an exchange.
pub const GET: &str = "get";
/// The key of the `get` that deletes.
pub const DELETE: &str = "delete";
/// What the keys of pages begin with; the number of the page follows.
pub const PAGE: &str = "page";

/// The result of `event.offline.get`.
#[derive(Debug, Default)]
pub struct Get<'a> {
    /// The reservation as it is written.
    pub process_id: Option<&'a RawValue>,
    /// Its rows; `None` if the answer has none, not even an empty list.
    pub events: Option<Rows<'a>>,
}

/// Most rows that one list may have: more than any `get` asks for or any page holds. A row takes more memory than its
/// shortest text, so their number has a limit beside that of the answer's length.
const MOST_ROWS: usize = 20_000;

/// A list of rows, or what PHP makes of one.
#[derive(Debug, Default)]
pub struct Rows<'a> {
    /// The rows, in the order of the answer.
    pub rows: Vec<RawRow<'a>>,
    /// Whether it was neither a list nor a map nor one of PHP's empty values, or far too long.
    pub odd: bool,
}

impl<'de: 'a, 'a, C: Deserialize<'de>> Deserialize<'de> for Batch<'a, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BatchVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tolerant::<Self>(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Commands<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tolerant::<Self>(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Get<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tolerant::<Self>(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Rows<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowsVisitor(PhantomData))
    }
}

/// Something that PHP writes as a map, or as anything at all when there is nothing in it.
trait FromMap<'de>: Default {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;
}

struct Tolerant<T>(PhantomData<T>);

impl<'de, T: FromMap<'de>> Visitor<'de> for Tolerant<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::default())
    }

    scalars_are!(T::default());
}

impl<'de: 'a, 'a> FromMap<'de> for Entries<'a> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Self(entries))
    }
}

impl<'de: 'a, 'a> FromMap<'de> for Commands<'a> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut commands = Self::default();
        while let Some(key) = map.next_key::<Box<str>>()? {
            let get = match &*key {
                GET => Some(&mut commands.get),
                DELETE => Some(&mut commands.deleted),
                _ => None,
            };
            if let Some(get) = get {
                let said = map.next_value()?;
                *get = Some(if get.is_some() { Get::default() } else { said });
            } else if let Some(page) = page_number(&key) {
                let rows: Rows<'a> = map.next_value()?;
                match commands.pages.iter_mut().find(|(number, _)| *number == page) {
                    Some((_, first)) => first.odd = true,
                    None => commands.pages.push((page, rows)),
                }
            } else {
                commands.others.0.push((key, map.next_value()?));
            }
        }
        Ok(commands)
    }
}

/// The number in the key of a page, if we could have written it so.
fn page_number(key: &str) -> Option<usize> {
    let written = key.strip_prefix(PAGE)?;
    written.parse().ok().filter(|number: &usize| *number < BATCH_COMMANDS && number.to_string() == written)
}

impl<'de: 'a, 'a> FromMap<'de> for Get<'a> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut get = Self::default();
        let mut twice = false;
        while let Some(key) = map.next_key::<Box<str>>()? {
            match &*key {
                "process_id" => twice |= get.process_id.replace(map.next_value()?).is_some(),
                "events" => twice |= get.events.replace(map.next_value()?).is_some(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(if twice { Self::default() } else { get })
    }
}

struct BatchVisitor<'a, C>(PhantomData<(&'a (), C)>);

impl<'de: 'a, 'a, C: Deserialize<'de>> Visitor<'de> for BatchVisitor<'a, C> {
    type Value = Batch<'a, C>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the result of a batch")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut result, mut errors, mut times, mut next) = (None, None, None, None);
        let mut twice = false;
        while let Some(key) = map.next_key::<Box<str>>()? {
            match &*key {
                "result" => twice |= result.replace(map.next_value::<Option<C>>()?).is_some(),
                "result_error" => twice |= errors.replace(map.next_value()?).is_some(),
                "result_time" => twice |= times.replace(map.next_value()?).is_some(),
                "result_next" => twice |= next.replace(map.next_value()?).is_some(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if twice {
            return Err(A::Error::custom("a part is there twice"));
        }
        Ok(Batch {
            result: result.flatten(),
            result_error: errors.unwrap_or_default(),
            result_time: times.unwrap_or_default(),
            result_next: next.unwrap_or_default(),
        })
    }
}

struct RowsVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for RowsVisitor<'a> {
    type Value = Rows<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        while rows.len() < MOST_ROWS {
            let Some(row) = seq.next_element()? else { return Ok(Rows { rows, odd: false }) };
            rows.push(row);
        }
        let mut odd = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            odd = true;
        }
        Ok(Rows { rows, odd })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        let mut odd = false;
        while map.next_key::<IgnoredAny>()?.is_some() {
            if rows.len() < MOST_ROWS {
                rows.push(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
                odd = true;
            }
        }
        Ok(Rows { rows, odd })
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Self::Value, E> {
        Ok(Rows { rows: Vec::new(), odd: yes })
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Rows { rows: Vec::new(), odd: !text.is_empty() })
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Rows::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Rows { rows: Vec::new(), odd: true })
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Rows { rows: Vec::new(), odd: true })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Rows { rows: Vec::new(), odd: true })
    }
}
