//! Whether an answer of the admin API has the form that `docs/openapi.json` promises.
//!
//! The document uses a few words of JSON Schema; a word that is not known here fails, so that nothing goes unchecked.

use serde_json::Value;

/// The document.
pub fn document() -> Value {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json")).expect("the document");
    serde_json::from_str(&text).expect("JSON")
}

/// The schema of an answer to `method path` with this status; it has to be documented.
pub fn of_answer(document: &Value, method: &str, path: &str, status: u16) -> Value {
    let answer = &document["paths"][path][method]["responses"][status.to_string()];
    let schema = &answer["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path} with {status} is not documented");
    schema.clone()
}

/// What is wrong with `value`, if anything.
pub fn fault(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let members = schema.as_object().unwrap_or_else(|| panic!("no schema at {at}: {schema}"));
    members.iter().find_map(|(word, says)| match (word.as_str(), says) {
        ("$ref", Value::String(to)) => {
            let inner = document.pointer(to.trim_start_matches('#')).unwrap_or_else(|| panic!("{to} is not there"));
            fault(document, inner, value, at)
        }
        ("oneOf", Value::Array(some)) => {
            let right = some.iter().filter(|one| fault(document, one, value, at).is_none()).count();
            (right != 1).then(|| format!("{at} is {right} of {}: {value}", some.len()))
        }
        ("type", Value::String(kind)) => (!is(kind, value)).then(|| format!("{at} is no {kind}: {value}")),
        ("type", Value::Array(kinds)) => {
            let any = kinds.iter().filter_map(Value::as_str).any(|kind| is(kind, value));
            (!any).then(|| format!("{at} is none of {kinds:?}: {value}"))
        }
        ("enum", Value::Array(words)) => {
            (!words.contains(value)).then(|| format!("{at} is none of {words:?}: {value}"))
        }
        ("required", Value::Array(names)) => {
            let missing = names.iter().filter_map(Value::as_str).find(|name| value.get(name).is_none());
            missing.filter(|_| value.is_object()).map(|name| format!("{at} lacks {name}"))
        }
        ("properties", Value::Object(known)) => value.as_object().and_then(|inner| {
            inner.iter().find_map(|(name, value)| match known.get(name) {
                Some(schema) => fault(document, schema, value, &format!("{at}.{name}")),
                None => Some(format!("{at}.{name} is not documented")),
            })
        }),
        ("items", schema) => {
            let items = value.as_array().into_iter().flatten().enumerate();
            items.into_iter().find_map(|(n, item)| fault(document, schema, item, &format!("{at}[{n}]")))
        }
        ("additionalProperties", Value::Bool(false)) | ("description", _) => None,
        (word, _) => panic!("{word} at {at} is a word that this test does not know"),
    })
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        kind => panic!("{kind} is no type"),
    }
}

#[test]
fn what_is_not_as_documented_is_found() {
    let document = document();
    let schema = serde_json::json!({ "$ref": "#/components/schemas/Refusal" });
    let check = |value: Value| fault(&document, &schema, &value, "it");
    assert_eq!(check(serde_json::json!({ "error": "a", "message": "b" })), None);
    assert_eq!(check(serde_json::json!({ "error": "a" })).as_deref(), Some("it lacks message"));
    assert!(check(serde_json::json!({ "error": "a", "message": 1 })).is_some());
    assert!(check(serde_json::json!({ "error": "a", "message": "b", "more": 1 })).is_some());
    assert!(check(Value::Null).is_some());
}
