//! The stage: a simulated portal that loses answers, a broker, and a configuration that joins them.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rdkafka::{error::KafkaError, mocking::MockCluster, producer::DefaultProducerContext};

use crate::{
    bitrix::catalogue,
    cli::failure::Failure,
    config::Config,
    sim::{Fault, Generator, Options, Portal, Sim, StartError, Totals, Trouble},
};

/// The second answer is lost, together with the reservation that it tells of, and from then on this part of them.
const LOST_ANSWERS: f64 = 0.1;
/// Objects of each kind that change: few enough that some change again while their row still waits.
const OBJECTS: u32 = 2_000;
const TOPIC_PREFIX: &str = "b24kafka-demo";
const PARTITIONS: i32 = 3;

/// Why the stage cannot be built.
#[derive(Debug, thiserror::Error)]
enum StageError {
    #[error(transparent)]
    Sim(#[from] StartError),
    #[error("the mock broker cannot be started")]
    Broker(#[from] KafkaError),
    #[error("the simulator has no portal")]
    NoPortal,
    #[error("the system gives no random numbers")]
    NoDirectory(#[source] std::io::Error),
}

/// Everything around the bridge.
pub(super) struct Stage {
    config: Config,
    portal: Portal,
    member_id: String,
    seed: AtomicU64,
    dir: PathBuf,
    _sim: Sim,
    _broker: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Tokens of a simulator and nothing else.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Stage {
    /// With the mock cluster, or with the broker at `bootstrap`.
    pub async fn build(bootstrap: Option<&str>) -> Result<Self, Failure> {
        let seed = rand::random();
        let sim = Sim::start(Options { seed, ..Options::default() }).await.map_err(StageError::from)?;
        let portal = sim.portal(0).ok_or(StageError::NoPortal)?;
        let lost = Fault::new(Trouble::LostAnswer).on("event.offline.get");
        portal.add_fault(lost.clone().after(1).times(1));
        portal.add_fault(lost.with_probability(LOST_ANSWERS));
        let (broker, bootstrap) = match bootstrap {
            Some(bootstrap) => (None, bootstrap.to_owned()),
            None => {
                let (broker, bootstrap) = mock().map_err(StageError::from)?;
                (Some(broker), bootstrap)
            }
        };
        let dir = std::env::temp_dir().join(format!("b24kafka-demo-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).map_err(StageError::NoDirectory)?;
        let text = configuration(&sim, &bootstrap, &dir);
        let config = Config::parse(Path::new("demo"), &text, std::iter::empty()).map_err(Failure::Configuration)?;
        let member_id = portal.member_id();
        Ok(Self { config, portal, member_id, seed: AtomicU64::new(seed), dir, _sim: sim, _broker: broker })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn member_id(&self) -> &str {
        &self.member_id
    }

    /// So many changes happen at the portal.
    pub fn change(&self, changes: u64) {
        let seed = self.seed.fetch_add(1, Relaxed);
        let changes = Generator::new(seed, OBJECTS).take(usize::try_from(changes).unwrap_or(usize::MAX));
        self.portal.emit_many(changes, "");
    }

    /// Rows that the portal ever had.
    pub fn rows(&self) -> u64 {
        self.totals().rows
    }

    /// Whether no row is left, free or reserved.
    pub fn is_empty(&self) -> bool {
        let counts = self.portal.counts();
        counts.free + counts.reserved == 0
    }

    /// The `ce_id` of every row in its last state.
    pub fn expected(&self) -> Vec<String> {
        let id = |entry: &crate::sim::Entry| format!("{}:{}:{}", self.member_id, entry.id, entry.changed_at);
        self.portal.ledger().entries().iter().map(id).collect()
    }

    pub fn totals(&self) -> Totals {
        self.portal.totals()
    }

    /// Requests to the portal, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.portal.requests().http
    }

    /// How many faults have struck.
    pub fn faults(&self) -> u64 {
        self.portal.requests().faults.values().sum()
    }

    /// What was done to the portal that must not be done; empty if nothing was.
    pub fn misuse(&self) -> String {
        let misuse = self.portal.misuse();
        if misuse.is_clean() { String::new() } else { format!("{misuse:?}") }
    }
}

/// A cluster of one broker that lives in this process.
fn mock() -> Result<(MockCluster<'static, DefaultProducerContext>, String), KafkaError> {
    let cluster = MockCluster::new(1)?;
    for entity in catalogue::entities() {
        cluster.create_topic(&format!("{TOPIC_PREFIX}.{entity}"), PARTITIONS, 1)?;
    }
    cluster.create_topic(&format!("{TOPIC_PREFIX}.dead-letter"), PARTITIONS, 1)?;
    let bootstrap = cluster.bootstrap_servers();
    Ok((cluster, bootstrap))
}

fn configuration(sim: &Sim, bootstrap: &str, dir: &Path) -> String {
    let portal = sim.configuration("unlimited", 1);
    let registry = dir.join("registry");
    format!(
        r#"{portal}
[fetch]
poll_min = "100ms"
poll_max = "500ms"
[kafka]
bootstrap_servers = "{bootstrap}"
topic = "{TOPIC_PREFIX}.{{entity}}"
dead_letter_topic = "{TOPIC_PREFIX}.dead-letter"
partitions = {PARTITIONS}
[registry]
path = {registry:?}
[http]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
"#
    )
}
