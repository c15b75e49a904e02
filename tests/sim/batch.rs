//! Section 2: `batch`.

use serde_json::{Value, json};

use super::portal::{Site, ids};

#[tokio::test]
async fn commands_run_in_order_and_fail_by_themselves() {
    let site = Site::new().await;
    site.deals(3);
    let (process, _) = site.reserve(json!({ "limit": 2 })).await;
    let cmd = json!({
        "a": format!("event.offline.clear?process_id={process}&id[]=1&id[1]=2"),
        "bad": "event.offline.get?limit=0&clear=0",
        "get": "event.offline.get?clear=0&order[ID]=ASC&limit=10&filter[%3EID]=1",
    });
    let result = site.ok("batch", json!({ "halt": 0, "cmd": cmd })).await;
    assert_eq!(result["result"]["a"], json!(true));
    assert_eq!(ids(&result["result"]["get"]["events"]), [3]);
    assert_eq!(result["result_error"]["bad"]["error"], "ERROR_ARGUMENT");
    assert!(result["result_time"]["get"]["duration"].is_number(), "{result}");
    assert!(result["result"].get("bad").is_none());
    assert_eq!(site.portal.requests().http, 2, "one batch is one request");
}

#[tokio::test]
async fn empty_maps_are_lists_and_a_list_of_commands_has_numbers_for_keys() {
    let site = Site::new().await;
    let result = site.ok("batch", json!({ "cmd": ["feature.get?CODE=rest_offline_extended"] })).await;
    assert_eq!(result["result_error"], json!([]), "PHP has one kind of array");
    // A list with the keys 0, 1, ... is a list to PHP.
    assert_eq!(result["result"][0]["value"], "Y", "{result}");
    let nothing = site.ok("batch", json!({ "cmd": { "x": "no.such.method" } })).await;
    assert_eq!(nothing["result"], json!([]));
    assert_eq!(nothing["result_error"]["x"]["error"], "ERROR_METHOD_NOT_FOUND");
}

#[tokio::test]
async fn a_later_command_uses_an_earlier_result() {
    let site = Site::new().await;
    site.deal(1, "");
    // Commands run in the order of the request; these keys are in alphabetical order because serde_json sorts.
    let cmd = json!({
        "a": "event.offline.get?clear=0",
        "b": "event.offline.clear?process_id=$result[a][process_id]&id[]=$result[a][events][0][ID]",
    });
    let result = site.ok("batch", json!({ "cmd": cmd })).await;
    assert_eq!(result["result"]["b"], json!(true), "{result}");
    assert_eq!((site.portal.counts().reserved, site.portal.totals().cleared), (0, 1));
}

#[tokio::test]
async fn fifty_commands_no_nesting_and_halt() {
    let site = Site::new().await;
    let many: serde_json::Map<String, Value> = (0..52).map(|n| (format!("k{n:02}"), json!("server.time"))).collect();
    let result = site.ok("batch", json!({ "cmd": many })).await;
    assert_eq!(result["result"].as_object().map(serde_json::Map::len), Some(50));
    for late in ["k50", "k51"] {
        assert_eq!(result["result_error"][late]["error"], "ERROR_BATCH_LENGTH_EXCEEDED");
    }
    let nested = site.ok("batch", json!({ "cmd": { "b": "batch?cmd[x]=server.time" } })).await;
    assert_eq!(nested["result_error"]["b"]["error"], "ERROR_BATCH_METHOD_NOT_ALLOWED");
    let cmd = json!({ "a": "no.such.method", "b": "server.time" });
    let halted = site.ok("batch", json!({ "halt": 1, "cmd": cmd })).await;
    assert_eq!(halted["result"], json!([]), "nothing after the first error");
}

#[tokio::test]
async fn the_connector_belongs_to_the_outer_request() {
    let site = Site::new().await;
    let (plain, erp) = (site.deal(1, ""), site.deal(1, "erp"));
    let inside = json!({ "cmd": { "get": "event.offline.get?clear=0&auth_connector=erp" } });
    let result = site.ok("batch", inside).await;
    assert_eq!(ids(&result["result"]["get"]["events"]), [plain], "inside a command it says nothing");
    let outside = json!({ "auth_connector": "erp", "cmd": { "get": "event.offline.get?clear=0" } });
    let result = site.ok("batch", outside).await;
    assert_eq!(ids(&result["result"]["get"]["events"]), [erp]);
}

#[tokio::test]
async fn bindings_belong_to_the_connector_of_the_outer_request() {
    let site = Site::new().await;
    let cmd = json!({ "deal": "event.bind?event=ONCRMDEALADD&event_type=offline&auth_connector=inner" });
    for connector in ["", "erp"] {
        let result = site.ok("batch", json!({ "auth_connector": connector, "cmd": cmd })).await;
        assert_eq!(result["result"]["deal"], json!(true), "{connector:?}: {result}");
    }
    let deal = r#"{"FIELDS":{"ID":"1"}}"#;
    let rows = site.portal.change("ONCRMDEALADD", deal, None);
    let queues = ["", "erp", "inner"].map(|connector| json!({ "auth_connector": connector, "clear": 0 }));
    let mut taken = Vec::new();
    for queue in queues {
        taken.push(ids(&site.ok("event.offline.get", queue).await["events"]));
    }
    assert_eq!(taken, [vec![rows[0]], vec![rows[1]], vec![]], "each queue has its own row");
    let bound = site.ok("event.get", json!({})).await;
    let connectors: Vec<&str> =
        bound.as_array().expect("a list").iter().filter_map(|b| b["connector_id"].as_str()).collect();
    assert_eq!(connectors, ["", "erp"]);
    let cmd = json!({ "deal": "event.unbind?event=ONCRMDEALADD&event_type=offline" });
    let result = site.ok("batch", json!({ "auth_connector": "erp", "cmd": cmd })).await;
    assert_eq!(result["result"]["deal"]["count"], 1);
    let rows = site.portal.change("ONCRMDEALADD", deal, None);
    let ledger = site.portal.ledger();
    let connector = &*ledger.entry(rows[0]).expect("the row").connector;
    assert_eq!((rows.len(), connector), (1, ""), "only the plain queue is left");
}
