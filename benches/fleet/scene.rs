//! Portals, a bridge that serves them, and a reader of what it writes.

use std::time::{Duration, Instant};

use crate::{portals::Portals, reader::Reader, support::bridge::Bridge, usage};

/// The token of the admin listener.
const ADMIN_TOKEN: &str = "bench-admin";
/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a bridge without portals is left alone before its memory is read.
const SETTLED: Duration = Duration::from_secs(5);

/// What of a scene differs.
pub struct Setup {
    pub bootstrap: String,
    pub portals: usize,
    pub poll_max: u64,
}

/// One fleet.
pub struct Scene {
    pub portals: Portals,
    pub bridge: Bridge,
    pub reader: Reader,
    pub members: Vec<String>,
    pub poll_max: Duration,
    http: reqwest::Client,
}

impl Scene {
    /// The bridge is not started yet; its registry holds all portals.
    pub async fn new(setup: Setup) -> Self {
        let Setup { bootstrap, portals: count, poll_max } = setup;
        let (portals, bridge, topic) = tokio::task::block_in_place(|| {
            let portals = Portals::start(count);
            let topic = format!("fleet-{count}");
            let text = format!(
                r#"{app}
[fetch]
poll_max = "{poll_max}s"
[kafka]
bootstrap_servers = "{bootstrap}"
topic = "{topic}"
replication_factor = 1
"#,
                app = portals.app()
            );
            let bridge = Bridge::quiet(&text, ADMIN_TOKEN);
            bridge.be_woken();
            portals.register(&bridge.registry());
            (portals, bridge, topic)
        });
        let members = tokio::task::block_in_place(|| portals.members());
        let reader = Reader::start(&bootstrap, &topic);
        let poll_max = Duration::from_secs(poll_max);
        Self { portals, bridge, reader, members, poll_max, http: reqwest::Client::new() }
    }

    /// What a bridge holds that serves nobody, in KiB.
    pub async fn memory_of_an_empty_bridge(mut self) -> f64 {
        tokio::task::block_in_place(|| {
            self.bridge.start();
            self.bridge.wait_ready();
        });
        tokio::time::sleep(SETTLED).await;
        let memory = usage::resident_kib(self.bridge.id());
        self.stop();
        memory
    }

    /// How many portals there are.
    pub fn portals(&self) -> usize {
        self.members.len()
    }

    /// Waits until something is so, and returns how long that took.
    pub async fn until(&self, what: &str, done: impl Fn() -> bool) -> Duration {
        let begun = Instant::now();
        while !tokio::task::block_in_place(&done) {
            assert!(begun.elapsed() < PATIENCE, "{what}: it never came:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begun.elapsed()
    }

    /// An operator's call that has a portal polled, for a task of its own.
    pub fn polling(&self, portal: usize) -> impl Future<Output = ()> + Send + 'static {
        let url = format!("http://{}/api/portals/{}/poll", self.bridge.admin(), self.members[portal]);
        let request = self.http.post(url).bearer_auth(ADMIN_TOKEN);
        async move {
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 202, "the poll is taken");
        }
    }

    /// The end of the bridge's log.
    pub fn log(&self) -> String {
        let log = self.bridge.log();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Ends the bridge.
    pub fn stop(mut self) {
        let status = tokio::task::block_in_place(|| self.bridge.stop());
        assert!(status.success(), "the bridge ended with {status}:\n{}", self.log());
    }
}
