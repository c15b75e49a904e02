//! Scripted faults: what each does to the queue and to its client.

use std::time::Duration;

use b24kafka::sim::{Fault, Trouble, parse_faults};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::portal::{Site, ids};

/// A `get` that reserves; `None` if it got no whole JSON answer in time.
async fn get(site: &Site) -> Option<serde_json::Value> {
    let url = format!("{}event.offline.get", site.portal.endpoint());
    let body = json!({ "auth": site.portal.access_token().expose_secret(), "clear": 0, "order": { "ID": "ASC" } });
    let sent = site.http.post(url).json(&body).timeout(Duration::from_millis(500)).send().await.ok()?;
    sent.json().await.ok()
}

async fn struck(trouble: Trouble) -> (Site, Option<serde_json::Value>) {
    let site = Site::new().await;
    site.deals(2);
    site.portal.add_fault(Fault::new(trouble).on("event.offline.get").times(1));
    let answer = get(&site).await;
    (site, answer)
}

#[tokio::test]
async fn a_lost_request_is_not_executed_and_a_lost_answer_is() {
    let (site, answer) = struck(Trouble::LostRequest).await;
    assert!(answer.is_none() && site.portal.counts().free == 2);
    let (site, answer) = struck(Trouble::LostAnswer).await;
    assert!(answer.is_none() && site.portal.counts().reserved == 2);
    assert_eq!(ids(&get(&site).await.expect("an answer")["result"]["events"]).len(), 0, "it struck once");
}

#[tokio::test]
async fn a_late_request_is_executed_when_its_client_has_long_gone() {
    let (site, answer) = struck(Trouble::Late(Duration::from_millis(900))).await;
    assert!(answer.is_none() && site.portal.counts().free == 2, "not yet");
    assert!(site.portal.wait_until(Duration::from_secs(5), |counts| counts.reserved == 2).await, "now");
}

#[tokio::test]
async fn errors_come_before_or_after_the_work() {
    let (site, answer) = struck(Trouble::Status { status: 502, executed: false }).await;
    assert!(answer.is_none() && site.portal.counts().free == 2);
    let (site, answer) = struck(Trouble::Status { status: 504, executed: true }).await;
    assert!(answer.is_none() && site.portal.counts().reserved == 2);
    let (site, answer) = struck(Trouble::Truncated).await;
    assert!(answer.is_none() && site.portal.counts().reserved == 2);
    let (site, answer) = struck(Trouble::code("ACCESS_DENIED")).await;
    assert_eq!(answer.expect("an answer")["error"], "ACCESS_DENIED");
    assert_eq!(site.portal.counts().free, 2);
    let (_, answer) = struck(Trouble::ExpireTokens).await;
    assert_eq!(answer.expect("an answer")["error"], "expired_token");
}

#[tokio::test]
async fn a_slow_answer_says_how_long_the_work_took() {
    let (_, answer) = struck(Trouble::Slow(Duration::from_millis(200))).await;
    let answer = answer.expect("an answer");
    assert!(answer["time"]["duration"].as_f64().is_some_and(|seconds| seconds >= 0.2), "{answer}");
}

#[tokio::test]
async fn an_answer_may_lack_what_it_should_have() {
    let (site, answer) = struck(Trouble::Without("ID")).await;
    let answer = answer.expect("an answer");
    let rows = answer["result"]["events"].as_array().expect("rows");
    assert!(rows.len() == 2 && rows.iter().all(|row| row["ID"].is_null() && row["MESSAGE_ID"].is_string()), "{answer}");
    assert_eq!(site.portal.counts().reserved, 2);
    let (_, answer) = struck(Trouble::Without("date_start")).await;
    let time = &answer.expect("an answer")["time"];
    assert!(time["date_start"].is_null() && time["date_finish"].is_string(), "{time}");
}

#[tokio::test]
async fn parallel_gets_return_the_same_rows_and_the_later_mark_wins() {
    let site = Site::new().await;
    site.deals(2);
    site.portal.add_fault(Fault::new(Trouble::Split(Duration::from_millis(200))).on("event.offline.get").times(1));
    let (slow, quick) = tokio::join!(get(&site), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        get(&site).await
    });
    let (slow, quick) = (slow.expect("an answer"), quick.expect("an answer"));
    assert_eq!(ids(&quick["result"]["events"]), [1, 2]);
    assert_eq!(ids(&slow["result"]["events"]), [1, 2], "the same rows");
    let list = site.ok("event.offline.list", json!({})).await;
    assert_eq!(list[0]["PROCESS_ID"], slow["result"]["process_id"], "the first caller's reservation owns nothing now");
    assert_eq!(site.portal.misuse().parallel_gets, 1);
}

#[tokio::test]
async fn a_get_after_an_abandoned_one_is_no_parallel_get() {
    let site = Site::new().await;
    site.deals(2);
    site.portal.add_fault(Fault::new(Trouble::Late(Duration::from_secs(30))).on("event.offline.get"));
    for _ in 0..3 {
        assert!(get(&site).await.is_none(), "nobody waits so long");
    }
    site.portal.clear_faults();
    assert!(get(&site).await.is_some());
    assert_eq!(site.portal.misuse().parallel_gets, 0);
}

#[tokio::test]
async fn a_slow_batch_is_slow_in_its_get_alone() {
    let site = Site::new().await;
    site.portal.add_fault(Fault::new(Trouble::Slow(Duration::from_millis(200))));
    let (_, body) =
        site.call("batch", json!({ "cmd": { "time": "server.time", "get": "event.offline.get?clear=0" } })).await;
    let times = &body["result"]["result_time"];
    assert_eq!(
        (times["get"]["duration"].as_f64(), times["time"]["duration"].as_f64()),
        (Some(0.2), Some(0.0)),
        "{body}"
    );
    assert_eq!(
        (times["get"]["operating"].as_f64(), times["time"]["operating"].as_f64()),
        (Some(0.2), Some(0.0)),
        "{body}"
    );
}

#[test]
fn faults_have_a_text_form() {
    assert_eq!(parse_faults("lost-answer=0.05,late=0.02,5xx=0.01").map(|faults| faults.len()), Ok(3));
    assert!(parse_faults("lost=1").is_err());
    assert!(parse_faults("lost-answer=2").is_err());
}
