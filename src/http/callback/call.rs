//! What a call says. Nothing of it is believed yet.

use std::fmt;

use secrecy::SecretString;

use super::form;
use crate::{metrics::labels::Callback, protocol::types::PortalId};

/// Longest token that is looked at, in bytes; real ones have about 70.
const LONGEST_TOKEN: usize = 512;
/// Longest name of an event, in bytes.
const LONGEST_EVENT: usize = 100;
/// Longest address or domain: a host has 253 characters at most.
const LONGEST_PLACE: usize = 300;

/// A call as it came.
#[derive(Clone)]
pub struct Call {
    /// What it is about.
    pub kind: Callback,
    /// Whose it says it is.
    pub member_id: PortalId,
    /// What it shows to be believed.
    pub application_token: Option<SecretString>,
    /// What it can prove itself with.
    pub refresh_token: Option<SecretString>,
    /// Where it says the portal is: an address or a host.
    pub place: Option<String>,
}

/// The call cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

impl Call {
    /// Reads the call of an event.
    ///
    /// # Errors
    /// [`Malformed`] says which part of it is missing or impossible.
    pub fn event(query: &[u8], body: &[u8]) -> Result<Self, Malformed> {
        let names = [
            "event",
            "auth[member_id]",
            "auth[application_token]",
            "auth[refresh_token]",
            "auth[client_endpoint]",
            "auth[domain]",
        ];
        let values = form::read(names, &[query, body]).map_err(|_| Malformed("a field is given twice"))?;
        let [event, member_id, application_token, refresh_token, endpoint, domain] = values;
        let event = event.filter(|name| name.len() <= LONGEST_EVENT && name.bytes().all(is_word));
        let kind = match event.ok_or(Malformed("there is no event"))?.to_ascii_uppercase().as_str() {
            "ONOFFLINEEVENT" => Callback::Wake,
            "ONAPPINSTALL" => Callback::Install,
            "ONAPPUNINSTALL" => Callback::Uninstall,
            _ => Callback::Other,
        };
        Self::new(kind, member_id, application_token, refresh_token, endpoint.or(domain))
    }

    /// Reads the form that opens the application's install page. For an application without a user interface Bitrix24
    /// sends an event there instead.
    ///
    /// # Errors
    /// As [`Call::event`].
    pub fn install(query: &[u8], body: &[u8]) -> Result<Self, Malformed> {
        let names = ["event", "member_id", "REFRESH_ID", "DOMAIN"];
        let values = form::read(names, &[query, body]).map_err(|_| Malformed("a field is given twice"))?;
        let [event, member_id, refresh_token, domain] = values;
        if event.is_some() {
            return Self::event(query, body);
        }
        Self::new(Callback::Install, member_id, None, refresh_token, domain)
    }

    fn new(
        kind: Callback,
        member_id: Option<String>,
        application_token: Option<String>,
        refresh_token: Option<String>,
        place: Option<String>,
    ) -> Result<Self, Malformed> {
        let member_id = member_id.ok_or(Malformed("there is no member_id"))?;
        let place_fits = |place: &String| place.len() <= LONGEST_PLACE && place.bytes().all(|b| b.is_ascii_graphic());
        if !place.as_ref().is_none_or(place_fits) {
            return Err(Malformed("the portal's address is none"));
        }
        Ok(Self {
            kind,
            member_id: PortalId::new(&member_id).ok_or(Malformed("the member_id is none"))?,
            application_token: token(application_token)?,
            refresh_token: token(refresh_token)?,
            place,
        })
    }
}

/// A token is a word of printable characters.
fn token(text: Option<String>) -> Result<Option<SecretString>, Malformed> {
    match text {
        Some(text) if text.len() > LONGEST_TOKEN || !text.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(Malformed("a token is none"))
        }
        text => Ok(text.map(SecretString::from)),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.' | b'\\')
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("kind", &self.kind).field("member_id", &self.member_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const AUTH: &str = "auth[member_id]=a1&auth[application_token]=app&auth[refresh_token]=ref&auth[domain]=d.example";

    fn event(body: &str) -> Result<Call, Malformed> {
        Call::event(b"", body.as_bytes())
    }

    #[test]
    fn each_kind_of_event_is_told_in_either_case() {
        for (name, kind) in [
            ("ONOFFLINEEVENT", Callback::Wake),
            ("OnAppInstall", Callback::Install),
            ("ONAPPUNINSTALL", Callback::Uninstall),
            ("ONCRMDEALADD", Callback::Other),
            ("tasks.ai\\x::y", Callback::Other),
        ] {
            let call =
                event(&format!("event={name}&{AUTH}&auth[client_endpoint]=https://d.example/rest/")).expect(name);
            assert_eq!((call.kind, call.member_id.as_str()), (kind, "a1"));
            assert_eq!(call.place.as_deref(), Some("https://d.example/rest/"));
            assert_eq!(call.refresh_token.expect("a token").expose_secret(), "ref");
        }
        assert!(format!("{:?}", event(&format!("event=A&{AUTH}"))).contains("a1"));
        assert!(!format!("{:?}", event(&format!("event=A&{AUTH}"))).contains("ref"));
    }

    #[test]
    fn the_install_page_brings_its_own_names_in_query_and_body() {
        let body = b"AUTH_ID=acc&AUTH_EXPIRES=3600&REFRESH_ID=ref&member_id=a1&status=L&PLACEMENT=DEFAULT";
        let call = Call::install(b"DOMAIN=d.example&PROTOCOL=1&LANG=en&APP_SID=x", body).expect("a call");
        assert_eq!((call.kind, call.member_id.as_str()), (Callback::Install, "a1"));
        assert_eq!(call.place.as_deref(), Some("d.example"));
        assert!(call.application_token.is_none());
        let sent = format!("event=ONAPPINSTALL&{AUTH}");
        assert!(Call::install(b"", sent.as_bytes()).expect("an event").application_token.is_some());
    }

    #[test]
    fn what_cannot_be_meant_is_malformed() {
        for body in [
            String::new(),
            AUTH.to_owned(),
            "event=ONAPPINSTALL".to_owned(),
            format!("event=&{AUTH}"),
            format!("event[]=ONAPPINSTALL&{AUTH}"),
            format!("event=A%00&{AUTH}"),
            format!("event={}&{AUTH}", "A".repeat(101)),
            format!("event=A&{AUTH}&auth[member_id]=b2"),
            "event=A&auth[member_id]=../x".to_owned(),
            "event=A&auth[member_id]=%ff".to_owned(),
            format!("event=A&auth[member_id]={}", "a".repeat(65)),
            "event=A&auth[member_id]=a1&auth[refresh_token]=a%20b".to_owned(),
            format!("event=A&auth[member_id]=a1&auth[application_token]={}", "a".repeat(513)),
            "event=A&auth[member_id]=a1&auth[client_endpoint]=https://x%0d%0ay/".to_owned(),
        ] {
            assert!(event(&body).is_err(), "{body}");
        }
        assert_eq!(Call::install(b"", b"DOMAIN=x").expect_err("nobody"), Malformed("there is no member_id"));
    }
}
