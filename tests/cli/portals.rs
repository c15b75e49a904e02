//! `portals` against an admin API that answers what the test wants.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    extract::{Path, RawQuery},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{MINIMAL, Ran, Site, run, run_with_input, support::port, utf8};

/// An admin API on a port of its own; it ends with its runtime.
struct Bridge {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Bridge {
    fn start(router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async { axum::serve(listener, router).await });
        Self { address, _runtime: runtime }
    }

    fn with(portals: Vec<Value>) -> Self {
        let all = json!({ "portals": portals, "next": null });
        let one = async move |Path(member_id): Path<String>| -> Response {
            match portals.into_iter().find(|portal| portal["member_id"] == member_id.as_str()) {
                Some(portal) => Json(portal).into_response(),
                None => (StatusCode::NOT_FOUND, "no such portal\n").into_response(),
            }
        };
        Self::start(
            Router::new()
                .route("/api/portals", get(async move || Json(all)))
                .route("/api/portals/{member_id}", get(one)),
        )
    }
}

fn portals(address: SocketAddr, args: &[&str]) -> Ran {
    let site = Site::new(&format!("{MINIMAL}[admin]\nlisten = \"{address}\"\n"));
    let file = site.file();
    // A proxy of the surroundings is never asked for the bridge.
    let env = [("TZ", "UTC"), ("http_proxy", "http://127.0.0.1:1"), ("HTTP_PROXY", "http://127.0.0.1:1")];
    run(&[&["portals"], args, &["-c", utf8(&file)]].concat(), &env)
}

fn parked() -> Value {
    json!({
        "member_id": "b2", "domain": "two.bitrix24.com", "state": "parked", "reason": "needs_reinstall",
        "advice": "install the application\u{9b}2J on this portal again", "mode": "reserve",
        "last_error": "invalid_grant", "last_success": 1_795_515_330.5,
        "queues": [{ "connector": "", "held": 3, "limit": 50 }],
    })
}

#[test]
fn portals_are_listed_in_words() {
    let active = json!({
        "member_id": "a1", "domain": "one.bitrix24.com", "state": "active", "reason": null, "advice": null,
        "mode": "reserve", "last_error": null, "last_success": null, "queues": [],
    });
    let bridge = Bridge::with(vec![active, parked()]);
    let ran = portals(bridge.address, &["list"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("PORTAL  DOMAIN "), "{ran:?}");
    assert!(lines[1].starts_with("a1 ") && lines[1].contains("  active  "), "{ran:?}");
    assert!(lines[2].contains("  parked: the application must be installed again  "), "{ran:?}");
    assert!(lines[2].contains("  2026-11-24 10:15:30  install the application\\u{9b}2J on"), "{ran:?}");

    let ran = portals(bridge.address, &["list", "--json"]);
    let json: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, &json["portals"][1], &json["next"]), (Some(0), &parked(), &Value::Null));
    assert!(!ran.out.contains('\u{9b}'), "{ran:?}");
}

#[test]
fn one_portal_is_shown_or_not_known() {
    let bridge = Bridge::with(vec![parked()]);
    let ran = portals(bridge.address, &["show", "b2"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.out.contains("last error    invalid_grant\nqueue plain   3 rows held"), "{ran:?}");
    let ran = portals(bridge.address, &["show", "b2", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).expect("JSON"), parked());

    let ran = portals(bridge.address, &["show", "zz"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains(&format!("{} (admin.listen) does not know the portal zz", bridge.address)), "{ran:?}");
    let ran = portals(bridge.address, &["show", "../live"]);
    assert!(ran.code == Some(1) && ran.err.contains("\"../live\" is no member_id"), "{ran:?}");
}

#[test]
fn a_bridge_without_portals_says_so() {
    let bridge = Bridge::with(Vec::new());
    let ran = portals(bridge.address, &["list"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.err.contains("has no portal yet"), "{ran:?}");
}

#[test]
fn a_bridge_that_is_not_there_is_said_in_one_sentence() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], port::free()));
    for args in [&["list"][..], &["list", "--json"], &["show", "a1"]] {
        let ran = portals(nobody, args);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(1), "", 1), "{ran:?}");
        let begin = format!("b24kafka: no bridge answers on {nobody} (admin.listen): Connection refused");
        assert!(ran.err.starts_with(&begin), "{ran:?}");
    }
}

#[test]
fn somebody_else_on_the_port_is_said_in_one_sentence() {
    for router in [
        Router::new(),
        Router::new().route("/api/portals", get(async || "<html>")),
        Router::new().route("/api/portals", get(async || Json(json!([1])))),
    ] {
        let other = Bridge::start(router);
        let ran = portals(other.address, &["list"]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(1), "", 1), "{ran:?}");
        assert!(ran.err.contains("is not the admin API of a bridge"), "{ran:?}");
    }
}

/// Answers every call with what it was asked, as the admin API answers a change.
fn echoing() -> Bridge {
    let echo = async |method: Method, uri: Uri, headers: HeaderMap, body: String| -> Response {
        if headers.get("authorization").is_none_or(|given| given != "Bearer t0ken") {
            let refusal = json!({ "error": "unauthorized", "message": "this call needs the bearer token" });
            return (StatusCode::UNAUTHORIZED, Json(refusal)).into_response();
        }
        Json(json!({ "message": format!("{method} {uri} {body}") })).into_response()
    };
    Bridge::start(Router::new().fallback(echo))
}

#[test]
fn each_command_makes_its_call_with_the_token() {
    let bridge = echoing();
    let address = bridge.address.to_string();
    let with = |args: &[&str]| {
        run(&[&["portals"], args, &["--admin", &address]].concat(), &[("B24KAFKA__ADMIN__TOKEN", "t0ken")])
    };
    for (command, call) in [
        ("remove", "DELETE /api/portals/a1"),
        ("park", "POST /api/portals/a1/park"),
        ("resume", "POST /api/portals/a1/resume"),
        ("poll", "POST /api/portals/a1/poll"),
        ("sweep-errors", "POST /api/portals/a1/sweep-errors"),
    ] {
        let ran = with(&[command, "a1"]);
        assert_eq!((ran.code, ran.out.trim_end()), (Some(0), call), "{ran:?}");
        let ran = run(&["portals", command, "a1", "--admin", &address], &[]);
        assert!(ran.code == Some(1) && ran.err.contains("needs the bearer token (401)"), "{ran:?}");
        let ran = with(&[command, "a/../b"]);
        assert!(ran.code == Some(1) && ran.err.contains("is no member_id"), "{ran:?}");
    }
}

#[test]
fn a_portal_is_added_with_a_token_from_a_file_or_standard_input_and_never_from_the_command_line() {
    let bridge = echoing();
    let address = bridge.address.to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "fr0m-file\n").expect("written");
    let env = [("B24KAFKA__ADMIN__TOKEN", "t0ken")];
    let add = ["portals", "add", "a1", "--endpoint", "https://a.example/rest/", "--admin", &address];
    let ran = run(&[&add[..], &["--refresh-token-file", utf8(&file)]].concat(), &env);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let body = ran.out.strip_prefix("POST /api/portals ").expect("the call");
    let body: Value = serde_json::from_str(body).expect("JSON");
    let want = json!({ "member_id": "a1", "endpoint": "https://a.example/rest/", "refresh_token": "fr0m-file" });
    assert_eq!(body, want);
    let ran = run_with_input(&[&add[..], &["--refresh-token-file", "-"]].concat(), &env, "fr0m-stdin\n");
    assert!(ran.code == Some(0) && ran.out.contains(r#""refresh_token":"fr0m-stdin""#), "{ran:?}");
    let ran = run(&[&add[..], &["--refresh-token-file", "/none/token"]].concat(), &env);
    assert!(ran.code == Some(1) && ran.err.contains("/none/token, which cannot be read"), "{ran:?}");
    let ran = run(&[&add[..], &["--refresh-token", "s3cr3t"]].concat(), &env);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "there is no such option");
}

#[test]
fn a_list_is_asked_for_page_by_page_and_with_filters() {
    let page = async |RawQuery(query): RawQuery| -> Response {
        let query = query.unwrap_or_default();
        assert!(query.starts_with("state=parked&text=b%262&sort=-held&limit="), "{query}");
        let one = |id: &str, next: Value| {
            Json(json!({ "portals": [{ "member_id": id, "state": "parked" }], "total": 3, "next": next }))
                .into_response()
        };
        match query.rsplit_once("&next=").map(|(_, next)| next) {
            None => one("a1", json!("first")),
            Some("first") => one("b2", json!("second")),
            Some("second") => one("c3", Value::Null),
            Some(other) => panic!("{other}"),
        }
    };
    let bridge = Bridge::start(Router::new().route("/api/portals", get(page)));
    let list = ["list", "--state", "parked", "--text", "b&2", "--sort", "-held"];
    let ran = portals(bridge.address, &list);
    let ids: Vec<&str> = ran.out.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!((ran.code, ids), (Some(0), vec!["a1", "b2", "c3"]), "{ran:?}");
    let ran = portals(bridge.address, &[&list[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((json["portals"].as_array().map(Vec::len), &json["next"]), (Some(3), &Value::Null), "{ran:?}");
    let ran = portals(bridge.address, &[&list[..], &["--limit", "2"]].concat());
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 3), "{ran:?}");
    assert!(ran.err.contains("2 of 3 portals are shown"), "{ran:?}");

    let refuse =
        async || (StatusCode::BAD_REQUEST, Json(json!({ "error": "malformed", "message": "sort is none of these" })));
    let bridge = Bridge::start(Router::new().route("/api/portals", get(refuse)));
    let ran = portals(bridge.address, &["list", "--sort", "shoes"]);
    assert!(ran.code == Some(1) && ran.err.contains("sort is none of these (400)"), "{ran:?}");
}

/// Polls as the admin API does: with the right token, and with one answer a portal.
fn polling() -> Bridge {
    let poll = async |Path(member_id): Path<String>, headers: HeaderMap| -> Response {
        if headers.get("authorization").is_none_or(|given| given != "Bearer t0ken") {
            return (StatusCode::UNAUTHORIZED, "this call needs the bearer token\n").into_response();
        }
        match member_id.as_str() {
            "a1" => (StatusCode::ACCEPTED, "its queues are polled now\n").into_response(),
            "b2" => (StatusCode::CONFLICT, Json(json!({ "reason": "it is parked\u{9b}2J" }))).into_response(),
            "c3" => (StatusCode::ACCEPTED, Json(json!({ "queues": 2 }))).into_response(),
            "d4" => StatusCode::BAD_GATEWAY.into_response(),
            _ => (StatusCode::NOT_FOUND, "no such portal\n").into_response(),
        }
    };
    Bridge::start(Router::new().route("/api/portals/{member_id}/poll", post(poll)))
}

#[test]
fn a_portal_is_polled_with_the_token_of_the_configuration() {
    let bridge = polling();
    let config = |token: &str| Site::new(&format!("{MINIMAL}[admin]\nlisten = \"{}\"\n{token}", bridge.address));
    let site = config("token = \"t0ken\"\n");
    let poll = |site: &Site, args: &[&str]| run(&[&["portals", "poll", "-c", utf8(&site.file())], args].concat(), &[]);
    let ran = poll(&site, &["a1"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "its queues are polled now\n", ""));
    let json = |ran: &Ran| serde_json::from_str::<Value>(&ran.out).expect("JSON");
    let ran = poll(&site, &["a1", "--json"]);
    assert_eq!((ran.code, json(&ran)), (Some(0), json!({ "member_id": "a1", "answer": "its queues are polled now" })));
    let ran = poll(&site, &["c3", "--json"]);
    assert_eq!((ran.code, json(&ran)), (Some(0), json!({ "queues": 2 })));

    let place = format!("b24kafka: the bridge on {} (admin.listen) does not do it: ", bridge.address);
    for (member_id, said) in [
        ("b2", "it is parked\\u{9b}2J (409)\n"),
        ("d4", "it gives no reason (502)\n"),
        ("zz", "no such portal (404)\n"),
    ] {
        let ran = poll(&site, &[member_id]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err), (Some(1), "", format!("{place}{said}")));
    }
    let ran = poll(&config(""), &["a1"]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 1), "{ran:?}");
    assert!(ran.err.contains("needs the bearer token (401); give it with --token-file FILE"), "{ran:?}");
}

#[test]
fn a_bridge_is_asked_without_its_configuration() {
    let bridge = Bridge::with(vec![parked()]);
    let address = bridge.address.to_string();
    for command in [&["list"][..], &["show", "b2"]] {
        let ran = run(&[&["portals"], command, &["--admin", &address]].concat(), &[("B24KAFKA_CONFIG", "/none.toml")]);
        assert!(ran.code == Some(0) && ran.out.contains("two.bitrix24.com"), "{ran:?}");
    }
    let bridge = polling();
    let address = bridge.address.to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let (right, wrong) = (dir.path().join("right"), dir.path().join("wrong"));
    std::fs::write(&right, "t0ken\n").expect("written");
    std::fs::write(&wrong, "n0ne\n").expect("written");
    let poll = |more: &[&str], env: &[(&str, &str)]| {
        run(&[&["portals", "poll", "a1", "--admin", &address], more].concat(), env)
    };
    let given = [
        poll(&["--token-file", utf8(&right)], &[("B24KAFKA__ADMIN__TOKEN", "n0ne")]),
        poll(&[], &[("B24KAFKA__ADMIN__TOKEN", "t0ken")]),
        poll(&[], &[("B24KAFKA__ADMIN__TOKEN_FILE", utf8(&right))]),
    ];
    for ran in given {
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "its queues are polled now\n"), "{ran:?}");
    }
    let ran = poll(&["--token-file", utf8(&wrong)], &[("B24KAFKA__ADMIN__TOKEN", "t0ken")]);
    assert!(ran.code == Some(1) && ran.err.contains("(401)") && !ran.err.contains("n0ne"), "{ran:?}");
    let ran = poll(&["--token-file", "/none/token"], &[]);
    assert!(ran.code == Some(1) && ran.err.contains("/none/token, which cannot be read (No such file"), "{ran:?}");
    let ran = poll(&[], &[("B24KAFKA__ADMIN__TOKEN", "t0\nken")]);
    assert!(ran.code == Some(1) && ran.err.contains("no HTTP header can carry"), "{ran:?}");

    for args in [&["list"][..], &["list", "--admin", "127.0.0.1"], &["list", "--admin", "http://127.0.0.1:1"]] {
        let ran = run(&[&["portals"], args].concat(), &[]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    }
}
