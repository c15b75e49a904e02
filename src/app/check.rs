//! `check --online`: whether what the configuration names is there and lets us in.
//!
//! It changes nothing at the broker and binds nothing at a portal. It takes the registry's lock like the bridge does, since
//! asking a portal may refresh its tokens, and a refresh that is not stored loses the portal; where a bridge has the lock,
//! the portals are left to it.

use std::sync::Arc;

use super::{AppError, names::Names, patience::Patience};
use crate::{
    bitrix::{catalogue, client::Client, oauth::RefreshError},
    chain::chain,
    config::{Config, portals as configured, registry},
    fleet::{Parts, merge, portal::Portal, readable},
    kafka::{
        producer::Producer,
        topics::{Description, TopicError, Topics},
    },
    metrics::Metrics,
    registry::{PortalRecord, RefusedFile, Registry, RegistryError},
    runner::{Shared, clock::Clock, gate::Gate, standing::Probes},
};

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub state: State,
    /// What was found, and what to do if it is not as it has to be.
    pub detail: String,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it has to be.
    Good,
    /// Not as it has to be.
    Bad,
    /// It cannot be told from here and now; no fault.
    Open,
}

impl Finding {
    fn new(what: impl Into<String>, found: Result<String, String>) -> Self {
        let state = if found.is_ok() { State::Good } else { State::Bad };
        Self { what: what.into(), state, detail: found.unwrap_or_else(|wrong| wrong) }
    }

    fn open(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Open, detail: why.into() }
    }
}

/// Looks at the registry, the broker, the topics whose names are known, the OAuth server and every portal.
///
/// # Errors
/// What keeps it from looking at all: an HTTP client or a producer that cannot be built.
pub async fn online(config: &Config) -> Result<Vec<Finding>, AppError> {
    let registry::Registry::File { path } = &config.registry;
    let mut named = config.portals.clone();
    let (mut findings, opened) = match Registry::open(path).await {
        Ok((registry, stored, refused)) => {
            named = readable(&named, &refused);
            let whole = Finding::new(format!("registry {}", path.display()), Ok("can be used".to_owned()));
            (std::iter::once(whole).chain(refused.iter().map(damaged)).collect(), Some((registry, stored)))
        }
        Err(error) => (vec![closed(&error, &path.display().to_string())], None),
    };
    let stored = opened.as_ref().map(|(_, stored)| stored.clone()).unwrap_or_default();
    findings.extend(kafka(config, &merge(&named, stored)).await?);
    let client = super::client(config)?;
    let oauth = client.reach_oauth(&config.app).await;
    let reached = oauth.is_ok();
    findings.push(oauth_server(config, oauth));
    if let Some((registry, stored)) = opened {
        findings.extend(portals(config, client, registry, merge(&named, stored), reached).await?);
    }
    Ok(findings)
}

/// A file of the registry that cannot be read.
fn damaged(file: &RefusedFile) -> Finding {
    let wrong = format!(
        "{}; the file is kept as it is and its portal is not served: put a backup in its place, or move it away",
        file.wrong
    );
    Finding::new(format!("registry file {}", file.path.display()), Err(wrong))
}

/// A registry that cannot be opened.
fn closed(error: &RegistryError, path: &str) -> Finding {
    match error {
        RegistryError::Locked { .. } => Finding::open(
            "portals",
            "not checked: the registry is in use by a running bridge; ask its admin listener (`b24kafka portals list`)",
        ),
        error => Finding::new(format!("registry {path}"), Err(format!("{}; no portal is checked", chain(error)))),
    }
}

fn oauth_server(config: &Config, reached: Result<(), RefreshError>) -> Finding {
    let host = config.app.oauth_url.host_str().unwrap_or_default();
    let found = reached.map(|()| "answers".to_owned()).map_err(|error| match error {
        RefreshError::Unknown { code } => {
            format!("gives no usable answer ({code}); try again later, or check app.oauth_url and the proxy settings")
        }
        error => error.to_string().trim_start_matches("the OAuth server ").to_owned(),
    });
    Finding::new(format!("OAuth server {host}"), found)
}

async fn portals(
    config: &Config,
    client: Client,
    registry: Registry,
    all: Vec<(PortalRecord, Option<configured::Portal>)>,
    reached: bool,
) -> Result<Vec<Finding>, AppError> {
    let shared = Shared {
        producer: Producer::new(&config.kafka)?,
        dead_letter_topic: config.kafka.dead_letter_topic.as_str().into(),
        settings: super::settings(config),
        metrics: Arc::new(Metrics::new(catalogue::entities(), 0)?),
        letters: Arc::default(),
        abandoned: Arc::default(),
        clock: Clock::new(),
        trace: None,
        gate: Arc::new(Gate::new(config.fetch.concurrency)),
        probes: Probes::default(),
    };
    let parts = Arc::new(Parts {
        shared,
        client,
        registry,
        queues: super::queue_plans(config)?,
        app: Arc::new(config.app.clone()),
        tombstones: config.kafka.tombstones,
        wake_ups: None,
        look_again: Patience::default().look_again,
    });
    let mut findings = Vec::new();
    for (record, known) in all {
        if record.removed_at.is_some() {
            continue;
        }
        let name = format!("portal {} ({})", record.member_id, record.domain());
        let (_, task) = Portal::new(&parts, record, known);
        for (what, found) in task.check(&parts).await {
            // What the portal's task knows of the OAuth server is less than what was found out above.
            let found = found.map_err(|wrong| {
                if what == "token" && !reached {
                    format!("{wrong}; see what is said of the OAuth server")
                } else {
                    wrong
                }
            });
            findings.push(Finding::new(format!("{name}: {what}"), found));
        }
    }
    Ok(findings)
}

async fn kafka<T>(config: &Config, portals: &[(PortalRecord, T)]) -> Result<Vec<Finding>, AppError> {
    let topics = Topics::new(&config.kafka);
    let brokers = format!("broker {}", config.kafka.bootstrap_servers);
    if let Err(error) = topics.reach().await {
        return Ok(vec![Finding::new(brokers, Err(error.to_string()))]);
    }
    let portals: Vec<&str> = portals.iter().map(|(record, _)| record.member_id.as_str()).collect();
    let names = Names::of(config, &portals)?;
    let known: Vec<String> = names.known.into_iter().collect();
    let looked = match topics.survey(known.clone()).await {
        Ok(looked) => looked,
        Err(error) => return Ok(vec![Finding::new(brokers, Err(error.to_string()))]),
    };
    let mut findings = vec![Finding::new(brokers, Ok("answers".to_owned()))];
    let described = known.iter().zip(looked).map(|(name, found)| {
        let found = match found {
            Ok(description) => written(&description),
            Err(TopicError::Missing(_)) if config.kafka.create_topics => Ok("is missing; `run` will create it".into()),
            Err(error) => Err(error.to_string()),
        };
        Finding::new(format!("topic {name}"), found)
    });
    findings.extend(described);
    findings.extend(names.open.into_iter().map(|(what, why)| Finding::open(what, format!("not checked: {why}"))));
    // librdkafka could ask for the rights of a topic, its binding for Rust has no such call, and a record to find out
    // would stay.
    findings
        .push(Finding::open("right to write to the topics", "not checked: it is known only once something is written"));
    Ok(findings)
}

/// A topic that is there: whether a record can be acknowledged by all that have to.
fn written(topic: &Description) -> Result<String, String> {
    let Description { partitions, replicas, min_insync_replicas, .. } = topic;
    match min_insync_replicas {
        Some(min) if *replicas < *min as usize => Err(format!(
            "has too few replicas ({replicas}) for its min.insync.replicas ({min}), so nothing can be written; add replicas, or lower it"
        )),
        _ => Ok(format!("is there, partitions: {partitions}, replicas: {replicas}")),
    }
}
