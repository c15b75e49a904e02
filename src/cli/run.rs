//! `b24kafka run`: the bridge.

use super::{configured::ConfigFile, failure::Failure, signal::Signals};
use crate::{
    app::{App, AppError},
    config::Config,
    telemetry,
};

/// Run the bridge until it is told to stop (SIGTERM or SIGINT)
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigFile,
}

impl Run {
    /// Loads the configuration, starts logging, and runs until a signal.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config.load()?;
        let _log = telemetry::start(&config.log)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(&config))
    }
}

/// The first signal brings the bridge to rest, the second ends it at once.
async fn serve(config: &Config) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let Some(app) = App::start(config, signals.next()).await? else {
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
