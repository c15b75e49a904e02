//! The Kafka edge: records, producer, topics, dead letters.
