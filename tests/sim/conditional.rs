//! Section 6: what a client without `rest_offline_extended` builds on, and when it is careless.

use std::time::Duration;

use serde_json::{Value, json};

use super::portal::{Site, ids};

/// `TIMESTAMP_X` of the only row, and the portal's time in the same answer.
async fn look(site: &Site) -> (String, String) {
    let (_, body) = site.call("event.offline.list", json!({ "filter": { "=PROCESS_ID": "", "=ERROR": 0 } })).await;
    let text = |value: &Value| value.as_str().expect("a time").to_owned();
    (text(&body["result"][0]["TIMESTAMP_X"]), text(&body["time"]["date_start"]))
}

#[tokio::test]
async fn without_the_feature_rows_are_listed_and_deleted_and_not_reserved() {
    let site = Site::new().await;
    site.portal.set_feature("rest_offline_extended", false);
    site.deals(3);
    site.portal.advance(Duration::from_secs(10));
    assert_eq!(site.refused("event.offline.get", json!({ "clear": 0 })).await, (403, "WRONG_LICENSE".to_owned()));
    let (_, now) = look(&site).await;
    let bounds = json!({ "<=ID": 2, "<TIMESTAMP_X": now });
    let deleted = site.ok("event.offline.get", json!({ "clear": 1, "filter": bounds, "limit": 5 })).await;
    assert_eq!((ids(&deleted["events"]), &deleted["process_id"]), (vec![1, 2], &Value::Null));
    assert_eq!((site.portal.totals().got, site.portal.counts().free), (2, 1));
    assert!(site.portal.misuse().is_clean(), "they were listed as they are: {:?}", site.portal.misuse());
}

#[tokio::test]
async fn a_row_that_has_changed_since_it_was_listed_is_not_deleted() {
    let site = Site::new().await;
    site.deal(1, "");
    site.portal.advance(Duration::from_secs(10));
    let (before, now) = look(&site).await;
    assert_ne!(before, now);
    site.deal(1, "");
    let bounds = json!({ "<=ID": 1, "<TIMESTAMP_X": now });
    let deleted = site.ok("event.offline.get", json!({ "clear": 1, "filter": bounds.clone() })).await;
    assert_eq!(deleted["events"], json!([]));
    let (after, later) = look(&site).await;
    assert!(after >= now, "{after} is not before {now}");
    let young = site.ok("event.offline.list", json!({ "filter": { ">=TIMESTAMP_X": now } })).await;
    assert_eq!(ids(&young), [1]);
    assert!(later >= after);
}

#[tokio::test]
async fn a_deletion_of_what_no_list_has_shown_is_counted_as_misuse() {
    let site = Site::new().await;
    site.deals(2);
    site.portal.advance(Duration::from_secs(10));
    let (_, now) = look(&site).await;
    site.deal(9, "");
    site.portal.advance(Duration::from_secs(10));
    let (_, later) = look(&site).await;
    site.deal(9, "");
    site.portal.advance(Duration::from_secs(10));
    let mut misused = 0;
    for (filter, careless, why) in [
        (json!({ "<=ID": 1 }), true, "no time"),
        (json!({ "<TIMESTAMP_X": now }), true, "no last row"),
        (json!({ "<=ID": 9, "<TIMESTAMP_X": now }), false, "nothing is left that matches"),
        (json!({ "<=ID": 9, "<TIMESTAMP_X": later }), false, "the row has changed and does not match"),
        (json!({ "<=ID": 9, "<TIMESTAMP_X": "2100-01-01T00:00:00Z" }), true, "it was listed as it was before"),
    ] {
        site.ok("event.offline.get", json!({ "clear": 1, "filter": filter })).await;
        misused += u64::from(careless);
        assert_eq!(site.portal.misuse().destructive_gets, misused, "{why}");
    }
}

#[tokio::test]
async fn a_page_begins_behind_the_last_row_of_the_one_before_it() {
    let site = Site::new().await;
    site.deals(120);
    let page = |after: &str| format!("event.offline.list?filter[%3DPROCESS_ID]=&filter[%3EID]={after}&order[ID]=ASC");
    let commands = json!({
        "page0": page("0"), "page1": page("$result[page0][49][ID]"), "page2": page("$result[page1][49][ID]"),
    });
    let (_, body) = site.call("batch", json!({ "halt": 0, "cmd": commands })).await;
    let pages = &body["result"]["result"];
    assert_eq!((ids(&pages["page1"])[0], ids(&pages["page2"]).len()), (51, 20));
}
