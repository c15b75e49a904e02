//! The broker dies.

use super::{
    plan,
    stage::{Setup, Stage},
    support::broker::{Broker, Options},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_killed_and_comes_back() {
    let mut broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let mut stage = Stage::new("broker killed", &broker.bootstrap(), Setup::default()).await;
    stage.bridge.record();
    stage.start();
    let kills = plan::size(2, 8);
    for _ in 0..kills {
        stage.flows(200).await;
        tokio::time::sleep(stage.dice.span(0, 500)).await;
        tokio::task::block_in_place(|| broker.kill());
        // Up to longer than a record waits for its acknowledgement.
        tokio::time::sleep(stage.dice.span(200, 8_000)).await;
        stage.bridge.assert_conserved();
        tokio::task::block_in_place(|| broker.restart());
    }
    stage.flows(200).await;
    stage.end(&broker.bootstrap(), kills, String::new()).await;
}
