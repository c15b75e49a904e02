//! `b24kafka tap`: records from Kafka as they come.
//!
//! It belongs to no group and commits nothing, so it may look at a running bridge as often as it likes. A broker that is
//! away is said once on standard error and waited for, at the start as well as later: whoever taps wants to see what
//! comes, and a signal ends it at any time.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::tz::TimeZone;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{
    configured::ConfigFile,
    failure::Failure,
    output::{self, printable},
};
use crate::{
    config::Config,
    kafka::{
        consumer::{Message, ReadError, Reader, Start},
        template::TopicTemplate,
    },
};

mod document;
mod end;
mod line;
mod seen;

use seen::Seen;

/// The shortest beginning of a `member_id` that `--portal` takes for it: as much of it as a line shows.
const PORTAL_HEAD: usize = 8;
/// Least time between two attempts to reach a broker that is away.
const AGAIN: Duration = Duration::from_secs(1);
/// Lines that are written at once, at most, in bytes: far beyond one line, far below what a terminal notices.
const BATCH: usize = 64 * 1024;
/// A configuration of defaults. The application is never called, so any name does.
const DEFAULTS: &str = "[app]\nclient_id = \"tap\"\nclient_secret = \"none\"\n";

/// Print records from Kafka as they come, one readable line each
///
/// It joins no consumer group and commits nothing. A broker that is away is waited for. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub(super) struct Tap {
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "B24KAFKA_CONFIG")]
    #[arg(required_unless_present = "bootstrap")]
    config: Option<PathBuf>,
    /// Another Kafka than the configuration's, or, without a configuration, the one with the default topics
    #[arg(long, value_name = "HOST:PORT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    bootstrap: Option<String>,
    /// Only records of this entity, such as crm.deal
    #[arg(long, value_name = "E")]
    pub entity: Option<String>,
    /// Only records of this portal, by its member_id or at least the first 8 characters of it
    #[arg(long, value_name = "M")]
    pub portal: Option<String>,
    /// Dead letters instead of records
    #[arg(long)]
    pub dead_letters: bool,
    /// Begin with the oldest record instead of now
    #[arg(long)]
    pub from_beginning: bool,
    /// One JSON object a line, for programs
    #[arg(long)]
    pub json: bool,
}

impl Tap {
    /// Prints until a signal comes, or until nobody reads the output any more.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.configuration()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            tokio::select! {
                biased;
                signal = end::signal() => signal.map_err(Failure::from),
                () = end::unread() => Ok(()),
                ended = self.print(&config) => ended,
            }
        });
        // A write into a pipe that nobody empties, or a question to a broker that is away, holds up no end.
        runtime.shutdown_background();
        ended
    }

    fn configuration(&self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(path) => ConfigFile { path: path.clone() }.load()?,
            None => Config::parse(&PathBuf::from("the defaults"), DEFAULTS, std::iter::empty())
                .map_err(Failure::Configuration)?,
        };
        if let Some(bootstrap) = &self.bootstrap {
            config.kafka.bootstrap_servers.clone_from(bootstrap);
        }
        Ok(config)
    }

    async fn print(&self, config: &Config) -> Result<(), Failure> {
        let mut reader = self.open(config).await?;
        let zone = TimeZone::system();
        loop {
            let message = reader.next().await?;
            let mut text = String::new();
            self.show(config, &zone, &message, &mut text);
            // What is there already goes out with it.
            while text.len() < BATCH
                && let Some(message) = reader.next().now_or_never()
            {
                self.show(config, &zone, &message?, &mut text);
            }
            if !text.is_empty() {
                spawn_blocking(move || output::write(|out| out.write_all(text.as_bytes()))).await??;
            }
        }
    }

    async fn open(&self, config: &Config) -> Result<Reader, Failure> {
        let names = self.topics(config);
        let topics = names.iter().map(|name| TopicTemplate::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let (start, from) = match self.from_beginning {
            true => (Start::Beginning, "from the beginning"),
            false => (Start::Now, "from now on"),
        };
        let servers = printable(&config.kafka.bootstrap_servers, 200);
        let mut said = false;
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            match Reader::open(&config.kafka, topics.clone(), start).await {
                Err(error @ ReadError::Away(_)) if !said => {
                    tell(&format!("{error}; waiting for {servers}"));
                    said = true;
                }
                Err(ReadError::Away(_)) => {}
                Err(error) => return Err(error.into()),
                Ok(reader) => {
                    tell(&format!("reading {} at {servers} {from}", names.join(", ")));
                    return Ok(reader);
                }
            }
        }
    }

    /// The templates of the topics that are read, each once.
    fn topics<'c>(&self, config: &'c Config) -> Vec<&'c str> {
        if self.dead_letters {
            return vec![&config.kafka.dead_letter_topic];
        }
        let own = config.queues.iter().map(|queue| queue.topic.as_deref().unwrap_or(&config.kafka.topic));
        let mut topics: Vec<&str> = own.collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// Appends the line of a record that is wanted.
    fn show(&self, config: &Config, zone: &TimeZone, message: &Message, text: &mut String) {
        // The default template of topics fits the dead letters' topic too.
        if !self.dead_letters && message.topic == config.kafka.dead_letter_topic {
            return;
        }
        let seen = Seen::new(message);
        if !self.wants(&seen) {
            return;
        }
        let line = if self.json { document::render(message) } else { line::render(message, &seen, zone) };
        text.push_str(&line);
        text.push('\n');
    }

    fn wants(&self, seen: &Seen) -> bool {
        let entity = |wanted: &String| seen.entity.as_ref() == Some(wanted);
        let portal = |wanted: &String| {
            seen.member_id.as_ref().is_some_and(|member_id| {
                member_id == wanted || (wanted.len() >= PORTAL_HEAD && member_id.starts_with(wanted.as_str()))
            })
        };
        self.entity.as_ref().is_none_or(entity) && self.portal.as_ref().is_none_or(portal)
    }
}

/// A sentence for the person at the terminal; if nobody listens, that is no reason to end.
fn tell(sentence: &str) {
    writeln!(io::stderr(), "b24kafka: {sentence}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap(entity: Option<&str>, portal: Option<&str>) -> Tap {
        Tap {
            config: None,
            bootstrap: Some("kafka:9092".into()),
            entity: entity.map(Into::into),
            portal: portal.map(Into::into),
            dead_letters: false,
            from_beginning: false,
            json: false,
        }
    }

    #[test]
    fn without_a_file_the_defaults_hold() {
        let tap = tap(None, None);
        let config = tap.configuration().expect("the defaults are right");
        assert_eq!(config.kafka.bootstrap_servers, "kafka:9092");
        assert_eq!(tap.topics(&config), ["bitrix24.{entity}"]);
        assert_eq!(Tap { dead_letters: true, ..tap }.topics(&config), ["bitrix24.dead-letter"]);
    }

    #[test]
    fn every_template_is_read_once() {
        let queues =
            "[[queues]]\n[[queues]]\nconnector = \"a\"\ntopic = \"a.{entity}\"\n[[queues]]\nconnector = \"b\"\n";
        let text = format!("{DEFAULTS}{queues}");
        let config = Config::parse(&PathBuf::from("c"), &text, std::iter::empty()).expect("right");
        assert_eq!(tap(None, None).topics(&config), ["a.{entity}", "bitrix24.{entity}"]);
    }

    #[test]
    fn filters_are_exact_but_for_the_beginning_of_a_member_id() {
        let seen = Seen {
            entity: Some("crm.deal".into()),
            member_id: Some("a223c6b3710f85df22e9377d6c4f7553".into()),
            ..Seen::default()
        };
        for (entity, portal, wanted) in [
            (None, None, true),
            (Some("crm.deal"), Some("a223c6b3"), true),
            (Some("crm"), None, false),
            (Some("crm.deal"), Some("a223c6b"), false),
            (None, Some("b223c6b3710f85df22e9377d6c4f7553"), false),
        ] {
            assert_eq!(tap(entity, portal).wants(&seen), wanted, "{entity:?} {portal:?}");
        }
        assert!(!tap(Some("crm.deal"), None).wants(&Seen::default()), "a foreign record is of no entity");
    }
}
