//! The admin API: what it tells and what it can do, and that it says so as documented.

use b24kafka::sim::{Fault, Limits, Portal, Trouble};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{
    schema,
    stage::{ADMIN_TOKEN, PATIENCE, Running, Setup, Stage},
};

/// A caller who holds every answer against the document and looks for secrets in it.
struct Caller {
    running: Running,
    document: Value,
    secrets: Vec<String>,
}

impl Caller {
    async fn start(stage: &Stage) -> Self {
        let mut secrets = vec![ADMIN_TOKEN.to_owned(), stage.sim.client_secret().expose_secret().to_owned()];
        for portal in stage.sim.portals() {
            let own = [portal.access_token(), portal.refresh_token(), portal.application_token()];
            secrets.extend(own.iter().map(|secret| secret.expose_secret().to_owned()));
        }
        Self { running: stage.start().await, document: schema::document(), secrets }
    }

    async fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<String>) -> (u16, Value) {
        let url = format!("http://{}{path}", self.running.admin);
        let method_ = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let mut request = reqwest::Client::new().request(method_, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        for secret in &self.secrets {
            assert!(!text.contains(secret), "a secret in the answer to {method} {path}");
        }
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        let schema = schema::of_answer(&self.document, method, &template(path), status);
        assert_eq!(schema::fault(&self.document, &schema, &value, "answer"), None, "{method} {path}: {value}");
        (status, value)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call("get", path, None, None).await
    }

    async fn act(&self, portal: &Portal, action: &str) -> (u16, Value) {
        let path = format!("/api/portals/{}/{action}", portal.member_id());
        self.call("post", &path, Some(ADMIN_TOKEN), None).await
    }

    async fn add(&self, body: &Value) -> (u16, Value) {
        self.call("post", "/api/portals", Some(ADMIN_TOKEN), Some(body.to_string())).await
    }
}

/// The path in the document.
fn template(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let mut parts: Vec<&str> = path.split('/').collect();
    if let Some(member_id) = parts.get_mut(3) {
        *member_id = "{member_id}";
    }
    parts.join("/")
}

fn addition(portal: &Portal) -> Value {
    json!({
        "member_id": portal.member_id(), "endpoint": portal.endpoint(),
        "refresh_token": portal.refresh_token().expose_secret(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_is_added_parked_resumed_and_removed_while_the_bridge_runs() {
    let stage = Stage::new(Setup { portals: 2, configured: 1, ..Setup::default() }).await;
    let (configured, new) = (stage.portal(0), stage.portal(1));
    let caller = Caller::start(&stage).await;
    new.backlog(50, 1);
    let (status, said) = caller.add(&addition(&new)).await;
    assert_eq!((status, said["state"].as_str()), (201, Some("starting")), "{said}");
    assert!(new.wait_until_empty(PATIENCE).await, "{:?}", new.counts());
    let (status, said) = caller.add(&addition(&new)).await;
    assert_eq!(status, 200, "it was known: {said}");

    let (status, said) = caller.act(&new, "park").await;
    assert_eq!((status, said["reason"].as_str()), (200, Some("operator")), "{said}");
    let (_, seen) = caller.get(&format!("/api/portals/{}", new.member_id())).await;
    assert!(seen["next"]["action"].as_str().is_some_and(|next| next.contains("operator")), "{seen}");
    assert!(seen["advice"].as_str().is_some_and(|advice| advice.contains("resume")), "{seen}");
    let (status, said) = caller.act(&new, "poll").await;
    assert_eq!((status, said["error"].as_str()), (409, Some("parked")), "{said}");
    assert_eq!(caller.act(&new, "sweep-errors").await.0, 409);
    new.backlog(50, 2);
    assert_eq!(caller.act(&new, "resume").await.0, 200);
    assert!(new.wait_until_empty(PATIENCE).await);
    assert_eq!(caller.act(&new, "poll").await.0, 202);

    let (status, health) = caller.get("/health").await;
    assert_eq!((status, &health["registry"]["writable"]), (200, &json!(true)), "{health}");
    let remove = |portal: &Portal| format!("/api/portals/{}", portal.member_id());
    let (status, said) = caller.call("delete", &remove(&new), Some(ADMIN_TOKEN), None).await;
    assert_eq!((status, said["state"].as_str()), (200, Some("removed")), "{said}");
    assert_eq!(caller.get(&remove(&new)).await.0, 404);
    assert_eq!(caller.call("delete", &remove(&new), Some(ADMIN_TOKEN), None).await.0, 404);
    let (status, said) = caller.call("delete", &remove(&configured), Some(ADMIN_TOKEN), None).await;
    assert_eq!((status, said["error"].as_str()), (409, Some("configured")), "{said}");
    caller.running.stop().await.expect("a clean stop");
    stage.judge();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_change_changes_nothing_and_what_is_malformed_is_refused_without_quoting_it() {
    let stage = Stage::new(Setup { portals: 2, configured: 1, ..Setup::default() }).await;
    let (portal, new) = (stage.portal(0), stage.portal(1));
    let caller = Caller::start(&stage).await;
    let one = format!("/api/portals/{}", portal.member_id());
    for token in [None, Some("wrong"), Some("")] {
        for (method, path) in [
            ("post", "/api/portals".to_owned()),
            ("delete", one.clone()),
            ("post", format!("{one}/park")),
            ("post", format!("{one}/resume")),
            ("post", format!("{one}/poll")),
            ("post", format!("{one}/sweep-errors")),
        ] {
            let (status, said) = caller.call(method, &path, token, Some(addition(&new).to_string())).await;
            assert_eq!((status, said["error"].as_str()), (401, Some("unauthorized")), "{method} {path}");
        }
    }
    let with = |name: &str, value: Value| {
        let mut body = addition(&new);
        body[name] = value;
        body.to_string()
    };
    let token = new.refresh_token().expose_secret().to_owned();
    for body in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        format!("\"{token}\""),
        json!({ "member_id": new.member_id(), "refresh_token": token }).to_string(),
        with("more", json!(token)),
        with("refresh_token", json!([token])),
        with("member_id", json!("../../etc")),
        with("endpoint", json!("ftp://example.com/rest/")),
        with("endpoint", json!(format!("https://u:{token}@example.com/rest/"))),
        with("endpoint", json!("https://example.com/rest/1/webhook/")),
        with("endpoint", json!(token)),
    ] {
        let (status, said) = caller.call("post", "/api/portals", Some(ADMIN_TOKEN), Some(body)).await;
        assert_eq!((status, said["error"].as_str()), (400, Some("malformed")), "{said}");
    }
    let (status, _) = caller.call("post", "/api/portals", Some(ADMIN_TOKEN), Some("x".repeat(20 << 10))).await;
    assert_eq!(status, 413);
    assert_eq!(caller.running.roster.all().len(), 1, "nothing was added");
    for query in ["state=odd", "limit=0", "stat=parked", "next=00"] {
        assert_eq!(caller.get(&format!("/api/portals?{query}")).await.0, 400, "{query}");
    }
    caller.running.portal(&portal, |seen| seen["state"] == "active").await;
    for (method, path) in [("GET", "/api"), ("PUT", "/api/portals"), ("POST", &format!("{one}/dance"))] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let url = format!("http://{}{path}", caller.running.admin);
        let answer = reqwest::Client::new().request(method, url).send().await.expect("an answer");
        assert!([404, 405].contains(&answer.status().as_u16()));
        assert!(serde_json::from_str::<Value>(&answer.text().await.expect("a body")).is_ok(), "JSON there too");
    }
    caller.running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn portals_are_listed_by_filter_and_page() {
    let stage = Stage::new(Setup { portals: 7, ..Setup::default() }).await;
    for number in 0..3 {
        stage.portal(number).add_fault(Fault::new(Trouble::code("PORTAL_DELETED")));
    }
    let caller = Caller::start(&stage).await;
    for (number, portal) in stage.sim.portals().enumerate() {
        let wanted = if number < 3 { "parked" } else { "active" };
        caller.running.portal(&portal, |seen| seen["state"] == wanted).await;
    }
    let (_, page) = caller.get("/api/portals?state=parked&reason=deleted").await;
    assert_eq!((page["total"].as_u64(), page["next"].is_null()), (Some(3), true), "{page}");
    let mut told = Vec::new();
    let mut query = "sort=-member_id&limit=3".to_owned();
    loop {
        let (_, page) = caller.get(&format!("/api/portals?{query}")).await;
        let some = page["portals"].as_array().expect("portals");
        told.extend(some.iter().map(|portal| portal["member_id"].as_str().expect("an id").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("sort=-member_id&limit=3&next={next}");
    }
    let mut all: Vec<String> = stage.sim.portals().map(|portal| portal.member_id()).collect();
    all.sort();
    all.reverse();
    assert_eq!(told, all);
    caller.running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_in_full_tells_what_it_has_done_and_what_comes_next() {
    let limits = Limits { requests: Some((50.0, 2.0)), ..Limits::UNLIMITED };
    let stage = Stage::new(Setup { limits, plan: "standard", ..Setup::default() }).await;
    let portal = stage.portal(0);
    portal.backlog(60, 1);
    let caller = Caller::start(&stage).await;
    assert!(portal.wait_until_empty(PATIENCE).await);
    let path = format!("/api/portals/{}", portal.member_id());
    caller.running.portal(&portal, |seen| seen["queues"][0]["last_exchange"]["rows"] == 0).await;
    let (_, seen) = caller.get(&path).await;
    let queue = &seen["queues"][0];
    assert!(queue["last_exchange"]["at"].as_f64().is_some_and(|at| at > 1.7e9), "{seen}");
    assert_eq!(queue["more"], false, "{seen}");
    assert_eq!(seen["limits"]["budget"]["ceiling"], 49, "{seen}");
    assert!(seen["limits"]["budget"]["spent"].as_u64().is_some_and(|spent| (1..49).contains(&spent)), "{seen}");
    let methods = seen["limits"]["methods"].as_array().expect("methods");
    assert!(methods.iter().any(|method| method["method"] == "event.offline.get"), "{seen}");
    assert!(seen["next"]["action"].as_str().is_some_and(|next| !next.is_empty()), "{seen}");
    assert_eq!(seen["last_errors"], json!([]), "{seen}");

    portal.add_fault(Fault::new(Trouble::code("ACCESS_DENIED")));
    let seen = caller.running.portal(&portal, |seen| seen["state"] == "parked").await;
    assert_eq!(seen["next"]["action"], "it is tried again", "{seen}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let at = seen["next"]["at"].as_f64().expect("a time");
    assert!((now + 20.0..now + 90.0).contains(&at), "a minute after it was parked: {}", at - now);
    assert_eq!(seen["last_errors"][0]["error"], "ACCESS_DENIED", "{seen}");
    portal.clear_faults();
    caller.act(&portal, "poll").await;
    let seen = caller.running.portal(&portal, |seen| seen["state"] == "active").await;
    assert_eq!(seen["last_errors"][0]["error"], "ACCESS_DENIED", "success does not hide the past: {seen}");
    caller.running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_of_which_rows_may_be_hidden_is_not_said_to_be_at_rest() {
    let stage = Stage::plain().await;
    let portal = stage.portal(0);
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    portal.add_fault(Fault::new(Trouble::LostAnswer).on("event.offline.get").times(1));
    portal.backlog(20, 1);
    // What it has reserved is found soon; for a minute nobody knows whether a request of that kind has ended.
    assert!(portal.wait_until_empty(PATIENCE).await);
    let (status, said) = running.act(&portal, "park").await;
    assert_eq!((status, &said["rows"]["hiding"]), (200, &serde_json::json!(1)), "{said}");
    assert!(said["message"].as_str().is_some_and(|message| message.contains("may have reserved")), "{said}");
    let (status, said) = running.act(&portal, "resume").await;
    assert_eq!(status, 200, "{said}");
    running.stop().await.expect("a clean stop");
}
