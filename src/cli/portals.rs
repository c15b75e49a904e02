//! `b24kafka portals`: the portals of a running bridge, over its admin API.

use super::{
    configured::ConfigFile,
    failure::{Failure, not_built},
};

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
    /// Its REST endpoint, such as https://example.bitrix24.com/rest/
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// A file that holds its refresh token
    #[arg(long, value_name = "FILE")]
    refresh_token_file: std::path::PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Portals {
    pub fn run(self) -> Result<(), Failure> {
        let common = match &self.command {
            Command::List(common) => common,
            Command::Add(add) => &add.common,
            Command::Show(one)
            | Command::Remove(one)
            | Command::Park(one)
            | Command::Resume(one)
            | Command::Poll(one) => &one.common,
        };
        common.config.load()?;
        Err(not_built("portals"))
    }
}
