//! What broken bytes are thrown at: one function for each kind of reader, shared by the loop in `fuzz` and by the
//! coverage-guided targets in `fuzz/` at the root of the repository.

use b24kafka::http::callback::Call;
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use crate::{
    answers,
    stand::{Stand, list, reserve, scan},
    truth,
};

/// An answer to an exchange with a `get`.
pub fn reservation(stand: &Stand, body: &[u8]) {
    stand.body(200, body);
    truth::check_exchange(&reserve(2), body, &stand.exchange(&reserve(2)));
}

/// An answer to an exchange with a scan.
pub fn scanned(stand: &Stand, body: &[u8]) {
    stand.body(200, body);
    truth::check_exchange(&scan(2), body, &stand.exchange(&scan(2)));
}

/// An answer to an exchange that deletes rows and lists what is free.
pub fn deleted_and_listed(stand: &Stand, body: &[u8]) {
    stand.body(200, body);
    truth::check_exchange(&list(2), body, &stand.exchange(&list(2)));
}

/// An answer to each of the other calls.
pub fn other_call(stand: &Stand, body: &[u8]) {
    stand.body(200, body);
    let outcomes = [
        truth::check_list(body, stand.bindings()),
        truth::check_list(body, stand.events()),
        stand.bind(&["ONCRMDEALADD", "ONTASKADD"]).err(),
        stand.app_info().err(),
        truth::check_feature(body, stand.feature()),
        truth::check_look(&answers::message(1), body, stand.look()),
        truth::check_removal(body, stand.remove()),
    ];
    for error in outcomes.into_iter().flatten() {
        truth::check_error(body, &error);
    }
}

/// An answer to a refresh.
pub fn refresh(stand: &Stand, body: &[u8]) {
    stand.body(200, body);
    truth::check_refresh(body, &stand.refresh());
}

/// A call of Bitrix24: the query up to the first line feed, then the body.
pub fn callback(bytes: &[u8]) {
    let (query, body) = bytes.iter().position(|byte| *byte == b'\n').map_or((&[][..], bytes), |at| {
        let (query, body) = bytes.split_at(at);
        (query, &body[1..])
    });
    for call in [Call::event(query, body), Call::install(query, body)].into_iter().flatten() {
        let fields: Vec<_> = [query, body].into_iter().flat_map(form_urlencoded::parse).collect();
        let says = |value: &str| fields.iter().any(|(_, said)| said == value);
        assert!(says(call.member_id.as_str()), "a member_id that nobody said: {call:?}");
        let tokens: [&Option<SecretString>; 2] = [&call.application_token, &call.refresh_token];
        for token in tokens.into_iter().flatten().map(ExposeSecret::expose_secret) {
            assert!(says(token) && token.bytes().all(|byte| byte.is_ascii_graphic()), "a token that nobody said");
        }
        let place = call.place.as_deref().unwrap_or_default();
        assert!(place.is_empty() || says(place), "a place that nobody said: {place}");
    }
}
