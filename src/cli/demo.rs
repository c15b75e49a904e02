//! `b24kafka demo`: simulator, bridge and broker in one process, with a verdict.

use super::failure::{Failure, not_built};

/// Show the promise on this machine: simulated portals, lost answers, and a verdict on every event
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// How many events the simulated portals emit
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// A real Kafka instead of the mock cluster, as host:port
    #[arg(long, value_name = "B")]
    pub bootstrap: Option<String>,
    /// Go on running after the verdict, until it is told to stop
    #[arg(long)]
    pub keep: bool,
}

impl Demo {
    pub fn run(self) -> Result<(), Failure> {
        Err(not_built("demo"))
    }
}
