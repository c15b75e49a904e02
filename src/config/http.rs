//! `[http]` and `[admin]`: the two listeners.

use std::{net::SocketAddr, time::Duration};

use secrecy::SecretString;
use url::Url;

use super::{
    form::{Link, Listen, Span, Whole},
    portals::with_slash,
    reader::{Named, Section},
    secret::Secret,
};

/// `[http]`: what Bitrix24 calls.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How Bitrix24 reaches it, with a trailing slash so that paths can be joined; if set, `ONOFFLINEEVENT` is bound.
    pub public_url: Option<Url>,
    /// `minTimeout` of `ONOFFLINEEVENT`.
    pub wake_min: Duration,
}

/// `[admin]`: what operators and Prometheus call.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where to listen.
    pub listen: SocketAddr,
    /// For calls that change something; `None` refuses those calls.
    pub token: Option<SecretString>,
    /// How many portals at most get a label of their own in metrics; the others share `_other`. 0 is no label at all.
    pub portal_labels: u32,
}

const TOKEN: Secret = Secret {
    key: Named("token", "Bearer token of the calls that change something; without one those calls are refused."),
    file: Named("token_file", "The same in a file."),
};

impl Http {
    pub(super) fn read(section: &mut Section<'_, '_>, allow_http: bool) -> Option<Self> {
        let listen = section.or(Named("listen", "Where Bitrix24's callbacks are taken."), "\"0.0.0.0:8080\"", &Listen);
        let public_url = section.optional(
            Named(
                "public_url",
                "How Bitrix24 reaches this listener. \
 With it wake-ups are bound, and idle queues wait poll_max at once.",
            ),
            &Link { http: allow_http },
        );
        let wake = Span(Duration::ZERO, Duration::from_secs(3600));
        let wake_min = section.or(
            Named("wake_min", "Least time between two wake-ups of a portal, in whole seconds."),
            "\"1s\"",
            &wake,
        );
        if wake_min.is_some_and(|span| span.subsec_millis() != 0) {
            section.fault("wake_min", "has a fraction of a second", "give whole seconds: Bitrix24 counts in them");
            return None;
        }
        Some(Self { listen: listen?, public_url: public_url?.map(with_slash), wake_min: wake_min? })
    }
}

impl Admin {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let listen = section.or(
            Named("listen", "Where metrics, health and the API are served; keep it off the internet."),
            "\"127.0.0.1:9464\"",
            &Listen,
        );
        let token = TOKEN.optional(section);
        let portal_labels = section.or(
            Named(
                "portal_labels",
                "How many portals get a label of their own in the metrics b24kafka_portal_*; the rest share _other. \
 0: no such metrics.",
            ),
            "0",
            &Whole(0..=1000),
        );
        Some(Self { listen: listen?, token: token?, portal_labels: u32::try_from(portal_labels?).ok()? })
    }
}
