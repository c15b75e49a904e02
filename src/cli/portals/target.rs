//! Which bridge is asked, and with which token: as the configuration says, or as the command line does.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use url::Url;

use super::ask::{AskError, Bridge};
use crate::{
    cli::{configured::ConfigFile, failure::Failure},
    config::{self, Config},
};

/// The variables of the configuration's own keys, so that they mean the same with and without a configuration.
const TOKEN: &str = "B24KAFKA__ADMIN__TOKEN";
const TOKEN_FILE: &str = "B24KAFKA__ADMIN__TOKEN_FILE";

/// `-c FILE`, or `--admin ADDRESS` with a token where one is needed.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The configuration of the bridge
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        env = "B24KAFKA_CONFIG",
        required_unless_present = "admin"
    )]
    config: Option<PathBuf>,
    /// Where its admin listener is, such as 127.0.0.1:9464, instead of what the configuration says
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    admin: Option<String>,
    /// A file that holds admin.token, instead of what the configuration or B24KAFKA__ADMIN__TOKEN says
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The file of the token is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the admin token cannot be taken from {}, which {wrong}", path.display())]
struct NoToken {
    path: PathBuf,
    wrong: String,
}

impl Target {
    /// The bridge, for questions that need no token: the configuration is left alone if `--admin` is given.
    pub fn bridge(&self) -> Result<Bridge, Failure> {
        match &self.admin {
            Some(admin) => Ok(Bridge::at(admin, "--admin", None)?),
            None => self.configured(None),
        }
    }

    /// The bridge, with the token if there is one: that of the command line, else that of the configuration.
    pub fn bridge_with_token(&self) -> Result<Bridge, Failure> {
        let given = match (&self.token_file, &self.config) {
            (Some(path), _) => Some(from_file(path)?),
            // The configuration looks at the variables by itself.
            (None, Some(_)) => None,
            (None, None) => match (std::env::var(TOKEN), std::env::var_os(TOKEN_FILE)) {
                (Ok(token), _) => Some(SecretString::from(token)),
                (Err(_), Some(path)) => Some(from_file(Path::new(&path))?),
                (Err(_), None) => None,
            },
        };
        match (&self.admin, given) {
            (Some(admin), None) if self.config.is_some() => Ok(Bridge::at(admin, "--admin", self.load()?.admin.token)?),
            (Some(admin), given) => Ok(Bridge::at(admin, "--admin", given)?),
            (None, given) => self.configured(given),
        }
    }

    fn configured(&self, token: Option<SecretString>) -> Result<Bridge, Failure> {
        let admin = self.load()?.admin;
        Ok(Bridge::configured(admin.listen, token.or(admin.token))?)
    }

    fn load(&self) -> Result<Config, Failure> {
        // Without --admin the arguments require the path.
        let path = self.config.clone().ok_or(AskError::NoBridge)?;
        ConfigFile { path }.load()
    }
}

fn from_file(path: &Path) -> Result<SecretString, NoToken> {
    config::secret_in(path).map_err(|wrong| NoToken { path: path.to_path_buf(), wrong })
}

/// `HOST:PORT` and nothing more.
fn address(text: &str) -> Result<String, String> {
    let wrong = || "give HOST:PORT, such as 127.0.0.1:9464".to_owned();
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let url = Url::parse(&format!("http://{text}/")).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.path() == "/" && url.query().is_none();
    if plain && url.fragment().is_none() && port.is_some_and(|port| port > 0) {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for right in ["127.0.0.1:9464", "[::1]:9464", "bridge.example:80"] {
            assert_eq!(address(right).as_deref(), Ok(right));
        }
        for wrong in ["", "127.0.0.1", "127.0.0.1:0", "http://127.0.0.1:9464", "a:b@c:1", "a:1/x:2", "a/?b:1", "::1"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
