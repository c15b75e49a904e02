//! `[app]`: the Bitrix24 application whose queues are read.

use secrecy::SecretString;
use url::Url;

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
