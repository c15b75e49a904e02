//! The promise, watched while rows flow: at no moment is a row cleared that Kafka does not have.

use std::time::{Duration, Instant};

use b24kafka::sim::{Fault, Trouble};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::stage::{PATIENCE, Setup, Stage, tick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_no_moment_is_a_row_cleared_without_its_record() {
    let stage = Stage::new(Setup { fetch: "limit_max = 100\nrequest_timeout = \"2s\"", ..Setup::default() }).await;
    let portal = stage.portal(0);
    // Slow enough that looks and trouble meet every phase.
    portal.add_fault(Fault::new(Trouble::LostAnswer).on("event.offline.clear").with_probability(0.1));
    portal.add_fault(Fault::new(Trouble::Truncated).with_probability(0.05));
    portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(30))));
    let running = stage.start().await;
    let mut midway = 0;
    for (round, error) in (1..).zip([
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD,
    ]) {
        stage.broker.request_errors(RDKafkaApiKey::Produce, &[error]);
        // Objects change again while their rows are free, reserved and cleared.
        portal.generate(400, round % 2);
        for _ in 0..6 {
            let cleared = stage.assert_cleared_are_there(&portal);
            midway += usize::from(cleared > 0 && portal.counts().reserved > 0);
            running.assert_conserved().await;
            tick().await;
        }
    }
    let begun = Instant::now();
    while !portal.wait_until_empty(Duration::from_millis(50)).await {
        assert!(begun.elapsed() < PATIENCE, "{:?}", portal.counts());
        stage.assert_cleared_are_there(&portal);
    }
    assert!(midway >= 5, "only {midway} looks met rows in mid-flow");
    running.stop().await.expect("a clean stop");
    stage.judge();
}
