//! Forms that strangers send to the public listener. What is read in them is held against a second reading of all pairs.

use std::{collections::BTreeMap, time::Instant};

use b24kafka::{
    http::callback::{Call, Malformed},
    protocol::types::PortalId,
};
use secrecy::ExposeSecret as _;

/// An event as a portal sends it.
pub fn event() -> Vec<u8> {
    b"event=ONAPPINSTALL&event_handler_id=1&data%5BVERSION%5D=1&data[LANGUAGE_ID]=en&ts=1795515330&\
      auth%5Baccess_token%5D=t0ps3cret&auth[expires_in]=3600&auth%5Brefresh_token%5D=r3fresh&auth[user_id]=1&\
      auth%5Bdomain%5D=example.bitrix24.com&auth[client_endpoint]=https%3A%2F%2Fexample.bitrix24.com%2Frest%2F&\
      auth%5Bmember_id%5D=a223c6b3710f85df22e9377d6c4f7553&auth[application_token]=0123456789abcdef"
        .to_vec()
}

/// The form of the install page.
pub fn page() -> Vec<u8> {
    b"DOMAIN=example.bitrix24.com&PROTOCOL=1&LANG=en&AUTH_ID=t0ps3cret&AUTH_EXPIRES=3600&REFRESH_ID=r3fresh&\
      member_id=a223c6b3710f85df22e9377d6c4f7553&status=L&PLACEMENT=DEFAULT&PLACEMENT_OPTIONS=%7B%22any%22%3A1%7D"
        .to_vec()
}

/// Reads a form in every way there is; whatever is claimed has to stand there, once.
pub fn check(form: &[u8]) {
    let halves = form.split_at(form.len() / 2);
    for (query, body) in [(&[][..], form), (form, &[][..]), halves] {
        claims(query, body, Call::event(query, body), "auth[");
        claims(query, body, Call::install(query, body), "");
    }
}

fn claims(query: &[u8], body: &[u8], read: Result<Call, Malformed>, brackets: &str) {
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in [query, body].into_iter().flat_map(url::form_urlencoded::parse) {
        said.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    let Ok(call) = read else { return };
    // What is no secret may hold anything, also a part of one that was moved there.
    let open = Call { place: None, member_id: PortalId::new("a1").expect("an id"), ..call.clone() };
    assert!(!format!("{open:?}").contains("r3fresh") && !format!("{open:?}").contains("0123456789abcdef"));
    let is_event =
        !brackets.is_empty() || said.contains_key("event") && said["event"].iter().any(|name| !name.is_empty());
    let only = |name: &str, value: &str| {
        let all = said.get(name).unwrap_or_else(|| panic!("{name} is nowhere in {said:?}"));
        assert!(all.iter().all(|said| said == value), "{name} says {all:?}, not {value}");
    };
    let names = if is_event {
        ["auth[member_id]", "auth[refresh_token]", "auth[application_token]"]
    } else {
        ["member_id", "REFRESH_ID", ""]
    };
    only(names[0], call.member_id.as_str());
    assert!(call.member_id.as_str().bytes().all(|b| b.is_ascii_alphanumeric()));
    for (name, token) in [(names[1], &call.refresh_token), (names[2], &call.application_token)] {
        if let Some(token) = token {
            only(name, token.expose_secret());
            assert!(!token.expose_secret().is_empty() && token.expose_secret().bytes().all(|b| b.is_ascii_graphic()));
        }
    }
}

#[test]
fn good_forms_are_read() {
    let call = Call::event(b"", &event()).expect("a call");
    assert_eq!(call.member_id.as_str(), "a223c6b3710f85df22e9377d6c4f7553");
    assert!(call.refresh_token.is_some() && call.application_token.is_some());
    let call = Call::install(b"", &page()).expect("a call");
    assert!(call.refresh_token.is_some() && call.place.as_deref() == Some("example.bitrix24.com"));
    check(&event());
    check(&page());
}

/// The largest forms that the listener lets in, of the kinds that cost a careless reader the most.
#[test]
fn large_forms_cost_no_more_than_their_reading() {
    const LARGEST: usize = 64 << 10;
    let fill = |piece: &str| piece.repeat(LARGEST / piece.len());
    for (what, more) in [
        ("no names", fill("&")),
        ("short names", fill("a&")),
        ("as many elements of one list", fill("a[]=&")),
        ("as many names that are wanted", fill("auth[member_id]=a223c6b3710f85df22e9377d6c4f7553&")),
        ("deep nesting", format!("a{}=1", fill("[a]"))),
        ("brackets that never end", fill("[")),
        ("escapes", fill("%41")),
        ("broken escapes", fill("%")),
        ("no UTF-8", fill("%ff")),
        ("one long value", fill("a")),
    ] {
        let mut form = event();
        form.push(b'&');
        form.extend_from_slice(more.as_bytes());
        let begun = Instant::now();
        let call = Call::event(b"", &form);
        let took = begun.elapsed();
        assert!(call.is_ok(), "{what}: {call:?}");
        assert!(took.as_secs() < 5, "{what}: {took:?}");
        check(&form);
    }
}
