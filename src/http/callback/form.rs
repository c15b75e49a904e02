//! Forms with PHP brackets, as far as somebody looks at them: the values of a few names.
//!
//! Bitrix24 writes nested data as `auth[member_id]=..&data[FIELDS][ID]=..`. What is wanted has fixed names, so no tree is
//! built: every pair is decoded, compared with the wanted names and forgotten. Depth and number of the other fields cost
//! nothing but the reading, and what is kept is never more than the body itself. Decoding is as lenient as PHP's: a `+`
//! is a space, a broken escape stands for itself, and what is no UTF-8 becomes a mark that no token or id may hold.

use url::form_urlencoded;

/// A wanted name stands there twice with different values: readers of other schools would not agree on what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field is given twice")]
pub struct Ambiguous;

/// The values of `names` in the parts of a form (query and body); a name that is missing or empty is `None`.
///
/// # Errors
/// [`Ambiguous`].
pub fn read<const N: usize>(names: [&str; N], parts: &[&[u8]]) -> Result<[Option<String>; N], Ambiguous> {
    let mut values = [const { None }; N];
    for (name, value) in parts.iter().flat_map(|part| form_urlencoded::parse(part)) {
        let Some(at) = names.iter().position(|wanted| *wanted == name) else { continue };
        match &values[at] {
            None => values[at] = Some(value.into_owned()),
            Some(known) if *known == value => {}
            Some(_) => return Err(Ambiguous),
        }
    }
    Ok(values.map(|value| value.filter(|text| !text.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(body: &str) -> Result<[Option<String>; 2], Ambiguous> {
        read(["auth[member_id]", "event"], &[body.as_bytes()])
    }

    fn is(member: Option<&str>, event: Option<&str>) -> Result<[Option<String>; 2], Ambiguous> {
        Ok([member, event].map(|text| text.map(str::to_owned)))
    }

    #[test]
    fn names_with_brackets_are_found_encoded_or_not() {
        assert_eq!(two("event=A&auth[member_id]=x&auth[user_id]=1"), is(Some("x"), Some("A")));
        assert_eq!(two("auth%5Bmember_id%5D=x%20y+z&%65vent=A"), is(Some("x y z"), Some("A")));
        assert_eq!(two("&&=&=1&event&auth[member_id]=&"), is(None, None));
        assert_eq!(two("event=A=B"), is(None, Some("A=B")));
    }

    #[test]
    fn other_shapes_of_a_name_are_other_names() {
        let odd = "auth=1&auth[]=2&auth[member_id][]=3&auth[member_id=4&auth[member_id]x=5&AUTH[member_id]=6&Event=7";
        assert_eq!(two(odd), is(None, None));
    }

    #[test]
    fn broken_encodings_stand_for_themselves() {
        assert_eq!(two("event=%&auth[member_id]=%zz%4"), is(Some("%zz%4"), Some("%")));
        assert_eq!(two("event=%ff%00&auth[member_id]=%f0%9f"), is(Some("\u{fffd}"), Some("\u{fffd}\0")));
    }

    #[test]
    fn a_name_that_says_two_things_is_ambiguous() {
        assert_eq!(two("event=A&event=A"), is(None, Some("A")));
        for body in ["event=A&event=B", "event=A&event=", "event=&event=A", "event=A&%65vent=B"] {
            assert_eq!(two(body), Err(Ambiguous), "{body}");
        }
        assert_eq!(read(["event"], &[b"event=A", b"event=B"]), Err(Ambiguous), "query and body");
    }
}
