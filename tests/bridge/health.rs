//! What the admin listener says of the application as a whole.

use b24kafka::sim::{Fault, Trouble};

use super::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_comes_with_the_first_exchange_and_stays() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let page = || Fault::new(Trouble::Status { status: 502, executed: false });
    portal.add_fault(page());
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["last_error"].is_string()).await;
    assert_eq!(running.get("/live").await.0, 200);
    assert_eq!(running.get("/ready").await.0, 503, "no exchange has worked yet");
    portal.clear_faults();
    running.answers("/ready", 200).await;
    running.answers("/health", 200).await;
    portal.revoke_tokens();
    running.portal(&portal, |seen| seen["state"] == "parked").await;
    running.answers("/health", 503).await;
    assert_eq!(running.get("/ready").await.0, 200, "ready is a latch: only a new start takes it back");
    running.stop().await.expect("a clean stop");
}
