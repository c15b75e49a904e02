//! Reading topics back with Kafka's Java client: what the bridge wrote, seen by somebody else.

use std::{
    collections::BTreeMap,
    io::{BufReader, Read as _},
    process::{Command, Stdio},
    time::Duration,
};

use serde::Deserialize;

use super::{java, process::Guarded};

/// A record as the Java client received it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Option<String>,
    /// Where the Java client's default partitioner would have put the key; `None` without a key.
    pub java_partition: Option<i32>,
    /// The headers; the reader refuses null and repeated ones.
    pub headers: BTreeMap<String, String>,
    /// The value; `None` for a tombstone.
    pub value: Option<String>,
}

impl ReadRecord {
    /// The header's value, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The value as JSON.
    pub fn json(&self) -> serde_json::Value {
        let value = self.value.as_deref().expect("a record with a value");
        serde_json::from_str(value).unwrap_or_else(|e| panic!("not JSON ({e}): {value}"))
    }
}

/// Every committed record of the topics that match the whole of `topics` (a Java regular expression), up to the end
/// offsets of now. Within a partition in the order of the offsets.
pub fn read_all(bootstrap: &str, topics: &str) -> Vec<ReadRecord> {
    run(reader(bootstrap, topics).args(["--limit-ms", "120000"]), &[0])
}

/// Like [`read_all`], for more records than should be in memory at once: each is handed over as it comes.
pub fn read_each(bootstrap: &str, topics: &str, each: impl FnMut(ReadRecord)) {
    stream(reader(bootstrap, topics).args(["--limit-ms", "600000"]), &[0], each);
}

/// Like [`read_all`], but waits, also for topics that do not exist yet, until `count` records were read or `limit` has
/// passed. What has come until then is returned, for the caller to judge.
pub fn read_until(bootstrap: &str, topics: &str, count: usize, limit: Duration) -> Vec<ReadRecord> {
    let (count, limit) = (count.to_string(), limit.as_millis().to_string());
    run(reader(bootstrap, topics).args(["--until-count", &count, "--limit-ms", &limit]), &[0, 3])
}

fn reader(bootstrap: &str, topics: &str) -> Command {
    let mut command = java::tool("Reader");
    command.args(["--bootstrap", bootstrap, "--topics", topics]);
    command
}

fn run(command: &mut Command, accepted: &[i32]) -> Vec<ReadRecord> {
    let mut records = Vec::new();
    stream(command, accepted, |record| records.push(record));
    records
}

fn stream(command: &mut Command, accepted: &[i32], mut each: impl FnMut(ReadRecord)) {
    let mut process = Guarded::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let out = BufReader::new(process.child().stdout.take().expect("piped"));
    for record in serde_json::Deserializer::from_reader(out).into_iter() {
        each(record.expect("the reader prints JSON"));
    }
    let mut words = String::new();
    process.child().stderr.take().expect("piped").read_to_string(&mut words).ok();
    let code = process.child().wait().expect("the reader ends").code();
    assert!(code.is_some_and(|c| accepted.contains(&c)), "the reader failed ({code:?}): {words}");
}
