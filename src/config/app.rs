//! `[app]`: the Bitrix24 application whose queues are read.

use secrecy::SecretString;
use url::Url;

use super::{
    form::{Checked, Link, Switch, Text, quote},
    reader::{Named, Section},
    secret::Secret,
};

/// The domains of the cloud, each a suffix. Nobody but Bitrix24 gives out names below them.
const CLOUD: &str = r#"[
    ".bitrix24.com", ".bitrix24.de", ".bitrix24.eu", ".bitrix24.fr", ".bitrix24.es", ".bitrix24.it",
    ".bitrix24.pl", ".bitrix24.com.br", ".bitrix24.com.tr", ".bitrix24.in", ".bitrix24.cn", ".bitrix24.jp",
    ".bitrix24.vn", ".bitrix24.id", ".bitrix24.ru", ".bitrix24.by", ".bitrix24.kz", ".bitrix24.ua",
]"#;
const CLIENT_SECRET: Secret = Secret {
    key: Named("client_secret", "The application's secret (client_secret); has to be given, here or in a file."),
    file: Named("client_secret_file", "The same in a file."),
};

/// `[app]`
#[derive(Clone, Debug)]
pub struct App {
    /// The application's `client_id`.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: SecretString,
    /// Where tokens are refreshed.
    pub oauth_url: Url,
    /// Hosts that a callback may lead to: with a leading dot a suffix, else exact.
    pub allowed_hosts: Vec<String>,
    /// Whether plain http and private addresses are accepted; for tests and closed networks.
    pub allow_http: bool,
}

impl App {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let client_id = section.required(
            Named("client_id", "The application's id (client_id), as the portal or the vendor's page shows it."),
            &Text,
        );
        let client_secret = CLIENT_SECRET.required(section);
        let allow_http = section.or(
            Named("allow_http", "Accept plain http and private addresses; for tests and closed networks only."),
            "false",
            &Switch,
        );
        // After a fault of allow_http itself a URL is not blamed for it too.
        let http = allow_http.unwrap_or(true);
        let oauth_url = section.or(
            Named(
                "oauth_url",
                "Where tokens are refreshed; the answer of this server is what callbacks are checked against.",
            ),
            "\"https://oauth.bitrix.info/oauth/token/\"",
            &Link { http },
        );
        let allowed_hosts = section.each(
            Named(
                "allowed_hosts",
                "Hosts that a callback may lead to: with a leading dot a suffix, else exact. \
 The portals given here and oauth_url need not be among them.",
            ),
            CLOUD,
            &Checked("a host such as \"portal.example.com\", or a suffix such as \".bitrix24.com\"", host),
        );
        Some(Self {
            client_id: client_id?,
            client_secret: client_secret?,
            oauth_url: oauth_url?,
            allowed_hosts: allowed_hosts?,
            allow_http: allow_http?,
        })
    }
}

/// Checks a host or a suffix; in lower case, as URLs hold it.
fn host(text: &str) -> Result<String, String> {
    let name = text.strip_prefix('.').unwrap_or(text);
    let label = |label: &str| {
        let edges = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && !edges && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let digits = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    if !name.split('.').all(label) {
        return Err(format!("is {}", quote(text)));
    }
    if name.rsplit('.').next().is_some_and(digits) {
        return Err(format!("is {}, an address where only names are believed", quote(text)));
    }
    if text.starts_with('.') && !name.contains('.') {
        return Err(format!("is {}, which would allow a whole top level domain", quote(text)));
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn hosts_are_names_and_suffixes() {
        assert_eq!(host(".Bitrix24.com"), Ok(".bitrix24.com".into()));
        assert_eq!(host("localhost"), Ok("localhost".into()));
        for bad in
            ["", ".", "..a.b", "a..b", "*.a.b", "a.b:443", "https://a.b", "1.2.3.4", "::1", ".com", "-a.b", "ä.b"]
        {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
