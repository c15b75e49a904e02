//! `b24kafka sim`: the portal simulator alone.

use std::net::SocketAddr;

use super::failure::{Failure, not_built};

/// Run the portal simulator alone, to test consumers and operations without a portal
#[derive(Debug, clap::Args)]
pub(super) struct Sim {
    /// Where it listens
    #[arg(long, value_name = "A", default_value = "127.0.0.1:8024")]
    pub listen: SocketAddr,
    /// How many portals it plays
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub portals: u32,
    /// Which faults it plays
    #[arg(long, value_name = "F")]
    pub faults: Option<String>,
}

impl Sim {
    pub fn run(self) -> Result<(), Failure> {
        Err(not_built("sim"))
    }
}
