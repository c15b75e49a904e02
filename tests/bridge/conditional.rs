//! Portals whose plan has no reservations, or has them only for a while.
//!
//! Rows have to rest for some seconds of the portal's clock; the stories put that clock forward instead of waiting.

use std::time::{Duration, Instant};

use b24kafka::sim::{Fate, Fault, Portal, Trouble};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::stage::{PATIENCE, Running, Setup, Stage, tick};

const RESERVATIONS: &str = "rest_offline_extended";

/// Puts the portal's clock forward until nothing is left there.
async fn until_empty(portal: &Portal, running: &Running) {
    let begun = Instant::now();
    portal.advance(Duration::from_secs(10));
    while !portal.wait_until_empty(Duration::from_secs(1)).await {
        portal.advance(Duration::from_secs(10));
        running.assert_conserved().await;
        assert!(begun.elapsed() < PATIENCE, "{:?}", portal.counts());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_without_reservations_is_read_all_the_same() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.set_feature(RESERVATIONS, false);
    portal.backlog(1500, 1);
    let running = stage.start().await;
    let seen = running.portal(&portal, |seen| seen["state"] == "active" && seen["mode"] == "conditional").await;
    assert!(seen["reason"].is_null(), "{seen}");
    running.answers("/ready", 200).await;
    assert_eq!(portal.counts().free, 1500, "no row has rested yet");
    until_empty(&portal, &running).await;
    assert!((running.metric("b24kafka_queues{mode=\"conditional\"}").await - 1.0).abs() < 0.1);
    assert!(running.metric("b24kafka_queues{mode=\"reserve\"}").await.abs() < 0.1);
    let asked = portal.requests();
    let calls = |method: &str| asked.calls.get(method).copied().unwrap_or_default();
    assert_eq!(portal.totals().got, 1500, "deleted by the calls that are for that");
    assert!(calls("event.offline.get") <= 20, "in large rounds: {:?}", asked.calls);
    running.stop().await.expect("a clean stop");
    let (_, repeated) = stage.judge();
    assert_eq!(repeated, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_change_on_their_way_lose_none_of_their_changes() {
    let stage = Stage::new(Setup { fetch: "request_timeout = \"2s\"", ..Setup::default() }).await;
    let portal = stage.portal(0);
    portal.set_feature(RESERVATIONS, false);
    for trouble in [Trouble::LostAnswer, Trouble::LostRequest, Trouble::Truncated] {
        portal.add_fault(Fault::new(trouble).with_probability(0.05));
    }
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(20))).with_probability(0.3));
    let running = stage.start().await;
    for round in 0..40_u64 {
        // Few objects, so that most changes meet a row of theirs: free, listed, or on its way to Kafka.
        portal.generate(60, round % 3);
        if round % 5 == 4 {
            portal.advance(Duration::from_secs(10));
            // The first look learns what the portal's clock says now.
            running.poll(&portal).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
            stage.broker.request_errors(RDKafkaApiKey::Produce, &[error; 3]);
            running.poll(&portal).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            portal.generate(60, round % 3);
        }
        stage.assert_cleared_are_there(&portal);
        running.assert_conserved().await;
        tick().await;
    }
    portal.clear_faults();
    until_empty(&portal, &running).await;
    running.stop().await.expect("a clean stop");
    let changed = portal.ledger().entries().iter().filter(|entry| entry.merged > 0).count();
    let (records, repeated) = stage.judge();
    let totals = portal.totals();
    println!("{totals:?}: {changed} rows changed, {} records, {repeated} again", records.len());
    assert!(changed > 20 && records.len() as u64 > totals.rows, "rows were published in more than one state");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_the_moment_of_its_deletion_is_published_all_the_same() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.set_feature(RESERVATIONS, false);
    let deal = r#"{"FIELDS":{"ID":"7"}}"#;
    let row = portal.emit("ONCRMDEALUPDATE", deal, "");
    portal.advance(Duration::from_secs(10));
    // The portal chooses what to delete, and deletes it much later.
    portal.add_fault(Fault::new(Trouble::Split(Duration::from_secs(2))).on("event.offline.get").times(1));
    let running = stage.start().await;
    running.until(|| portal.requests().faults.contains_key("split")).await;
    assert_eq!(portal.emit("ONCRMDEALUPDATE", deal, ""), row, "merged into the row that is being deleted");
    running.metric_reaches("b24kafka_records_acknowledged_total", 2.0).await;
    assert_eq!(portal.ledger().entry(row).expect("a row").fate, Fate::Got);
    running.assert_conserved().await;
    running.stop().await.expect("a clean stop");
    let (records, _) = stage.judge();
    assert_eq!(records.len(), 2, "as it was, and as it was deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_is_lowered_and_raised_under_flow_loses_and_hides_nothing() {
    let stage = Stage::new(Setup { fetch: "limit_max = 100\nrequest_timeout = \"2s\"", ..Setup::default() }).await;
    let portal = stage.portal(0);
    // Not every call: the first fault that fits a call is the one that strikes.
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(20))).with_probability(0.6));
    let running = stage.start().await;
    for round in 0..3_u64 {
        portal.backlog(600, 2 * round);
        assert!(portal.wait_until(PATIENCE, |counts| counts.reserved > 0).await, "in the middle of it");
        // An answer is lost with its reservation, and the next one is refused.
        portal.add_fault(Fault::new(Trouble::LostAnswer).on("event.offline.get").times(1));
        running.until(|| portal.requests().faults.get("lost-answer").is_some_and(|lost| *lost > round)).await;
        portal.set_feature(RESERVATIONS, false);
        let seen = running.portal(&portal, |seen| seen["mode"] == "conditional").await;
        assert_eq!(seen["state"], "active", "it is not parked for that: {seen}");
        portal.backlog(300, 2 * round + 1);
        portal.advance(Duration::from_secs(10));
        assert!(portal.wait_until(PATIENCE, |counts| counts.free < 200).await, "{:?}", portal.counts());
        portal.set_feature(RESERVATIONS, true);
        running.poll(&portal).await;
        running.portal(&portal, |seen| seen["mode"] == "reserve").await;
        running.assert_conserved().await;
    }
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    let totals = portal.totals();
    assert!(totals.got > 0 && totals.cleared > 0, "both modes had their part: {totals:?}");
    running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_when_the_plan_was_raised_between_two_lives_says_that_it_may_be_late() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    portal.set_feature(RESERVATIONS, false);
    let deal = r#"{"FIELDS":{"ID":"7"}}"#;
    let update = portal.emit("ONCRMDEALUPDATE", deal, "");
    let delete = portal.emit("ONCRMDEALDELETE", deal, "");
    portal.advance(Duration::from_secs(100));
    // It changes once more and has to rest, while what came after it does not wait.
    portal.emit("ONCRMDEALUPDATE", deal, "");
    let running = stage.start().await;
    assert!(portal.wait_until(PATIENCE, |counts| counts.free == 1).await, "{:?}", portal.counts());
    running.stop().await.expect("a clean stop");
    assert_eq!(portal.ledger().entry(delete).expect("a row").fate, Fate::Got);
    assert_eq!(portal.ledger().entry(update).expect("a row").fate, Fate::Free);
    portal.set_feature(RESERVATIONS, true);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["mode"] == "reserve").await;
    assert!(portal.wait_until_empty(PATIENCE).await);
    running.stop().await.expect("a clean stop");
    let (records, _) = stage.judge();
    let mine = format!("{}:{update}:", portal.member_id());
    let record = records.iter().find(|record| record.headers["ce_id"].starts_with(&mine)).expect("its record");
    assert!(record.headers.contains_key("b24_redelivery"), "nobody knows any more what went before it: {record:?}");
    assert_eq!(records.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_does_not_say_what_time_it_is_is_no_success() {
    let mut stage = Stage::plain().await;
    stage.config.fetch.request_timeout = Duration::from_secs(1);
    let portal = stage.portal(0);
    portal.set_feature(RESERVATIONS, false);
    portal.add_fault(Fault::new(Trouble::Without("date_start")));
    portal.backlog(20, 1);
    let running = stage.start().await;
    let told = |seen: &serde_json::Value| seen["last_error"].as_str().is_some_and(|why| why.contains("own time"));
    let seen = running.portal(&portal, told).await;
    // The scan of the take-over has worked; nothing does from then on.
    assert!(seen["mode"] == "conditional", "{seen}");
    let fetched = "b24kafka_last_success_timestamp_seconds{stage=\"fetch\"}";
    let before = running.metric(fetched).await;
    running.answers("/health", 503).await;
    let later = running.portal(&portal, told).await;
    assert_eq!(later["last_success"], seen["last_success"], "{later}");
    assert!((running.metric(fetched).await - before).abs() < 0.001);
    assert_eq!(portal.counts().free, 20, "nothing moves");
    portal.clear_faults();
    until_empty(&portal, &running).await;
    running.answers("/health", 200).await;
    assert!(running.portal(&portal, |seen| seen["last_success"].is_number()).await["last_error"].is_null());
    running.stop().await.expect("a clean stop");
    stage.judge();
}
