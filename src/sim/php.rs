//! Values as PHP sees them: request parameters from JSON bodies, forms and bracket queries, in the order they came.
//!
//! A JSON list and a PHP map are one thing here, as they are on the server: a list has the keys `0`, `1`, `2`...

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use url::form_urlencoded;

/// Variables in one query or form that PHP reads; the rest is dropped without a word (`max_input_vars`).
pub const MAX_INPUT_VARS: usize = 1000;

/// A parameter. Numbers are kept as the text they arrived in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Php {
    /// `null`.
    Null,
    /// `true` or `false`; only JSON can say so.
    Bool(bool),
    /// A number or a text.
    Text(String),
    /// A list or a map, in order.
    Map(Vec<(String, Self)>),
}

impl Php {
    /// A map without entries.
    pub const fn empty() -> Self {
        Self::Map(Vec::new())
    }

    /// The entry of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The entries of a map; nothing for a scalar.
    pub fn entries(&self) -> &[(String, Self)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text of a scalar; `None` for a map.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Null | Self::Bool(false) => Some(""),
            Self::Bool(true) => Some("1"),
            Self::Text(text) => Some(text),
            Self::Map(_) => None,
        }
    }

    /// PHP's `intval`: the leading number of a scalar, else 0; 1 for a map that is not empty.
    pub fn int(&self) -> i64 {
        let Some(text) = self.text() else { return i64::from(!self.entries().is_empty()) };
        let text = text.trim_start();
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let number = digits[..end].parse::<i64>().unwrap_or(if end == 0 { 0 } else { i64::MAX });
        if text.starts_with('-') { -number } else { number }
    }

    /// Sets an entry, replacing what is there.
    pub fn set(&mut self, key: &str, value: Self) {
        let Self::Map(entries) = self else {
            *self = Self::Map(vec![(key.to_owned(), value)]);
            return;
        };
        match entries.iter_mut().find(|(k, _)| k == key) {
            Some(entry) => entry.1 = value,
            None => entries.push((key.to_owned(), value)),
        }
    }
}

/// Reads a query or a form: `filter[>ID]=5&id[]=1&id[]=2`.
pub fn parse_query(query: &str) -> Php {
    let mut root = Php::empty();
    for (name, value) in form_urlencoded::parse(query.as_bytes()).take(MAX_INPUT_VARS) {
        let (head, mut rest) = name.split_at(name.find('[').unwrap_or(name.len()));
        let mut place = slot(&mut root, head);
        while let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = inner.find(']') else { break };
            place = slot(place, &inner[..end]);
            rest = &inner[end + 1..];
        }
        *place = Php::Text(value.into_owned());
    }
    root
}

/// The place of a key in a map, made if it is not there; an empty key is the next free number.
fn slot<'a>(place: &'a mut Php, key: &str) -> &'a mut Php {
    if !matches!(place, Php::Map(_)) {
        *place = Php::empty();
    }
    let Php::Map(entries) = place else { unreachable!("made a map above") };
    let last = entries.last().map(|(k, _)| k.parse::<u64>().ok());
    let key = match (key, last) {
        ("", Some(Some(n))) => (n + 1).to_string(),
        ("", _) => entries.len().to_string(),
        (key, _) => key.to_owned(),
    };
    // Ids mostly come in ascending order; looking each of them up would make a long list quadratic.
    let ascending = matches!((last, key.parse::<u64>()), (Some(Some(n)), Ok(k)) if k > n);
    let at = if ascending { None } else { entries.iter().position(|(k, _)| *k == key) };
    let at = at.unwrap_or_else(|| {
        entries.push((key, Php::Null));
        entries.len() - 1
    });
    &mut entries[at].1
}

/// Writes a map as PHP's `json_encode` does: `[]` when empty, a list when the keys are 0, 1, 2..., else an object.
pub fn write_map(out: &mut String, entries: &[(String, String)]) {
    let list = entries.iter().enumerate().all(|(n, (key, _))| *key == n.to_string());
    out.push(if list { '[' } else { '{' });
    for (n, (key, value)) in entries.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        if !list {
            out.push_str(&quote(key));
            out.push(':');
        }
        out.push_str(value);
    }
    out.push(if list { ']' } else { '}' });
}

/// A JSON string.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'de> Deserialize<'de> for Php {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PhpVisitor)
    }
}

struct PhpVisitor;

impl<'de> Visitor<'de> for PhpVisitor {
    type Value = Php;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Php, E> {
        Ok(Php::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Php, E> {
        Ok(Php::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Php, E> {
        Ok(Php::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Php, E> {
        Ok(Php::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Php, E> {
        Ok(Php::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Php, E> {
        Ok(Php::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Php, A::Error> {
        let mut entries = Vec::new();
        while let Some(value) = seq.next_element()? {
            entries.push((entries.len().to_string(), value));
        }
        Ok(Php::Map(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Php, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Php::Map(entries))
    }
}

/// A query in which the operations in front of names are written plainly, such as `<=ID=5&=ERROR=0`; on the wire their
/// characters are encoded. What is encoded already stays.
#[cfg(test)]
pub fn parse_plain(text: &str) -> Php {
    let encode = |item: &str| {
        if item.contains("%3D") || item.contains("%25") {
            return item.to_owned();
        }
        let name = item.trim_start_matches(['=', '<', '>', '!', '@', '%']);
        let operation = &item[..item.len() - name.len()];
        format!("{}{name}", operation.replace('%', "%25").replace('=', "%3D"))
    };
    parse_query(&text.split('&').map(encode).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Php {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn brackets_become_maps_and_lists() {
        let query = parse_query("filter[>ID]=5&order[ID]=ASC&id[]=7&id[]=8&id[5]=9&id[]=10&plain=a%20b+c");
        let want =
            r#"{"filter":{">ID":"5"},"order":{"ID":"ASC"},"id":{"0":"7","1":"8","5":"9","6":"10"},"plain":"a b c"}"#;
        assert_eq!(query, json(want));
        assert_eq!(parse_query("id[0]=1&id[1]=2").get("id"), Some(&json("[1,2]")));
        assert_eq!(parse_query("id[0]=1&id[0]=2"), json(r#"{"id":["2"]}"#));
        assert_eq!(parse_query("a=1&a[b]=2"), json(r#"{"a":{"b":"2"}}"#));
        assert_eq!(parse_query("a[b=1"), json(r#"{"a":"1"}"#));
    }

    #[test]
    fn a_query_longer_than_max_input_vars_is_cut_in_silence() {
        let long: Vec<_> = (0..MAX_INPUT_VARS + 10).map(|n| format!("id[]={n}")).collect();
        assert_eq!(parse_query(&long.join("&")).get("id").unwrap().entries().len(), MAX_INPUT_VARS);
    }

    #[test]
    fn order_of_keys_is_kept() {
        let keys: Vec<_> = json(r#"{"z":1,"a":2}"#).entries().iter().map(|(k, _)| k.clone()).collect();
        assert_eq!(keys, ["z", "a"]);
    }

    #[test]
    fn numbers_are_read_as_intval_does() {
        for (text, number) in [
            ("\"12\"", 12),
            ("12", 12),
            ("\"12abc\"", 12),
            ("\"-3\"", -3),
            ("\"x\"", 0),
            ("false", 0),
            ("true", 1),
            ("null", 0),
        ] {
            assert_eq!(json(text).int(), number, "{text}");
        }
    }

    #[test]
    fn maps_are_written_as_json_encode_does() {
        let write = |keys: &[&str]| {
            let mut out = String::new();
            write_map(&mut out, &keys.iter().map(|k| ((*k).to_owned(), "1".to_owned())).collect::<Vec<_>>());
            out
        };
        assert_eq!(write(&[]), "[]");
        assert_eq!(write(&["0", "1"]), "[1,1]");
        assert_eq!(write(&["1"]), r#"{"1":1}"#);
        assert_eq!(write(&["a\"b"]), r#"{"a\"b":1}"#);
    }
}
