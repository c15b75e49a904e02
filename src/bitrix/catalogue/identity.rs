//! Which entity a row is about: the id inside an event's data. Making one never fails.

use std::borrow::Cow;

use super::{Entry, Step};
use crate::bitrix::json;

/// Where an id is found in events that the catalogue does not know, or whose data look different from what it says.
const USUAL: [&[Step]; 3] =
    [&[Step::Member("FIELDS"), Step::Member("ID")], &[Step::Member("id")], &[Step::Member("ID")]];

/// The id of the entity that `data` (valid JSON) is about, the row's `message_id` if there is none in it.
///
/// In this order: every one of the catalogue's parts, joined with `-`; the catalogue's alternates; the usual places.
/// `0`, `""`, null and false count as absent, and so does `"0"`, which is how PHP spells 0 as text.
pub fn entity_id<'a>(entry: Option<&Entry>, data: &'a str, message_id: &'a str) -> Cow<'a, str> {
    let by_entry = entry.and_then(|entry| {
        joined(&entry.key_parts, data).or_else(|| entry.alternates.iter().find_map(|path| scalar(at(data, path)?)))
    });
    by_entry.or_else(|| USUAL.iter().find_map(|path| scalar(at(data, path)?))).unwrap_or(Cow::Borrowed(message_id))
}

fn joined<'a>(parts: &[Vec<Step>], data: &'a str) -> Option<Cow<'a, str>> {
    let (first, rest) = parts.split_first()?;
    let mut id = scalar(at(data, first)?)?;
    for part in rest {
        let part = scalar(at(data, part)?)?;
        let id = id.to_mut();
        id.push('-');
        id.push_str(&part);
    }
    Some(id)
}

fn at<'a>(data: &'a str, path: &[Step]) -> Option<&'a str> {
    path.iter().try_fold(data, |value, step| match step {
        Step::Member(name) => json::member(value, name),
        Step::First => json::children(value).next().map(|child| child.value),
    })
}

/// A text or a number that can be an id; both read the same.
fn scalar(value: &str) -> Option<Cow<'_, str>> {
    let value = value.trim_ascii();
    match value.as_bytes().first()? {
        b'"' => json::text(value).filter(|text| !text.is_empty() && text != "0"),
        b'-' | b'0'..=b'9' => {
            let zero = value.parse::<f64>().is_ok_and(|number| number == 0.0);
            (!zero).then_some(Cow::Borrowed(value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::bitrix::catalogue::{entries, find};

    fn id(event: &str, data: &str) -> String {
        entity_id(find(event), data, "hash").into_owned()
    }

    #[test]
    fn ids_come_from_where_the_catalogue_says() {
        let cases = [
            ("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":"123"}}"#, "123"),
            ("ONCRMDEALUPDATE", r#"{"FIELDS":{"ID":123}}"#, "123"),
            ("ONTASKUPDATE", r#"{"FIELDS_BEFORE":{"ID":"8"},"FIELDS_AFTER":{"ID":"9"}}"#, "9"),
            ("ONTASKUPDATE", r#"{"FIELDS_BEFORE":{"ID":"8"},"FIELDS_AFTER":false}"#, "8"),
            ("ONCRMDYNAMICITEMADD_147", r#"{"FIELDS":{"ENTITY_TYPE_ID":147,"ID":"5"}}"#, "147-5"),
            ("ONCRMDYNAMICITEMADD", r#"{"FIELDS":{"ID":"5"}}"#, "5"),
            ("ONIMCOMMANDADD", r#"{"COMMAND":{"7":{"COMMAND_ID":"77"},"8":{"COMMAND_ID":"88"}}}"#, "77"),
            ("ONSESSIONSTART", r#"{"DATA":[{"session":{"id":31}}]}"#, "31"),
            ("ONIMCONNECTORLINEDELETE", "12", "12"),
            ("ONIMCONNECTORLINEDELETE", r#""12""#, "12"),
            ("ONIMCONNECTORSTATUSDELETE", r#"{"connector":"wa","line":4}"#, "wa-4"),
            ("ONSOMETHINGNEW", r#"{"FIELDS":{"ID":"1"},"id":"2"}"#, "1"),
            ("ONSOMETHINGNEW", r#"{"ID":"3","id":"2"}"#, "2"),
            ("ONSOMETHINGNEW", r#"{"ID":"3"}"#, "3"),
        ];
        for (event, data, want) in cases {
            assert_eq!(id(event, data), want, "{event} {data}");
        }
    }

    #[test]
    fn what_php_calls_empty_is_absent() {
        for nothing in ["0", "0.0", "-0", "\"\"", "\"0\"", "null", "false", "[]", "{}", "true", r#""\ud800""#] {
            assert_eq!(id("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":{nothing}}},"ID":7}}"#)), "7", "{nothing}");
            assert_eq!(id("ONSOMETHINGNEW", &format!(r#"{{"id":{nothing}}}"#)), "hash", "{nothing}");
        }
        for data in ["{}", "false", "[]", "[1]", "5"] {
            assert_eq!(id("ONCRMDEALUPDATE", data), "hash", "{data}");
        }
    }

    /// Data in which `path` leads to `leaf`, with an element beside it at each level.
    fn data(path: &[Step], leaf: Value) -> Value {
        path.iter().rev().fold(leaf, |inner, step| match step {
            Step::Member(name) => json!({ "beside": 1, *name: inner }),
            Step::First => json!([inner, { "beside": 2 }]),
        })
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    #[test]
    fn every_event_finds_its_id_at_each_of_its_places() {
        for entry in entries() {
            let mut whole = Value::Null;
            for (n, path) in entry.key_parts.iter().enumerate() {
                merge(&mut whole, data(path, json!(format!("k{n}"))));
            }
            let want: Vec<_> = (0..entry.key_parts.len()).map(|n| format!("k{n}")).collect();
            let want = if want.is_empty() { "hash".to_owned() } else { want.join("-") };
            assert_eq!(entity_id(Some(entry), &whole.to_string(), "hash"), want, "{}", entry.event);
            for path in &entry.alternates {
                let found = data(path, json!(42)).to_string();
                assert_eq!(entity_id(Some(entry), &found, "hash"), "42", "{} {path:?}", entry.event);
            }
        }
    }

    proptest! {
        #[test]
        fn no_data_makes_it_panic_or_answer_nothing(data in "[\\[\\]{}:,\"\\\\ IDa0]{0,40}", at in 0_usize..212) {
            prop_assert!(!entity_id(entries().get(at), &data, "hash").is_empty());
        }
    }
}
