//! The bridge dies or freezes.

use std::time::Duration;

use super::{
    plan,
    stage::{Setup, Stage},
    support::{
        broker::{Broker, Options},
        process::Signal,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bridge_is_killed_at_random_points() {
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let mut stage = Stage::new("bridge killed", &broker.bootstrap(), Setup::default()).await;
    stage.bridge.record();
    // One portal has reservations, the other one has none.
    stage.lower();
    let kills = plan::size(6, 60);
    let mut amid = 0;
    for _ in 0..kills {
        tokio::task::block_in_place(|| stage.bridge.start());
        // From the start of the process, or from when rows flow: both are points that matter.
        if stage.dice.coin() {
            stage.flows(1).await;
        }
        tokio::time::sleep(stage.dice.span(0, 700)).await;
        tokio::task::block_in_place(|| stage.bridge.kill());
        amid += usize::from(stage.sim.portals().any(|portal| portal.counts().reserved > 0));
    }
    assert!(amid * 4 >= kills, "only {amid} of {kills} kills met rows between reading and clearing");
    stage.start();
    stage.until("the plan is seen to be lowered", || stage.is_lowered()).await;
    stage.end(&broker.bootstrap(), kills, format!("{amid} with rows in flight")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bridge_freezes_for_longer_than_every_time_out() {
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new()));
    let mut stage = Stage::new("bridge frozen", &broker.bootstrap(), Setup::default()).await;
    stage.bridge.record();
    stage.start();
    let freezes = plan::size(2, 8);
    for _ in 0..freezes {
        stage.flows(200).await;
        tokio::time::sleep(stage.dice.span(0, 500)).await;
        stage.bridge.signal(Signal::Stop);
        // Requests last 2 s, records 5 s.
        tokio::time::sleep(Duration::from_secs(5) + stage.dice.span(200, 2_000)).await;
        stage.bridge.signal(Signal::Cont);
    }
    stage.flows(200).await;
    stage.end(&broker.bootstrap(), freezes, String::new()).await;
}
