//! `b24kafka run`: the bridge.

use super::{
    configured::ConfigFile,
    failure::{Failure, not_built},
};
use crate::telemetry;

/// Run the bridge until it is told to stop (SIGTERM or SIGINT)
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigFile,
}

impl Run {
    /// Loads the configuration, starts logging, and hands over to the application.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config.load()?;
        let _log = telemetry::start(&config.log)?;
        Err(not_built("run"))
    }
}
