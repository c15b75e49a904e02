//! What is in the mock broker, and what that says about the portals' rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use b24kafka::sim::{Fate, Portal};
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
};

use super::stage::{PATIENCE, Stage};

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct Read {
    pub topic: String,
    pub key: String,
    pub value: String,
    pub headers: BTreeMap<String, String>,
}

impl Stage {
    /// Every record in the mock broker, in the order of each partition.
    pub fn records(&self) -> Vec<Read> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.broker.bootstrap_servers())
            .set("group.id", "judge")
            .create()
            .expect("a consumer");
        let metadata = consumer.fetch_metadata(None, PATIENCE).expect("metadata");
        let mut assigned = rdkafka::TopicPartitionList::new();
        let mut missing = BTreeMap::new();
        for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with("bitrix24.")) {
            for partition in topic.partitions() {
                let (low, high) =
                    consumer.fetch_watermarks(topic.name(), partition.id(), PATIENCE).expect("watermarks");
                if high > low {
                    let place = (topic.name().to_owned(), partition.id());
                    let start = rdkafka::Offset::Offset(low);
                    assigned.add_partition_offset(&place.0, place.1, start).expect("a partition");
                    missing.insert(place, high - low);
                }
            }
        }
        consumer.assign(&assigned).expect("assigned");
        let (mut records, begun) = (Vec::new(), Instant::now());
        while missing.values().any(|left| *left > 0) {
            assert!(begun.elapsed() < PATIENCE, "records that should be there are not: {missing:?}");
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            records.push(Read {
                topic: message.topic().to_owned(),
                key: text(message.key()),
                value: text(message.payload()),
                headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
            });
            *missing.get_mut(&(message.topic().to_owned(), message.partition())).expect("assigned") -= 1;
        }
        records
    }

    /// The promise at this moment: what is cleared has a record (or a dead letter). Tells how many rows are cleared.
    pub fn assert_cleared_are_there(&self, portal: &Portal) -> usize {
        // The ledger first: whatever is cleared in it must be in Kafka by now.
        let (ledger, member) = (portal.ledger(), portal.member_id());
        let records = tokio::task::block_in_place(|| self.records());
        let there: BTreeSet<&str> = records.iter().map(|record| record.headers["ce_id"].as_str()).collect();
        let cleared = ledger.entries().iter().filter(|entry| matches!(entry.fate, Fate::Cleared(_) | Fate::Got));
        cleared
            .inspect(|entry| {
                let id = format!("{member}:{}:{}", entry.id, entry.changed_at);
                assert!(there.contains(id.as_str()), "row {} was cleared and there is no record of it", entry.id);
            })
            .count()
    }

    /// Nothing lost, nothing left, in order, no misuse. Returns the records and how many are repetitions.
    pub fn judge(&self) -> (Vec<Read>, usize) {
        let records = self.records();
        let mut repeated = 0;
        for portal in self.sim.portals() {
            let mine = format!("{}:", portal.member_id());
            let mut seen = BTreeSet::new();
            // Order is promised within a queue.
            let mut newest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
            for record in records.iter().filter(|r| r.headers.get("ce_id").is_some_and(|id| id.starts_with(&mine))) {
                let id = record.headers["ce_id"].as_str();
                let row: u64 = id.split(':').nth(1).and_then(|row| row.parse().ok()).expect("a row");
                let high = newest.entry((record.headers["ce_source"].as_str(), &record.key)).or_default();
                let marked = record.headers.contains_key("b24_late") || record.headers.contains_key("b24_redelivery");
                if seen.insert(id) {
                    assert!(row >= *high || marked, "{id} came behind row {high} of {} without a mark", record.key);
                } else {
                    repeated += 1;
                }
                *high = row.max(*high);
            }
            for entry in portal.ledger().entries() {
                let id = format!("{mine}{}:{}", entry.id, entry.changed_at);
                assert!(seen.contains(id.as_str()), "row {} is lost", entry.id);
                assert!(matches!(entry.fate, Fate::Cleared(_) | Fate::Got), "row {} is {:?}", entry.id, entry.fate);
            }
            let misuse = portal.misuse();
            assert!(misuse.is_clean(), "{misuse:?}");
        }
        (records, repeated)
    }
}
