//! Topics, rights and quotas are taken away and given back under the bridge.

use std::time::Duration;

use super::{
    plan,
    stage::{Setup, Stage},
    support::{
        broker::{Broker, Options},
        process::Signal,
        reader,
    },
};

const DEALS: &str = "bitrix24.crm.deal";
const ACLS: &str = "org.apache.kafka.tools.AclCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
/// The bridge's login; made up.
const SECURITY: &str = "replication_factor = 1\n[kafka.security]\nprotocol = \"sasl_plaintext\"\nsasl_mechanism = \"PLAIN\"\nusername = \"bridge\"\npassword = \"secret\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_deleted_and_comes_back() {
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let mut stage = Stage::new("topic deleted", &broker.bootstrap(), Setup::default()).await;
    stage.bridge.record();
    stage.start();
    let deletions = plan::size(2, 8);
    for deletion in 0..deletions {
        stage.flows(300).await;
        // Frozen in mid-flow, so that what the topic holds when it goes can be read: acknowledged is acknowledged.
        stage.bridge.signal(Signal::Stop);
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.saved.extend(tokio::task::block_in_place(|| reader::read_all(&broker.bootstrap(), DEALS)));
        broker.delete_topic(DEALS).await;
        if deletion % 2 == 1 {
            // Somebody is quicker than the bridge, and chooses another number of partitions.
            broker.create_topic(DEALS, 5, 1, &[]).await;
        }
        stage.bridge.signal(Signal::Cont);
        stage.flows(300).await;
    }
    stage.end(&broker.bootstrap(), deletions, String::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_withdrawn_and_given_back() {
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new().user("bridge", "secret")));
    let setup = Setup { kafka: SECURITY, ..Setup::default() };
    let mut stage = Stage::new("rights withdrawn", &broker.sasl_bootstrap(), setup).await;
    stage.bridge.record();
    stage.start();
    let rounds = plan::size(2, 6);
    for round in 0..rounds {
        stage.flows(300).await;
        // One topic, or everything that the bridge writes to.
        let what = if round % 2 == 0 {
            vec!["--topic", DEALS]
        } else {
            vec!["--resource-pattern-type", "prefixed", "--topic", "bitrix24."]
        };
        let acl = |words: &[&str]| {
            let rule = ["--deny-principal", "User:bridge", "--operation", "Write"];
            let all: Vec<&str> = words.iter().chain(&rule).chain(&what).copied().collect();
            tokio::task::block_in_place(|| broker.tool(ACLS, &all));
        };
        let refused = || stage.bridge.metric("b24kafka_produce_failures_total{class=\"route\"}");
        let before = refused();
        acl(&["--add"]);
        stage.until("a record is refused", || refused() > before).await;
        stage.bridge.assert_conserved();
        acl(&["--remove", "--force"]);
        stage.flows(300).await;
    }
    stage.end(&broker.bootstrap(), rounds, String::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_slows_the_producer_down() {
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new().user("bridge", "secret")));
    let setup = Setup { kafka: SECURITY, ..Setup::default() };
    let mut stage = Stage::new("producer quota", &broker.sasl_bootstrap(), setup).await;
    stage.bridge.record();
    stage.start();
    let rounds = plan::size(1, 2);
    let span = Duration::from_secs(plan::size(5, 10));
    let mut note = String::new();
    for _ in 0..rounds {
        let quota = |change: &[&str]| {
            let whose = ["--alter", "--entity-type", "users", "--entity-name", "bridge"];
            let all: Vec<&str> = whose.iter().chain(change).copied().collect();
            tokio::task::block_in_place(|| broker.tool(CONFIGS, &all));
        };
        stage.flows(300).await;
        let free = rate(&stage, span).await;
        quota(&["--add-config", "producer_byte_rate=2000"]);
        let throttled = rate(&stage, span).await;
        note = format!("{free:.0} rows a second, {throttled:.0} under the quota");
        assert!(throttled < free / 2.0, "the quota is not felt: {note}");
        stage.bridge.assert_conserved();
        quota(&["--delete-config", "producer_byte_rate"]);
        stage.flows(300).await;
    }
    stage.end(&broker.bootstrap(), rounds, note).await;
}

/// Rows a second that leave the portals.
async fn rate(stage: &Stage, span: Duration) -> f64 {
    let before = stage.cleared();
    tokio::time::sleep(span).await;
    #[expect(clippy::cast_precision_loss, reason = "some thousand rows")]
    let rows = (stage.cleared() - before) as f64;
    rows / span.as_secs_f64()
}
