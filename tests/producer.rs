//! The producer against librdkafka's mock cluster: order, errors by class, time-outs, a full queue, a broken producer.

use std::{collections::BTreeMap, time::Duration};

use b24kafka::{
    config::kafka::{Kafka, Security},
    kafka::{
        consumer::{Reader, Start},
        counters::Failure,
        producer::Producer,
        record::{Headers, Record},
        template::TopicTemplate,
    },
    protocol::types::{Delivery, Hindrance, Refusal},
};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

type Cluster = MockCluster<'static, DefaultProducerContext>;
/// Generous: it only stops a test that hangs.
const HANG: Duration = Duration::from_secs(90);
const PASSING: Delivery = Delivery::Failed(Hindrance::Passing);

fn cluster() -> Cluster {
    let _already = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO).try_init();
    MockCluster::new(1).expect("mock cluster")
}

fn config(cluster: &Cluster) -> Kafka {
    Kafka {
        bootstrap_servers: cluster.bootstrap_servers(),
        topic: "bitrix24.{entity}".to_owned(),
        key: "{member_id}:{entity}:{id}".to_owned(),
        dead_letter_topic: "bitrix24.dead-letter".to_owned(),
        tombstones: false,
        compression: "lz4".to_owned(),
        message_timeout: Duration::from_secs(30),
        create_topics: true,
        partitions: 4,
        replication_factor: 1,
        security: Security::default(),
        options: BTreeMap::new(),
    }
}

fn option(kafka: &mut Kafka, name: &str, value: &str) {
    kafka.options.insert(name.to_owned(), value.to_owned());
}

fn record(topic: &str, key: &str, value: &str) -> Record {
    let mut headers = Headers::default();
    headers.push("ce_id", &[key, "-", value]);
    let (topic, key, value) = (topic.to_owned(), key.to_owned(), value.as_bytes().to_vec());
    Record { topic, key, value, headers, tombstone: false, alone: false }
}

fn records(topic: &str, n: usize) -> Vec<Record> {
    (0..n).map(|i| record(topic, &format!("k{}", i % 7), &i.to_string())).collect()
}

async fn publish(producer: &Producer, records: Vec<Record>) -> Vec<Delivery> {
    tokio::time::timeout(HANG, producer.publish(records)).await.expect("publish hangs")
}

/// What is in a topic: partition, key, value and first header of each record, in the order of each partition.
fn read(
    cluster: &Cluster,
    topic: &str,
    partitions: i32,
    expected: usize,
) -> Vec<(i32, String, Option<String>, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .create()
        .expect("consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("assignment");
    }
    consumer.assign(&assignment).expect("assign");
    let start = std::time::Instant::now();
    let mut read = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    while read.len() < expected && start.elapsed() < HANG {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let header = message.headers().expect("headers").get(0);
            read.push((
                message.partition(),
                text(message.key().expect("key")),
                message.payload().map(text),
                text(header.value.expect("value")),
            ));
        }
    }
    read
}

/// Kafka's murmur2 as its Java client uses it for keys; the published test vectors are below.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ u32::try_from(data.len()).expect("short");
    let chunks = data.chunks_exact(4);
    let rest = chunks.remainder();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().expect("four")).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (i, byte) in rest.iter().enumerate().rev() {
        h ^= u32::from(*byte) << (8 * i);
        if i == 0 {
            h = h.wrapping_mul(M);
        }
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    (h ^ (h >> 15)).cast_signed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_arrive_in_order_on_the_partitions_of_java_clients() {
    for (text, hash) in [("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)] {
        assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
    }
    let cluster = cluster();
    cluster.create_topic("bitrix24.crm.deal", 4, 1).expect("topic");
    let producer = Producer::new(&config(&cluster)).expect("producer");
    let deliveries = publish(&producer, records("bitrix24.crm.deal", 1000)).await;
    assert_eq!(deliveries, vec![Delivery::Acknowledged; 1000]);
    let read = read(&cluster, "bitrix24.crm.deal", 4, 1000);
    assert_eq!(read.len(), 1000);
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for (partition, key, value, header) in &read {
        assert_eq!(*partition, (murmur2(key.as_bytes()) & 0x7fff_ffff) % 4, "{key}");
        let value = value.as_deref().expect("value");
        assert_eq!(*header, format!("{key}-{value}"));
        let number: i64 = value.parse().expect("number");
        assert!(last.insert(key, number).is_none_or(|before| before < number), "{key} out of order");
    }
    assert_eq!(producer.counters().acknowledged(), 1000);
    assert_eq!(producer.close(HANG).await, 0);
    assert_eq!(publish(&producer, records("bitrix24.crm.deal", 2)).await, vec![PASSING; 2], "it is closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_follows_its_record() {
    let cluster = cluster();
    cluster.create_topic("t", 1, 1).expect("topic");
    let producer = Producer::new(&config(&cluster)).expect("producer");
    let mut records = records("t", 3);
    records[1].tombstone = true;
    assert_eq!(publish(&producer, records).await, vec![Delivery::Acknowledged; 3]);
    let read: Vec<_> =
        read(&cluster, "t", 1, 4).into_iter().map(|(_, key, value, header)| (key, value, header)).collect();
    let line =
        |key: &str, value: Option<&str>, header: &str| (key.to_owned(), value.map(str::to_owned), header.to_owned());
    assert_eq!(
        read,
        [
            line("k0", Some("0"), "k0-0"),
            line("k1", Some("1"), "k1-1"),
            line("k1", None, "k1-1"),
            line("k2", Some("2"), "k2-2"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passing_errors_are_retried_without_loss_or_doubles() {
    let cluster = cluster();
    cluster.create_topic("t", 1, 1).expect("topic");
    let producer = Producer::new(&config(&cluster)).expect("producer");
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        ],
    );
    assert_eq!(publish(&producer, records("t", 200)).await, vec![Delivery::Acknowledged; 200]);
    let values: Vec<_> = read(&cluster, "t", 1, 200).into_iter().filter_map(|(_, _, value, _)| value).collect();
    assert_eq!(values, (0..200).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_broker_fails_the_rows_for_now_and_health_tells() {
    let cluster = cluster();
    cluster.create_topic("t", 1, 1).expect("topic");
    let mut kafka = config(&cluster);
    kafka.message_timeout = Duration::from_secs(2);
    let producer = Producer::new(&kafka).expect("producer");
    assert_eq!(publish(&producer, records("t", 3)).await, vec![Delivery::Acknowledged; 3]);
    assert!(producer.health().is_well(), "{:?}", producer.health());
    cluster.broker_down(-1).expect("down");
    assert_eq!(publish(&producer, records("t", 3)).await, vec![PASSING; 3]);
    let health = producer.health();
    assert!(!health.is_well(), "{health:?}");
    assert!(producer.counters().failed(Failure::Timeout) >= 3);
    cluster.broker_up(-1).expect("up");
    let healed = async {
        while publish(&producer, records("t", 1)).await != [Delivery::Acknowledged] {}
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while !producer.health().is_well() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(HANG, healed).await.expect("it heals");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_too_large_is_refused_alone() {
    let cluster = cluster();
    cluster.create_topic("t", 1, 1).expect("topic");
    let mut kafka = config(&cluster);
    option(&mut kafka, "message.max.bytes", "2000");
    let producer = Producer::new(&kafka).expect("producer");
    let mut batch = records("t", 3);
    batch[1].value = vec![b'x'; 5000];
    batch[1].tombstone = true;
    assert_eq!(
        publish(&producer, batch).await,
        [Delivery::Acknowledged, Delivery::Refused(Refusal::TooLarge), Delivery::Acknowledged]
    );
    assert_eq!(read(&cluster, "t", 1, 2).len(), 2, "no tombstone without its record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_refuses_is_told_by_class() {
    let cluster = cluster();
    cluster.create_topic("t", 1, 1).expect("topic");
    let producer = Producer::new(&config(&cluster)).expect("producer");
    for (error, delivery) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Delivery::Refused(Refusal::TooLarge)),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, Delivery::Refused(Refusal::InvalidRecord)),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Delivery::Failed(Hindrance::Route)),
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        assert_eq!(publish(&producer, records("t", 1)).await, [delivery], "{error:?}");
        assert_eq!(publish(&producer, records("t", 2)).await, [Delivery::Acknowledged; 2], "after {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_hits_what_shares_the_batch_and_a_record_alone_shares_it_with_nobody() {
    let cluster = cluster();
    cluster.create_topic("t", 1, 1).expect("topic");
    let producer = Producer::new(&config(&cluster)).expect("producer");
    let alone = || records("t", 3).into_iter().map(|record| Record { alone: true, ..record }).collect::<Vec<_>>();
    // Both ways are known to the broker before it refuses anything.
    assert_eq!(publish(&producer, records("t", 3)).await, [Delivery::Acknowledged; 3]);
    assert_eq!(publish(&producer, alone()).await, [Delivery::Acknowledged; 3]);
    let refused = Delivery::Refused(Refusal::InvalidRecord);
    let invalid = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD];

    cluster.request_errors(RDKafkaApiKey::Produce, &invalid);
    assert_eq!(publish(&producer, records("t", 3)).await, [refused; 3], "one batch, one fate");
    cluster.request_errors(RDKafkaApiKey::Produce, &invalid);
    // From another queue, at the same time: it must not hide in the batch of a record that is being judged.
    let busy = async { while publish(&producer, records("t", 20)).await == [Delivery::Acknowledged; 20] {} };
    let judged = async { publish(&producer, alone()).await };
    tokio::pin!(busy, judged);
    let deliveries = tokio::select! {
        biased;
        deliveries = &mut judged => deliveries,
        () = &mut busy => judged.await,
    };
    assert!(deliveries.iter().filter(|delivery| **delivery == refused).count() <= 1, "{deliveries:?}");
    assert!(deliveries.contains(&Delivery::Acknowledged), "{deliveries:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_breaks_is_replaced() {
    let cluster = cluster();
    cluster.create_topic("t", 1, 1).expect("topic");
    let producer = Producer::new(&config(&cluster)).expect("producer");
    assert_eq!(publish(&producer, records("t", 1)).await, [Delivery::Acknowledged]);
    cluster
        .request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; 3]);
    let started = std::time::Instant::now();
    assert_eq!(publish(&producer, records("t", 5)).await, vec![PASSING; 5]);
    assert!(started.elapsed() < Duration::from_secs(10), "it must not wait for the time-out");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    assert_eq!(publish(&producer, records("t", 5)).await, vec![Delivery::Acknowledged; 5]);
    assert_eq!(producer.counters().replaced(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_to_produce_is_a_route_to_be_fixed() {
    let cluster = cluster();
    cluster.create_topic("t", 1, 1).expect("topic");
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[denied; 20]);
    let producer = Producer::new(&config(&cluster)).expect("producer");
    assert_eq!(publish(&producer, records("t", 2)).await, [Delivery::Failed(Hindrance::Route); 2]);
    cluster.clear_request_errors(RDKafkaApiKey::InitProducerId);
    let granted = async { while publish(&producer, records("t", 2)).await != [Delivery::Acknowledged; 2] {} };
    tokio::time::timeout(HANG, granted).await.expect("it goes on once the right is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_holds_its_rows_and_no_others() {
    let cluster = cluster();
    cluster.create_topic("new", 1, 1).expect("topic");
    let mut kafka = config(&cluster);
    kafka.create_topics = false;
    let producer = Producer::new(&kafka).expect("producer");
    let mut batch = records("absent", 2);
    batch.insert(1, record("new", "k", "v"));
    assert_eq!(
        publish(&producer, batch).await,
        [Delivery::Failed(Hindrance::Route), Delivery::Acknowledged, Delivery::Failed(Hindrance::Route)]
    );
    let error = producer.ensure_topic("absent").await.expect_err("it is absent");
    assert!(error.to_string().contains("absent does not exist"), "{error}");
    assert_eq!(
        producer.topics().survey(vec!["new".into()]).await.expect("an answer")[0].as_ref().map(|d| d.partitions),
        Ok(1)
    );
    cluster.create_topic("absent", 1, 1).expect("topic");
    assert_eq!(publish(&producer, records("absent", 2)).await, vec![Delivery::Acknowledged; 2], "it is there now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_waits_and_keeps_the_order() {
    let cluster = cluster();
    cluster.create_topic("a", 1, 1).expect("topic");
    cluster.create_topic("b", 1, 1).expect("topic");
    let mut kafka = config(&cluster);
    option(&mut kafka, "queue.buffering.max.messages", "10");
    let producer = Producer::new(&kafka).expect("producer");
    let tasks = ["a", "b"].map(|topic| {
        let producer = producer.clone();
        tokio::spawn(async move { publish(&producer, records(topic, 500)).await })
    });
    for task in tasks {
        assert_eq!(task.await.expect("task"), vec![Delivery::Acknowledged; 500]);
    }
    for topic in ["a", "b"] {
        let values: Vec<_> = read(&cluster, topic, 1, 500).into_iter().filter_map(|(_, _, value, _)| value).collect();
        assert_eq!(values, (0..500).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_broker_at_all_the_rows_fail_for_now() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("port").port();
    let mut kafka = config(&cluster());
    kafka.bootstrap_servers = format!("127.0.0.1:{port}");
    kafka.message_timeout = Duration::from_secs(1);
    let producer = Producer::new(&kafka).expect("a producer needs no broker yet");
    assert_eq!(publish(&producer, records("t", 3)).await, vec![PASSING; 3]);
    assert!(!producer.health().is_well());
    assert!(producer.topics().reach().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_what_comes_and_topics_that_appear() {
    let cluster = cluster();
    cluster.create_topic("bitrix24.crm.deal", 4, 1).expect("topic");
    cluster.create_topic("elsewhere", 1, 1).expect("topic");
    let kafka = config(&cluster);
    let producer = Producer::new(&kafka).expect("producer");
    let topics = || vec![TopicTemplate::parse("bitrix24.{entity}").expect("template")];
    publish(&producer, records("bitrix24.crm.deal", 1)).await;

    let mut from_now = Reader::open(&kafka, topics(), Start::Now).await.expect("reader");
    publish(&producer, vec![record("elsewhere", "k", "x"), record("bitrix24.crm.deal", "k", "new")]).await;
    let message = tokio::time::timeout(HANG, from_now.next()).await.expect("hangs").expect("message");
    assert_eq!((message.key.as_deref(), message.value.as_deref()), (Some(&b"k"[..]), Some(&b"new"[..])));
    assert_eq!(message.headers, [("ce_id".to_owned(), b"k-new".to_vec())]);

    let mut from_the_beginning = Reader::open(&kafka, topics(), Start::Beginning).await.expect("reader");
    cluster.create_topic("bitrix24.task", 1, 1).expect("topic");
    publish(&producer, records("bitrix24.task", 1)).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let message = tokio::time::timeout(HANG, from_the_beginning.next()).await.expect("hangs").expect("message");
        seen.push((message.topic, String::from_utf8(message.value.expect("value")).expect("UTF-8")));
    }
    seen.sort();
    let line = |topic: &str, value: &str| (topic.to_owned(), value.to_owned());
    assert_eq!(seen, [line("bitrix24.crm.deal", "0"), line("bitrix24.crm.deal", "new"), line("bitrix24.task", "0")]);
}
