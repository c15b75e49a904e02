//! Good answers: what the broken ones are made from.

use serde_json::{Value, json};

/// The message of a row.
pub fn message(id: u64) -> String {
    format!("{id:032x}")
}

/// A row as a portal sends it.
pub fn row(id: u64, process: Option<&str>) -> Value {
    let mut row = json!({
        "ID": id.to_string(), "TIMESTAMP_X": "2026-11-24T13:15:30+03:00", "EVENT_NAME": "ONCRMDEALUPDATE",
        "EVENT_DATA": { "FIELDS": { "ID": id.to_string() } }, "EVENT_ADDITIONAL": { "user_id": 7 },
        "MESSAGE_ID": message(id),
    });
    if let Some(process) = process {
        row["PROCESS_ID"] = json!(process);
        row["ERROR"] = json!("0");
    }
    row
}

/// Rows with ids one after the other.
pub fn rows(ids: std::ops::RangeInclusive<u64>, process: Option<&str>) -> Value {
    ids.map(|id| row(id, process)).collect()
}

/// The whole answer to a batch.
pub fn batch(result: &Value, errors: &Value) -> Vec<u8> {
    let time = json!({ "start": 1795515330.1, "finish": 1795515330.6, "duration": 0.5, "operating": 0.25,
        "date_start": "2026-11-24T10:15:30+00:00", "operating_reset_at": 1795515930 });
    let batch = json!({
        "result": {
            "result": result, "result_error": errors, "result_total": [], "result_next": [],
            "result_time": { "get": time, "c0": time },
        },
        "time": time,
    });
    batch.to_string().into_bytes()
}

/// Two clears and a reservation; one clear went wrong.
pub fn reserved() -> Vec<u8> {
    let result = json!({ "c0": true, "get": { "process_id": "p1", "events": rows(1..=4, None) } });
    batch(&result, &json!({ "c1": { "error": "ERROR_CORE", "error_description": "x" } }))
}

/// A reservation of nothing.
pub fn nothing() -> Vec<u8> {
    batch(&json!({ "c0": true, "c1": true, "get": { "process_id": "p1", "events": [] } }), &json!([]))
}

/// Two pages of a scan: a full one and the last.
pub fn scanned() -> Vec<u8> {
    batch(&json!({ "page0": rows(1..=50, Some("p1")), "page1": rows(51..=53, Some("p2")) }), &json!([]))
}

/// Rows without names: one is found as it was, one is cleared, and one is deleted.
pub fn removed() -> Vec<u8> {
    let mut row = row(1, Some(""));
    row.as_object_mut().expect("a row").remove("ID");
    let result = json!({ "page0": [row], "r0": true, "gone1": { "process_id": null, "events": [row] } });
    batch(&result, &json!([]))
}

/// One short page.
pub fn short_scan() -> Vec<u8> {
    batch(&json!({ "page0": rows(1..=2, Some("p1")) }), &json!([]))
}

/// What was deleted, two pages of what is left, and nothing young.
pub fn deleted_and_listed() -> Vec<u8> {
    let gone = json!({ "process_id": null, "events": rows(1..=3, None) });
    let pages = [rows(11..=60, Some("")), rows(61..=62, Some("")), json!([])];
    let [first, second, young] = pages;
    batch(&json!({ "delete": gone, "page0": first, "page1": second, "page2": young }), &json!([]))
}

/// One short page.
pub fn short_list() -> Vec<u8> {
    let gone = json!({ "process_id": null, "events": [] });
    batch(&json!({ "delete": gone, "page0": rows(4..=8, Some("")), "page1": [], "page2": [] }), &json!([]))
}

/// A refusal of a whole call.
pub fn refused() -> Vec<u8> {
    json!({ "error": "expired_token", "error_description": "The access token provided has expired." })
        .to_string()
        .into_bytes()
}

pub fn bindings() -> Vec<u8> {
    let bindings = json!({ "result": [
        { "event": "ONCRMDEALADD", "connector_id": "", "offline": 1 },
        { "event": "ONTASKADD", "handler": "https://b.example/x", "auth_type": "0", "offline": 0 },
    ]});
    bindings.to_string().into_bytes()
}

pub fn events() -> Vec<u8> {
    json!({ "result": ["ONAPPINSTALL", "ONCRMDEALADD"] }).to_string().into_bytes()
}

pub fn feature() -> Vec<u8> {
    json!({ "result": { "value": "Y" } }).to_string().into_bytes()
}

pub fn app_info() -> Vec<u8> {
    let info = json!({ "CODE": "local.1", "STATUS": "L", "INSTALLED": true, "PAYMENT_EXPIRED": "N",
        "LICENSE": "de_ent250", "SCOPE": ["crm"] });
    json!({ "result": info }).to_string().into_bytes()
}

pub fn tokens() -> Vec<u8> {
    let tokens = json!({ "access_token": "aa", "refresh_token": "rr", "member_id": "m", "expires_in": 3600,
        "domain": "oauth.example", "client_endpoint": "https://p.example/rest/", "scope": "app", "status": "L" });
    tokens.to_string().into_bytes()
}

pub fn no_tokens() -> Vec<u8> {
    json!({ "error": "invalid_grant", "error_description": "" }).to_string().into_bytes()
}

/// A call of an event, behind an empty query.
pub fn wake() -> Vec<u8> {
    b"\nevent=ONOFFLINEEVENT&event_handler_id=1&ts=1795515330&auth%5Baccess_token%5D=aa&auth[refresh_token]=rr\
        &auth[domain]=p.example&auth[client_endpoint]=https%3A%2F%2Fp.example%2Frest%2F&auth[member_id]=a1\
        &auth[application_token]=app"
        .to_vec()
}

/// What opens the install page: the query, then the body.
pub fn install() -> Vec<u8> {
    b"DOMAIN=p.example&PROTOCOL=1&LANG=en&APP_SID=x\nAUTH_ID=aa&AUTH_EXPIRES=3600&REFRESH_ID=rr&member_id=a1&status=L"
        .to_vec()
}
