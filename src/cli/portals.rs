//! `b24kafka portals`: the portals of a running bridge, over its admin API.

use std::io::{self, Write as _};

use jiff::tz::TimeZone;
use serde_json::Value;

use super::{
    configured::ConfigFile,
    failure::{Failure, not_built},
    output,
};
use crate::protocol::types::PortalId;

mod ask;
mod page;

use ask::Bridge;
use page::{Page, Portal};

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
    /// Take a portal in
    Add(Add),
    /// Forget a portal and its tokens
    Remove(One),
    /// Stop serving a portal
    Park(One),
    /// Serve a parked portal again
    Resume(One),
    /// Ask a portal's queues now
    Poll(One),
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    config: ConfigFile,
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
        let (common, member_id) = match self.command {
            Command::List(common) => (common, None),
            Command::Show(one) => (one.common, Some(one.member_id)),
            Command::Add(_) => return Err(not_built("portals add")),
            Command::Remove(_) => return Err(not_built("portals remove")),
            Command::Park(_) => return Err(not_built("portals park")),
            Command::Resume(_) => return Err(not_built("portals resume")),
            Command::Poll(_) => return Err(not_built("portals poll")),
        };
        let bridge = Bridge::new(common.config.load()?.admin.listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match member_id {
            None => list(&bridge, &runtime.block_on(bridge.portals())?, common.json),
            Some(text) => {
                let member_id = PortalId::new(&text).ok_or(NoMemberId(text))?;
                show(&bridge, &runtime.block_on(bridge.portal(&member_id))?, common.json)
            }
        }
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

/// A sentence beside the result.
fn tell(sentence: &str) {
    writeln!(io::stderr(), "b24kafka: {sentence}").ok();
}
