//! A walker over JSON text that some parser has validated already.
//!
//! It finds where values begin and end and never builds a tree, recurses or allocates, so neither the depth nor the
//! width of foreign data can hurt. On text that is no JSON the answers are meaningless but it does not panic.

use std::borrow::Cow;

/// Index of the first byte at or after `at` that is no insignificant white space.
pub fn space_end(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Index behind the string whose opening quote is at `at`.
pub fn string_end(json: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        match json.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return json.len(),
        }
    }
}

/// Index behind the value that begins at `at`.
pub fn value_end(json: &[u8], at: usize) -> usize {
    match json.get(at) {
        Some(b'"') => string_end(json, at),
        Some(b'{' | b'[') => container_end(json, at),
        _ => {
            let mut at = at;
            while !matches!(json.get(at), None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')) {
                at += 1;
            }
            at
        }
    }
}

fn container_end(json: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at = string_end(json, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    json.len()
}

/// The members of an object, or the elements of an array, in their order; empty for anything else.
pub struct Children<'a> {
    json: &'a str,
    at: usize,
    keyed: bool,
}

/// One of [`Children`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child<'a> {
    /// The key as it is written, with its quotes; `None` in an array.
    pub key: Option<&'a str>,
    /// The value as it is written.
    pub value: &'a str,
}

/// Walks what is directly inside `json`.
pub fn children(json: &str) -> Children<'_> {
    let start = space_end(json.as_bytes(), 0);
    match json.as_bytes().get(start) {
        Some(b'{') => Children { json, at: start + 1, keyed: true },
        Some(b'[') => Children { json, at: start + 1, keyed: false },
        _ => Children { json, at: json.len(), keyed: false },
    }
}

/// The value of the member `key`, the first if there are several.
pub fn member<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    members(json, key).next()
}

/// The value of the member `key`; `None` if there are several.
pub fn only_member<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let mut all = members(json, key);
    all.next().filter(|_| all.next().is_none())
}

fn members<'a>(json: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    let named = move |child: &Child<'_>| child.key.is_some_and(|written| text(written).is_some_and(|k| k == key));
    children(json).filter(named).map(|child| child.value)
}

/// What a JSON string says; `None` if `json` is no string or holds a broken escape.
pub fn text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.as_bytes().contains(&b'\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

impl<'a> Iterator for Children<'a> {
    type Item = Child<'a>;

    fn next(&mut self) -> Option<Child<'a>> {
        let bytes = self.json.as_bytes();
        let mut at = space_end(bytes, self.at);
        if bytes.get(at) == Some(&b',') {
            at = space_end(bytes, at + 1);
        }
        let mut key = None;
        if self.keyed {
            if bytes.get(at) != Some(&b'"') {
                return None;
            }
            let end = string_end(bytes, at);
            key = Some(self.json.get(at..end)?);
            at = space_end(bytes, end);
            if bytes.get(at) != Some(&b':') {
                return None;
            }
            at = space_end(bytes, at + 1);
        }
        let end = value_end(bytes, at);
        let value = self.json.get(at..end).filter(|value| !value.is_empty())?;
        self.at = end;
        Some(Child { key, value })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_walks_objects_and_arrays() {
        let found: Vec<_> = children(r#" { "a" : [1, {"x":"]}"}] , "b\"":null,"c":"" } "#).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].value, r#"[1, {"x":"]}"}]"#);
        assert_eq!(found[1].key, Some(r#""b\"""#));
        assert_eq!(children("[ 1 ,\"two\",[3]]").map(|c| c.value).collect::<Vec<_>>(), ["1", "\"two\"", "[3]"]);
        for empty in ["{}", "[ ]", "17", "\"{\"", "", "false"] {
            assert_eq!(children(empty).count(), 0, "{empty}");
        }
    }

    #[test]
    fn an_escaped_key_is_found() {
        assert_eq!(member(r#"{"\u0049D":5}"#, "ID"), Some("5"));
        assert_eq!(member(r#"{"id":5}"#, "ID"), None);
        assert_eq!(text(r#""\ud800""#), None);
    }

    #[test]
    fn depth_is_harmless() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(value_end(deep.as_bytes(), 0), deep.len());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(json in "[\\[\\]{}:,\"\\\\ a0é]{0,40}") {
            for child in children(&json) {
                let _ = (child.key.and_then(text), text(child.value));
            }
            let _ = member(&json, "a");
        }
    }
}
