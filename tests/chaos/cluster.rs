//! A cluster of three nodes loses leaders, falls below what has to be in sync, and loses its quorum.

use std::time::Duration;

use b24kafka::sim::{Entry, Fate};

use super::{
    plan,
    stage::{Setup, Stage},
    support::broker::{Cluster, Options},
};

/// Its topics are written to by the queue of the connector "strict" and have to be in sync everywhere.
const STRICT: &str = "strict";
const QUEUES: &str = "[[queues]]\n[[queues]]\nconnector = \"strict\"\ntopic = \"bitrix24.strict.{entity}\"\n";

/// Rows of one queue that are gone.
fn cleared(stage: &Stage, connector: &str) -> usize {
    let gone = |entry: &Entry| *entry.connector == *connector && matches!(entry.fate, Fate::Cleared(_));
    stage.sim.portals().map(|portal| portal.ledger().entries().iter().filter(|entry| gone(entry)).count()).sum()
}

/// New rows of the queue that the feed leaves alone.
fn emit(stage: &Stage, rows: usize) {
    for portal in stage.sim.portals() {
        for id in 0..rows {
            portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#), STRICT);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_loses_leaders_replicas_and_its_quorum() {
    let options = Options::new().property("min.insync.replicas", 2);
    let mut cluster = tokio::task::block_in_place(|| Cluster::start(3, &options));
    cluster[0].create_topic("bitrix24.strict.crm.deal", 3, 3, &[("min.insync.replicas", "3")]).await;
    let kafka = "replication_factor = 3";
    let setup = Setup { queues: QUEUES, kafka, ..Setup::default() };
    let mut stage = Stage::new("cluster: leaders, replicas, quorum lost", &cluster.bootstrap(), setup).await;
    stage.bridge.record();
    stage.start();
    let mut faults = 0;
    for _ in 0..plan::size(1, 3) {
        emit(&stage, 50);
        stage.flows(200).await;
        // One node: its leaders move, and the strict topic has too few replicas.
        let first = stage.dice.below(3);
        tokio::task::block_in_place(|| cluster[first].kill());
        faults += 1;
        // Whatever was acknowledged while the dead node still counted as in sync is done.
        let refused = |stage: &Stage| stage.bridge.metric("b24kafka_produce_failures_total{class=\"passing\"}");
        let before = refused(&stage);
        emit(&stage, 50);
        stage.until("the strict topic is refused", || refused(&stage) > before).await;
        emit(&stage, 50);
        let strict = cleared(&stage, STRICT);
        stage.flows(500).await;
        assert_eq!(cleared(&stage, STRICT), strict, "a row is gone that two of three replicas have");
        tokio::task::block_in_place(|| cluster[first].restart());
        let target = strict + 1;
        stage.until("the strict queue goes on", || cleared(&stage, STRICT) >= target).await;
        // Two nodes: neither replicas nor a quorum that could elect a leader.
        let (second, third) = ((first + 1) % 3, (first + 2) % 3);
        tokio::task::block_in_place(|| {
            cluster[second].kill();
            cluster[third].kill();
        });
        faults += 2;
        stage.stands_still(Duration::from_secs(3)).await;
        stage.bridge.assert_conserved();
        tokio::time::sleep(stage.dice.span(0, 6_000)).await;
        // Together: neither finds a quorum without the other.
        tokio::task::block_in_place(|| cluster.restart(&[second, third]));
        stage.flows(200).await;
    }
    stage.end(&cluster.bootstrap(), faults, String::new()).await;
}
