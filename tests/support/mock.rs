//! What is in librdkafka's mock broker, read with librdkafka: for stories in which the broker itself is no question.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
};

use super::reader::ReadRecord;

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every record of topics that begin with `bitrix24.`, in the order of each partition.
pub fn read_all(bootstrap: &str) -> Vec<ReadRecord> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "judge");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let metadata = consumer.fetch_metadata(None, PATIENCE).expect("metadata");
    let (mut assigned, mut missing) = (TopicPartitionList::new(), BTreeMap::new());
    for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with("bitrix24.")) {
        for partition in topic.partitions() {
            let place = (topic.name().to_owned(), partition.id());
            let (low, high) = consumer.fetch_watermarks(&place.0, place.1, PATIENCE).expect("watermarks");
            if high > low {
                assigned.add_partition_offset(&place.0, place.1, Offset::Offset(low)).expect("a partition");
                missing.insert(place, high - low);
            }
        }
    }
    consumer.assign(&assigned).expect("assigned");
    let (mut records, begun) = (Vec::new(), Instant::now());
    while missing.values().any(|left| *left > 0) {
        assert!(begun.elapsed() < PATIENCE, "records that should be there are not: {missing:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        records.push(ReadRecord {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key().map(text),
            java_partition: None,
            headers: headers
                .map(|header| (header.key.to_owned(), header.value.map(text).unwrap_or_default()))
                .collect(),
            value: message.payload().map(text),
        });
        *missing.get_mut(&(message.topic().to_owned(), message.partition())).expect("assigned") -= 1;
    }
    records
}
