//! `b24kafka portals`: the portals of a running bridge, over its admin API.

use std::io::{self, Write as _};

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{
    failure::{Failure, not_built},
    output,
};
use crate::protocol::types::PortalId;

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
    List(Common),
    /// One portal in full
    Show(One),
    /// Take a portal in (not in this version)
    Add(Add),
    /// Forget a portal and its tokens (not in this version)
    Remove(One),
    /// Stop serving a portal (not in this version)
    Park(One),
    /// Serve a parked portal again (not in this version)
    Resume(One),
    /// Ask a portal's queues now
    Poll(One),
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
    /// A file that holds its refresh token
    #[arg(long, value_name = "FILE")]
    refresh_token_file: std::path::PathBuf,
    #[command(flatten)]
    common: Common,
}

/// What is given as a portal and is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no member_id; one has 1 to 64 letters and digits")]
struct NoMemberId(String);

impl Portals {
    /// Asks the bridge and shows what it answers.
    pub fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match self.command {
            Command::List(common) => {
                let bridge = common.target.bridge()?;
                list(&bridge, &runtime.block_on(bridge.portals())?, common.json)
            }
            Command::Show(one) => {
                let (member_id, bridge) = (one.member_id()?, one.common.target.bridge()?);
                show(&bridge, &runtime.block_on(bridge.portal(&member_id))?, one.common.json)
            }
            Command::Poll(one) => {
                let (member_id, bridge) = (one.member_id()?, one.common.target.bridge_with_token()?);
                polled(&member_id, runtime.block_on(bridge.poll(&member_id))?, one.common.json)
            }
            Command::Add(_) => Err(not_built("portals add")),
            Command::Remove(_) => Err(not_built("portals remove")),
            Command::Park(_) => Err(not_built("portals park")),
            Command::Resume(_) => Err(not_built("portals resume")),
        }
    }
}

impl One {
    fn member_id(&self) -> Result<PortalId, NoMemberId> {
        PortalId::new(&self.member_id).ok_or_else(|| NoMemberId(self.member_id.clone()))
    }
}

fn list(bridge: &Bridge, answer: &Value, json: bool) -> Result<(), Failure> {
    let page: Page = bridge.form(answer)?;
    if json {
        return output::json(answer);
    }
    let address = bridge.address();
    if page.portals.is_empty() {
        tell(&format!("the bridge on {address} has no portal yet"));
        return Ok(());
    }
    output::write(|out| page::list(&page.portals, &TimeZone::system(), out))?;
    if page.next.is_some() {
        tell(&format!("the bridge on {address} has more portals than it told; this version cannot ask for them"));
    }
    Ok(())
}

fn show(bridge: &Bridge, answer: &Value, json: bool) -> Result<(), Failure> {
    let portal: Portal = bridge.form(answer)?;
    if json {
        return output::json(answer);
    }
    output::write(|out| page::show(&portal, &TimeZone::system(), out))
}

fn polled(member_id: &PortalId, answer: Value, json: bool) -> Result<(), Failure> {
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
