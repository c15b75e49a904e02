//! The configuration as commands take it.

use std::path::PathBuf;

use super::failure::Failure;
use crate::config::{self, Config};

/// `-c FILE`, for commands that cannot do without.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "B24KAFKA_CONFIG")]
    pub path: PathBuf,
}

impl ConfigFile {
    /// Loads it, the variables of this process above it.
    pub fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.path, config::environment().into_iter()).map_err(Failure::Configuration)
    }
}
