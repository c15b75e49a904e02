//! Section 4: authorization, features and calls from the portal.

use std::{sync::Arc, time::Duration};

use b24kafka::sim::{Fault, Trouble};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::portal::Site;

async fn refresh(site: &Site, secret: &str, token: &SecretString) -> (u16, Value) {
    let query = [
        ("grant_type", "refresh_token"),
        ("client_id", site.sim.client_id()),
        ("client_secret", secret),
        ("refresh_token", token.expose_secret()),
    ];
    let answer = site.http.get(site.sim.oauth_url()).query(&query).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_refresh_rotates_the_refresh_token() {
    let site = Site::new().await;
    let (secret, old) = (site.sim.client_secret(), site.portal.refresh_token());
    let (status, new) = refresh(&site, secret.expose_secret(), &old).await;
    assert_eq!((status, new["member_id"].as_str()), (200, Some(site.portal.member_id().as_str())));
    assert_eq!(new["refresh_token"], site.portal.refresh_token().expose_secret());
    assert_ne!(site.portal.refresh_token().expose_secret(), old.expose_secret());
    let (_, again) = refresh(&site, secret.expose_secret(), &old).await;
    assert_eq!((again["error"].as_str(), site.portal.misuse().old_refreshes), (Some("invalid_grant"), 1));
    let (_, wrong) = refresh(&site, "wrong", &site.portal.refresh_token()).await;
    assert_eq!(wrong["error"], "invalid_client");
}

#[tokio::test]
async fn a_code_of_an_authorization_by_hand_is_exchanged_once() {
    let site = Site::new().await;
    let (secret, code, old) = (site.sim.client_secret(), site.portal.authorization_code(), site.portal.refresh_token());
    let exchange = async |code: &SecretString, secret: &str| -> Value {
        let (id, code) = (site.sim.client_id(), code.expose_secret());
        let query =
            [("grant_type", "authorization_code"), ("client_id", id), ("client_secret", secret), ("code", code)];
        let answer = site.http.get(site.sim.oauth_url()).query(&query).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    };
    assert_eq!(exchange(&code, "wrong").await["error"], "invalid_client");
    assert_eq!(exchange(&old, secret.expose_secret()).await["error"], "invalid_grant", "a refresh token is no code");
    let new = exchange(&code, secret.expose_secret()).await;
    assert_eq!(new["client_endpoint"], site.portal.endpoint());
    assert_eq!(new["refresh_token"], site.portal.refresh_token().expose_secret());
    assert_ne!(site.portal.refresh_token().expose_secret(), old.expose_secret());
    assert_eq!(exchange(&code, secret.expose_secret()).await["error"], "invalid_grant", "it is used up");
}

#[tokio::test]
async fn a_late_refresh_rotates_the_token_when_nobody_waits_for_it_any_more() {
    let site = Site::new().await;
    let (secret, old) = (site.sim.client_secret(), site.portal.refresh_token());
    site.portal.add_fault(Fault::new(Trouble::Late(Duration::from_millis(300))).on("oauth").times(1));
    let impatient =
        tokio::time::timeout(Duration::from_millis(100), refresh(&site, secret.expose_secret(), &old)).await;
    assert!(impatient.is_err(), "no answer yet");
    assert_eq!(site.portal.refresh_token().expose_secret(), old.expose_secret(), "not yet");
    let rotated = async {
        while site.portal.refresh_token().expose_secret() == old.expose_secret() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), rotated).await.expect("the server goes on without its client");
    let (_, again) = refresh(&site, secret.expose_secret(), &old).await;
    assert_eq!(again["error"], "invalid_grant");
}

#[tokio::test]
async fn a_lenient_server_takes_the_last_token_again() {
    let site = Site::new().await;
    let (secret, old) = (site.sim.client_secret(), site.portal.refresh_token());
    site.portal.set_token_life(Duration::from_secs(60), true);
    site.portal.add_fault(Fault::new(Trouble::LostAnswer).on("oauth").times(1));
    let query = [
        ("grant_type", "refresh_token"),
        ("client_id", site.sim.client_id()),
        ("client_secret", secret.expose_secret()),
        ("refresh_token", old.expose_secret()),
    ];
    assert!(site.http.get(site.sim.oauth_url()).query(&query).send().await.is_err(), "the answer is lost");
    let (status, pair) = refresh(&site, secret.expose_secret(), &old).await;
    assert_eq!((status, pair["expires_in"].as_i64()), (200, Some(60)));
    assert_eq!(site.portal.misuse().old_refreshes, 1, "it is misuse all the same");
}

#[tokio::test]
async fn access_tokens_expire_after_an_hour_and_unknown_ones_are_refused() {
    let site = Site::new().await;
    site.ok("server.time", json!({})).await;
    site.portal.advance(Duration::from_secs(3601));
    assert_eq!(site.refused("server.time", json!({})).await, (401, "expired_token".to_owned()));
    assert_eq!(site.refused("server.time", json!({ "auth": "nobody" })).await, (401, "invalid_token".to_owned()));
    assert_eq!(site.refused("server.time", json!({ "auth": "" })).await, (401, "NO_AUTH_FOUND".to_owned()));
    let (secret, last) = (site.sim.client_secret(), site.portal.refresh_token());
    site.portal.revoke_tokens();
    let (_, gone) = refresh(&site, secret.expose_secret(), &last).await;
    assert_eq!(gone["error"], "invalid_grant");
}

#[tokio::test]
async fn offline_events_need_an_administrator_and_the_feature() {
    let site = Site::new().await;
    assert_eq!(site.ok("feature.get", json!({ "CODE": "rest_offline_extended" })).await["value"], "Y");
    site.portal.set_feature("rest_offline_extended", false);
    assert_eq!(site.ok("feature.get", json!({ "CODE": "rest_offline_extended" })).await["value"], "N");
    let refused = site.refused("event.offline.get", json!({ "clear": 0 })).await;
    assert_eq!(refused, (403, "WRONG_LICENSE".to_owned()));
    site.deal(1, "");
    assert_eq!(site.ok("event.offline.get", json!({ "clear": 1 })).await["events"].as_array().map(Vec::len), Some(1));
    site.portal.set_admin(false);
    assert_eq!(site.refused("event.offline.list", json!({})).await, (403, "ACCESS_DENIED".to_owned()));
    site.ok("app.info", json!({})).await;
}

/// An address that notes the forms it is sent.
async fn handler() -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let calls: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let noted = calls.clone();
    let router = axum::Router::new().fallback(move |body: String| {
        let noted = noted.clone();
        async move { noted.lock().expect("lock").push(body) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/bitrix24/event", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, calls)
}

fn form(body: &str) -> std::collections::BTreeMap<String, String> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn an_installation_brings_tokens_and_a_removal_does_not() {
    let site = Site::new().await;
    let (url, calls) = handler().await;
    assert_eq!(site.portal.send_install(&url).await.expect("sent"), 200);
    assert_eq!(site.portal.send_uninstall(&url).await.expect("sent"), 200);
    let calls = calls.lock().expect("lock").clone();
    let [installed, removed] = calls.as_slice() else { panic!("two calls: {calls:?}") };
    let (installed, removed) = (form(installed), form(removed));
    assert_eq!((installed["event"].as_str(), removed["event"].as_str()), ("ONAPPINSTALL", "ONAPPUNINSTALL"));
    for call in [&installed, &removed] {
        assert_eq!(call["auth[member_id]"], site.portal.member_id());
        assert_eq!(call["auth[application_token]"], site.portal.application_token().expose_secret());
    }
    assert!(installed.contains_key("auth[access_token]") && installed.contains_key("auth[refresh_token]"));
    assert!(!removed.contains_key("auth[access_token]") && !removed.contains_key("auth[refresh_token]"), "{removed:?}");
}

#[tokio::test]
async fn a_wake_up_is_a_form_with_tokens_and_keeps_its_minimum_pause() {
    let site = Site::new().await;
    let (url, calls) = handler().await;
    let bind = json!({ "event": "ONOFFLINEEVENT", "handler": url, "options": { "minTimeout": 1 } });
    site.ok("event.bind", bind).await;
    for id in 0..20 {
        site.deal(id, "");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let calls = calls.lock().expect("lock").clone();
    assert!((1..=3).contains(&calls.len()), "at most one a second: {}", calls.len());
    let form = form(&calls[0]);
    let value = |name: &str| form.get(name).map(String::as_str);
    assert_eq!(value("event"), Some("ONOFFLINEEVENT"));
    assert_eq!(value("auth[member_id]"), Some(site.portal.member_id().as_str()));
    assert_eq!(value("auth[application_token]"), Some(site.portal.application_token().expose_secret()));
    assert!(value("auth[access_token]").is_some() && value("auth[refresh_token]").is_some(), "{form:?}");
}
