//! Redaction: no token that a portal puts into an event's data may reach a record, a log or a page.
//!
//! Compact copy of JSON text in one pass without a tree and without recursion. Insignificant white space goes, the
//! whole value of a secret key is replaced, everything else stays byte for byte.

use super::json::{space_end, string_end, text, value_end};

/// What stands in place of a secret.
const REDACTED: &str = "\"[redacted]\"";
/// Keys whose value is a secret, at any depth and in any case.
const SECRET_KEYS: [&str; 4] = ["auth", "access_token", "refresh_token", "application_token"];

/// Copies `json`, which must be valid, compactly and without secrets.
pub fn redact(json: &str) -> Box<str> {
    let bytes = json.as_bytes();
    let mut out = String::with_capacity(json.len());
    // What lies between `copied` and `at` is to be kept and not yet copied.
    let (mut copied, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                let colon = space_end(bytes, end);
                // In valid JSON a string before a colon is a key, and nothing else is.
                if bytes.get(colon) == Some(&b':') && is_secret(slice(json, at, end)) {
                    out.push_str(slice(json, copied, end));
                    out.push(':');
                    out.push_str(REDACTED);
                    at = value_end(bytes, space_end(bytes, colon + 1));
                    copied = at;
                } else {
                    at = end;
                }
            }
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.push_str(slice(json, copied, at));
                at = space_end(bytes, at);
                copied = at;
            }
            _ => at += 1,
        }
    }
    out.push_str(slice(json, copied, json.len()));
    out.into_boxed_str()
}

/// A part of the text; every index here lies on an ASCII byte of valid JSON, so it is never cut short.
fn slice(json: &str, from: usize, to: usize) -> &str {
    json.get(from..to).unwrap_or_default()
}

fn is_secret(written: &str) -> bool {
    // The shortest key has four characters and its quotes; a longer spelling than the longest must hold escapes.
    if written.len() < 6 {
        return false;
    }
    text(written).is_some_and(|key| SECRET_KEYS.iter().any(|secret| key.eq_ignore_ascii_case(secret)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_white_space_outside_strings_goes() {
        assert_eq!(
            &*redact(" { \"a b\" : [ 1.50 , \"x \\\" y\" ] ,\n\"c\":1e5 } "),
            r#"{"a b":[1.50,"x \" y"],"c":1e5}"#
        );
        for same in ["{}", "[]", "false", "\"auth\"", r#"{"a":"auth"}"#, r#"["auth","access_token"]"#, "-0.0"] {
            assert_eq!(&*redact(same), same);
        }
    }

    #[test]
    fn secrets_go_whole_at_any_depth_in_any_spelling() {
        let cases = [
            (r#"{"auth":{"access_token":"s3cret"},"b":1}"#, r#"{"auth":"[redacted]","b":1}"#),
            (r#"{"x":[{"Access_Token" : "s3cret" }]}"#, r#"{"x":[{"Access_Token":"[redacted]"}]}"#),
            (
                r#"{"REFRESH_TOKEN":[ "s3cret", {"}":"s3cret"} ],"k":null}"#,
                r#"{"REFRESH_TOKEN":"[redacted]","k":null}"#,
            ),
            (r#"{"\u0061uth":12345}"#, r#"{"\u0061uth":"[redacted]"}"#),
            (r#"{"application_token":null}"#, r#"{"application_token":"[redacted]"}"#),
            (
                r#"{"author":"kept","auth_":"kept","my_auth":"kept"}"#,
                r#"{"author":"kept","auth_":"kept","my_auth":"kept"}"#,
            ),
        ];
        for (before, after) in cases {
            assert_eq!(&*redact(before), after);
        }
    }

    #[test]
    fn depth_is_harmless() {
        let deep = format!("{}{{\"auth\": 1}}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(redact(&deep).len(), deep.len() - 2 + REDACTED.len());
    }

    /// What the walker must do, said with a tree.
    fn expected(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (key, value) in members.iter_mut() {
                    if SECRET_KEYS.contains(&key.to_ascii_lowercase().as_str()) {
                        *value = Value::String("[redacted]".to_owned());
                    } else {
                        expected(value);
                    }
                }
            }
            Value::Array(elements) => elements.iter_mut().for_each(expected),
            _ => {}
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\ {}:,é\\n]{0,12}".prop_map(Value::from),
        ];
        let key = prop_oneof!["[a-z\"\\\\ :é]{0,6}", Just("auth".to_owned()), Just("Refresh_Token".to_owned())];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_does_what_a_tree_would_do(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let mut want = value;
            expected(&mut want);
            prop_assert_eq!(redact(&text.unwrap()).into_string(), serde_json::to_string(&want).unwrap());
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}:,\"\\\\ uaé]{0,40}|\\{\"auth\".*") {
            let _ = redact(&text);
        }
    }
}
