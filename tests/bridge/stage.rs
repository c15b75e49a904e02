//! One stage for all stories: portals, a mock broker, the application, and a reader.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use b24kafka::{
    app::{App, AppError, patience::Patience},
    config::Config,
    fleet::roster::{Grant, Roster},
    protocol::types::PortalId,
    registry::RegistryError,
    sim::{Limits, Options, Portal, Sim},
};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use super::{port, replay::Recording};

/// Only there to stop hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What the stories change: what the simulator generates, a bot's message, and what is of no known entity.
const ENTITIES: [&str; 7] = ["crm.deal", "crm.contact", "crm.lead", "crm.activity", "task", "imbot.message", "other"];

/// For calls of the admin API that change something; made up.
pub const ADMIN_TOKEN: &str = "stage-hand";

/// What of the simulator and of the configuration matters to a story.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    pub portals: usize,
    /// Brokers of the mock cluster.
    pub brokers: i32,
    /// How many of them the configuration names.
    pub configured: usize,
    /// The name that portals say they are at; a number unless told.
    pub host: Option<&'a str>,
    pub limits: Limits,
    /// `portals.plan`.
    pub plan: &'a str,
    /// `[[queues]]`, whole.
    pub queues: &'a str,
    /// More of `[fetch]`.
    pub fetch: &'a str,
    /// More of `[kafka]`.
    pub kafka: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        let (portals, configured) = (1, usize::MAX);
        Self {
            portals,
            configured,
            brokers: 1,
            host: None,
            limits: Limits::UNLIMITED,
            plan: "unlimited",
            queues: "",
            fetch: "",
            kafka: "",
        }
    }
}

pub struct Stage {
    pub sim: Sim,
    pub broker: MockCluster<'static, DefaultProducerContext>,
    pub config: Config,
    pub dir: tempfile::TempDir,
}

/// An application that runs until it is stopped.
pub struct Running {
    pub admin: std::net::SocketAddr,
    pub roster: Roster,
    stop: tokio::sync::oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), AppError>>,
    /// What the machines did; replayed in the end.
    recording: Recording,
}

impl Stage {
    /// One portal without limits, and the plain queue.
    pub async fn plain() -> Self {
        Self::new(Setup::default()).await
    }

    pub async fn new(setup: Setup<'_>) -> Self {
        let mut options = Options { portals: setup.portals, limits: setup.limits.clone(), ..Options::default() };
        if let Some(host) = setup.host {
            options.listen.set_port(port::free());
            options.name = Some(format!("{host}:{}", options.listen.port()));
        }
        let sim = Sim::start(options).await.expect("a simulator");
        let broker = MockCluster::new(setup.brokers).expect("a mock broker");
        // The mock broker knows no admin requests, and takes up to a second for each of these.
        for entity in ENTITIES {
            broker.create_topic(&format!("bitrix24.{entity}"), 2, 1).expect("a topic");
        }
        broker.create_topic("bitrix24.dead-letter", 1, 1).expect("a topic");
        let dir = tempfile::tempdir().expect("a directory");
        let text = configuration(&sim, &broker.bootstrap_servers(), dir.path(), &setup);
        let config =
            Config::parse(Path::new("test"), &text, std::iter::empty()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        Self { sim, broker, config, dir }
    }

    pub fn portal(&self, number: usize) -> Portal {
        self.sim.portal(number).expect("a portal")
    }

    /// Where the machines of its applications are traced.
    pub fn trace(&self) -> PathBuf {
        self.dir.path().join("trace.jsonl")
    }

    pub async fn start(&self) -> Running {
        self.start_with(Patience::default()).await
    }

    pub async fn start_with(&self, patience: Patience) -> Running {
        let recording = Recording::new(self.trace());
        let begun = Instant::now();
        let app = loop {
            let app = App::start_with(&self.config, Some(recording.path()), patience, std::future::pending()).await;
            match app {
                // A connection that asked the last one something may outlive it by a moment, and the lock with it: a
                // process would be gone.
                Err(AppError::Registry(RegistryError::Locked { .. })) if begun.elapsed() < PATIENCE => tick().await,
                app => break app.expect("it starts").expect("not stopped"),
            }
        };
        assert!(self.trace().exists(), "it is recorded");
        let (admin, roster) = (app.admin(), app.roster().clone());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let ended = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        Running { admin, roster, stop, ended, recording }
    }
}

impl Running {
    pub async fn stop(self) -> Result<(), AppError> {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(PATIENCE, self.ended).await.expect("it ends").expect("it does not break");
        drop(self.recording);
        ended
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.admin)).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// Waits until `wanted` says yes to `/api/portals`' entry of a portal.
    pub async fn portal(&self, portal: &Portal, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let (_, body) = self.get(&format!("/api/portals/{}", portal.member_id())).await;
            let seen: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            if wanted(&seen) {
                return seen;
            }
            assert!(begun.elapsed() < PATIENCE, "not as wanted: {seen}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Polls a portal through the admin API.
    pub async fn poll(&self, portal: &Portal) -> serde_json::Value {
        let (status, said) = self.act(portal, "poll").await;
        assert_eq!(status, 202);
        said
    }

    /// Does something to a portal through the admin API: the status, and what is said.
    pub async fn act(&self, portal: &Portal, action: &str) -> (u16, serde_json::Value) {
        let url = format!("http://{}/api/portals/{}/{action}", self.admin, portal.member_id());
        let answer = reqwest::Client::new().post(url).bearer_auth(ADMIN_TOKEN).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON"))
    }

    /// `/health`: the status, and what is said.
    pub async fn health(&self) -> (u16, serde_json::Value) {
        let (status, body) = self.get("/health").await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    /// Waits until something is so.
    pub async fn until(&self, wanted: impl Fn() -> bool) {
        let begun = Instant::now();
        while !wanted() {
            assert!(begun.elapsed() < PATIENCE, "it never came");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The sum over the labels of a metric, or one series.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(|line| !line.starts_with('#')).filter(of);
        lines.map(|line| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).expect("a number")).sum()
    }

    /// Asks until a metric is at least `wanted`.
    pub async fn metric_reaches(&self, name: &str, wanted: f64) {
        let begun = Instant::now();
        while self.metric(name).await < wanted {
            assert!(begun.elapsed() < PATIENCE, "{name} does not reach {wanted}");
            tick().await;
        }
    }

    /// Asks until an address answers with a status.
    pub async fn answers(&self, path: &str, wanted: u16) {
        let begun = Instant::now();
        loop {
            let (status, body) = self.get(path).await;
            if status == wanted {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{path} does not become {wanted}: {status} {body}");
            tick().await;
        }
    }

    /// Received = acknowledged + dead-lettered + held, in one scrape.
    pub async fn assert_conserved(&self) {
        let (_, text) = self.get("/metrics").await;
        let sum = |name: &str| -> f64 {
            let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            text.lines()
                .filter(of)
                .map(|l| l.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).expect("a number"))
                .sum()
        };
        let received = sum("b24kafka_rows_received_total");
        let settled = sum("b24kafka_records_acknowledged_total") + sum("b24kafka_dead_letters_total");
        assert!((received - settled - sum("b24kafka_rows_held")).abs() < 0.5, "not conserved:\n{text}");
    }
}

/// What an installation of the application on a portal brings.
pub fn grant(portal: &Portal) -> Grant {
    Grant {
        member_id: id(portal),
        endpoint: portal.endpoint().parse().expect("a URL"),
        access_token: Some(portal.access_token()),
        refresh_token: portal.refresh_token(),
        application_token: Some(portal.application_token()),
        user_id: Some(1),
        scope: Some("crm,task".to_owned()),
        status: Some("L".to_owned()),
    }
}

/// A portal's `member_id`.
pub fn id(portal: &Portal) -> PortalId {
    PortalId::new(&portal.member_id()).expect("a member_id")
}

/// The pause between two looks at what can only be looked at.
pub async fn tick() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn configuration(sim: &Sim, bootstrap: &str, dir: &Path, setup: &Setup<'_>) -> String {
    let Setup { plan, queues, fetch, kafka, .. } = setup;
    let app = sim.configuration(plan, setup.configured);
    let registry = dir.join("registry");
    format!(
        "{app}{queues}\n[fetch]\npoll_min = \"100ms\"\npoll_max = \"300ms\"\n{fetch}\n[registry]\npath = {registry:?}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{ADMIN_TOKEN}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [kafka]\nbootstrap_servers = \"{bootstrap}\"\n{kafka}\n"
    )
}
