//! `tap` against librdkafka's mock cluster.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::Stdio,
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    mocking::MockCluster,
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};

use super::{
    MINIMAL, Site, command, run,
    support::{
        port,
        process::{Guarded, Signal},
    },
    utf8,
};

/// Generous: it only stops a test that hangs.
const HANG: Duration = Duration::from_secs(60);
const PORTAL: &str = "a223c6b3710f85df22e9377d6c4f7553";
const TOPICS: [&str; 3] = ["bitrix24.crm.deal", "bitrix24.task", "bitrix24.dead-letter"];

/// A broker with a topic for each entity, and a producer.
struct Kafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: ThreadedProducer<DefaultProducerContext>,
}

/// A `tap` that runs, and its lines.
struct Tapping {
    process: Guarded,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Kafka {
    fn start() -> Self {
        let cluster = MockCluster::new(1).expect("mock cluster");
        for topic in TOPICS {
            cluster.create_topic(topic, 1, 1).expect("a topic");
        }
        let config = ClientConfig::from_iter([("bootstrap.servers".to_owned(), cluster.bootstrap_servers())]);
        Self { cluster, producer: config.create().expect("a producer") }
    }

    fn produce(&self, topic: &str, value: Option<&str>, headers: &[(&str, &str)]) {
        let mut record = BaseRecord::to(topic).key("key");
        if let Some(value) = value {
            record = record.payload(value);
        }
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_bytes()) })
        });
        self.producer.send(record.headers(headers)).map_err(|(error, _)| error).expect("enqueued");
        self.producer.flush(HANG).expect("acknowledged");
    }

    /// The record of one row.
    fn record(&self, topic: &str, portal: &str, row: u64) {
        let entity = topic.trim_start_matches("bitrix24.");
        let value = format!(
            r#"{{"member_id":"{portal}","connector":"","event":"ONX","entity":"{entity}","change":"update","entity_id":"7","changed_at":"2026-11-24T10:15:30Z","row_id":{row},"data":{{}}}}"#
        );
        self.produce(topic, Some(&value), &[("b24_event", "ONX")]);
    }

    fn tap(&self, more: &[&str]) -> Tapping {
        let mut tapping = Tapping::spawn(&[&["--bootstrap", &self.cluster.bootstrap_servers()], more].concat());
        assert!(tapping.told().contains(" reading "), "it says when it begins");
        tapping
    }
}

impl Tapping {
    fn spawn(args: &[&str]) -> Self {
        let mut command = command(&[&["tap"], args].concat(), &[("TZ", "UTC")]);
        let mut process = Guarded::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let out = lines(process.child().stdout.take().expect("a pipe"));
        let err = lines(process.child().stderr.take().expect("a pipe"));
        Self { process, out, err }
    }

    fn line(&mut self) -> String {
        self.out.recv_timeout(HANG).expect("a line")
    }

    fn told(&mut self) -> String {
        self.err.recv_timeout(HANG).expect("a sentence")
    }

    /// Ends it by a signal and gives what it had still to say.
    fn end(mut self, signal: Signal) -> Vec<String> {
        self.process.signal(signal);
        let status = self.process.wait(HANG).expect("it ends");
        assert_eq!(status.code(), Some(0), "{status}");
        self.out.iter().chain(self.err.iter()).collect()
    }
}

/// The lines of a pipe, read by a thread, since a pipe cannot be waited for with a limit.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1000);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.try_for_each(|line| sender.send(line)).ok();
    });
    receiver
}

#[test]
fn records_are_shown_as_they_come_and_a_signal_ends_it() {
    let kafka = Kafka::start();
    kafka.record(TOPICS[0], PORTAL, 1);
    let mut tapping = kafka.tap(&[]);
    kafka.produce(TOPICS[0], Some("\u{1b}[2Jno record"), &[]);
    kafka.record(TOPICS[0], PORTAL, 2);
    kafka.produce(TOPICS[0], None, &[("ce_subject", "crm.deal/7"), ("ce_type", "com.bitrix24.crm.deal.delete")]);
    let foreign = tapping.line();
    assert!(foreign.contains(r"foreign record, key key, 13 bytes: \u{1b}[2Jno record"), "{foreign}");
    let record = tapping.line();
    assert!(record.starts_with("2026-11-24 10:15:30  update  crm.deal/7 "), "{record}");
    assert!(record.contains("  a223c6b3…  row 2  lag ") && record.ends_with("  bitrix24.crm.deal[0]@2"), "{record}");
    let tombstone = tapping.line();
    assert!(tombstone.contains("  delete  crm.deal/7 ") && tombstone.contains("  tombstone  "), "{tombstone}");
    assert_eq!(tapping.end(Signal::Int), [""; 0]);
}

#[test]
fn filters_and_json_from_the_beginning() {
    let kafka = Kafka::start();
    kafka.record(TOPICS[0], "b1", 1);
    kafka.record(TOPICS[0], PORTAL, 2);
    kafka.produce(TOPICS[0], Some("{"), &[]);
    kafka.record(TOPICS[1], PORTAL, 3);
    kafka.record(TOPICS[0], PORTAL, 4);
    let json = |line: String| serde_json::from_str::<serde_json::Value>(&line).expect("JSON");

    let mut tapping = kafka.tap(&["--from-beginning", "--json", "--entity", "crm.deal", "--portal", &PORTAL[..8]]);
    for (row, offset) in [(2, 1), (4, 3)] {
        let line = json(tapping.line());
        assert_eq!((&line["value"]["row_id"], &line["offset"]), (&row.into(), &offset.into()), "{line}");
        assert_eq!((&line["topic"], &line["partition"], &line["key"]), (&TOPICS[0].into(), &0.into(), &"key".into()));
        assert_eq!(line["headers"]["b24_event"], "ONX");
    }
    assert_eq!(tapping.end(Signal::Term), [""; 0]);
}

#[test]
fn dead_letters_are_shown_alone_and_records_without_them() {
    let kafka = Kafka::start();
    let letter = format!(
        r#"{{"reason":"too_large","detail":"it is 2 MB","topic":"bitrix24.task","member_id":"{PORTAL}","connector":"","row":{{"ID":"5","EVENT_NAME":"ONTASKADD"}}}}"#
    );
    kafka.produce(TOPICS[2], Some(&letter), &[("b24_reason", "too_large")]);
    kafka.record(TOPICS[1], PORTAL, 6);
    let mut tapping = kafka.tap(&["--from-beginning", "--dead-letters"]);
    let line = tapping.line();
    assert!(line.contains("  dead    ONTASKADD ") && line.contains("  too_large: it is 2 MB  meant for "), "{line}");
    assert_eq!(tapping.end(Signal::Term), [""; 0]);

    let site = Site::new(&format!("{MINIMAL}[kafka]\nbootstrap_servers = {:?}\n", kafka.cluster.bootstrap_servers()));
    let mut tapping = Tapping::spawn(&["-c", utf8(&site.file()), "--from-beginning"]);
    assert!(tapping.told().contains(" reading bitrix24.{entity} at "));
    assert!(tapping.line().contains("  task/7 "));
    assert_eq!(tapping.end(Signal::Term), [""; 0], "the dead letter matches the template of topics, and is none");
}

#[test]
fn an_output_that_nobody_reads_ends_it() {
    let kafka = Kafka::start();
    let mut command = command(&["tap", "--bootstrap", &kafka.cluster.bootstrap_servers()], &[]);
    let mut process = Guarded::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let err = lines(process.child().stderr.take().expect("a pipe"));
    assert!(err.recv_timeout(HANG).expect("a sentence").contains(" reading "));
    // No record comes, so no write could tell.
    drop(process.child().stdout.take());
    let status = process.wait(HANG).expect("it ends");
    assert_eq!((status.code(), err.iter().count()), (Some(0), 0));
}

#[test]
fn a_broker_that_is_away_is_said_once_and_waited_for() {
    let nobody = format!("127.0.0.1:{}", port::free());
    let mut tapping = Tapping::spawn(&["--bootstrap", &nobody]);
    let told = tapping.told();
    assert!(told.starts_with("b24kafka: no Kafka broker answers") && told.ends_with(&format!("waiting for {nobody}")));
    assert!(tapping.process.wait(Duration::from_secs(7)).is_none(), "it goes on, longer than one attempt takes");
    assert_eq!(tapping.end(Signal::Term), [""; 0]);
}

#[test]
fn a_broker_is_needed() {
    let ran = run(&["tap"], &[]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    assert!(ran.err.contains("--config") || ran.err.contains("--bootstrap"), "{ran:?}");
}
