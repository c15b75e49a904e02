//! Single values as PHP writes them.

use std::borrow::Cow;

use crate::bitrix::json;

/// A text.
pub fn text(raw: &str) -> Option<Cow<'_, str>> {
    json::text(raw)
}

/// A text, or a number as it is written.
pub fn text_or_number(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => json::text(raw),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
        _ => None,
    }
}

/// A whole number, or a text that is one.
pub fn integer(raw: &str) -> Option<i64> {
    text_or_number(raw)?.trim().parse().ok()
}

/// Any finite number, or a text that is one.
pub fn number(raw: &str) -> Option<f64> {
    text_or_number(raw)?.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// Whether it means yes: `true`, 1, `"1"`, `"Y"`, `"true"`.
pub fn yes(raw: &str) -> bool {
    raw == "true" || text_or_number(raw).is_some_and(|text| matches!(&*text, "1" | "Y" | "y" | "true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_both_forms() {
        assert_eq!(integer("12"), Some(12));
        assert_eq!(integer("\"12\""), Some(12));
        assert_eq!(integer("\"\\u0031\""), Some(1));
        assert_eq!(number("\"0.25\""), Some(0.25));
        for none in ["", "\"", "null", "1.5", "[]", "\"x\"", "99999999999999999999"] {
            assert_eq!(integer(none), None, "{none}");
        }
        assert_eq!(number("\"inf\""), None);
        assert!(yes("true") && yes("\"Y\"") && yes("1") && !yes("false") && !yes("\"N\"") && !yes("null"));
    }
}
