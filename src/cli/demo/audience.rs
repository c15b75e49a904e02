//! Who reads what arrives: a consumer of its own, a readable line for some records, and a note of every one.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use indicatif::ProgressBar;
use tokio::sync::Notify;

use super::stage::Stage;
use crate::{
    cli::failure::Failure,
    config::Config,
    kafka::{
        consumer::{Message, Reader, Start},
        template::TopicTemplate,
    },
};

/// So many records are shown at the beginning.
const FIRST: u64 = 10;
/// Then one of so many.
const SAMPLE: u64 = 1000;
/// The mark of a record that Kafka may have had before.
const REDELIVERY: &str = "b24_redelivery";

/// What has arrived so far.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// Records per `ce_id`.
    pub records: HashMap<String, u64>,
    /// Records.
    pub total: u64,
    /// First deliveries that say that Kafka may have had them before: rows that were recovered, or tried twice.
    pub recovered: u64,
    /// First deliveries that came behind a newer row of their entity without saying so.
    pub disordered: u64,
    /// The highest row of each key.
    newest: HashMap<String, u64>,
}

pub(super) struct Audience {
    arrived: Arc<Mutex<Arrived>>,
    more: Arc<Notify>,
    reading: tokio::task::JoinHandle<()>,
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Audience {
    /// Reads every record of this portal from the beginning.
    pub async fn open(config: &Config, member_id: &str, bar: ProgressBar) -> Result<Self, Failure> {
        let topics = vec![TopicTemplate::parse(&config.kafka.topic)?];
        let mut reader = Reader::open(&config.kafka, topics, Start::Beginning).await?;
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let more = Arc::new(Notify::new());
        let (noted, told, mine) = (arrived.clone(), more.clone(), format!("{member_id}:"));
        let reading = tokio::spawn(async move {
            while let Ok(message) = reader.next().await {
                if !header(&message, "ce_id").is_some_and(|id| id.starts_with(&mine)) {
                    continue;
                }
                let line = {
                    let mut arrived = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    let times = arrived.note(&message);
                    (arrived.total <= FIRST || arrived.total.is_multiple_of(SAMPLE)).then(|| line(&message, times))
                };
                if let Some(line) = line {
                    // A reader that has gone away is no reason to stop the demo.
                    bar.suspend(|| writeln!(io::stdout(), "{line}").ok());
                }
                bar.inc(1);
                told.notify_one();
            }
        });
        Ok(Self { arrived, more, reading })
    }

    /// Records so far.
    pub fn count(&self) -> u64 {
        self.with(|arrived| arrived.total)
    }

    /// Waits for another record.
    pub async fn more(&self) {
        self.more.notified().await;
    }

    /// Whether every row of the portal has arrived.
    pub fn has_all(&self, stage: &Stage) -> bool {
        self.with(|arrived| stage.expected().iter().all(|id| arrived.records.contains_key(id)))
    }

    pub fn with<T>(&self, look: impl FnOnce(&Arrived) -> T) -> T {
        look(&self.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Arrived {
    /// Notes a record, and tells how often its row has come by now.
    fn note(&mut self, message: &Message) -> u64 {
        let Some(id) = header(message, "ce_id") else { return 0 };
        self.total += 1;
        let times = self.records.entry(id.clone()).or_default();
        *times += 1;
        let times = *times;
        let first = times == 1;
        if first && header(message, REDELIVERY).is_some() {
            self.recovered += 1;
        }
        let row = id.split(':').nth(1).and_then(|row| row.parse().ok()).unwrap_or(0);
        let key = message.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let newest = self.newest.entry(key).or_default();
        if first && row < *newest && header(message, "b24_late").is_none() {
            self.disordered += 1;
        }
        *newest = row.max(*newest);
        times
    }
}

fn header(message: &Message, name: &str) -> Option<String> {
    let found = message.headers.iter().find(|(key, _)| key == name)?;
    Some(String::from_utf8_lossy(&found.1).into_owned())
}

/// One record in a line; `times` says how often its row has come by now, this one included.
fn line(message: &Message, times: u64) -> String {
    let text = |name| header(message, name).unwrap_or_default();
    let mut line = format!(
        "{}  {:<28} {:<26} {}[{}]@{}",
        text("ce_time"),
        text("ce_subject"),
        text("b24_event"),
        message.topic,
        message.partition,
        message.offset,
    );
    // The bridge can only say that Kafka may have had it before. Whether it had, this reader has seen.
    if times > 1 {
        line.push_str("  again");
    } else if header(message, REDELIVERY).is_some() {
        line.push_str("  recovered");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_twice_came_again() {
        let message = |marks: &[&str]| Message {
            topic: "t".into(),
            partition: 0,
            offset: 1,
            timestamp: None,
            key: Some(b"a1:crm.deal:1".to_vec()),
            value: None,
            headers: marks.iter().map(|mark| ((*mark).to_owned(), b"a1:5:1".to_vec())).collect(),
        };
        let mut arrived = Arrived::default();
        let mut told = |marks: &[&str]| {
            let message = message(marks);
            let times = arrived.note(&message);
            (line(&message, times), arrived.recovered, arrived.total)
        };
        let (line, recovered, total) = told(&["ce_id", REDELIVERY]);
        assert!(line.ends_with("@1  recovered") && (recovered, total) == (1, 1), "{line}");
        let (line, recovered, total) = told(&["ce_id", REDELIVERY]);
        assert!(line.ends_with("@1  again") && (recovered, total) == (1, 2), "{line}");
        let (line, ..) = told(&["ce_time"]);
        assert!(line.ends_with("@1"), "{line}");
    }
}
