//! Calls that are not what they seem: what each is answered, and that it changes nothing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::{Router, extract::State, response::IntoResponse as _};
use b24kafka::sim::Portal;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    caller::{Fields, STRANGERS, at, call, event_url, form, open, send, stored, with},
    stage::{PATIENCE, Setup},
};

/// Another call each, with the answer that it has to get.
fn forgeries(served: &Portal, stranger: &Portal) -> Vec<(&'static str, Fields, u16)> {
    let other = stranger.refresh_token().expose_secret().to_owned();
    let none = Some("n0ne");
    let wrong = |event, portal| with(call(event, portal), "auth[application_token]", none);
    let unproven = |event, portal| with(wrong(event, portal), "auth[refresh_token]", none);
    vec![
        ("wake-up, wrong application_token, made-up refresh token", unproven("ONOFFLINEEVENT", served), 403),
        (
            "wake-up without any token",
            with(with(call("ONOFFLINEEVENT", served), "auth[application_token]", None), "auth[refresh_token]", None),
            403,
        ),
        ("wake-up of a portal that nobody serves", call("ONOFFLINEEVENT", stranger), 403),
        ("uninstallation, wrong application_token", wrong("ONAPPUNINSTALL", served), 403),
        (
            "uninstallation without application_token",
            with(call("ONAPPUNINSTALL", served), "auth[application_token]", None),
            403,
        ),
        ("uninstallation of a portal that nobody serves", call("ONAPPUNINSTALL", stranger), 403),
        ("installation, made-up refresh token", unproven("ONAPPINSTALL", served), 403),
        (
            "installation of a stranger, made-up refresh token",
            with(call("ONAPPINSTALL", stranger), "auth[refresh_token]", Some("0")),
            403,
        ),
        (
            "installation of a stranger without refresh token",
            with(call("ONAPPINSTALL", stranger), "auth[refresh_token]", None),
            403,
        ),
        (
            "installation that speaks for another portal",
            with(
                with(call("ONAPPINSTALL", served), "auth[application_token]", none),
                "auth[refresh_token]",
                Some(&other),
            ),
            403,
        ),
        ("an event of no interest, authentic", call("ONCRMDEALADD", served), 200),
        ("an event of no interest, wrong application_token", wrong("ONCRMDEALADD", served), 403),
        (
            "an empty application_token",
            with(with(call("ONCRMDEALADD", served), "auth[application_token]", Some("")), "auth[refresh_token]", None),
            403,
        ),
        ("no event", with(call("ONOFFLINEEVENT", served), "event", None), 400),
        ("no member_id", with(call("ONOFFLINEEVENT", served), "auth[member_id]", None), 400),
        (
            "a member_id that is a path",
            with(call("ONOFFLINEEVENT", served), "auth[member_id]", Some("../../etc/passwd")),
            400,
        ),
        ("a token with a line break", with(call("ONOFFLINEEVENT", served), "auth[refresh_token]", Some("a\r\nb")), 400),
    ]
}

/// Odd bodies around an authentic wake-up.
fn odd(served: &Portal) -> Vec<(&'static str, Vec<u8>, u16)> {
    let good = form(&call("ONOFFLINEEVENT", served));
    let and = |more: &str| format!("{good}&{more}").into_bytes();
    let plain = good.replace("%5B", "[").replace("%5D", "]");
    vec![
        ("as it should be", good.clone().into_bytes(), 200),
        ("brackets that are not encoded", plain.into_bytes(), 200),
        ("thousands of other fields", and(&"data[FIELDS][ID]=1&".repeat(3_000)), 200),
        ("deep nesting", and(&format!("data{}=1", "[a]".repeat(15_000))), 200),
        ("nested arrays and empty values", and("data[a][]=1&data[a][]=2&data[b]=&=&&[]=1&data[=2"), 200),
        (
            "broken escapes and no UTF-8 elsewhere",
            [&and("x=%&y=%zz&z=%ff%fe&")[..], &[0xff, 0xc0, 0x80, b'=', 0xfe]].concat(),
            200,
        ),
        ("the same field twice, the same", and(&format!("auth[member_id]={}", served.member_id())), 200),
        ("the same field twice, different", and("auth[member_id]=b2"), 400),
        ("a broken escape in the event", good.replacen("ONOFFLINEEVENT", "ON%ZZ", 1).into_bytes(), 400),
        ("no UTF-8 in the member_id", and("").iter().copied().chain(*b"auth[member_id]=%ff").collect(), 400),
        ("nothing", Vec::new(), 400),
        ("JSON", json!({ "event": "ONOFFLINEEVENT", "auth": { "member_id": "a1" } }).to_string().into_bytes(), 400),
        ("bytes", (0..=255).cycle().take(10_000).collect(), 400),
        ("too large", vec![b'a'; 70_000], 413),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_odd_calls_get_their_answer_and_change_nothing() {
    let stage = open(Setup { portals: 2, ..STRANGERS }).await;
    let (served, stranger) = (stage.portal(0), stage.portal(1));
    let running = stage.start().await;
    assert_eq!(served.send_install(&event_url(&stage)).await.expect("sent"), 200);
    running.portal(&served, |seen| seen["state"] == "active").await;
    let before = (stored(&stage, &served), stored(&stage, &stranger));
    let mut answers = Vec::new();
    for (what, fields, wanted) in forgeries(&served, &stranger) {
        answers.push((what, send(&event_url(&stage), form(&fields)).await, wanted));
    }
    for (what, body, wanted) in odd(&served) {
        answers.push((what, send(&event_url(&stage), body).await, wanted));
    }
    let page = at(&stage, "bitrix24/install");
    for (what, body, wanted) in [
        ("the install page without anything", "", 400),
        ("the install page, made-up REFRESH_ID", "member_id=a1&REFRESH_ID=x&AUTH_ID=y&DOMAIN=localhost", 403),
        ("the install page, a domain that is not allowed", "member_id=a1&REFRESH_ID=z&DOMAIN=evil.example", 403),
        ("the install page, a domain that is a number", "member_id=a1&REFRESH_ID=z&DOMAIN=127.0.0.1", 403),
    ] {
        answers.push((what, send(&page, body).await, wanted));
    }
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let got = client.get(event_url(&stage)).send().await.expect("an answer").status().as_u16();
    answers.push(("GET", got, 405));
    answers.push(("another path", send(&at(&stage, "metrics"), "").await, 404));
    for (what, got, wanted) in &answers {
        println!("{got}  {what}");
        assert_eq!(got, wanted, "{what}");
    }
    assert_eq!((stored(&stage, &served), stored(&stage, &stranger)), before, "nothing has changed");
    let (_, portals) = running.get("/api/portals").await;
    assert!(!portals.contains(&stranger.member_id()) && !portals.contains("\"a1\""), "{portals}");
    let count = |of: u16| answers.iter().filter(|(_, got, _)| *got == of).count();
    let forged = running.metric("b24kafka_callbacks_total{kind=\"install\",outcome=\"forged\"}").await;
    assert!((forged - 7.0).abs() < 0.5, "{forged} installations are counted");
    println!("{} calls: {} taken, {} malformed, {} forged", answers.len(), count(200), count(400), count(403));
    served.expire_tokens();
    served.backlog(20, 1);
    assert!(served.wait_until_empty(PATIENCE).await, "and it is served on");
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_portal_whose_token_speaks_for_another_keeps_its_chain() {
    let stage = open(Setup { portals: 2, ..STRANGERS }).await;
    let (victim, attacker) = (stage.portal(0), stage.portal(1));
    let running = stage.start().await;
    for portal in [&victim, &attacker] {
        assert_eq!(portal.send_install(&event_url(&stage)).await.expect("sent"), 200);
        running.portal(portal, |seen| seen["state"] == "active").await;
    }
    let before = (stored(&stage, &victim), victim.requests().oauth);
    let token = attacker.refresh_token();
    let mixed = with(call("ONAPPINSTALL", &victim), "auth[refresh_token]", Some(token.expose_secret()));
    let mixed = with(mixed, "auth[application_token]", Some("other"));
    assert_eq!(send(&event_url(&stage), form(&mixed)).await, 403);
    assert_eq!((stored(&stage, &victim), victim.requests().oauth), before);
    // Its own token was exchanged for that; the pair is kept for it.
    for portal in [&victim, &attacker] {
        portal.expire_tokens();
        portal.backlog(20, 1);
        assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.requests());
    }
    running.stop().await.expect("a clean stop");
    stage.judge();
}

/// An OAuth server that says what it is told to, and how often it was asked.
async fn oracle(answer: serde_json::Value) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let router = Router::new()
        .fallback(|State((asked, answer)): State<(Arc<AtomicUsize>, serde_json::Value)>| async move {
            asked.fetch_add(1, SeqCst);
            axum::Json(answer).into_response()
        })
        .with_state((asked.clone(), answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/oauth/token/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

/// Counts connections, and answers each request with a redirect to itself.
async fn trap() -> (u16, Arc<AtomicUsize>) {
    let met = Arc::new(AtomicUsize::new(0));
    let router = Router::new()
        .fallback(|State(met): State<Arc<AtomicUsize>>| async move {
            met.fetch_add(1, SeqCst);
            axum::response::Redirect::temporary("/elsewhere/rest/app.info").into_response()
        })
        .with_state(met.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (port, met)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_leaves_for_a_place_that_is_not_allowed() {
    let (port, met) = trap().await;
    // Whether plain http and private addresses are accepted, where the answer leads to, and how many requests leave.
    for (lax, endpoint, requests) in [
        (true, format!("http://localhost:{port}/rest/"), 1),
        (true, format!("http://127.0.0.1:{port}/rest/"), 0),
        (true, format!("http://[::1]:{port}/rest/"), 0),
        (true, format!("http://other.example:{port}/rest/"), 0),
        (true, format!("http://localhost.evil.example:{port}/rest/"), 0),
        (true, format!("http://user@localhost:{port}/rest/"), 0),
        (true, format!("http://localhost:{port}/"), 0),
        (false, format!("http://localhost:{port}/rest/"), 0),
        // Allowed by name and by scheme: what the name stands for is looked at when the connection is made.
        (false, format!("https://localhost:{port}/rest/"), 0),
    ] {
        let answer = json!({
            "access_token": "acc", "refresh_token": "ref", "member_id": "a1", "client_endpoint": endpoint, "domain": "x",
        });
        let (oauth, asked) = oracle(answer).await;
        let mut stage = open(STRANGERS).await;
        // As it would be for an OAuth server of the internet: by its own name.
        stage.config.app.oauth_url = oauth.parse().expect("a URL");
        stage.config.app.allow_http = lax;
        let running = stage.start().await;
        met.store(0, SeqCst);
        let body = "event=ONAPPINSTALL&auth[member_id]=a1&auth[application_token]=app&auth[refresh_token]=del";
        assert_eq!(send(&event_url(&stage), body).await, if requests == 0 { 403 } else { 503 }, "{endpoint}");
        assert_eq!(asked.load(SeqCst), 1, "{endpoint}: one exchange");
        assert!(met.load(SeqCst) >= requests && (requests > 0 || met.load(SeqCst) == 0), "{endpoint}");
        let (_, portals) = running.get("/api/portals").await;
        assert!(!portals.contains("a1"), "{endpoint}: {portals}");
        running.stop().await.expect("a clean stop");
        println!("{endpoint}, allow_http = {lax}: {} requests left", met.load(SeqCst));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_the_oauth_server_that_names_another_portal_or_none_proves_nothing() {
    let (port, met) = trap().await;
    let endpoint = format!("http://localhost:{port}/rest/");
    for answer in [
        json!({ "access_token": "acc", "refresh_token": "ref", "member_id": "b2", "client_endpoint": endpoint }),
        json!({ "access_token": "acc", "refresh_token": "ref", "client_endpoint": endpoint }),
        json!({ "access_token": "acc", "refresh_token": "ref", "member_id": "a1" }),
        json!({ "access_token": "acc", "refresh_token": "ref", "member_id": "A1", "client_endpoint": endpoint }),
        json!({ "error": "invalid_grant" }),
    ] {
        let (oauth, _) = oracle(answer.clone()).await;
        let mut stage = open(STRANGERS).await;
        stage.config.app.oauth_url = oauth.parse().expect("a URL");
        let running = stage.start().await;
        let body = "event=ONAPPINSTALL&auth[member_id]=a1&auth[application_token]=app&auth[refresh_token]=del";
        assert_eq!(send(&event_url(&stage), body).await, 403, "{answer}");
        assert_eq!(met.load(SeqCst), 0, "nobody is called");
        running.stop().await.expect("a clean stop");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_names_no_portal_is_ours_if_it_was_our_own_token() {
    let mut stage = open(Setup { configured: usize::MAX, ..STRANGERS }).await;
    let portal = stage.portal(0);
    let access = portal.access_token().expose_secret().to_owned();
    let (oauth, asked) = oracle(json!({ "access_token": access, "refresh_token": "the-next-one" })).await;
    stage.config.app.oauth_url = oauth.parse().expect("a URL");
    let running = stage.start().await;
    running.portal(&portal, |seen| seen["state"] == "active").await;
    assert_eq!(send(&event_url(&stage), form(&call("ONOFFLINEEVENT", &portal))).await, 200);
    assert_eq!(asked.load(SeqCst), 1);
    assert!(stored(&stage, &portal).contains("the-next-one"), "it is the only living one");
    running.stop().await.expect("a clean stop");
}
