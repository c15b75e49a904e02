//! One stage for all scenarios: portals, the bridge as a process, and how a scenario ends.

use std::time::{Duration, Instant};

use b24kafka::sim::{Fault, Misuse, Options as SimOptions, Portal, Sim, Trouble};

use super::{
    feed::{Feed, Watch},
    plan::{self, Dice},
    support::{
        bridge::Bridge,
        judge::Hearing,
        reader::{self, ReadRecord},
    },
    table,
};

/// Only there to stop hangs: a request that outlived its client is found after 70 s, a topic is tried again after 60 s.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// For the calls of the admin API that change something; made up.
pub const ADMIN_TOKEN: &str = "chaos-operator";
/// What the bridge may say last when it has stopped well: all that it took is confirmed, or a request of the last minute
/// has an outcome that nobody knows yet.
const GOOD_BYES: [&str; 2] =
    ["stopped: nothing is left reserved by this process", "stopped; a request whose outcome is unknown"];
/// How long a portal takes to answer: slow enough that trouble meets every phase (reserving, producing, clearing), and that
/// a long run stays one that can be read back.
const SLOW: Duration = Duration::from_millis(60);
const TOPICS: &str = r"bitrix24\..*";

/// What of a scenario differs from the others.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    pub portals: usize,
    /// `[[queues]]`, whole.
    pub queues: &'a str,
    /// More of `[fetch]`.
    pub fetch: &'a str,
    /// More of `[kafka]`, and sections behind it.
    pub kafka: &'a str,
    /// Free rows that each portal has all the while; none if the scenario makes its own.
    pub level: usize,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            portals: 2,
            queues: "",
            fetch: "limit_min = 20\nlimit_max = 60",
            kafka: "replication_factor = 1",
            level: 600,
        }
    }
}

pub struct Stage {
    scenario: &'static str,
    begun: Instant,
    pub sim: Sim,
    pub bridge: Bridge,
    pub dice: Dice,
    feed: Option<Feed>,
    watch: Watch,
    /// What was read back before somebody deleted it.
    pub saved: Vec<ReadRecord>,
}

impl Stage {
    /// Portals with work that never ends, and a bridge that is not started yet.
    pub async fn new(scenario: &'static str, bootstrap: &str, setup: Setup<'_>) -> Self {
        println!("chaos: {scenario} (seed {})", plan::seed());
        let mut dice = Dice::of(scenario);
        let options = SimOptions { portals: setup.portals, seed: dice.seed(), ..SimOptions::default() };
        let sim = Sim::start(options).await.expect("a simulator");
        for portal in sim.portals() {
            portal.add_fault(Fault::new(Trouble::Slow(SLOW)));
        }
        let bridge = Bridge::quiet(&configuration(&sim, bootstrap, &setup), ADMIN_TOKEN);
        let portals: Vec<Portal> = sim.portals().collect();
        let feed = Some(Feed::start(portals.clone(), setup.level, dice.seed()));
        let watch = Watch::start(portals);
        let (begun, saved) = (Instant::now(), Vec::new());
        Self { scenario, begun, sim, bridge, dice, feed, watch, saved }
    }

    /// Starts the bridge and waits until it is ready.
    pub fn start(&mut self) {
        tokio::task::block_in_place(|| {
            self.bridge.start();
            self.bridge.wait_ready();
        });
    }

    /// Rows that have left the portals.
    pub fn cleared(&self) -> u64 {
        self.sim.portals().map(|portal| portal.totals()).map(|totals| totals.cleared + totals.got).sum()
    }

    /// Waits until so many more rows have left the portals.
    pub async fn flows(&self, rows: u64) {
        let target = self.cleared() + rows;
        self.until("rows flow", || self.cleared() >= target).await;
    }

    /// Takes the reservations of the last portal away.
    pub fn lower(&self) {
        self.last().set_feature("rest_offline_extended", false);
    }

    /// Whether the bridge reads the last portal without reservations.
    pub fn is_lowered(&self) -> bool {
        let seen = self.bridge.get(&format!("/api/portals/{}", self.last().member_id()));
        seen.is_some_and(|(_, body)| body.contains("\"mode\":\"conditional\""))
    }

    fn last(&self) -> Portal {
        self.sim.portals().last().expect("a portal")
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, wanted: impl Fn() -> bool) {
        let begun = Instant::now();
        while !wanted() {
            assert!(begun.elapsed() < PATIENCE, "{}: it never came that {what}:\n{}", self.scenario, self.words());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until no row has left for a while: what was on its way is over.
    pub async fn stands_still(&self, span: Duration) {
        let (mut seen, mut since) = (self.cleared(), Instant::now());
        let begun = Instant::now();
        while since.elapsed() < span {
            assert!(begun.elapsed() < PATIENCE, "{}: rows go on flowing", self.scenario);
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.cleared() != seen {
                (seen, since) = (self.cleared(), Instant::now());
            }
        }
    }

    /// Ends the scenario: the world heals, everything arrives, and nothing is hidden, invented, disordered or misused.
    ///
    /// `healed` is a broker that everything can be read from; `faults` is how often something went wrong.
    pub async fn end(&mut self, healed: &str, faults: usize, note: String) {
        if let Some(feed) = self.feed.take() {
            feed.stop().await;
        }
        for portal in self.sim.portals() {
            portal.clear_faults();
        }
        let left = || self.sim.portals().map(|portal| portal.counts().free + portal.counts().reserved).sum::<usize>();
        self.until("no row is left at the portals", || left() == 0).await;
        let stall = self.watch.longest();
        self.until("no row is held", || self.bridge.metric("b24kafka_rows_held") < 0.5).await;
        self.bridge.assert_conserved();
        self.stops_well();
        let mut hearing = Hearing::of(self.bridge.lives());
        self.saved.iter().for_each(|record| hearing.hear(record));
        tokio::task::block_in_place(|| reader::read_each(healed, TOPICS, |record| hearing.hear(&record)));
        let (mut rows, mut duplicates) = (0, 0);
        for portal in self.sim.portals() {
            let judgement = hearing.judge(&portal);
            judgement.assert_good();
            rows += judgement.rows;
            duplicates += judgement.duplicates;
            let mut misuse = portal.misuse();
            // A refresh whose answer was lost is tried again with the old token: nobody knows that it is the old one. It works,
            // so each lost answer accounts for one such try, and for no other.
            let unanswered = portal.requests().unanswered_refreshes;
            misuse.old_refreshes = misuse.old_refreshes.saturating_sub(unanswered);
            assert_eq!(misuse, Misuse::default(), "{}: a portal was misused", self.scenario);
        }
        assert!(faults > 0 && rows > 0, "{}: nothing went wrong, or nothing flowed", self.scenario);
        let took = self.begun.elapsed();
        table::add(table::Row { scenario: self.scenario, faults, rows, duplicates, stall, took, note });
    }

    /// SIGTERM, a clean end, and the last line that says so.
    fn stops_well(&mut self) {
        let status = tokio::task::block_in_place(|| self.bridge.stop());
        let log = self.bridge.log();
        assert_eq!(status.code(), Some(0), "{}: {}", self.scenario, self.words());
        let last = log.lines().last().unwrap_or_default();
        assert!(GOOD_BYES.iter().any(|words| last.contains(words)), "{}: {last}", self.scenario);
    }

    /// The end of the bridge's log, and the state of the portals.
    pub fn words(&self) -> String {
        let log = self.bridge.log();
        let lines: Vec<&str> = log.lines().collect();
        let counts: Vec<_> = self.sim.portals().map(|portal| portal.counts()).collect();
        format!("portals {counts:?}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

fn configuration(sim: &Sim, bootstrap: &str, setup: &Setup<'_>) -> String {
    let portals = sim.configuration("unlimited", setup.portals);
    let Setup { queues, fetch, kafka, .. } = setup;
    format!(
        r#"{portals}
{queues}
[fetch]
{fetch}
poll_min = "100ms"
poll_max = "500ms"
request_timeout = "2s"
[kafka]
bootstrap_servers = "{bootstrap}"
partitions = 3
message_timeout = "5s"
{kafka}
"#
    )
}
