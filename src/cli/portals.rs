//! `b24kafka portals`: the portals of a running bridge, over its admin API.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use jiff::tz::TimeZone;
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{failure::Failure, output};
use crate::{config, protocol::types::PortalId};

mod ask;
mod page;
mod target;

use ask::Bridge;
use page::{Page, Portal};
use target::Target;

/// Look at the portals of a running bridge and change them
#[derive(Debug, clap::Args)]
pub(super) struct Portals {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// All portals and their states
    List(List),
    /// One portal in full
    Show(One),
    /// Take a portal in, or give one new tokens
    Add(Add),
    /// Bring a portal to rest and forget it and its tokens
    Remove(One),
    /// Bring a portal to rest and keep it so until it is resumed
    Park(One),
    /// Serve a parked portal again
    Resume(One),
    /// Ask a portal's queues now
    Poll(One),
    /// Publish and remove the rows that somebody has put aside with event.offline.error
    SweepErrors(One),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those in this state: starting, active, parked or removed
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only those parked for this reason, such as needs_reinstall
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only those whose member_id or domain holds this text
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// By member_id, domain, state, held or last_success; with a - in front of it, from the end
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    sort: Option<String>,
    /// At most so many; all by default
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    target: Target,
    /// JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The portal
    #[arg(value_name = "MEMBER_ID")]
    member_id: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The portal
    #[arg(value_name = "MEMBER_ID")]
    member_id: String,
    /// Its REST endpoint, such as `https://example.bitrix24.com/rest/`
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// A file that holds its refresh token; - is standard input
    #[arg(long, value_name = "FILE")]
    refresh_token_file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// What is given as a portal and is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no member_id; one has 1 to 64 letters and digits")]
struct NoMemberId(String);

/// The refresh token is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the refresh token cannot be taken from {from}, which {wrong}")]
struct NoToken {
    from: String,
    wrong: String,
}

/// Portals that are asked for at once.
const PAGE: usize = 1000;

impl Portals {
    /// Asks the bridge and shows what it answers.
    pub fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match self.command {
            Command::List(list) => {
                let bridge = list.common.target.bridge()?;
                list.show(&bridge, &runtime.block_on(list.ask(&bridge))?)
            }
            Command::Show(one) => {
                let (member_id, bridge) = (one.member_id()?, one.common.target.bridge()?);
                show(&bridge, &runtime.block_on(bridge.portal(&member_id))?, one.common.json)
            }
            Command::Add(add) => {
                let member_id = member_id(&add.member_id)?;
                let (bridge, token) = (add.common.target.bridge_with_token()?, refresh_token(&add.refresh_token_file)?);
                let body = json!({
                    "member_id": member_id.as_str(), "endpoint": add.endpoint, "refresh_token": token.expose_secret(),
                });
                let answer = runtime.block_on(bridge.change(Method::POST, "api/portals", Some(&body)))?;
                changed(&member_id, answer, add.common.json)
            }
            Command::Remove(one) => one.change(&runtime, Method::DELETE, ""),
            Command::Park(one) => one.change(&runtime, Method::POST, "/park"),
            Command::Resume(one) => one.change(&runtime, Method::POST, "/resume"),
            Command::Poll(one) => one.change(&runtime, Method::POST, "/poll"),
            Command::SweepErrors(one) => one.change(&runtime, Method::POST, "/sweep-errors"),
        }
    }
}

impl One {
    fn member_id(&self) -> Result<PortalId, NoMemberId> {
        member_id(&self.member_id)
    }

    fn change(&self, runtime: &tokio::runtime::Runtime, method: Method, action: &str) -> Result<(), Failure> {
        let (member_id, bridge) = (self.member_id()?, self.common.target.bridge_with_token()?);
        let path = format!("api/portals/{member_id}{action}");
        changed(&member_id, runtime.block_on(bridge.change(method, &path, None))?, self.common.json)
    }
}

impl List {
    /// All pages as one: the answer of the last one, with the portals of all.
    async fn ask(&self, bridge: &Bridge) -> Result<Value, Failure> {
        let given = [("state", &self.state), ("reason", &self.reason), ("text", &self.text), ("sort", &self.sort)];
        let query: Vec<(&str, String)> = given.into_iter().filter_map(|(name, v)| Some((name, v.clone()?))).collect();
        let most = self.limit.unwrap_or(usize::MAX);
        let (mut portals, mut next) = (Vec::new(), None::<String>);
        loop {
            let mut query = query.clone();
            query.push(("limit", PAGE.min(most - portals.len()).max(1).to_string()));
            query.extend(next.take().map(|next| ("next", next)));
            let mut answer = bridge.portals(&query).await?;
            let page: Page = bridge.form(&answer)?;
            if let Some(Value::Array(some)) = answer.get_mut("portals").map(Value::take) {
                portals.extend(some);
            }
            next = page.next.filter(|_| portals.len() < most && !page.portals.is_empty());
            if next.is_none() {
                answer["portals"] = Value::Array(portals);
                return Ok(answer);
            }
        }
    }

    fn show(&self, bridge: &Bridge, answer: &Value) -> Result<(), Failure> {
        if self.common.json {
            return output::json(answer);
        }
        let page: Page = bridge.form(answer)?;
        let chosen = self.state.is_some() || self.reason.is_some() || self.text.is_some();
        if page.portals.is_empty() {
            let none = if chosen { "no such portal" } else { "no portal yet" };
            tell(&format!("the bridge on {} has {none}", bridge.address()));
            return Ok(());
        }
        output::write(|out| page::list(&page.portals, &TimeZone::system(), out))?;
        if let (Some(_), Some(total)) = (page.next, page.total) {
            tell(&format!("{} of {total} portals are shown", page.portals.len()));
        }
        Ok(())
    }
}

fn member_id(text: &str) -> Result<PortalId, NoMemberId> {
    PortalId::new(text).ok_or_else(|| NoMemberId(text.to_owned()))
}

/// The command line is no place for it: others on the machine can read that.
fn refresh_token(file: &Path) -> Result<SecretString, NoToken> {
    if file == Path::new("-") {
        let from = "standard input".to_owned();
        return config::secret_from(io::stdin().lock()).map_err(|wrong| NoToken { from, wrong });
    }
    config::secret_in(file).map_err(|wrong| NoToken { from: file.display().to_string(), wrong })
}

fn show(bridge: &Bridge, answer: &Value, json: bool) -> Result<(), Failure> {
    let portal: Portal = bridge.form(answer)?;
    if json {
        return output::json(answer);
    }
    output::write(|out| page::show(&portal, &TimeZone::system(), out))
}

fn changed(member_id: &PortalId, answer: Value, json: bool) -> Result<(), Failure> {
    if json {
        let answer = match answer {
            Value::String(text) => json!({ "member_id": member_id.as_str(), "answer": text }),
            answer => answer,
        };
        return output::json(&answer);
    }
    output::write(|out| writeln!(out, "{}", ask::in_words(&answer)))
}

/// A sentence beside the result.
fn tell(sentence: &str) {
    writeln!(io::stderr(), "b24kafka: {sentence}").ok();
}
