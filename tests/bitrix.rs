//! The Bitrix24 edge against a server that answers by script and remembers what it was asked.
//!
//! The server knows nothing of the protocol: these tests fix what goes over the wire and what every kind of answer is
//! taken for. Both a call too many and a call too few fail a test.

#[path = "bitrix/server.rs"]
mod server;

use std::time::Duration;

use b24kafka::{
    bitrix::{
        Access, CallError, Client, Trouble,
        bindings::{Binding, BoundWakeUp, Target},
        features::RESERVATIONS,
        oauth::RefreshError,
    },
    config::{app::App, fetch::Fetch},
    protocol::{
        exchange::{Clear, Cleared, Exchange, Read, ReadAnswer},
        types::{Connector, NonEmpty, ProcessId, RowId},
    },
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use server::{Reply, Server};

/// Not a token of anything: it must not be found where it does not belong.
const TOKEN: &str = "t0ps3cret";

fn client(request_timeout: Duration) -> Client {
    let second = Duration::from_secs(1);
    let response_limit = 64 << 20;
    let fetch = Fetch {
        limit_min: 50,
        limit_max: 1000,
        poll_min: second,
        poll_max: second,
        concurrency: 8,
        request_timeout,
        response_limit,
    };
    Client::new(&fetch).expect("client")
}

fn patient() -> Client {
    client(Duration::from_secs(60))
}

fn access(server: &Server) -> Access {
    Access { endpoint: server.url("/rest/"), token: TOKEN.into() }
}

fn plain() -> Connector {
    Connector::default()
}

fn reserve() -> Exchange {
    Exchange { clears: vec![], delete: None, read: Some(Read::Reserve { limit: 50 }) }
}

fn clear(process: &str, ids: impl Iterator<Item = u64>) -> Clear {
    Clear {
        process: ProcessId::new(process).expect("process"),
        ids: NonEmpty::new(ids.filter_map(RowId::new).collect()).expect("ids"),
    }
}

fn row(id: u64) -> Value {
    json!({
        "ID": id.to_string(), "TIMESTAMP_X": "2026-11-24T13:15:30+03:00", "EVENT_NAME": "ONCRMDEALUPDATE",
        "EVENT_DATA": { "FIELDS": { "ID": id.to_string() } }, "EVENT_ADDITIONAL": false, "MESSAGE_ID": format!("m{id}"),
    })
}

/// A batch in which the `get` reserved one row.
fn one_row() -> Value {
    json!({ "result": {
        "result": { "get": { "process_id": "p1", "events": [row(7)] } },
        "result_error": [], "result_total": [], "result_next": [], "result_time": [],
    }})
}

/// The only call that a server with one answer got, and how it ended.
async fn exchange_once(client: &Client, reply: Reply) -> Result<ReadAnswer<u64>, CallError> {
    let server = Server::start(vec![reply]).await;
    let exchanged = client.exchange(&access(&server), &plain(), &reserve()).await;
    assert_eq!(server.asked().len(), 1, "every call is made once");
    if let Err(error) = &exchanged {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(TOKEN) && !shown.contains("127.0.0.1"), "{shown}");
    }
    exchanged.map(|exchanged| exchanged.answer.read.map(|row| row.id.get()))
}

#[tokio::test]
async fn an_exchange_is_one_batch_with_the_connector_outside() {
    let result = json!({ "c0": true, "c1": true, "get": { "process_id": "p2", "events": [row(1501), row(1502)] } });
    let server =
        Server::start(vec![Reply::json(200, &json!({ "result": { "result": result, "result_error": [] } }))]).await;
    let exchange = Exchange {
        clears: vec![clear("p1", 1..=500), clear("p1", 501..=700)],
        delete: None,
        read: Some(Read::Reserve { limit: 800 }),
    };
    let exchanged = patient().exchange(&access(&server), &Connector::new("my app"), &exchange).await.expect("answer");
    assert_eq!(exchanged.answer.clears, [Cleared::Done, Cleared::Done]);
    assert!(matches!(&exchanged.answer.read, ReadAnswer::Reserved { rows, .. } if rows.len() == 2));

    let asked = server.asked();
    let [asked] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((asked.method.as_str(), asked.uri.as_str()), ("POST", "/rest/batch"), "no token in the address");
    assert_eq!(asked.content_type, "application/json");
    let body: Value = serde_json::from_str(&asked.body).expect("json");
    assert_eq!((&body["auth"], &body["auth_connector"], &body["halt"]), (&json!(TOKEN), &json!("my app"), &json!(0)));
    assert_eq!(body.as_object().expect("object").len(), 4);
    let place = |key: &str| asked.body.find(&format!("\"{key}\":")).expect("key");
    assert!(place("c0") < place("c1") && place("c1") < place("get"), "clears go first");
    let first = server::command(&body["cmd"]["c0"]);
    assert_eq!(first.method, "event.offline.clear");
    assert_eq!(first.values("process_id"), ["p1"]);
    assert_eq!(first.values("id[]").len(), 500);
    assert_eq!(first.parameters.len(), 501);
    assert_eq!(server::command(&body["cmd"]["c1"]).values("id[]").len(), 200);
    let get = server::command(&body["cmd"]["get"]);
    assert_eq!(get.method, "event.offline.get");
    assert_eq!(
        (get.values("clear"), get.values("order[ID]"), get.values("limit")),
        (vec!["0"], vec!["ASC"], vec!["800"])
    );
    assert_eq!(get.parameters.len(), 3);
}

#[tokio::test]
async fn the_plain_queue_names_no_connector_and_a_scan_asks_for_reserved_rows() {
    let mut reserved = row(8);
    reserved["PROCESS_ID"] = json!("lost");
    let result = json!({ "page0": [reserved], "page1": [] });
    let server =
        Server::start(vec![Reply::json(200, &json!({ "result": { "result": result, "result_error": [] } }))]).await;
    let exchange = Exchange { clears: vec![], delete: None, read: Some(Read::Scan { after: RowId::new(5), pages: 2 }) };
    let exchanged = patient().exchange(&access(&server), &plain(), &exchange).await.expect("answer");
    let ReadAnswer::Listed { rows, more: false } = exchanged.answer.read else { panic!("{exchanged:?}") };
    assert_eq!((rows[0].0.as_str(), rows[0].1.id.get()), ("lost", 8));

    let body: Value = serde_json::from_str(&server.asked()[0].body).expect("json");
    assert_eq!(body.get("auth_connector"), None);
    for (key, start) in [("page0", "0"), ("page1", "50")] {
        let list = server::command(&body["cmd"][key]);
        assert_eq!(list.method, "event.offline.list");
        assert_eq!((list.values("filter[>PROCESS_ID]"), list.values("filter[=ERROR]")), (vec![""], vec!["0"]));
        assert_eq!((list.values("filter[>ID]"), list.values("order[ID]")), (vec!["5"], vec!["ASC"]));
        assert_eq!((list.values("start"), list.parameters.len()), (vec![start], 5));
    }
}

#[tokio::test]
async fn answers_that_are_none_leave_the_outcome_open() {
    let whole = one_row().to_string();
    let cases = [
        (Reply::text(200, "text/html", "<html>maintenance</html>"), "HTML"),
        (Reply::text(502, "text/html", "<html>bad gateway</html>"), "HTTP_502"),
        (Reply::text(504, "text/plain", ""), "HTTP_504"),
        (Reply::text(401, "text/html", "<html>a proxy</html>"), "HTTP_401"),
        (Reply::text(200, "application/json", &whole[..whole.len() / 2]), "NOT_JSON"),
        (Reply::text(200, "application/json", ""), "NOT_JSON"),
        (Reply::Bytes(vec![b'"', 0xff, b'"']), "NOT_UTF8"),
        (Reply::json(503, &json!({ "error": "INTERNAL", "error_description": "x" })), "INTERNAL"),
        (Reply::json(200, &json!({ "result": false })), "ODD_RESULT"),
        (Reply::Redirect("/rest/elsewhere".to_owned()), "HTTP_302"),
        (Reply::Cut(whole.clone()), "BROKEN_ANSWER"),
        (Reply::Hang, "TIMEOUT"),
    ];
    let client = client(Duration::from_secs(2));
    for (reply, code) in cases {
        let error = exchange_once(&client, reply).await.expect_err(code);
        assert_eq!((error.trouble, &*error.code), (Trouble::Unknown, code));
        assert_eq!(error.answer::<()>(&reserve()).read, ReadAnswer::Unknown);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    for reply in [Reply::Announce(65 * 1024 * 1024), Reply::Endless] {
        let error = exchange_once(&patient(), reply).await.expect_err("too large");
        assert_eq!((error.trouble, &*error.code), (Trouble::Unknown, "TOO_LARGE"));
    }
}

#[tokio::test]
async fn a_refusal_says_that_nothing_was_done() {
    let cases = [
        (401, "expired_token", Trouble::Unauthorized { expired: true }),
        (401, "NO_AUTH_FOUND", Trouble::Unauthorized { expired: false }),
        (403, "ACCESS_DENIED", Trouble::Forbidden),
        (403, "WRONG_LICENSE", Trouble::Unlicensed),
        (500, "portal_deleted", Trouble::Deleted),
        (503, "QUERY_LIMIT_EXCEEDED", Trouble::RateLimited),
        (503, "OVERLOAD_LIMIT", Trouble::Blocked),
        (429, "OPERATION_TIME_LIMIT", Trouble::OperationTime { until: None }),
        (400, "INVALID_REQUEST", Trouble::Ours),
    ];
    for (status, code, trouble) in cases {
        let reply = Reply::json(status, &json!({ "error": code, "error_description": "text of the portal" }));
        let error = exchange_once(&patient(), reply).await.expect_err(code);
        assert_eq!((error.trouble, error.refused()), (trouble, true), "{code}");
        assert!(matches!(error.answer::<()>(&reserve()).read, ReadAnswer::Refused { .. }));
    }
}

#[tokio::test]
async fn nobody_there_is_certainly_not_sent() {
    let server = Server::start(vec![]).await;
    let access = access(&server);
    server.stop().await;
    let error = patient().exchange(&access, &plain(), &reserve()).await.expect_err("nobody");
    assert_eq!((error.trouble, &*error.code), (Trouble::NotSent, "CONNECT"));
    assert!(matches!(error.answer::<()>(&reserve()).read, ReadAnswer::Refused { .. }));
}

#[tokio::test]
async fn a_failed_handshake_is_certainly_not_sent() {
    let server = Server::start(vec![]).await;
    let mut access = access(&server);
    access.endpoint.set_scheme("https").expect("scheme");
    let error = patient().exchange(&access, &plain(), &reserve()).await.expect_err("no TLS there");
    assert_eq!((error.trouble, &*error.code), (Trouble::NotSent, "TLS"));
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn a_json_answer_with_a_wrong_content_type_is_good() {
    let read = exchange_once(&patient(), Reply::text(200, "text/html; charset=utf-8", &one_row().to_string())).await;
    assert!(matches!(read, Ok(ReadAnswer::Reserved { rows, .. }) if rows == [7]));
}

#[tokio::test]
async fn features_and_the_application() {
    let server = Server::start(vec![
        Reply::json(200, &json!({ "result": { "value": "Y" } })),
        Reply::json(200, &json!({ "result": { "CODE": "local.1", "STATUS": "L", "LICENSE": "de_ent250" } })),
        Reply::json(401, &json!({ "error": "invalid_token" })),
    ])
    .await;
    let (client, access) = (patient(), access(&server));
    assert_eq!(client.feature(&access, RESERVATIONS).await, Ok(true));
    assert!(client.app_info(&access).await.expect("info").enterprise());
    let error = client.app_info(&access).await.expect_err("token");
    assert_eq!(error.trouble, Trouble::Unauthorized { expired: false });
    let asked = server.asked();
    assert_eq!(
        asked.iter().map(|a| a.uri.as_str()).collect::<Vec<_>>(),
        ["/rest/feature.get", "/rest/app.info", "/rest/app.info"]
    );
    let body: Value = serde_json::from_str(&asked[0].body).expect("json");
    assert_eq!(body, json!({ "auth": TOKEN, "CODE": "rest_offline_extended" }));
}

#[tokio::test]
async fn only_what_is_missing_is_bound() {
    let handlers = json!({ "result": [
        { "event": "ONCRMDEALADD", "connector_id": "q", "offline": 1 },
        { "event": "ONCRMDEALUPDATE", "connector_id": "", "offline": 1 },
        { "event": "ONTASKADD", "handler": "https://b.example/x", "auth_type": "0", "offline": 0 },
    ]});
    let outcome = json!({ "result": {
        "result": { "b1": true },
        "result_error": { "b0": { "error": "ERROR_EVENT_NOT_FOUND" }, "b2": { "error": "ERROR_CORE" } },
    }});
    let server =
        Server::start(vec![Reply::json(200, &handlers), Reply::json(200, &outcome), Reply::json(200, &handlers)]).await;
    let (client, access) = (patient(), access(&server));
    let events = ["ONCRMDEALADD", "ONCRMDEALUPDATE", "ONTASKADD", "ONCRMDEALNOSUCH"].map(String::from);
    let bound = client.bind(&access, &Connector::new("q"), &events, false).await.expect("bound");
    assert_eq!((bound.existing, bound.added), (vec!["ONCRMDEALADD".to_owned()], vec!["ONCRMDEALUPDATE".to_owned()]));
    assert_eq!(bound.unknown, ["ONCRMDEALNOSUCH"]);
    assert_eq!(bound.failed.len(), 1);
    let body: Value = serde_json::from_str(&server.asked()[1].body).expect("json");
    assert_eq!(body["auth_connector"], "q");
    let bind = server::command(&body["cmd"]["b1"]);
    assert_eq!(
        (bind.method.as_str(), bind.values("event"), bind.values("event_type")),
        ("event.bind", vec!["ONCRMDEALUPDATE"], vec!["offline"])
    );
    assert_eq!(bind.parameters.len(), 2, "no handler, and the connector is outside");
    assert_eq!(client.bind(&access, &plain(), &[], false).await.expect("nothing"), Default::default());
    let online = Target::Online { handler: "https://b.example/x".to_owned() };
    assert_eq!(
        client.bindings(&access).await.expect("bindings")[2],
        Binding { event: "ONTASKADD".to_owned(), target: online }
    );
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn the_wake_up_is_bound_once() {
    let there = json!({ "result": [{ "event": "ONOFFLINEEVENT", "handler": "https://b.example/e", "offline": 0 }] });
    let server = Server::start(vec![
        Reply::json(200, &json!({ "result": [] })),
        Reply::json(200, &json!({ "result": true })),
        Reply::json(200, &there),
        Reply::json(200, &there),
        Reply::json(200, &json!({ "result": true })),
    ])
    .await;
    let (client, access, handler) = (patient(), access(&server), "https://b.example/e".parse().expect("url"));
    let bound = |added| Ok(BoundWakeUp { added, others: Vec::new() });
    assert_eq!(client.bind_wake_up(&access, &handler, 1).await, bound(true));
    assert_eq!(client.bind_wake_up(&access, &handler, 1).await, bound(false));
    let moved = "https://new.example/e".parse().expect("url");
    let others = vec!["https://b.example/e".to_owned()];
    assert_eq!(client.bind_wake_up(&access, &moved, 1).await, Ok(BoundWakeUp { added: true, others }));
    let asked = server.asked();
    assert_eq!(asked.len(), 5);
    let body: Value = serde_json::from_str(&asked[1].body).expect("json");
    let want = json!({ "auth": TOKEN, "event": "ONOFFLINEEVENT", "handler": "https://b.example/e", "options": { "minTimeout": 1 } });
    assert_eq!(body, want);
}

#[tokio::test]
async fn tokens_are_refreshed_or_not() {
    let server = Server::start(vec![
        Reply::json(200, &json!({ "access_token": "a2", "refresh_token": "r2", "member_id": "m", "expires_in": 3600 })),
        Reply::json(400, &json!({ "error": "invalid_grant" })),
        Reply::json(402, &json!({ "error": "PAYMENT_REQUIRED" })),
        Reply::json(401, &json!({ "error": "invalid_client" })),
        Reply::text(500, "text/html", "<html>"),
        Reply::Cut(r#"{"access_token":"a3","#.to_owned()),
    ])
    .await;
    let app = App {
        client_id: "local.1".to_owned(),
        client_secret: "s3cr&t".into(),
        oauth_url: server.url("/oauth/token/"),
        allowed_hosts: vec![],
        allow_http: true,
    };
    let client = patient();
    let tokens = client.refresh(&app, &"r 1".into()).await.expect("tokens");
    assert_eq!((tokens.access_token.expose_secret(), tokens.refresh_token.expose_secret()), ("a2", "r2"));
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.push(client.refresh(&app, &"r 1".into()).await.expect_err("refused"));
    }
    assert_eq!(errors[..2], [RefreshError::Rejected, RefreshError::Unpaid]);
    assert_eq!(errors[2], RefreshError::Misconfigured { code: "INVALID_CLIENT".into() });
    assert_eq!(errors[3], RefreshError::Unknown { code: "HTTP_500".into() });
    assert_eq!(errors[4], RefreshError::Unknown { code: "BROKEN_ANSWER".into() });
    assert!(!format!("{errors:?}").contains("s3cr"));
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].method.as_str()), (6, "GET"));
    assert_eq!(
        asked[0].uri,
        "/oauth/token/?grant_type=refresh_token&client_id=local.1&client_secret=s3cr%26t&refresh_token=r+1"
    );
    server.stop().await;
    assert!(matches!(client.refresh(&app, &"r 1".into()).await, Err(RefreshError::NotSent { .. })));
}
