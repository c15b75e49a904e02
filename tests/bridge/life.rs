//! Starting and stopping.

use std::time::Duration;

use b24kafka::sim::{Fault, Trouble};

use super::stage::{PATIENCE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_mid_flow_leaves_nothing_reserved_and_the_next_start_goes_on() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(30))));
    portal.backlog(8_000, 1);
    for pause in [150, 320, 510] {
        let running = stage.start().await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        running.stop().await.expect("a clean stop");
        assert_eq!(portal.counts().reserved, 0, "what was taken is confirmed");
    }
    assert!(portal.counts().free > 0, "it was stopped in mid-flow");
    let running = stage.start().await;
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    let (_, repeated) = stage.judge();
    assert_eq!(repeated, 0, "clean stops repeat nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_looks_for_what_a_lost_answer_has_hidden() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.add_fault(Fault::new(Trouble::LostAnswer).on("event.offline.get").times(1));
    portal.backlog(40, 1);
    assert!(portal.wait_until(PATIENCE, |counts| counts.reserved == 40).await, "reserved, and the answer is lost");
    running.stop().await.expect("a clean stop");
    assert_eq!(portal.counts().reserved, 0);
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_of_somebody_who_died_is_published() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.backlog(130, 1);
    let client = reqwest::Client::new();
    let url = format!("{}event.offline.get", portal.endpoint());
    let auth = secrecy::ExposeSecret::expose_secret(&portal.access_token()).to_owned();
    let body = serde_json::json!({ "auth": auth, "clear": 0, "limit": 120 });
    let taken = client.post(url).json(&body).send().await.expect("an answer");
    assert!(taken.status().is_success());
    assert_eq!(portal.counts().reserved, 120);
    let running = stage.start().await;
    assert!(portal.wait_until_empty(PATIENCE).await);
    assert!((running.metric("b24kafka_rows_recovered_total").await - 120.0).abs() < 0.5);
    running.stop().await.expect("a clean stop");
    let (records, repeated) = stage.judge();
    assert_eq!(repeated, 0);
    assert_eq!(records.iter().filter(|record| record.headers.contains_key("b24_redelivery")).count(), 120);
}
