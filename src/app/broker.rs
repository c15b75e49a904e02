//! Before anything is fetched: the broker answers, and the topics that are known in advance can be written.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    config::kafka::Kafka,
    kafka::{
        producer::Producer,
        topics::{TopicError, Topics},
    },
};

/// The span between looks while the broker is away.
const RETRY: Duration = Duration::from_secs(2);

/// Asks the broker for a sign of life until `limit` is over, for commands that have nobody to wait for it.
///
/// # Errors
/// [`TopicError::Away`] with the last reason; a question under way at the end of `limit` is still waited for.
pub async fn reach(kafka: &Kafka, limit: Duration) -> Result<(), TopicError> {
    let topics = Topics::new(kafka);
    let begun = Instant::now();
    loop {
        let tried = Instant::now();
        match topics.reach().await {
            Err(_) if begun.elapsed() < limit => tokio::time::sleep_until((tried + RETRY).into()).await,
            reached => return reached,
        }
    }
}

/// Waits until the broker answers, and sees to the topics that will be needed.
///
/// # Errors
/// A topic that is missing or forbidden: waiting would not help.
pub async fn prepare(topics: &BTreeSet<String>, producer: &Producer) -> Result<(), TopicError> {
    let mut told = false;
    for topic in topics {
        while let Err(error) = producer.ensure_topic(topic).await {
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
