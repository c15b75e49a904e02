//! `b24kafka run`: the bridge.

use std::path::{Path, PathBuf};

use super::{configured::ConfigFile, failure::Failure, signal::Signals};
use crate::{
    app::{App, AppError},
    config::Config,
    telemetry,
};

/// Open files that are always enough: thousands of portals, each with a connection of its own.
const FILES: u64 = 1 << 17;

/// Run the bridge until it is told to stop (SIGTERM or SIGINT)
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigFile,
    /// Write every step of every queue to this file, to be replayed: ids and outcomes, no content of rows and no tokens.
    /// It grows to 256 MiB and is then renamed to FILE.1, over the former one
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

impl Run {
    /// Loads the configuration, starts logging, and runs until a signal.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config.load()?;
        let _log = telemetry::start(&config.log)?;
        raise_files();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(&config, self.trace.as_deref()))
    }
}

/// Raises the limit of open files as far as the system allows. What a shell or a service manager gives by default is 1,024,
/// for the sake of programs that cannot count further, and the connections of a thousand portals are more than that.
fn raise_files() {
    match rlimit::increase_nofile_limit(FILES) {
        Ok(files) => tracing::debug!(files, "the limit of open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

/// The first signal brings the bridge to rest, the second ends it at once.
async fn serve(config: &Config, trace: Option<&Path>) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let Some(app) = App::start(config, trace, signals.next()).await? else {
        tracing::info!("stopped before anything was fetched");
        return Ok(());
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = app.run(async {
        let _ = stopped.await;
    });
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return Ok(ended?),
        () = signals.next() => {}
    }
    let _ = stop.send(());
    tokio::select! {
        ended = running => Ok(ended?),
        () = signals.next() => Err(AppError::Interrupted.into()),
    }
}
