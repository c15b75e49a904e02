//! Topics: created or checked through the admin client before the first record goes there.
//!
//! Everything here that asks the broker runs off the async runtime and has a limit.

use std::{collections::HashSet, sync::RwLock, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
    metadata::MetadataTopic,
};
use tokio::{runtime::Handle, sync::Mutex, task::spawn_blocking};

use super::options;
use crate::{config::kafka::Kafka, protocol::types::Hindrance};

/// How long one question to the broker may take.
const ASK: Duration = Duration::from_secs(5);
/// How long the creation of a topic may take.
const CREATE: Duration = Duration::from_secs(15);
/// How often a new topic is looked for until all brokers have heard of it, and how far apart.
const LOOKS: u32 = 40;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Knows which topics are there.
#[derive(Debug)]
pub struct Topics {
    admin: ClientConfig,
    create: bool,
    partitions: i32,
    replication_factor: i32,
    known: RwLock<HashSet<String>>,
    /// Held while one topic is ensured: queues that need the same new topic ask once.
    asking: Mutex<()>,
}

/// What a broker says of a topic, for `check --online`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// How many partitions it has.
    pub partitions: usize,
    /// The fewest replicas of a partition.
    pub replicas: usize,
    /// `max.message.bytes`, if the broker tells.
    pub max_message_bytes: Option<u64>,
    /// `min.insync.replicas`, if the broker tells.
    pub min_insync_replicas: Option<u32>,
}

/// Why a topic cannot be written to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No broker answers; it may later.
    #[error("no Kafka broker answers ({0}); check kafka.bootstrap_servers and that the broker is up")]
    Away(String),
    /// It does not exist and may not be created by us.
    #[error("topic {0} does not exist; create it, or set kafka.create_topics = true")]
    Missing(String),
    /// A right is missing.
    #[error("no right to {action} topic {topic} ({code}); grant it to the bridge's Kafka user")]
    Forbidden {
        /// The topic.
        topic: String,
        /// What was tried: `describe` or `create`.
        action: &'static str,
        /// The broker's code.
        code: String,
    },
    /// The broker refuses to create it as it was asked for.
    #[error("the broker refuses topic {topic} ({code}); check its name, kafka.partitions and kafka.replication_factor")]
    Refused {
        /// The topic.
        topic: String,
        /// The broker's code.
        code: String,
    },
    /// It is there, and its rules let nothing in of what is sent.
    #[error("the broker takes no record for topic {topic} ({code}); {remedy}")]
    Rules {
        /// The topic.
        topic: String,
        /// The broker's code.
        code: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl TopicError {
    /// What was sent to a topic is against its rules, as this code says.
    pub(super) fn against_rules(topic: &str, code: Code) -> Self {
        let remedy = match code {
            Code::InvalidTimestamp => {
                "set the clocks of bridge and brokers right, or widen the topic's message.timestamp.before.max.ms and \
                 message.timestamp.after.max.ms"
            }
            _ => "compare the topic's settings with kafka.compression and kafka.options",
        };
        Self::Rules { topic: topic.to_owned(), code: code.to_string(), remedy }
    }

    /// How the rows that wait for this topic have failed.
    pub fn hindrance(&self) -> Hindrance {
        match self {
            Self::Away(_) => Hindrance::Passing,
            Self::Missing(_) | Self::Forbidden { .. } | Self::Refused { .. } | Self::Rules { .. } => Hindrance::Route,
        }
    }
}

impl Topics {
    /// Nothing is asked yet.
    pub fn new(kafka: &Kafka) -> Self {
        Self {
            admin: options::admin(kafka),
            create: kafka.create_topics,
            partitions: kafka.partitions,
            replication_factor: kafka.replication_factor,
            known: RwLock::default(),
            asking: Mutex::default(),
        }
    }

    /// Whether the topic was there when it was last asked for.
    pub fn knows(&self, topic: &str) -> bool {
        self.known.read().is_ok_and(|known| known.contains(topic))
    }

    /// Makes the next [`ensure`](Self::ensure) ask again: the broker has said that the topic is unknown.
    pub fn forget(&self, topic: &str) {
        if self.knows(topic)
            && let Ok(mut known) = self.known.write()
        {
            known.remove(topic);
        }
    }

    /// Sees to it that the topic exists: creates it if that is wanted, else looks for it.
    ///
    /// # Errors
    /// [`TopicError`]; a topic that somebody else creates at the same time is none.
    pub async fn ensure(&self, topic: &str) -> Result<(), TopicError> {
        if self.knows(topic) {
            return Ok(());
        }
        let _one_at_a_time = self.asking.lock().await;
        if self.knows(topic) {
            return Ok(());
        }
        let request = Request {
            admin: self.admin.clone(),
            topic: topic.to_owned(),
            create: self.create,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
        };
        let runtime = Handle::current();
        blocking(move || request.ensure(&runtime)).await?;
        if let Ok(mut known) = self.known.write() {
            known.insert(topic.to_owned());
        }
        Ok(())
    }

    /// Whether any broker answers.
    ///
    /// # Errors
    /// [`TopicError::Away`] with the reason.
    pub async fn reach(&self) -> Result<(), TopicError> {
        let admin = self.admin.clone();
        blocking(move || {
            let client = client(&admin)?;
            // Metadata of a topic that need not exist: the list of all topics may be long.
            client.inner().fetch_metadata(Some("__consumer_offsets"), ASK).map(drop).map_err(|error| away(&error))
        })
        .await
    }

    /// What the broker says of each of these topics, in their order. Only looks: nothing is created. Limits that the
    /// broker does not tell are left out.
    ///
    /// # Errors
    /// [`TopicError::Away`] if two questions in a row are not answered.
    pub async fn survey(&self, topics: Vec<String>) -> Result<Vec<Result<Description, TopicError>>, TopicError> {
        let admin = self.admin.clone();
        let runtime = Handle::current();
        blocking(move || survey(&admin, &topics, &runtime)).await
    }
}

/// One topic to be ensured.
struct Request {
    admin: ClientConfig,
    topic: String,
    create: bool,
    partitions: i32,
    replication_factor: i32,
}

impl Request {
    fn ensure(&self, runtime: &Handle) -> Result<(), TopicError> {
        let client = client(&self.admin)?;
        match look(&client, &self.topic) {
            Err(TopicError::Missing(_)) if self.create => {}
            found => return found.map(drop),
        }
        self.create_topic(&client, runtime)?;
        self.wait(&client)
    }

    fn create_topic(&self, client: &AdminClient<DefaultClientContext>, runtime: &Handle) -> Result<(), TopicError> {
        let topic = NewTopic::new(&self.topic, self.partitions, TopicReplication::Fixed(self.replication_factor));
        let options = AdminOptions::new().request_timeout(Some(CREATE)).operation_timeout(Some(CREATE));
        let answer = match runtime.block_on(client.create_topics([&topic], &options)) {
            Ok(answer) => answer.into_iter().next(),
            Err(error) => return Err(away(&error)),
        };
        match answer {
            None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => {
                tracing::info!(topic = self.topic, partitions = self.partitions, "topic created");
                Ok(())
            }
            Some(Err((_, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))) => {
                let code = "authorization failed".to_owned();
                Err(TopicError::Forbidden { topic: self.topic.clone(), action: "create", code })
            }
            Some(Err((
                _,
                code @ (Code::InvalidTopic
                | Code::InvalidPartitions
                | Code::InvalidReplicationFactor
                | Code::InvalidReplicaAssignment
                | Code::InvalidConfig
                | Code::InvalidRequest
                | Code::PolicyViolation),
            ))) => Err(TopicError::Refused { topic: self.topic.clone(), code: code.to_string() }),
            Some(Err((_, code))) => Err(TopicError::Away(code.to_string())),
        }
    }

    /// Waits until the brokers have heard of the topic. There is no event for it, so it is asked a bounded number of
    /// times; this runs on a thread of its own.
    fn wait(&self, client: &AdminClient<DefaultClientContext>) -> Result<(), TopicError> {
        for _ in 0..LOOKS {
            match look(client, &self.topic) {
                Err(TopicError::Missing(_) | TopicError::Away(_)) => std::thread::sleep(LOOK_EVERY),
                found => return found.map(drop),
            }
        }
        look(client, &self.topic).map(drop)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TopicError> + Send + 'static,
) -> Result<T, TopicError> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(TopicError::Away(error.to_string())))
}

fn client(config: &ClientConfig) -> Result<AdminClient<DefaultClientContext>, TopicError> {
    config.create().map_err(|error| away(&error))
}

fn away(error: &KafkaError) -> TopicError {
    TopicError::Away(super::reason(error))
}

/// Looks for a topic: its partitions and the fewest replicas of one.
fn look(client: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(usize, usize), TopicError> {
    let metadata = client.inner().fetch_metadata(Some(topic), ASK).map_err(|error| away(&error))?;
    let missing = || TopicError::Missing(topic.to_owned());
    let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or_else(missing)?;
    match topic_error(found) {
        None | Some(Code::NoError) => {}
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => return Err(missing()),
        Some(code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed)) => {
            return Err(TopicError::Forbidden { topic: topic.to_owned(), action: "describe", code: code.to_string() });
        }
        Some(code @ Code::InvalidTopic) => {
            return Err(TopicError::Refused { topic: topic.to_owned(), code: code.to_string() });
        }
        Some(code) => return Err(TopicError::Away(code.to_string())),
    }
    let partitions = found.partitions();
    match partitions.iter().map(|partition| partition.replicas().len()).min() {
        None => Err(missing()),
        Some(replicas) => Ok((partitions.len(), replicas)),
    }
}

fn topic_error(topic: &MetadataTopic) -> Option<Code> {
    topic.error().map(Code::from)
}

fn survey(
    admin: &ClientConfig,
    topics: &[String],
    runtime: &Handle,
) -> Result<Vec<Result<Description, TopicError>>, TopicError> {
    let client = client(admin)?;
    let mut found = Vec::new();
    for topic in topics {
        match (look(&client, topic), found.last()) {
            (Err(away @ TopicError::Away(_)), Some(Err(TopicError::Away(_)))) => return Err(away),
            (looked, _) => found.push(looked),
        }
    }
    let there: Vec<_> = topics.iter().zip(&found).filter(|(_, found)| found.is_ok()).collect();
    let resources: Vec<_> = there.iter().map(|(topic, _)| ResourceSpecifier::Topic(topic)).collect();
    let settings = if resources.is_empty() {
        Vec::new()
    } else {
        let options = AdminOptions::new().request_timeout(Some(ASK));
        runtime.block_on(client.describe_configs(&resources, &options)).unwrap_or_default()
    };
    let setting = |topic: &str, name| {
        let of =
            |settings: &&ConfigResource| matches!(&settings.specifier, OwnedResourceSpecifier::Topic(t) if t == topic);
        let settings = settings.iter().filter_map(|settings| settings.as_ref().ok()).find(of)?;
        settings.get(name)?.value.as_deref()?.parse::<u64>().ok()
    };
    let describe = |(topic, found): (&String, Result<(usize, usize), TopicError>)| {
        found.map(|(partitions, replicas)| Description {
            partitions,
            replicas,
            max_message_bytes: setting(topic, "max.message.bytes"),
            min_insync_replicas: setting(topic, "min.insync.replicas").and_then(|number| number.try_into().ok()),
        })
    };
    Ok(topics.iter().zip(found).map(describe).collect())
}
