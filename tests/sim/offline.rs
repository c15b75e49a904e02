//! Sections 1 and 2: the queue and its methods.

use serde_json::{Value, json};

use super::portal::{Site, ids};

#[tokio::test]
async fn a_repeated_change_updates_the_free_row_and_makes_a_new_one_beside_a_reserved_row() {
    let site = Site::new().await;
    assert_eq!((site.deal(1, ""), site.deal(1, "")), (1, 1), "merged");
    site.portal.emit("ONCRMDEALADD", r#"{"FIELDS":{"ID":"1"}}"#, "");
    let (_, reserved) = site.reserve(json!({})).await;
    assert_eq!(reserved, [1, 2], "another event of the same deal is another row");
    assert_eq!(site.deal(1, ""), 3, "reserved and free again at once");
}

#[tokio::test]
async fn a_row_looks_as_php_makes_it() {
    let site = Site::new().await;
    site.deal(5, "");
    site.portal.emit("ONAPPTEST", "false", "");
    let result = site.ok("event.offline.get", json!({ "clear": 0 })).await;
    let row = &result["events"][0];
    assert_eq!((row["ID"].as_str(), row["EVENT_NAME"].as_str()), (Some("1"), Some("ONCRMDEALUPDATE")));
    assert_eq!(row["EVENT_DATA"], json!({ "FIELDS": { "ID": "5" } }));
    assert_eq!(row["MESSAGE_ID"].as_str().map(str::len), Some(32));
    let time = row["TIMESTAMP_X"].as_str().expect("a time");
    assert!(time.ends_with("+03:00") && time.len() == 25, "{time}");
    assert!(row.get("PROCESS_ID").is_none(), "only list tells the reservation");
    assert_eq!(result["events"][1]["EVENT_DATA"], Value::Bool(false));
}

#[tokio::test]
async fn an_odd_row_shows_what_it_is_told_to() {
    let site = Site::new().await;
    site.deal(5, "");
    assert_eq!(site.portal.emit_odd(r#""TIMESTAMP_X":"yesterday","EVENT_DATA":7"#, ""), 2);
    let row = &site.ok("event.offline.get", json!({ "clear": 0 })).await["events"][1];
    assert_eq!(*row, json!({ "ID": "2", "TIMESTAMP_X": "yesterday", "EVENT_DATA": 7 }));
    let listed = site.ok("event.offline.list", json!({ "filter": { "ID": 2 } })).await;
    assert_eq!(listed[0]["PROCESS_ID"].as_str().map(str::len), Some(32), "and its reservation to a list: {listed}");
}

#[tokio::test]
async fn get_reserves_with_clear_0_and_deletes_by_default() {
    let site = Site::new().await;
    site.deals(3);
    let (process, taken) = site.reserve(json!({ "limit": 2 })).await;
    assert_eq!((process.len(), taken), (32, vec![1, 2]));
    let counts = site.portal.counts();
    assert_eq!((counts.free, counts.reserved), (1, 2));
    let result = site.ok("event.offline.get", json!({})).await;
    assert_eq!(ids(&result["events"]), [3], "reserved rows are hidden");
    assert_eq!(site.portal.counts().free, 0, "deleted before the answer was sent");
    assert_eq!(site.portal.misuse().destructive_gets, 1);
    let (empty, none) = site.reserve(json!({})).await;
    assert!(empty.len() == 32 && none.is_empty(), "a process_id comes back even with nothing");
}

#[tokio::test]
async fn a_reread_deletes_unless_told_otherwise_and_comes_in_parts() {
    let site = Site::new().await;
    site.deals(60);
    let (process, taken) = site.reserve(json!({ "limit": 60 })).await;
    assert_eq!(taken.len(), 60);
    let again = site.ok("event.offline.get", json!({ "process_id": process, "clear": 0 })).await;
    assert_eq!(ids(&again["events"]).len(), 50, "the limit is 50 by default");
    assert_eq!(site.portal.counts().reserved, 60);
    site.ok("event.offline.get", json!({ "process_id": process })).await;
    assert_eq!(site.portal.counts().reserved, 0, "clear is 1 by default, even here, and the whole batch is gone");
    assert_eq!(site.portal.misuse().careless_rereads, 1);
}

#[tokio::test]
async fn a_hot_object_starves_by_time_and_not_by_id() {
    let site = Site::new().await;
    site.deals(3);
    site.portal.advance(std::time::Duration::from_secs(5));
    site.deal(1, "");
    let look = |order: Value| json!({ "clear": 0, "limit": 1, "order": order });
    let by_time = site.ok("event.offline.get", json!({ "clear": 0, "limit": 1 })).await;
    assert_eq!(ids(&by_time["events"]), [2], "the default order sends what changes to the tail");
    let by_id = site.ok("event.offline.get", look(json!({ "ID": "ASC" }))).await;
    assert_eq!(ids(&by_id["events"]), [1]);
}

#[tokio::test]
async fn limits_and_filters_are_checked() {
    let site = Site::new().await;
    site.deals(5);
    for bad in [
        json!({ "limit": 0 }),
        json!({ "limit": -1 }),
        json!({ "filter": { "ID": [1, 2] } }),
        json!({ "filter": { "!ID": 1 } }),
        json!({ "filter": { "CONNECTOR_ID": "x" } }),
        json!({ "filter": { "PROCESS_ID": "x" } }),
    ] {
        let mut params = bad.clone();
        params["clear"] = json!(0);
        assert_eq!(site.refused("event.offline.get", params).await, (400, "ERROR_ARGUMENT".to_owned()), "{bad}");
    }
    assert_eq!(site.reserve(json!({ "filter": { ">ID": 2, "<=ID": 4 } })).await.1, [3, 4]);
    assert_eq!(site.reserve(json!({ "filter": { "%EVENT_NAME": "DEALUPD", "<ID": 2 } })).await.1, [1]);
}

#[tokio::test]
async fn list_shows_what_is_reserved_in_pages_of_50() {
    let site = Site::new().await;
    site.deals(130);
    let (process, _) = site.reserve(json!({ "limit": 120 })).await;
    let reserved = json!({ "filter": { ">PROCESS_ID": "", "=ERROR": 0 }, "order": { "ID": "ASC" } });
    let (_, first) = site.call("event.offline.list", reserved.clone()).await;
    assert_eq!((ids(&first["result"]).len(), &first["total"], &first["next"]), (50, &json!(120), &json!(50)));
    let row = &first["result"][0];
    assert_eq!((row["PROCESS_ID"].as_str(), row["ERROR"].as_str()), (Some(process.as_str()), Some("0")));
    let mut last = reserved.clone();
    last["start"] = json!(100);
    let (_, last) = site.call("event.offline.list", last).await;
    assert_eq!((ids(&last["result"]).len(), last.get("next")), (20, None));
    let mut keyset = reserved;
    keyset["filter"][">ID"] = json!(100);
    assert_eq!(ids(&site.ok("event.offline.list", keyset).await), (101..=120).collect::<Vec<_>>());
    assert_eq!(site.portal.counts().reserved, 120, "it changes nothing");
    let free = site.ok("event.offline.list", json!({ "filter": { "=PROCESS_ID": "" } })).await;
    assert_eq!(ids(&free), (121..=130).collect::<Vec<_>>());
}

#[tokio::test]
async fn offsets_shift_while_rows_are_cleared() {
    let site = Site::new().await;
    site.deals(100);
    let (process, _) = site.reserve(json!({ "limit": 100 })).await;
    site.ok("event.offline.clear", json!({ "process_id": process, "id": (1..=10).collect::<Vec<_>>() })).await;
    let second = site.ok("event.offline.list", json!({ "filter": { ">PROCESS_ID": "" }, "start": 50 })).await;
    assert_eq!(ids(&second)[0], 61, "ten rows are skipped");
}

#[tokio::test]
async fn clear_is_idempotent_and_an_empty_list_clears_everything() {
    let site = Site::new().await;
    site.deals(4);
    let (process, _) = site.reserve(json!({})).await;
    let one = json!({ "process_id": process, "id": [1] });
    for _ in 0..2 {
        assert_eq!(site.ok("event.offline.clear", one.clone()).await, json!(true), "true also when nothing matches");
    }
    let other = site.ok("event.offline.clear", json!({ "process_id": "0".repeat(32), "id": [2] })).await;
    assert_eq!((other, site.portal.counts().reserved), (json!(true), 3), "only its own reservation");
    for bad in [json!([0]), json!([-1])] {
        let refused = site.refused("event.offline.clear", json!({ "process_id": process, "id": bad })).await;
        assert_eq!(refused, (400, "ERROR_ARGUMENT".to_owned()));
    }
    let short = json!({ "process_id": process, "message_id": ["short"] });
    assert_eq!(site.refused("event.offline.clear", short).await, (400, "ERROR_ARGUMENT".to_owned()));
    site.ok("event.offline.clear", json!({ "process_id": process, "id": [] })).await;
    assert_eq!((site.portal.counts().reserved, site.portal.misuse().empty_clears), (0, 1), "the trap");
}

#[tokio::test]
async fn clear_without_a_list_clears_all_and_message_ids_win_over_ids() {
    let site = Site::new().await;
    site.deals(3);
    let result = site.ok("event.offline.get", json!({ "clear": 0, "order": { "ID": "ASC" } })).await;
    let process = result["process_id"].clone();
    let message = result["events"][2]["MESSAGE_ID"].clone();
    site.ok("event.offline.clear", json!({ "process_id": process, "id": [1], "message_id": [message] })).await;
    let left = site.ok("event.offline.list", json!({})).await;
    assert_eq!(ids(&left), [1, 2], "the server looks at message_id first");
    site.ok("event.offline.clear", json!({ "process_id": process })).await;
    assert_eq!((site.portal.counts().reserved, site.portal.misuse().listless_clears), (0, 1));
}

#[tokio::test]
async fn an_error_row_swallows_every_repetition() {
    let site = Site::new().await;
    site.deal(1, "");
    let result = site.ok("event.offline.get", json!({ "clear": 0 })).await;
    site.deal(1, "");
    let (process, message) = (result["process_id"].clone(), result["events"][0]["MESSAGE_ID"].clone());
    site.ok("event.offline.error", json!({ "process_id": process, "message_id": [message] })).await;
    assert_eq!((site.portal.counts().free, site.portal.counts().errors), (0, 1), "the newer free twin is gone");
    site.deal(1, "");
    let normal = site.ok("event.offline.get", json!({ "clear": 0 })).await;
    assert_eq!(normal["events"], json!([]), "merged into the error row, invisible");
    let errors = site.ok("event.offline.list", json!({ "filter": { "=ERROR": 1 } })).await;
    assert_eq!(ids(&errors).len(), 1);
    let with = site.ok("event.offline.get", json!({ "clear": 0, "error": 1 })).await;
    assert_eq!(ids(&with["events"]).len(), 1);
}

#[tokio::test]
async fn connectors_are_queues_of_their_own() {
    let site = Site::new().await;
    let (plain, erp) = (site.deal(1, ""), site.deal(1, "erp"));
    assert_ne!(plain, erp);
    let reserved = site.ok("event.offline.get", json!({ "clear": 0, "auth_connector": "erp" })).await;
    assert_eq!(ids(&reserved["events"]), [erp]);
    let reserved = site.ok("event.offline.get", json!({ "clear": 0 })).await;
    assert_eq!(ids(&reserved["events"]), [plain]);
}

#[tokio::test]
async fn rows_older_than_34_days_are_purged_whatever_their_state() {
    let site = Site::new().await;
    site.deal(1, "");
    site.reserve(json!({})).await;
    site.deal(2, "");
    site.portal.advance(std::time::Duration::from_secs(2_951_990));
    assert_eq!(site.portal.counts().reserved, 1);
    site.portal.advance(std::time::Duration::from_secs(20));
    let counts = site.portal.counts();
    assert_eq!((counts.free, counts.reserved, site.portal.totals().lost), (0, 0, 2));
}

#[tokio::test]
async fn bindings_are_made_once_and_decide_what_is_queued() {
    let site = Site::new().await;
    let bind = |event: &str, more: Value| {
        let mut params = json!({ "event": event, "event_type": "offline" });
        for (key, value) in more.as_object().expect("an object") {
            params[key] = value.clone();
        }
        params
    };
    site.ok("event.bind", bind("ONCRMDEALADD", json!({}))).await;
    assert_eq!(site.refused("event.bind", bind("ONCRMDEALADD", json!({}))).await.1, "ERROR_CORE", "twice");
    site.ok("event.bind", bind("ONCRMDEALADD", json!({ "auth_connector": "erp" }))).await;
    assert_eq!(site.refused("event.bind", bind("ONNOTHING", json!({}))).await, (400, "ERROR_EVENT_NOT_FOUND".into()));
    assert_eq!(site.refused("event.bind", bind("ONOFFLINEEVENT", json!({}))).await.1, "ERROR_ARGUMENT");
    let bound = site.ok("event.get", json!({})).await;
    assert_eq!(bound.as_array().map(Vec::len), Some(2), "{bound}");
    assert!(bound.as_array().expect("a list").iter().all(|b| b["offline"] == 1 && b["event"] == "ONCRMDEALADD"));
    assert_eq!(
        site.portal.change("ONCRMDEALADD", r#"{"FIELDS":{"ID":"1"}}"#, Some("erp")).len(),
        1,
        "not to its maker"
    );
    let gone = site.ok("event.unbind", bind("ONCRMDEALADD", json!({ "auth_connector": "erp" }))).await;
    assert_eq!(gone["count"], 1);
    site.portal.set_feature("rest_auth_connector", false);
    let refused = site.refused("event.bind", bind("ONTASKADD", json!({ "auth_connector": "x" }))).await;
    assert_eq!(refused, (403, "WRONG_LICENSE".to_owned()));
}
