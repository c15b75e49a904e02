//! One stage for all stories: portals, a mock broker, the application, and a reader.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use b24kafka::{
    app::{App, AppError},
    bitrix::catalogue,
    config::Config,
    sim::{Fate, Limits, Options, Portal, Sim},
};
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
    mocking::MockCluster,
    producer::DefaultProducerContext,
};

/// Only there to stop hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// For calls of the admin API that change something; made up.
pub const ADMIN_TOKEN: &str = "stage-hand";

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct Read {
    pub topic: String,
    pub key: String,
    pub value: String,
    pub headers: BTreeMap<String, String>,
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
    stop: tokio::sync::oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), AppError>>,
}

impl Stage {
    pub async fn new(portals: usize, limits: Limits, more: &str) -> Self {
        let sim = Sim::start(Options { portals, limits, ..Options::default() }).await.expect("a simulator");
        let broker = MockCluster::new(1).expect("a mock broker");
        for entity in catalogue::entities() {
            broker.create_topic(&format!("bitrix24.{entity}"), 2, 1).expect("a topic");
        }
        broker.create_topic("bitrix24.dead-letter", 1, 1).expect("a topic");
        let dir = tempfile::tempdir().expect("a directory");
        let text = configuration(&sim, &broker.bootstrap_servers(), dir.path(), more);
        let config =
            Config::parse(Path::new("test"), &text, std::iter::empty()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        Self { sim, broker, config, dir }
    }

    pub fn portal(&self, number: usize) -> Portal {
        self.sim.portal(number).expect("a portal")
    }

    pub async fn start(&self) -> Running {
        let app = App::start(&self.config, std::future::pending()).await.expect("it starts").expect("not stopped");
        let admin = app.admin();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let ended = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        Running { admin, stop, ended }
    }

    /// Every record in the mock broker, in the order of each partition.
    pub fn records(&self) -> Vec<Read> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.broker.bootstrap_servers())
            .set("group.id", "judge")
            .create()
            .expect("a consumer");
        let metadata = consumer.fetch_metadata(None, PATIENCE).expect("metadata");
        let mut assigned = rdkafka::TopicPartitionList::new();
        let mut missing = BTreeMap::new();
        for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with("bitrix24.")) {
            for partition in topic.partitions() {
                let (low, high) =
                    consumer.fetch_watermarks(topic.name(), partition.id(), PATIENCE).expect("watermarks");
                if high > low {
                    let place = (topic.name().to_owned(), partition.id());
                    let start = rdkafka::Offset::Offset(low);
                    assigned.add_partition_offset(&place.0, place.1, start).expect("a partition");
                    missing.insert(place, high - low);
                }
            }
        }
        consumer.assign(&assigned).expect("assigned");
        let (mut records, begun) = (Vec::new(), Instant::now());
        while missing.values().any(|left| *left > 0) {
            assert!(begun.elapsed() < PATIENCE, "records that should be there are not: {missing:?}");
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            records.push(Read {
                topic: message.topic().to_owned(),
                key: text(message.key()),
                value: text(message.payload()),
                headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
            });
            *missing.get_mut(&(message.topic().to_owned(), message.partition())).expect("assigned") -= 1;
        }
        records
    }

    /// Nothing lost, nothing left, in order, no misuse. Returns the records and how many are repetitions.
    pub fn judge(&self) -> (Vec<Read>, usize) {
        let records = self.records();
        let mut repeated = 0;
        for portal in self.sim.portals() {
            let mine = format!("{}:", portal.member_id());
            let mut seen = BTreeSet::new();
            // Order is promised within a queue.
            let mut newest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
            for record in records.iter().filter(|r| r.headers.get("ce_id").is_some_and(|id| id.starts_with(&mine))) {
                let id = record.headers["ce_id"].as_str();
                let row: u64 = id.split(':').nth(1).and_then(|row| row.parse().ok()).expect("a row");
                let high = newest.entry((record.headers["ce_source"].as_str(), &record.key)).or_default();
                let marked = record.headers.contains_key("b24_late") || record.headers.contains_key("b24_redelivery");
                if seen.insert(id) {
                    assert!(row > *high || marked, "{id} came behind row {high} of {} without a mark", record.key);
                } else {
                    repeated += 1;
                }
                *high = row.max(*high);
            }
            for entry in portal.ledger().entries() {
                let id = format!("{mine}{}:{}", entry.id, entry.changed_at);
                assert!(seen.contains(id.as_str()), "row {} is lost", entry.id);
                assert!(matches!(entry.fate, Fate::Cleared(_)), "row {} is {:?}", entry.id, entry.fate);
            }
            let misuse = portal.misuse();
            assert!(misuse.is_clean(), "{misuse:?}");
        }
        (records, repeated)
    }
}

impl Running {
    pub async fn stop(self) -> Result<(), AppError> {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.ended).await.expect("it ends").expect("it does not break")
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
        let url = format!("http://{}/api/portals/{}/poll", self.admin, portal.member_id());
        let answer = reqwest::Client::new().post(url).bearer_auth(ADMIN_TOKEN).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 202);
        serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
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

fn configuration(sim: &Sim, bootstrap: &str, dir: &Path, more: &str) -> String {
    let (more, kafka) = more.split_once("# kafka\n").unwrap_or((more, ""));
    let plan = if more.contains("# plan = auto") { "auto" } else { "unlimited" };
    let mut text = sim.configuration(plan, usize::MAX);
    text.push_str(&format!(
        "[fetch]\npoll_min = \"100ms\"\npoll_max = \"300ms\"\n[registry]\npath = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         token = \"{ADMIN_TOKEN}\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n{more}\n[kafka]\nbootstrap_servers = \"{bootstrap}\"\n{kafka}",
        dir.join("registry"),
    ));
    text
}
