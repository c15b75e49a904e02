//! `check --online`: whether what the configuration names is there and lets us in.
//!
//! It takes the registry's lock like the bridge does, since asking a portal may refresh its tokens, and a refresh that is
//! not stored loses the portal.

use std::sync::Arc;

use super::AppError;
use crate::{
    bitrix::{catalogue, client::Client},
    config::{Config, registry},
    fleet::{Parts, merge, portal::Portal},
    kafka::{producer::Producer, template::TopicTemplate},
    metrics::Metrics,
    runner::{Shared, clock::Clock},
};

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it has to be.
    pub ok: bool,
    /// What was found, and what to do if it is not ok.
    pub detail: String,
}

impl Finding {
    fn new(what: impl Into<String>, found: Result<String, String>) -> Self {
        let ok = found.is_ok();
        Self { what: what.into(), ok, detail: found.unwrap_or_else(|wrong| wrong) }
    }
}

/// Looks at the broker, the topics whose names are known, and every portal.
///
/// # Errors
/// What keeps it from looking at all: a registry that is in use, an HTTP client that cannot be built.
pub async fn online(config: &Config) -> Result<Vec<Finding>, AppError> {
    let registry::Registry::File { path } = &config.registry;
    let (registry, stored) = super::open_registry(path).await?;
    let producer = Producer::new(&config.kafka)?;
    let mut findings = kafka(config, &producer).await;
    let shared = Shared {
        producer,
        dead_letter_topic: config.kafka.dead_letter_topic.as_str().into(),
        settings: super::settings(config),
        metrics: Arc::new(Metrics::new(catalogue::entities())?),
        clock: Clock::new(),
    };
    let parts = Arc::new(Parts {
        shared,
        client: Client::new(&config.fetch).map_err(AppError::Http)?,
        registry,
        queues: super::queue_plans(config)?,
        app: config.app.clone(),
        tombstones: config.kafka.tombstones,
    });
    for (record, known) in merge(&config.portals, stored) {
        let name = format!("portal {} ({})", record.member_id, record.domain());
        let (_, task) = Portal::new(&parts, record, known);
        findings.extend(
            task.check(&parts).await.into_iter().map(|(what, found)| Finding::new(format!("{name}: {what}"), found)),
        );
    }
    Ok(findings)
}

async fn kafka(config: &Config, producer: &Producer) -> Vec<Finding> {
    let reached = producer.topics().reach().await;
    let brokers = format!("broker {}", config.kafka.bootstrap_servers);
    if let Err(error) = reached {
        return vec![Finding::new(brokers, Err(error.to_string()))];
    }
    let mut findings = vec![Finding::new(brokers, Ok("answers".to_owned()))];
    let templates = config.queues.iter().filter_map(|queue| queue.topic.as_ref()).chain([&config.kafka.topic]);
    let fixed = templates.filter(|text| TopicTemplate::parse(text).is_ok_and(|topic| topic.is_fixed()));
    for topic in fixed.chain([&config.kafka.dead_letter_topic]) {
        let found = producer.ensure_topic(topic).await.map(|()| "is there".to_owned()).map_err(|e| e.to_string());
        findings.push(Finding::new(format!("topic {topic}"), found));
    }
    findings
}
