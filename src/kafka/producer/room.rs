//! Room in the producer's queue, topic by topic.
//!
//! librdkafka has one queue for all topics. Records of a topic that cannot be written for now, because a partition has no
//! leader or too few replicas, stay in it until they time out; a few portals with a backlog would fill it with them, and
//! the rows of all the others would stand before a full queue. So one topic gets a part of it only. Who has to wait waits
//! in the order of coming: a flood of one portal lets the single row of another one through after what was there before.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rdkafka::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of the queue that the records of one topic may take: several topics may be in trouble at the same time.
const PART: usize = 4;
/// Topics that are remembered though nothing of theirs is on its way; a template can make any number of them.
const TOPICS: usize = 1000;

/// The room of every topic.
#[derive(Debug)]
pub(super) struct Room {
    records: usize,
    topics: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
}

impl Room {
    /// In the queue of this producer.
    pub fn new(producer: &ClientConfig) -> Self {
        let queue = producer.get("queue.buffering.max.messages").and_then(|most| most.parse().ok());
        // Without a number librdkafka's own default holds.
        Self::of_queue(queue.unwrap_or(100_000))
    }

    fn of_queue(records: usize) -> Self {
        Self { records: (records / PART).max(1), topics: Mutex::default() }
    }

    /// The room of one topic.
    pub fn of(&self, topic: &str) -> Arc<Semaphore> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = topics.get(topic) {
            return room.clone();
        }
        if topics.len() >= TOPICS {
            // A record on its way, and whoever waits for room, holds on to its topic's.
            topics.retain(|_, room| Arc::strong_count(room) > 1);
        }
        topics.entry(topic.into()).or_insert_with(|| Arc::new(Semaphore::new(self.records))).clone()
    }
}

/// The room for one record, when there is some; until it is dropped.
pub(super) async fn take(room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    match room.clone().try_acquire_owned() {
        Ok(permit) => Some(permit),
        // Nobody closes it, so it comes.
        Err(_) => room.clone().acquire_owned().await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_topic_that_is_full_leaves_room_for_the_others() {
        let room = Room::of_queue(8);
        let full = [take(&room.of("stuck")).await, take(&room.of("stuck")).await];
        assert_eq!(room.of("stuck").available_permits(), 0);
        assert!(take(&room.of("well")).await.is_some());
        drop(full);
        assert_eq!(room.of("stuck").available_permits(), 2);
    }

    #[tokio::test]
    async fn topics_of_which_nothing_is_on_its_way_are_forgotten() {
        let room = Room::of_queue(8);
        let on_its_way = take(&room.of("0")).await;
        (1..=TOPICS).for_each(|topic| drop(room.of(&topic.to_string())));
        assert_eq!(room.topics.lock().expect("a lock").len(), 2, "the one that is used, and the last");
        assert_eq!(room.of("0").available_permits(), 1);
        drop(on_its_way);
    }
}
