//! Before anything is fetched: the broker answers, and the topics that are known in advance can be written.

use std::time::Duration;

use crate::{
    config::Config,
    kafka::{producer::Producer, template::TopicTemplate, topics::TopicError},
};

/// The span between looks while the broker is away.
const RETRY: Duration = Duration::from_secs(2);

/// Waits until the broker answers, and sees to the topics whose names are known.
///
/// # Errors
/// A topic that is missing or forbidden: waiting would not help.
pub async fn prepare(config: &Config, producer: &Producer) -> Result<(), TopicError> {
    let mut topics = vec![config.kafka.dead_letter_topic.clone()];
    let templates = config.queues.iter().filter_map(|queue| queue.topic.as_ref()).chain([&config.kafka.topic]);
    topics.extend(templates.filter(|text| TopicTemplate::parse(text).is_ok_and(|topic| topic.is_fixed())).cloned());
    let mut told = false;
    for topic in topics {
        while let Err(error) = producer.ensure_topic(&topic).await {
            if !matches!(error, TopicError::Away(_)) {
                return Err(error);
            }
            if !told {
                tracing::warn!(%error, "waiting for the broker; nothing is fetched until it answers");
                told = true;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
    if told {
        tracing::info!("the broker answers");
    }
    Ok(())
}
