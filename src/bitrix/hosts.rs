//! Where a callback may lead to: only to names that the operator allows, and only to public addresses behind them.
//!
//! The address of a portal that installs the application by itself comes from outside in the end. So its host has to be
//! on the operator's list, by name and with TLS, and what the name stands for is checked at the moment of connecting,
//! each time: a name that answers publicly first and privately later (DNS rebinding) leads nowhere. Hosts that the
//! operator has written down himself, the proxy included, are his own word and are not held against this. Behind a proxy
//! it is the proxy that resolves the name.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::config::app::App;

/// The hosts of callbacks.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// In lower case: with a leading dot a suffix, else exact.
    allowed: Vec<String>,
    /// Names that the operator has given himself.
    own: BTreeSet<String>,
    /// Plain http and private addresses will do.
    lax: bool,
}

/// Why an address is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Plain http, or something else.
    #[error("it is not https")]
    Scheme,
    /// A number where only names are believed.
    #[error("its host is a number and no name")]
    Literal,
    /// A name that the operator has not allowed.
    #[error("its host is not among app.allowed_hosts")]
    Host,
    /// A user, a password, a query or a fragment; or a path that is no REST endpoint.
    #[error("it is not the address of a REST endpoint")]
    Shape,
}

/// A name stands for an address that is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name stands for a private address")]
pub struct Private;

impl Hosts {
    /// What `[app]` allows. `own` are addresses that the operator has written down.
    pub fn new<'u>(app: &'u App, own: impl IntoIterator<Item = &'u Url>) -> Self {
        let own = own.into_iter().chain([&app.oauth_url]).filter_map(Url::host_str).map(str::to_owned);
        Self { allowed: app.allowed_hosts.clone(), own: own.collect(), lax: app.allow_http }
    }

    /// Whether a callback may lead to this REST endpoint.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, endpoint: &Url) -> Result<(), Forbidden> {
        match endpoint.scheme() {
            "https" => {}
            "http" if self.lax => {}
            _ => return Err(Forbidden::Scheme),
        }
        match endpoint.host() {
            Some(Host::Domain(name)) if self.allows(name) => {}
            Some(Host::Domain(_)) => return Err(Forbidden::Host),
            _ => return Err(Forbidden::Literal),
        }
        let bare = endpoint.username().is_empty()
            && endpoint.password().is_none()
            && endpoint.query().is_none()
            && endpoint.fragment().is_none();
        if bare && endpoint.path().ends_with("/rest/") { Ok(()) } else { Err(Forbidden::Shape) }
    }

    /// The same of a place as a call names it: an address, or a host with or without a port.
    ///
    /// # Errors
    /// Why not.
    pub fn check_place(&self, place: &str) -> Result<(), Forbidden> {
        if place.contains("://") {
            return self.check(&Url::parse(place).map_err(|_| Forbidden::Shape)?);
        }
        self.check(&Url::parse(&format!("https://{place}/rest/")).map_err(|_| Forbidden::Shape)?)
    }

    /// `name` is in lower case, as a [`Url`] holds it.
    fn allows(&self, name: &str) -> bool {
        self.allowed.iter().any(|allowed| match allowed.strip_prefix('.') {
            Some(_) => name.len() > allowed.len() && name.ends_with(allowed.as_str()),
            None => name == allowed,
        })
    }

    /// Whether the addresses of this name are checked. A name that is not allowed is never called for a callback, so it
    /// is the operator's own word.
    fn is_guarded(&self, name: &str) -> bool {
        !self.lax && self.allows(&name.to_ascii_lowercase()) && !self.own.contains(name)
    }
}

/// Resolves names as the system does, and checks what comes out.
#[derive(Clone, Debug)]
pub(super) struct Guard(pub Arc<Hosts>);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guarded = self.0.is_guarded(name.as_str());
        Box::pin(async move {
            // The port is filled in by whoever connects.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if guarded {
                all_public(&found)?;
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// A name that stands for a private address among others is not followed either.
fn all_public(found: &[SocketAddr]) -> Result<(), io::Error> {
    if found.iter().all(|address| is_public(address.ip())) { Ok(()) } else { Err(io::Error::other(Private)) }
}

/// Whether an address is one of the public internet (the registries of special-purpose addresses, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // This network, carrier-grade translation, protocol assignments and the old relays, measurements, the future.
    let special =
        matches!((a, b, c), (0 | 240..=255, ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _));
    !(special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let last_v4 = || {
        let [.., high, low] = segments;
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // The same host in the other family: mapped, and translated.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(last_v4()),
        // Protocol assignments with Teredo, documentation, 6to4.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(lax: bool) -> Hosts {
        let app = App {
            client_id: "local.1".into(),
            client_secret: "s".into(),
            oauth_url: Url::parse("https://oauth.corp.example/oauth/token/").expect("a URL"),
            allowed_hosts: vec![".bitrix24.com".into(), "portal.corp.example".into(), "oauth.corp.example".into()],
            allow_http: lax,
        };
        Hosts::new(&app, &[Url::parse("https://own.bitrix24.com/rest/").expect("a URL")])
    }

    #[test]
    fn only_allowed_names_with_tls_are_followed() {
        let check = |lax, url: &str| hosts(lax).check(&Url::parse(url).expect(url));
        for good in [
            "https://a.bitrix24.com/rest/",
            "https://A.B.Bitrix24.COM:8443/rest/",
            "https://portal.corp.example/x/rest/",
        ] {
            assert_eq!(check(false, good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("http://a.bitrix24.com/rest/", Forbidden::Scheme),
            ("ftp://a.bitrix24.com/rest/", Forbidden::Scheme),
            ("https://bitrix24.com/rest/", Forbidden::Host),
            ("https://.bitrix24.com/rest/", Forbidden::Host),
            ("https://a.bitrix24.com./rest/", Forbidden::Host),
            ("https://evilbitrix24.com/rest/", Forbidden::Host),
            ("https://a.bitrix24.com.evil.example/rest/", Forbidden::Host),
            ("https://x.portal.corp.example/rest/", Forbidden::Host),
            ("https://bıtrix24.com/rest/", Forbidden::Host),
            ("https://localhost/rest/", Forbidden::Host),
            ("https://127.0.0.1/rest/", Forbidden::Literal),
            ("https://2130706433/rest/", Forbidden::Literal),
            ("https://0x7f.1/rest/", Forbidden::Literal),
            ("https://[::1]/rest/", Forbidden::Literal),
            ("https://a.bitrix24.com@evil.example/rest/", Forbidden::Host),
            ("https://user@a.bitrix24.com/rest/", Forbidden::Shape),
            ("https://a.bitrix24.com/rest/?x=1", Forbidden::Shape),
            ("https://a.bitrix24.com/rest/1/hook/", Forbidden::Shape),
            ("https://a.bitrix24.com/", Forbidden::Shape),
        ] {
            assert_eq!(check(false, bad), Err(why), "{bad}");
        }
        assert_eq!(check(true, "http://a.bitrix24.com:81/rest/"), Ok(()));
        assert_eq!(check(true, "http://127.0.0.1/rest/"), Err(Forbidden::Literal), "never");
        assert_eq!(check(true, "http://other.example/rest/"), Err(Forbidden::Host));
    }

    #[test]
    fn a_place_is_an_address_or_a_host() {
        let hosts = hosts(false);
        for good in ["a.bitrix24.com", "a.bitrix24.com:443", "https://a.bitrix24.com/rest/"] {
            assert_eq!(hosts.check_place(good), Ok(()), "{good}");
        }
        for bad in ["", "evil.example", "127.0.0.1", "a.bitrix24.com@b", "://", "x://a.bitrix24.com/rest/"] {
            assert!(hosts.check_place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_public_addresses_are_public() {
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().expect(private)), "{private}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_public(public.parse().expect(public)), "{public}");
        }
        let both = ["1.1.1.1:0", "10.0.0.1:0"].map(|address| address.parse().expect(address));
        assert!(all_public(&both).is_err(), "one private address is enough");
        assert!(all_public(&both[..1]).is_ok());
    }

    #[test]
    fn what_the_operator_wrote_himself_is_not_guarded() {
        let (strict, lax) = (hosts(false), hosts(true));
        for (name, guarded) in [
            ("a.bitrix24.com", true),
            ("portal.corp.example", true),
            ("own.bitrix24.com", false),
            ("oauth.corp.example", false),
            ("proxy.corp.example", false),
        ] {
            assert_eq!((strict.is_guarded(name), lax.is_guarded(name)), (guarded, false), "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_is_resolved_and_refused_at_the_moment_of_connecting() {
        let app = App { allowed_hosts: vec!["localhost".into()], ..app_of_tests() };
        let resolve = |hosts: Hosts| async move {
            Guard(Arc::new(hosts)).resolve("localhost".parse().expect("a name")).await.map(Iterator::count)
        };
        let error = resolve(Hosts::new(&app, &[])).await.expect_err("loopback");
        assert!(error.to_string().contains("private address"), "{error}");
        let own = Url::parse("https://localhost/rest/").expect("a URL");
        assert!(resolve(Hosts::new(&app, &[own])).await.expect("the operator's word") > 0);
        assert!(resolve(Hosts::new(&App { allow_http: true, ..app }, &[])).await.expect("a closed network") > 0);
    }

    fn app_of_tests() -> App {
        App {
            client_id: "local.1".into(),
            client_secret: "s".into(),
            oauth_url: Url::parse("https://oauth.example/oauth/token/").expect("a URL"),
            allowed_hosts: Vec::new(),
            allow_http: false,
        }
    }
}
