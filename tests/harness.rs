//! The test support itself: a real broker that can be killed, and a reader that is not librdkafka.

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use b24kafka::sim::{Options as SimOptions, Portal, Sim};
use rdkafka::{
    ClientConfig,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
    types::RDKafkaErrorCode,
};
use support::{
    broker::{Broker, Cluster, Options},
    judge::judge,
    process::{Guarded, Signal},
    reader::{self, ReadRecord},
};

const RECORDS: usize = 1000;
const PARTITIONS: i32 = 6;

fn producer(bootstrap: &str) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "30000")
        .create()
        .expect("a producer")
}

/// Sends `RECORDS` records in order and waits for all acknowledgements.
async fn produce(bootstrap: &str, topic: &str) {
    let producer = producer(bootstrap);
    let mut reports = Vec::new();
    for n in 0..RECORDS {
        let (key, value) = (format!("portal:crm.deal:{}", n % 50), format!("{{\"n\":{n},\"text\":\"Ж\\n\"}}"));
        let headers = OwnedHeaders::new().insert(Header { key: "n", value: Some(&n.to_string()) });
        let record = FutureRecord::to(topic).key(&key).payload(&value).headers(headers);
        reports.push(producer.send_result(record).map_err(|(e, _)| e).expect("room in the producer's queue"));
    }
    for report in reports {
        report.await.expect("a report").expect("an acknowledgement");
    }
}

fn check(records: &[ReadRecord]) {
    assert_eq!(records.len(), RECORDS);
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for record in records {
        assert_eq!(Some(record.partition), record.java_partition, "both clients choose one partition for {record:?}");
        let json = record.json();
        let n = json["n"].as_i64().expect("a number");
        assert_eq!(record.header("n"), Some(n.to_string().as_str()));
        assert_eq!(json["text"], "Ж\n");
        let previous = last.insert(record.key.as_deref().expect("a key"), n);
        assert!(previous.is_none_or(|p| p < n), "the records of one key are in order");
    }
    assert_eq!(last.len(), 50);
    let used: std::collections::BTreeSet<_> = records.iter().map(|r| r.partition).collect();
    assert!(used.len() > 1, "the keys are spread: {used:?}");
}

#[tokio::test]
async fn what_one_client_wrote_another_reads_before_and_after_a_kill() {
    let started = Instant::now();
    let mut broker = Broker::start(&Options::new());
    println!("broker up after {:?}", started.elapsed());
    broker.create_topic("harness.one", PARTITIONS, 1, &[]).await;
    produce(&broker.bootstrap(), "harness.one").await;

    let before = reader::read_all(&broker.bootstrap(), r"harness\..*");
    check(&before);

    broker.kill();
    let restarted = Instant::now();
    broker.restart();
    println!("broker up again after {:?}", restarted.elapsed());
    let reading = Instant::now();
    let after = reader::read_all(&broker.bootstrap(), r"harness\.one");
    println!("read in {:?}", reading.elapsed());
    assert_eq!(sorted(before), sorted(after));

    broker.stop();
    broker.restart();
    broker.pause();
    broker.resume();
    assert_eq!(reader::read_all(&broker.bootstrap(), "another").len(), 0);
}

fn sorted(mut records: Vec<ReadRecord>) -> Vec<ReadRecord> {
    records.sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_waits_for_topics_and_tells_tombstones() {
    let broker = Broker::start(&Options::new().property("message.max.bytes", 20_000));
    let bootstrap = broker.bootstrap();
    let reading =
        tokio::task::spawn_blocking(move || reader::read_until(&bootstrap, "late", 2, Duration::from_secs(60)));
    broker.create_topic("late", 1, 1, &[]).await;
    let producer = producer(&broker.bootstrap());
    let send = |record| {
        let report = producer.send_result(record).map_err(|(e, _)| e).expect("room in the producer's queue");
        async { report.await.expect("a report").map_err(|(e, _)| e) }
    };
    send(FutureRecord::to("late").key("k").payload("v")).await.expect("an acknowledgement");
    let large = "x".repeat(30_000);
    let refused = send(FutureRecord::to("late").key("k").payload(&large)).await;
    assert!(
        matches!(refused, Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge))),
        "{refused:?}"
    );
    send(FutureRecord::<str, str>::to("late").key("k")).await.expect("an acknowledgement");

    let values: Vec<_> = reading.await.expect("the reader").into_iter().map(|r| r.value).collect();
    assert_eq!(values, [Some("v".to_owned()), None]);

    let none = reader::read_until(&broker.bootstrap(), "late", 3, Duration::from_secs(2));
    assert_eq!(none.len(), 2, "the reader gives up in time");
}

#[tokio::test]
async fn a_user_is_refused_what_an_acl_forbids() {
    let broker = Broker::start(&Options::new().user("bridge", "secret"));
    broker.create_topic("open", 1, 1, &[]).await;
    broker.create_topic("closed", 1, 1, &[]).await;
    let acl = ["--add", "--deny-principal", "User:bridge", "--operation", "Write", "--topic", "closed"];
    broker.tool("org.apache.kafka.tools.AclCommand", &acl);
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.sasl_bootstrap())
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", "bridge")
        .set("sasl.password", "secret")
        .create()
        .expect("a producer");
    let wait = Duration::from_secs(30);
    producer.send(FutureRecord::to("open").key("k").payload("v"), wait).await.expect("an acknowledgement");
    let refused = producer.send(FutureRecord::to("closed").key("k").payload("v"), wait).await;
    let Err((KafkaError::MessageProduction(code), _)) = refused else { panic!("it was not refused: {refused:?}") };
    assert_eq!(code, RDKafkaErrorCode::TopicAuthorizationFailed);
}

#[tokio::test]
async fn a_cluster_survives_the_loss_of_a_node() {
    let mut cluster = Cluster::start(3, &Options::new().property("min.insync.replicas", 2));
    cluster[0].create_topic("replicated", PARTITIONS, 3, &[]).await;
    cluster[1].kill();
    produce(&cluster.bootstrap(), "replicated").await;
    cluster[1].restart();
    check(&reader::read_all(&cluster[1].bootstrap(), "replicated"));
}

#[test]
fn a_child_does_not_outlive_its_test() {
    let mut sleeper = Guarded::spawn(Command::new("sleep").arg("600").stdout(Stdio::null()));
    sleeper.signal(Signal::Stop);
    assert!(sleeper.exited().is_none());
    let pid = sleeper.id();
    assert!(alive(pid));
    drop(sleeper);
    assert!(!alive(pid), "dropping kills, even a stopped process");
}

#[test]
fn a_child_does_not_outlive_a_killed_test_process() {
    // This test binary again, as a process that starts a guarded child and is then killed.
    let exe = std::env::current_exe().expect("our own path");
    let mut command = Command::new(exe);
    command.args(["--exact", "--nocapture", "starts_a_child_and_hangs"]).env(HANGS, "1").stdout(Stdio::piped());
    let mut parent = Guarded::spawn(&mut command);
    let output = BufReader::new(parent.child().stdout.take().expect("a pipe"));
    let pid = output.lines().find_map(|l| l.ok()?.strip_prefix("child ")?.parse::<u32>().ok()).expect("the child's id");
    assert!(alive(pid));
    parent.kill();
    let start = Instant::now();
    while alive(pid) {
        assert!(start.elapsed() < Duration::from_secs(10), "the child lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Set in the child process of the test above, the only place where the test below has something to do.
const HANGS: &str = "B24KAFKA_TEST_HANGS";

#[test]
fn starts_a_child_and_hangs() {
    if std::env::var_os(HANGS).is_none() {
        return;
    }
    let child = Guarded::spawn(Command::new("sleep").arg("600").stdout(Stdio::null()));
    println!("\nchild {}", child.id());
    std::thread::sleep(Duration::from_secs(600));
}

/// Whether a process exists and is no zombie.
fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// The record of a deal's row, produced at a time, with a mark or none.
fn record(portal: &Portal, row: u64, timestamp: i64, mark: &str) -> ReadRecord {
    let changed_at = portal.ledger().entry(row).expect("a row").changed_at;
    let id = ("ce_id".to_owned(), format!("{}:{row}:{changed_at}", portal.member_id()));
    let mark = (!mark.is_empty()).then(|| (mark.to_owned(), "1".to_owned()));
    ReadRecord {
        topic: "deals".to_owned(),
        partition: 0,
        offset: timestamp,
        timestamp,
        key: Some("1".to_owned()),
        java_partition: None,
        headers: [id].into_iter().chain(mark).collect(),
        value: None,
    }
}

#[tokio::test]
async fn the_judge_excuses_disorder_by_a_mark_or_by_a_life_in_between() {
    let sim = Sim::start(SimOptions::default()).await.expect("a simulator");
    let portal = sim.portal(0).expect("a portal");
    let deal = r#"{"FIELDS":{"ID":"1"}}"#;
    let (old, new) = (portal.emit("ONCRMDEALADD", deal, ""), portal.emit("ONCRMDEALUPDATE", deal, ""));
    for (mark, lives, disordered) in [
        ("", vec![5], 1),
        ("", vec![5, 15], 1),
        ("b24_late", vec![5], 0),
        ("b24_redelivery", vec![5], 1),
        ("b24_redelivery", vec![5, 8], 1),
        ("b24_redelivery", vec![5, 15], 0),
        ("b24_redelivery", vec![5, 25], 1),
    ] {
        let records = [record(&portal, new, 10, ""), record(&portal, old, 20, mark)];
        assert_eq!(judge(&portal, &records, &lives).disordered.len(), disordered, "{mark:?} {lives:?}");
    }
    let records = [old, new, old].map(|row| record(&portal, row, 10, ""));
    let judgement = judge(&portal, &records, &[5]);
    assert_eq!((judgement.disordered.len(), judgement.duplicates), (0, 1), "a repetition is no disorder");
}
