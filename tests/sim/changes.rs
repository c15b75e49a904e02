//! Section 1: a change that the application makes itself, and whose queues hear of it.

use serde_json::json;

use super::portal::Site;

/// A site whose deals are bound for the plain queue and for two connectors.
async fn bound() -> Site {
    let site = Site::new().await;
    for connector in ["", "erp", "shop"] {
        for event in ["ONCRMDEALADD", "ONCRMDEALUPDATE"] {
            let bind = json!({ "event": event, "event_type": "offline", "auth_connector": connector });
            site.ok("event.bind", bind).await;
        }
    }
    site
}

/// Whose queues hold rows, in the order of the rows.
fn heard(site: &Site) -> Vec<String> {
    site.portal.ledger().entries().iter().map(|entry| entry.connector.to_string()).collect()
}

#[tokio::test]
async fn a_change_of_ones_own_does_not_return_to_the_connector_that_it_names() {
    let site = bound().await;
    let update = json!({ "id": 7, "fields": { "TITLE": "x" }, "auth_connector": "erp" });
    assert_eq!(site.ok("crm.deal.update", update).await, json!(true));
    assert_eq!(heard(&site), ["", "shop"]);
    let row = site.ok("event.offline.get", json!({ "clear": 0, "auth_connector": "shop" })).await;
    assert_eq!(row["events"][0]["EVENT_NAME"], "ONCRMDEALUPDATE");
    assert_eq!(row["events"][0]["EVENT_DATA"], json!({ "FIELDS": { "ID": "7" } }));
}

#[tokio::test]
async fn a_change_that_names_no_connector_goes_to_every_queue() {
    let site = bound().await;
    let id = site.ok("crm.deal.add", json!({ "fields": { "TITLE": "x" } })).await;
    assert_eq!(heard(&site), ["", "erp", "shop"]);
    site.ok("crm.deal.update", json!({ "id": id, "auth_connector": "" })).await;
    assert_eq!(heard(&site).len(), 6, "the empty connector is no source");
}

#[tokio::test]
async fn in_a_batch_the_outer_request_names_the_connector() {
    let site = bound().await;
    let cmd = json!({ "a": "crm.deal.update?id=1&auth_connector=shop", "b": "crm.deal.update?ID=2" });
    site.ok("batch", json!({ "auth_connector": "erp", "cmd": cmd })).await;
    assert_eq!(heard(&site), ["", "shop", "", "shop"], "what a command says about it has no effect");
}

#[tokio::test]
async fn a_webhook_is_somebody_else_and_what_nobody_bound_makes_no_row() {
    let site = bound().await;
    let url = site.portal.endpoint().replace("/rest/", "/rest/1/secret/crm.deal.update");
    let answer =
        site.http.post(url).json(&json!({ "id": 3, "auth_connector": "erp" })).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(heard(&site), ["", "erp", "shop"]);
    site.ok("crm.deal.delete", json!({ "id": 3 })).await;
    site.ok("crm.contact.update", json!({ "id": 3 })).await;
    assert_eq!(heard(&site).len(), 3);
    assert_eq!(site.refused("crm.deal.update", json!({ "id": 0 })).await, (400, "ERROR_ARGUMENT".to_owned()));
}
