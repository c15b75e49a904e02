//! The consumers of the documents, on a real Apache Kafka: each change once, in order, whatever comes twice.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset,
    consumer::{BaseConsumer, Consumer as _},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ThreadedProducer},
};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::{
    blocks::Documents,
    stage::{PATIENCE, Running, Stage},
    support::{java, mock, reader::ReadRecord},
};

const TOPIC: &str = "bitrix24.crm.deal";
/// Deals 1 to this many live through the story.
const DEALS: u32 = 6;
/// How the two consumers' lines name a change. They run at the same time, so each has a group of its own.
const GROUPS: [&str; 2] = ["deals-python", "deals-java"];

/// The deal and the change that a consumer's line tells.
type Read = for<'a> fn(&'a str) -> Option<(&'a str, &'a str)>;
/// Which changes of which deal, in the order in which they were told.
type Told = BTreeMap<u32, Vec<String>>;

pub async fn follow(stage: &mut Stage, documents: &mut Documents) {
    let python = documents.block("README.md", "python", "# deals.py");
    let java = documents.block("README.md", "java", "// Deals.java");
    stage.write("deals.py", &stage.filled(&python.replace("\"deals\"", "\"deals-python\""), 0));
    stage.write("Deals.java", &stage.filled(&java.replace("\"deals\"", "\"deals-java\""), 0));
    alone(stage);
    stage.run(&documents.command("python3 -m venv venv"), "");
    stage.run(&documents.command("venv/bin/pip install confluent-kafka"), "");
    stage.run(&documents.command("make kafka"), "");
    let mut python = stage.start("python", &documents.command("venv/bin/python deals.py"));
    let mut java = stage.start("java", &documents.command("java -cp "));

    changes(stage, "ONCRMDEALADD").await;
    changes(stage, "ONCRMDEALUPDATE").await;
    let records = of_deals(&mock::read_all(&stage.broker.bootstrap()));
    assert_eq!(records.len(), 2 * DEALS as usize, "{records:?}");
    described(&documents.block("README.md", "json", "member_id"), &records[0].json());
    again(stage, &records);
    changes(stage, "ONCRMDEALDELETE").await;

    let whole: Told = (1..=DEALS).map(|deal| (deal, ["add", "update", "delete"].map(str::to_owned).into())).collect();
    let lines = 3 * DEALS as usize;
    for (consumer, read) in [(&mut python, of_python as Read), (&mut java, of_java)] {
        // The last word on each deal stands behind what came twice.
        consumer.until("the last change", |out| told(out, read).values().flatten().count() >= lines);
    }
    GROUPS.iter().for_each(|group| committed(stage, group));
    assert_eq!(told(&python.out(), of_python), whole, "{}", python.err());
    assert_eq!(told(&java.out(), of_java), whole, "{}", java.err());
    back(stage, documents);
}

/// Nothing but the client is needed to compile the Java consumer, and the compiler has nothing to say.
fn alone(stage: &Stage) {
    let libs = std::fs::read_dir(java::root().join("target/kafka/libs")).expect("Kafka's artifacts");
    let mut libs = libs.map(|entry| entry.expect("a file").path());
    let client = libs.find(|path| path.to_string_lossy().contains("/kafka-clients-")).expect("the client");
    let mut javac = Command::new("javac");
    javac.args(["-Xlint:all", "-Werror", "-proc:none", "-cp"]).arg(client);
    java::run(javac.arg("-d").arg(stage.file("classes")).arg(stage.file("Deals.java")));
}

/// One change of each deal, and the bridge has brought it to Kafka.
async fn changes(stage: &Stage, event: &str) {
    for deal in 1..=DEALS {
        stage.portal(0).change(event, &format!(r#"{{"FIELDS":{{"ID":"{deal}"}}}}"#), None);
    }
    assert!(stage.portal(0).wait_until_empty(PATIENCE).await, "rows are left");
}

fn of_deals(records: &[ReadRecord]) -> Vec<ReadRecord> {
    let ours = |record: &&ReadRecord| record.topic == TOPIC && deal(&record.json()).is_some();
    records.iter().filter(ours).cloned().collect()
}

fn deal(value: &Value) -> Option<u32> {
    value["entity_id"].as_str()?.parse().ok().filter(|deal| (1..=DEALS).contains(deal))
}

/// A real record has the fields that the README shows, no others, in their order.
fn described(shown: &str, real: &Value) {
    let keys = |value: &Value| -> Vec<String> { value.as_object().expect("an object").keys().cloned().collect() };
    let shown: Value = serde_json::from_str(shown).expect("the README's record is JSON");
    assert_eq!(keys(&shown), keys(real));
}

/// Everything is delivered once more, as after a lost acknowledgement, and a tombstone behind it.
fn again(stage: &Stage, records: &[ReadRecord]) {
    let producer: ThreadedProducer<_> =
        ClientConfig::new().set("bootstrap.servers", stage.broker.bootstrap()).create().expect("a producer");
    for (record, value) in records.iter().map(|r| (r, r.value.as_deref())).chain(records.last().map(|r| (r, None))) {
        let mut headers = OwnedHeaders::new().insert(Header { key: "b24_redelivery", value: Some("1") });
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut copy = BaseRecord::to(TOPIC).partition(record.partition).headers(headers);
        (copy.key, copy.payload) = (record.key.as_deref(), value);
        producer.send(copy).map_err(|(error, _)| error).expect("queued");
    }
    producer.flush(PATIENCE).expect("delivered");
}

fn told(out: &str, read: Read) -> Told {
    let mut told = Told::new();
    for line in out.lines() {
        let (id, change) = read(line).unwrap_or_else(|| panic!("no change: {line}"));
        let id: u32 = id.parse().expect("a number");
        if (1..=DEALS).contains(&id) {
            told.entry(id).or_default().push(change.to_owned());
        }
    }
    told
}

/// `123 update`
fn of_python(line: &str) -> Option<(&str, &str)> {
    line.split_once(' ')
}

/// `crm.deal/123 com.bitrix24.crm.deal.update`
fn of_java(line: &str) -> Option<(&str, &str)> {
    let (subject, kind) = line.split_once(' ')?;
    Some((subject.strip_prefix("crm.deal/")?, kind.strip_prefix("com.bitrix24.crm.deal.")?))
}

/// Waits until a group has confirmed all that there is.
fn committed(stage: &Stage, group: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", stage.broker.bootstrap()).set("group.id", group);
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let begun = Instant::now();
    loop {
        let metadata = consumer.fetch_metadata(Some(TOPIC), PATIENCE).expect("metadata");
        let mut behind = Vec::new();
        let mut asked = rdkafka::TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            asked.add_partition(TOPIC, partition.id());
        }
        let answered = consumer.committed_offsets(asked, PATIENCE).expect("offsets");
        for element in answered.elements() {
            let (_, high) = consumer.fetch_watermarks(TOPIC, element.partition(), PATIENCE).expect("watermarks");
            let at = if let Offset::Offset(at) = element.offset() { at } else { 0 };
            behind.extend((at < high).then_some((element.partition(), at, high)));
        }
        if behind.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{group} has not committed all: {behind:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A consumer that writes back: its queues are a configuration, and its call is one that the portal takes.
fn back(stage: &mut Stage, documents: &mut Documents) {
    let queues = documents.block("docs/consumers.md", "toml", "connector = \"erp\"");
    let app = "[app]\nclient_id = \"local.1\"\nclient_secret_file = \"secrets/client_secret\"\n";
    stage.write("queues.toml", &format!("{app}{queues}"));
    stage.run("b24kafka check -c queues.toml", "");
    let script = documents.block("docs/consumers.md", "python", "def set_comment");
    stage.write("back.py", &format!("{script}\nimport sys\nset_comment(sys.argv[1], input(), 17, \"seen\")\n"));
    let portal = stage.portal(0);
    stage.run("venv/bin/pip install -q requests", "");
    let call = format!("venv/bin/python back.py {}", portal.endpoint());
    stage.run(&call, portal.access_token().expose_secret());
    assert_eq!(portal.requests().calls.get("crm.deal.update"), Some(&1));
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that fails elsewhere shows what this one said, too.
        if std::thread::panicking() {
            eprintln!("{}{}", self.out(), self.err());
        }
    }
}
