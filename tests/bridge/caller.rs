//! Calls to the public listener: those of a portal, and those of somebody who pretends to be one.

use std::{fs, net::SocketAddr};

use b24kafka::sim::{Limits, Portal};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    port,
    stage::{Running, Setup, Stage},
};

/// Portals that are reached by a name and that nobody has configured.
pub const STRANGERS: Setup<'static> = Setup {
    portals: 1,
    brokers: 1,
    configured: 0,
    host: Some("localhost"),
    limits: Limits::UNLIMITED,
    plan: "unlimited",
    queues: "",
    fetch: "",
    kafka: "",
};

/// The fields of a form.
pub type Fields = Vec<(&'static str, String)>;

/// A stage whose bridge takes calls at a known address and believes portals of this machine. Without wake-ups.
pub async fn open(setup: Setup<'_>) -> Stage {
    let mut stage = Stage::new(setup).await;
    stage.config.http.listen = SocketAddr::from(([127, 0, 0, 1], port::free()));
    stage.config.app.allowed_hosts = vec!["localhost".to_owned()];
    stage
}

/// The same with wake-ups.
pub async fn woken(setup: Setup<'_>) -> Stage {
    let mut stage = open(setup).await;
    stage.config.http.public_url = Some(format!("http://{}/", stage.config.http.listen).parse().expect("a URL"));
    stage
}

/// The address of a path of the public listener.
pub fn at(stage: &Stage, path: &str) -> String {
    format!("http://{}/{path}", stage.config.http.listen)
}

pub fn event_url(stage: &Stage) -> String {
    at(stage, "bitrix24/event")
}

/// What a portal's own call would hold now.
pub fn call(event: &str, portal: &Portal) -> Fields {
    let shown = |secret: SecretString| secret.expose_secret().to_owned();
    vec![
        ("event", event.to_owned()),
        ("auth[member_id]", portal.member_id()),
        ("auth[application_token]", shown(portal.application_token())),
        ("auth[access_token]", shown(portal.access_token())),
        ("auth[refresh_token]", shown(portal.refresh_token())),
        ("auth[domain]", portal.domain().to_owned()),
        ("auth[client_endpoint]", portal.endpoint().to_owned()),
    ]
}

/// The call with another value in a field, or without the field.
pub fn with(mut fields: Fields, name: &str, value: Option<&str>) -> Fields {
    match value {
        Some(value) => {
            let field = fields.iter_mut().find(|(known, _)| *known == name).expect("a field");
            field.1 = value.to_owned();
        }
        None => fields.retain(|(known, _)| *known != name),
    }
    fields
}

pub fn form(fields: &Fields) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Sends a form; the status.
pub async fn send(url: &str, body: impl Into<reqwest::Body>) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
    request.send().await.expect("an answer").status().as_u16()
}

/// How many calls of a kind ended in a way.
pub async fn counted(running: &Running, kind: &str, outcome: &str) -> u64 {
    let name = format!("b24kafka_callbacks_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}");
    let (_, text) = running.get("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).expect("a series");
    line.trim().parse().expect("a number")
}

/// What the registry holds of a portal.
pub fn stored(stage: &Stage, portal: &Portal) -> String {
    let file = stage.dir.path().join("registry").join(format!("{}.json", portal.member_id()));
    fs::read_to_string(file).unwrap_or_default()
}

/// Whether the registry holds the pair that lives at the portal.
pub fn holds_the_living_pair(stage: &Stage, portal: &Portal) -> bool {
    let stored = stored(stage, portal);
    [portal.access_token(), portal.refresh_token()].iter().all(|token| stored.contains(token.expose_secret()))
}

/// Whether the registry knows which callbacks of the portal to believe.
pub fn knows_the_application_token(stage: &Stage, portal: &Portal) -> bool {
    stored(stage, portal).contains(portal.application_token().expose_secret())
}

/// Whether all queues of a portal say this of its wake-ups.
pub fn wake_ups(seen: &serde_json::Value, wanted: &str) -> bool {
    let queues = seen["queues"].as_array().map(Vec::as_slice).unwrap_or_default();
    !queues.is_empty() && queues.iter().all(|queue| queue["wake_ups"] == wanted)
}
