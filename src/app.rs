//! Wiring and lifetime: edges from the configuration, start, and a drain in order.

pub mod broker;
mod callbacks;
mod changes;
pub mod check;
mod health;
mod history;
mod names;
mod page;
pub mod patience;
mod portrait;
pub mod view;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio::sync::watch;

use self::{callbacks::Public, patience::Patience};
use crate::{
    bitrix::{catalogue, client::Client, hosts::Hosts},
    chain::chain,
    config::{Config, registry},
    fleet::{self, Fleet, Parts, callbacks::Desk, portal::QueuePlan, roster::Roster},
    http::{admin, callback},
    kafka::{
        producer::Producer,
        template::{KeyTemplate, TopicTemplate},
    },
    metrics::Metrics,
    protocol::types::{Millis, PortalId},
    registry::{PortalRecord, RefusedFile, Registry},
    runner::{
        Settings, Shared,
        clock::{Clock, millis},
        gate::Gate,
        letters::Letters,
        trace::{Trace, TraceError},
    },
    telemetry,
};

/// The span between looks for hidden reservations while a queue is idle.
const SWEEP: Millis = Millis::secs(15 * 60);
/// How often the latch of `/ready` looks whether it may close.
const READY_CHECK: Duration = Duration::from_millis(100);

/// Why the bridge cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The registry cannot be used.
    #[error("the registry cannot be opened")]
    Registry(#[source] crate::registry::RegistryError),
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built")]
    Http(#[source] crate::bitrix::client::SetUpError),
    /// The producer cannot be built.
    #[error(transparent)]
    Producer(#[from] crate::kafka::producer::ProducerError),
    /// A topic cannot be written.
    #[error("nothing can be produced")]
    Topic(#[from] crate::kafka::topics::TopicError),
    /// The admin listener cannot listen.
    #[error("{}", chain(.0))]
    Admin(#[from] admin::CannotListen),
    /// The public listener cannot listen.
    #[error("{}", chain(.0))]
    Public(#[from] callback::CannotListen),
    /// The trace that was asked for cannot be written.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A metric cannot be registered.
    #[error("the metrics cannot be set up")]
    Metrics(#[from] prometheus::Error),
    /// A template of the configuration; the check of the configuration has let it pass.
    #[error("a template cannot be used")]
    Template(#[from] crate::kafka::template::TemplateFault),
    /// A task has broken; the supervisor should start the process anew.
    #[error(transparent)]
    Broken(crate::fleet::portal::Broken),
    /// A second signal came while the bridge was being brought to rest.
    #[error("stopped at once by a second signal; what is reserved is recovered by the next start")]
    Interrupted,
    /// Rows were left reserved when the grace period ended.
    #[error(
        "stopped after the grace period with {queues} queues at work and {held} rows held; the next start recovers them"
    )]
    Unfinished {
        /// Queues that did not come to rest.
        queues: usize,
        /// Rows received and not acknowledged.
        held: u64,
    },
    /// Tokens that the OAuth server has granted could not be stored before the end: their portals are lost until the
    /// application is installed on them again.
    #[error(
        "stopped, and new tokens of {} could not be stored: mend the registry's directory and install the application there again",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    TokensLost(Vec<PortalId>),
}

/// A bridge that runs.
pub struct App {
    fleet: Fleet,
    producer: Producer,
    metrics: Arc<Metrics>,
    ready: watch::Sender<bool>,
    admin: SocketAddr,
    public: Public,
    grace: Duration,
    trace: Option<Trace>,
    serving: tokio::task::JoinSet<()>,
}

impl App {
    /// Opens everything and starts to serve all portals. Waits while the broker is away, unless `stop` comes first. With
    /// `trace` every step of the queues' machines is written to that file.
    ///
    /// # Errors
    /// What cannot be opened. Nothing was fetched by then.
    pub async fn start(
        config: &Config,
        trace: Option<&Path>,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, AppError> {
        Self::start_with(config, trace, Patience::default(), stop).await
    }

    /// The same with another patience, for who cannot wait for a day to pass.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_with(
        config: &Config,
        trace: Option<&Path>,
        patience: Patience,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, AppError> {
        let metrics = Arc::new(Metrics::new(catalogue::entities(), config.admin.portal_labels)?);
        let registry::Registry::File { path } = &config.registry;
        let (registry, stored, refused) = open_registry(path).await?;
        let trace = trace.map(Trace::open).transpose()?;
        let client = client(config)?;
        let producer = Producer::new(&config.kafka)?;
        let (ready, is_ready) = watch::channel(false);
        let portals = view::Portals::default();
        let heart = view::Heart::default();
        let view = view::build(view::Sources {
            ready: is_ready,
            producer: producer.clone(),
            registry: registry.clone(),
            metrics: metrics.clone(),
            portals: portals.clone(),
            heart: heart.clone(),
            token: config.admin.token.clone(),
            allow_http: config.app.allow_http,
            silence: 2 * config.fetch.poll_max + config.fetch.request_timeout,
            patience,
        });
        let letters = Arc::new(Letters::default());
        let history = history::History::default();
        let page = page::build(config, view.clone(), &metrics, &history, &registry, &letters);
        let (admin, serve) = admin::listen(config.admin.listen, view, page).await?;
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(serve);
        serving.spawn(history.keep(metrics.clone()));
        serving.spawn(heart.beat());
        tracing::info!(address = %admin, "the admin listener is up");
        let public = Public::listen(&config.http, metrics.clone()).await?;

        let topics = needed_topics(config, &stored)?;
        tokio::select! {
            biased;
            () = stop => return Ok(None),
            prepared = broker::prepare(&topics, &producer) => prepared?,
        };
        let clock = Clock::new();
        let dead_letter_topic = config.kafka.dead_letter_topic.as_str().into();
        let shared = Shared {
            producer: producer.clone(),
            dead_letter_topic,
            settings: settings(config),
            metrics: metrics.clone(),
            letters,
            abandoned: Arc::default(),
            clock,
            trace: trace.clone(),
            gate: Arc::new(Gate::new(config.fetch.concurrency)),
            probes: patience.probes,
        };
        let parts = Arc::new(Parts {
            shared,
            client,
            registry,
            queues: queue_plans(config)?,
            app: Arc::new(config.app.clone()),
            tombstones: config.kafka.tombstones,
            wake_ups: callbacks::wake_ups(&config.http),
            look_again: patience.look_again,
        });
        let fleet = Fleet::start(&fleet::readable(&config.portals, &refused), &parts, stored);
        portals.set(fleet.roster());
        public.open(Desk::new(fleet.roster().clone(), parts));
        tracing::info!(portals = fleet.roster().all().len(), queues = config.queues.len(), "the bridge is running");
        let grace = config.shutdown.grace;
        Ok(Some(Self { fleet, producer, metrics, ready, admin, public, grace, trace, serving }))
    }

    /// Where the admin listener listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where the public listener listens.
    pub fn public(&self) -> SocketAddr {
        self.public.address()
    }

    /// The portals, which may come and go.
    pub fn roster(&self) -> &Roster {
        self.fleet.roster()
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Runs until `stop`, then brings everything to rest within the grace period: portals first, so that nothing new
    /// comes in; then what Kafka has not acknowledged; the listener last, so that it can be watched.
    ///
    /// # Errors
    /// [`AppError::Unfinished`] if the grace period was too short.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        tokio::pin!(stop);
        let mut broken = None;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                found = self.fleet.broken() => {
                    broken = Some(found);
                    break;
                }
                () = tokio::time::sleep(READY_CHECK), if !*self.ready.borrow() => {
                    if self.fleet.has_worked() && !self.ready.send_replace(true) {
                        tracing::info!("ready");
                    }
                }
            }
        }
        tracing::info!(grace_s = self.grace.as_secs(), "stopping: finishing and confirming what is in flight");
        self.public.stop();
        let rest = self.fleet.drain(self.grace).await;
        fleet::gauge(&self.fleet.roster().all(), &self.metrics);
        self.producer.close(Duration::from_secs(1)).await;
        if let Some(trace) = &self.trace {
            trace.close().await;
        }
        self.public.end().await;
        self.serving.shutdown().await;
        // The last line is the one that says how it ended.
        telemetry::sum_up();
        if let Some(broken) = broken {
            return Err(AppError::Broken(broken));
        }
        if !rest.lost.is_empty() {
            return Err(AppError::TokensLost(rest.lost));
        }
        if rest.queues > 0 {
            return Err(AppError::Unfinished { queues: rest.queues, held: rest.held });
        }
        if rest.hiding > 0 {
            tracing::warn!(
                queues = rest.hiding,
                "stopped; a request whose outcome is unknown may have reserved rows, or may still: the next start recovers them",
            );
        } else {
            tracing::info!("stopped: nothing is left reserved by this process");
        }
        Ok(())
    }
}

/// The topics that rows of these portals will certainly need.
fn needed_topics(config: &Config, stored: &[PortalRecord]) -> Result<std::collections::BTreeSet<String>, AppError> {
    let ids =
        stored.iter().map(|record| &record.member_id).chain(config.portals.iter().map(|portal| &portal.member_id));
    let ids: Vec<&str> = ids.map(PortalId::as_str).collect();
    Ok(names::Names::of(config, &ids)?.certain)
}

fn settings(config: &Config) -> Settings {
    let fetch = &config.fetch;
    Settings {
        limit_min: fetch.limit_min,
        limit_max: fetch.limit_max,
        poll_min: millis(fetch.poll_min),
        poll_max: millis(fetch.poll_max),
        sweep: Some(SWEEP),
    }
}

/// Calls what the configuration names, and of other names only those that it allows and that are public.
fn client(config: &Config) -> Result<Client, AppError> {
    let hosts = Hosts::new(&config.app, config.portals.iter().map(|portal| &portal.endpoint));
    Client::guarded(&config.fetch, hosts).map_err(AppError::Http)
}

async fn open_registry(path: &Path) -> Result<(Registry, Vec<PortalRecord>, Vec<RefusedFile>), AppError> {
    let (registry, stored, refused) = Registry::open(path).await.map_err(AppError::Registry)?;
    for file in &refused {
        let (file, error) = (file.path.display(), &file.wrong);
        tracing::error!(%file, %error, "a file of the registry is of no use; it is kept, and its portal is not served");
    }
    Ok((registry, stored, refused))
}

fn queue_plans(config: &Config) -> Result<Vec<QueuePlan>, AppError> {
    let key = KeyTemplate::parse(&config.kafka.key)?;
    let plan = |queue: &crate::config::queues::Queue| {
        let topic = TopicTemplate::parse(queue.topic.as_ref().unwrap_or(&config.kafka.topic))?;
        Ok(QueuePlan {
            connector: queue.connector.clone(),
            events: queue.events.clone(),
            unbind_others: queue.unbind_others,
            topic,
            key: key.clone(),
        })
    };
    config.queues.iter().map(plan).collect()
}
