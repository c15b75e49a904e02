//! `b24kafka demo`: simulator, bridge and broker in one process, with a verdict.
//!
//! It runs the very application that `run` runs, against a simulated portal that loses answers. Its own part is the stage
//! around it, the audience that reads what arrives, and the verdict that compares both ends.

mod audience;
mod stage;
mod verdict;

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{failure::Failure, output, signal::Signals};
use crate::{
    app::{App, broker},
    config::process::{Format, Log},
    telemetry,
};
use audience::Audience;
use stage::Stage;
use verdict::Verdict;

/// More than this and librdkafka's mock cluster, which keeps a bounded log, would forget what it has acknowledged.
const MOST_MOCKED: u64 = 100_000;
/// How long nothing may move before the demo gives up on what is missing. A scan that finds what a dead request hid comes
/// after 70 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a broker outside of this process may take to show that it is there.
const ANSWER: Duration = Duration::from_secs(8);
/// How long it may take until the topics are there and the bridge runs.
const START: Duration = Duration::from_secs(60);

/// Show the promise on this machine: simulated portals, lost answers, and a verdict on every event
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// How many changes the simulated portal sees
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// A real Kafka instead of the mock cluster, as host:port
    #[arg(long, value_name = "B")]
    pub bootstrap: Option<String>,
    /// Go on running after the verdict, until it is told to stop
    #[arg(long)]
    pub keep: bool,
}

/// Why there is no good end.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("--events: at most {MOST_MOCKED} without --bootstrap, since the mock cluster keeps a bounded log")]
    TooMany,
    #[error(
        "no Kafka broker answers at {0} (--bootstrap); start it, correct the address, or leave --bootstrap out to run \
         with the broker inside of the demo"
    )]
    Away(String),
    #[error(
        "the Kafka broker at {0} (--bootstrap) answers, but the demo's topics cannot be made ready within {START:?}; \
         check that its advertised.listeners can be reached from here and that it has room for new topics"
    )]
    NotReady(String),
    #[error("something is lost or left behind, see the verdict")]
    Lost,
    #[error("stopped before the verdict")]
    Stopped,
}

impl Demo {
    pub fn run(self) -> Result<(), Failure> {
        if self.bootstrap.is_none() && self.events > MOST_MOCKED {
            return Err(DemoError::TooMany.into());
        }
        let _log = telemetry::start(&Log { level: "error".into(), format: Format::Text, portals: Vec::new() })?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = runtime.block_on(self.show());
        runtime.shutdown_timeout(Duration::from_secs(1));
        done
    }

    async fn show(&self) -> Result<(), Failure> {
        let mut signals = Signals::listen()?;
        let stage = Stage::build(self.bootstrap.as_deref()).await?;
        if let Some(bootstrap) = &self.bootstrap {
            tokio::select! {
                reached = broker::reach(&stage.config().kafka, ANSWER) => {
                    reached.map_err(|_| DemoError::Away(bootstrap.clone()))?;
                }
                () = signals.next() => return Err(DemoError::Stopped.into()),
            }
        }
        let bar = progress(self.events);
        let Ok(started) = tokio::time::timeout(START, App::start(stage.config(), None, signals.next())).await else {
            return Err(DemoError::NotReady(stage.config().kafka.bootstrap_servers.clone()).into());
        };
        let Some(app) = started? else { return Err(DemoError::Stopped.into()) };
        let audience = Audience::open(stage.config(), stage.member_id(), bar.clone()).await?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        let acted = tokio::select! {
            acted = self.act(&stage, &audience, &bar) => acted,
            () = signals.next() => return Err(DemoError::Stopped.into()),
        };
        bar.finish_and_clear();
        let verdict = Verdict::of(&stage, &audience, acted);
        output::write(|out| verdict.print(out))?;
        if self.keep {
            eprintln!(
                "the bridge goes on; its metrics: http://{}/metrics; Ctrl-C ends it",
                stage.config().admin.listen
            );
            signals.next().await;
        }
        let _ = stop.send(());
        match running.await {
            Ok(ended) => ended?,
            Err(_) => return Err(DemoError::Lost.into()),
        }
        if verdict.is_good() { Ok(()) } else { Err(DemoError::Lost.into()) }
    }

    /// Lets things change at the portal, part of them before the bridge could look, and waits until all has arrived.
    async fn act(&self, stage: &Stage, audience: &Audience, bar: &ProgressBar) -> Duration {
        let begun = std::time::Instant::now();
        let mut emitted = 0;
        let step = (self.events / 20).max(1);
        while emitted < self.events {
            let next = step.min(self.events - emitted);
            stage.change(next);
            emitted += next;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bar.set_length(stage.rows());
        let mut arrived = audience.count();
        let mut moved = std::time::Instant::now();
        while moved.elapsed() < PATIENCE && !(stage.is_empty() && audience.has_all(stage)) {
            tokio::select! {
                () = audience.more() => {}
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            if audience.count() != arrived {
                arrived = audience.count();
                moved = std::time::Instant::now();
            }
        }
        begun.elapsed()
    }
}

fn progress(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rows  {per_sec}  {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    ProgressBar::with_draw_target(Some(length), target).with_style(style)
}
