//! The product's own image, next to a Kafka and a simulated portal on one network of a container engine.
//!
//! The engine is the one that `DOCKER_HOST` or the usual socket leads to; where there is none, Docker's daemon is started
//! for this test alone. Base images are made from the libraries of this machine, so nothing is fetched. The test itself
//! runs in a second process, because testcontainers reads the engine's address from a variable.

#[path = "image/chart.rs"]
mod chart;
#[path = "image/engine.rs"]
mod engine;
#[path = "image/images.rs"]
mod images;
#[path = "../../support/java.rs"]
mod java;
#[path = "../../support/port.rs"]
mod port;
#[path = "image/portal.rs"]
mod portal;
#[path = "../../support/process.rs"]
#[allow(dead_code, reason = "shared with other tiers, which need more of it")]
mod process;
#[path = "../../support/reader.rs"]
#[allow(dead_code, reason = "shared with other tiers, which need more of it")]
mod reader;
#[path = "image/relay.rs"]
mod relay;
#[path = "image/stage.rs"]
mod stage;

use std::{collections::BTreeSet, process::Command, time::Duration};

use engine::Engine;
use process::Guarded;
use stage::Stage;

/// Set in the second process.
const INSIDE: &str = "B24KAFKA_TEST_ENGINE";
/// Only there to stop hangs: a loaded machine builds three images and starts three containers.
const PATIENCE: Duration = Duration::from_secs(900);
/// How many rows have to be on their way before the bridge is stopped.
const ROWS: u64 = 500;

#[test]
fn the_image_bridges_rows_into_kafka_answers_the_probes_and_stops_cleanly() {
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let engine = Engine::find_or_start();
    let socket = runtime.block_on(relay::start(engine.socket()));
    let mut command = Command::new(std::env::current_exe().expect("our own path"));
    command.args(["--exact", "inside", "--nocapture"]).env(INSIDE, "1");
    command.env("DOCKER_HOST", format!("unix://{}", socket.path().display()));
    let mut inside = Guarded::spawn(&mut command);
    let status = inside.wait(PATIENCE).expect("an end");
    assert!(status.success(), "{status}, see above; the engine says:\n{}", engine.last_words());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let stage = Stage::set().await;
    for probe in chart::probes() {
        let answer = stage.becomes(&probe.path, 200).await;
        println!("{} {} answers 200 after {:.1} s", probe.name, probe.path, answer.as_secs_f64());
    }
    println!("/health says 200 after {:.1} s", stage.becomes("/health", 200).await.as_secs_f64());
    while stage.metric("b24kafka_rows_cleared_total") < ROWS {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (code, took, log) = stage.stop_bridge().await;
    println!("docker stop: exit code {code:?} after {:.1} s", took.as_secs_f64());
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped: nothing is left reserved by this process"), "{log}");
    let account = stage.stop_portal().await;
    assert!(account.cleared >= ROWS, "{account:?}");
    assert_eq!((account.reserved, account.errors, account.lost), (0, 0, 0), "{account:?}");
    let records = stage.records().await;
    let changes: BTreeSet<&str> = records.iter().filter_map(|record| record.header("ce_id")).collect();
    assert_eq!(changes.len() as u64, account.cleared, "a record for each row that has left the portal");
    assert_eq!(records.len(), changes.len(), "and nothing twice, since nothing went wrong");
}
