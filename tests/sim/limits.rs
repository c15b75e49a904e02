//! Section 3: limits.

use std::time::Duration;

use b24kafka::sim::Limits;
use serde_json::json;

use super::portal::Site;

#[tokio::test]
async fn fifty_requests_at_once_and_two_a_second_afterwards() {
    let site = Site::with(Limits::STANDARD).await;
    let mut passed = 0;
    for _ in 0..60 {
        let (status, body) = site.call("server.time", json!({})).await;
        if status == 200 {
            passed += 1;
        } else {
            assert_eq!((status, body["error"].as_str()), (503, Some("QUERY_LIMIT_EXCEEDED")));
        }
    }
    assert!((50..=52).contains(&passed), "{passed}");
    assert!(site.portal.misuse().over_limit >= 8);
    site.portal.advance(Duration::from_secs(10));
    for _ in 0..10 {
        site.ok("server.time", json!({})).await;
    }
}

#[tokio::test]
async fn a_method_that_used_up_its_time_waits_for_its_oldest_minute() {
    let costly =
        Limits { operating: Some(1.0), cost: (Duration::from_millis(600), Duration::ZERO), ..Limits::UNLIMITED };
    let site = Site::with(costly).await;
    for _ in 0..2 {
        site.ok("event.offline.list", json!({})).await;
    }
    let (status, body) = site.call("event.offline.list", json!({})).await;
    assert_eq!((status, body["error"].as_str()), (429, Some("OPERATION_TIME_LIMIT")), "{body}");
    let (status, other) = site.call("server.time", json!({})).await;
    assert_eq!(status, 200, "another method has its own budget");
    assert!(other["time"]["date_start"].is_string(), "{other}");
    assert!(other["time"]["operating_reset_at"].is_number(), "{other}");
    site.portal.advance(Duration::from_secs(11 * 60));
    site.ok("event.offline.list", json!({})).await;
}
