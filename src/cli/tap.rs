//! `b24kafka tap`: records from Kafka as they come.

use super::{
    configured::ConfigFile,
    failure::{Failure, not_built},
};

/// Print records from Kafka as they come, one readable line each
#[derive(Debug, clap::Args)]
pub(super) struct Tap {
    #[command(flatten)]
    config: ConfigFile,
    /// Only records of this entity, such as crm.deal
    #[arg(long, value_name = "E")]
    pub entity: Option<String>,
    /// Only records of this portal, by its member_id
    #[arg(long, value_name = "M")]
    pub portal: Option<String>,
    /// Dead letters instead of records
    #[arg(long)]
    pub dead_letters: bool,
    /// Begin with the oldest record instead of now
    #[arg(long)]
    pub from_beginning: bool,
    /// One JSON object a line, for programs
    #[arg(long)]
    pub json: bool,
}

impl Tap {
    pub fn run(self) -> Result<(), Failure> {
        self.config.load()?;
        Err(not_built("tap"))
    }
}
