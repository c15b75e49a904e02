//! What a bridge needs to know of a simulator, as the bridge's configuration says it.

use std::fmt::Write as _;

use secrecy::ExposeSecret as _;

use super::Sim;

impl Sim {
    /// The sections `[app]` and `[[portals]]` for the first `most` portals, whose request limit is `plan`.
    ///
    /// The secrets in it open nothing but the simulator.
    pub fn configuration(&self, plan: &str, most: usize) -> String {
        let mut text = format!(
            "[app]\nclient_id = \"{}\"\nclient_secret = \"{}\"\noauth_url = \"{}\"\nallow_http = true\n",
            self.client_id(),
            self.client_secret().expose_secret(),
            self.oauth_url(),
        );
        for portal in self.portals().take(most) {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[[portals]]\nmember_id = \"{}\"\nendpoint = \"{}\"\naccess_token = \"{}\"\nrefresh_token = \"{}\"\nplan = \"{plan}\"\n",
                portal.member_id(),
                portal.endpoint(),
                portal.access_token().expose_secret(),
                portal.refresh_token().expose_secret(),
            );
        }
        text
    }
}
