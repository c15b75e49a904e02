//! The ceiling: a producer that has the very records ready and does nothing but send them.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use b24kafka::{
    bitrix::{Access, Client},
    config::Config,
    kafka::{
        options,
        producer::Producer,
        record::{Marks, Record, Recorder},
        template::{KeyTemplate, TopicTemplate},
    },
    protocol::{
        exchange::{Exchange, Read, ReadAnswer},
        types::{Body, Connector, PortalId},
    },
    sim::Limits,
};
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::{Value, json};

use crate::{stage, usage};

/// In a process of its own, so that its processor time is its own.
pub fn run(bootstrap: &str) -> Value {
    let binary = std::env::current_exe().expect("this binary");
    let output = Command::new(binary).args(["plain", bootstrap]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("figures")
}

/// Makes the records, then sends them all with the bridge's own producer settings and waits for every acknowledgement.
pub async fn produce(bootstrap: &str, rows: usize) -> Value {
    let (config, records) = records(bootstrap, rows).await;
    let ensuring = Producer::new(&config.kafka).expect("a producer");
    for topic in records.iter().map(|record| &record.topic).collect::<std::collections::BTreeSet<_>>() {
        ensuring.ensure_topic(topic).await.expect("a topic");
    }
    let producer: BaseProducer = options::producer(&config.kafka).create().expect("a producer");
    let pid = std::process::id();
    let (begun, cpu) = (Instant::now(), usage::cpu_us(pid));
    for record in &records {
        send(&producer, record);
    }
    producer.flush(Duration::from_secs(60)).expect("all acknowledged");
    let (took, cpu) = (begun.elapsed().as_secs_f64(), usage::cpu_us(pid) - cpu);
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let rows = records.len() as f64;
    json!({ "seconds": took, "rows_per_second": rows / took, "cpu_us_per_row": cpu / rows })
}

fn send(producer: &BaseProducer, record: &Record) {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (key, value) in record.headers.iter() {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let mut next = BaseRecord::to(&record.topic).key(&record.key).payload(&record.value).headers(headers);
    while let Err((error, back)) = producer.send(next) {
        let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        assert!(full, "{error}");
        producer.poll(Duration::from_millis(1));
        next = back;
    }
}

/// The records that the bridge would make from the same backlog.
async fn records(bootstrap: &str, rows: usize) -> (Config, Vec<Record>) {
    let (sim, portal) = stage::portal(Limits::UNLIMITED).await;
    portal.backlog(rows, 1);
    let bridge = stage::bridge(&sim, bootstrap, "bench-plain", "unlimited");
    let config = Config::load(&bridge.config(), std::iter::empty()).expect("a configuration");
    let client = Client::new(&config.fetch).expect("a client");
    let access = Access { endpoint: portal.endpoint().parse().expect("a URL"), token: portal.access_token() };
    let recorder = Recorder::new(
        PortalId::new(&portal.member_id()).expect("an id"),
        portal.domain(),
        Connector::default(),
        TopicTemplate::parse(&config.kafka.topic).expect("a template"),
        KeyTemplate::parse(&config.kafka.key).expect("a template"),
        false,
    );
    let mut records = Vec::with_capacity(rows);
    while records.len() < rows {
        let exchange = Exchange { clears: Vec::new(), delete: None, read: Some(Read::Reserve { limit: 5000 }) };
        let answer = client.exchange(&access, &Connector::default(), &exchange).await.expect("an answer").answer;
        let ReadAnswer::Reserved { rows, .. } = answer.read else { panic!("no rows: {answer:?}") };
        for row in rows {
            let Body::Event(event) = &row.body else { panic!("a malformed row: {row:?}") };
            records.push(recorder.record(row.id, event, Marks::default()));
        }
    }
    (config, records)
}
