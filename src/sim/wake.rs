//! Calls from the portal to the application: wake-ups, install, uninstall (protocol reference section 4).
//!
//! They are forms with PHP brackets. A wake-up and an install carry fresh tokens.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{Client, RequestBuilder, Response};
use tokio::time::{Instant, sleep_until};
use url::form_urlencoded::Serializer;

use super::{handlers::WAKE_EVENT, portal::Shared, state::State};

/// How long a handler may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls per hit that are made in one go at most, for handlers with `minTimeout` 0.
const MOST_AT_ONCE: i64 = 20;

/// A handler could not be called.
#[derive(Debug, thiserror::Error)]
#[error("the handler of the application cannot be called")]
pub struct WakeError(#[source] reqwest::Error);

/// Calls the bound handlers of `ONOFFLINEEVENT` whenever there are new rows: at once, and then at most once per
/// `minTimeout` seconds, with a last call for what came in between. Ends only by being dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut next_allowed: Option<Instant> = None;
    loop {
        shared.hit.notified().await;
        if let Some(at) = next_allowed {
            sleep_until(at).await;
        }
        let hits = shared.hits.swap(0, std::sync::atomic::Ordering::Relaxed);
        let handlers: Vec<(String, u32)> =
            shared.lock().handlers.urls(WAKE_EVENT).map(|(url, timeout)| (url.to_owned(), timeout)).collect();
        for (url, min_timeout) in &handlers {
            let calls = if *min_timeout == 0 { hits.clamp(1, MOST_AT_ONCE) } else { 1 };
            for _ in 0..calls {
                // Nobody at a real portal reads the answer either; the request counts tell what came of it.
                let _ = send_wake(&shared, url).await;
            }
        }
        let pause = handlers.iter().map(|(_, timeout)| *timeout).min().unwrap_or(0);
        next_allowed = (pause > 0).then(|| Instant::now() + Duration::from_secs(u64::from(pause)));
    }
}

pub(super) async fn send_wake(shared: &Shared, url: &str) -> Result<u16, WakeError> {
    let form = form(shared, WAKE_EVENT, &[], true);
    post(shared, url, form).await
}

pub(super) async fn send_install(shared: &Shared, url: &str) -> Result<u16, WakeError> {
    let data = [("data[VERSION]", "1"), ("data[ACTIVE]", "Y"), ("data[INSTALLED]", "Y"), ("data[LANGUAGE_ID]", "en")];
    let form = form(shared, "ONAPPINSTALL", &data, true);
    post(shared, url, form).await
}

/// The form of the page: names without brackets, and the domain in the query.
pub(super) async fn open_install_page(shared: &Shared, url: &str) -> Result<(u16, String), WakeError> {
    let form = {
        let now = shared.clock.now();
        let mut state = shared.lock();
        let State { tokens, rng, .. } = &mut *state;
        let pair = tokens.issue(now, rng);
        Serializer::new(String::new())
            .append_pair("AUTH_ID", &pair.access)
            .append_pair("AUTH_EXPIRES", &tokens.life.as_secs().to_string())
            .append_pair("REFRESH_ID", &pair.refresh)
            .append_pair("member_id", &state.member_id)
            .append_pair("status", "L")
            .append_pair("PLACEMENT", "DEFAULT")
            .append_pair("PLACEMENT_OPTIONS", r#"{"any":"value"}"#)
            .finish()
    };
    let query =
        [("DOMAIN", shared.domain.as_str()), ("PROTOCOL", "0"), ("LANG", "en"), ("APP_SID", "0123456789abcdef")];
    let answer = send(shared, client()?.post(url).query(&query), form).await?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.map_err(WakeError)?))
}

pub(super) async fn send_uninstall(shared: &Shared, url: &str) -> Result<u16, WakeError> {
    let form = form(shared, "ONAPPUNINSTALL", &[("data[LANGUAGE_ID]", "en"), ("data[CLEAN]", "1")], false);
    {
        let mut state = shared.lock();
        state.handlers.clear();
        state.tokens.revoke();
    }
    post(shared, url, form).await
}

fn form(shared: &Shared, event: &str, data: &[(&str, &str)], with_tokens: bool) -> String {
    let now = shared.clock.now();
    let mut state = shared.lock();
    let mut form = Serializer::new(String::new());
    form.append_pair("event", event).append_pair("event_handler_id", "1").extend_pairs(data);
    form.append_pair("ts", &(now / 1000).to_string());
    if with_tokens {
        let State { tokens, rng, .. } = &mut *state;
        let installs = event == "ONAPPINSTALL";
        let pair = if installs { tokens.issue(now, rng) } else { tokens.issue_access(now, rng) };
        form.append_pair("auth[access_token]", &pair.access)
            .append_pair("auth[expires]", &pair.expires.to_string())
            .append_pair("auth[expires_in]", &tokens.life.as_secs().to_string())
            .append_pair("auth[scope]", "crm,task")
            .append_pair("auth[refresh_token]", &pair.refresh)
            .append_pair("auth[user_id]", "1")
            .append_pair("auth[status]", "L");
    }
    form.append_pair("auth[domain]", &shared.domain)
        .append_pair("auth[server_endpoint]", "https://oauth.bitrix.info/rest/")
        .append_pair("auth[client_endpoint]", &shared.endpoint)
        .append_pair("auth[member_id]", &state.member_id)
        .append_pair("auth[application_token]", &state.application_token);
    form.finish()
}

async fn post(shared: &Shared, url: &str, form: String) -> Result<u16, WakeError> {
    Ok(send(shared, client()?.post(url), form).await?.status().as_u16())
}

async fn send(shared: &Shared, request: RequestBuilder, form: String) -> Result<Response, WakeError> {
    shared.lock().requests.wakes.0 += 1;
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = request.send().await.map_err(WakeError)?;
    if answer.status().is_success() {
        shared.lock().requests.wakes.1 += 1;
    }
    Ok(answer)
}

/// One client for all portals, since making one reads the system's certificates; and a connection for each call, as the
/// portals' own servers make them.
fn client() -> Result<&'static Client, WakeError> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client);
    }
    let client = Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(0).build().map_err(WakeError)?;
    Ok(CLIENT.get_or_init(|| client))
}
