//! What librdkafka is told: our settings, the operator's options, and which options are refused and why.

use std::collections::BTreeMap;

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError, types::RDKafkaConfRes};
use secrecy::ExposeSecret as _;

use crate::config::kafka::Kafka;

/// A record that was enqueued waits at most so long for company, in milliseconds. A reservation is enqueued at once
/// (some microseconds a record), so batches fill without waiting, and the last batch of every exchange pays this in
/// full. Measured with exchanges of 1000 rows over 18 partitions: 0, 1 and 2 ms move about the same number of rows, 5 ms
/// a third fewer.
const LINGER_MS: &str = "2";
/// Records in the producer's queue, all portals together; more than the largest exchanges of 20 queues.
const QUEUE_MESSAGES: &str = "20000";
/// Memory of the producer's queue, in KiB; with the socket buffers and the copies in flight well under 100 MiB.
const QUEUE_KBYTES: &str = "49152";
/// Back-off between connections, at most, in milliseconds: a broker that is back is found soon.
const RECONNECT_MAX_MS: &str = "2000";
/// How long the producer believes in a topic that the brokers do not know, in milliseconds. Topics are ensured before
/// they are written to, so one that is unknown has been deleted, and the rows need not wait for their time-out.
const PROPAGATION_MS: &str = "5000";
/// When a connection that does not come about is given up, in milliseconds.
const CONNECT_MS: &str = "10000";
/// How often librdkafka tells its statistics, in milliseconds: as often as Prometheus asks by habit.
const STATISTICS_MS: &str = "15000";
/// How long an exchange may wait for company if the operator says so, in milliseconds.
const LINGER_MAX_MS: u64 = 1000;
/// Requests in flight up to which the idempotent producer keeps the order.
const IN_FLIGHT_MAX: u64 = 5;

/// An option that cannot be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The option's name.
    pub option: String,
    /// Why.
    pub reason: String,
    /// What would be right.
    pub instead: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.option, self.reason, self.instead)
    }
}

/// Which of the options cannot be passed on, in the order of their names.
pub fn check(options: &BTreeMap<String, String>) -> Vec<Refused> {
    options
        .iter()
        .filter_map(|(option, value)| {
            let (reason, instead) = refusal(option, value).or_else(|| unknown(option, value))?;
            Some(Refused { option: option.clone(), reason, instead })
        })
        .collect()
}

/// The settings of the producer.
pub fn producer(kafka: &Kafka) -> ClientConfig {
    let mut config = client(kafka);
    config
        .set("linger.ms", LINGER_MS)
        .set("queue.buffering.max.messages", QUEUE_MESSAGES)
        .set("queue.buffering.max.kbytes", QUEUE_KBYTES)
        .set("topic.metadata.propagation.max.ms", PROPAGATION_MS);
    config.set("statistics.interval.ms", STATISTICS_MS);
    pass_on(&mut config, kafka, |_| true);
    // The promise; no option may come after it.
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", kafka.message_timeout.as_millis().max(1).to_string())
        .set("compression.codec", &kafka.compression);
    config
}

/// The settings of a producer that puts each record into a batch of its own.
///
/// A broker refuses a whole batch for one record in it. What is refused here is refused for itself.
pub fn single(kafka: &Kafka) -> ClientConfig {
    let mut config = producer(kafka);
    config.set("batch.num.messages", "1").set("linger.ms", "0");
    // The common producer's statistics speak for the brokers; two speakers would count an error twice.
    config.set("statistics.interval.ms", "0");
    config
}

/// The settings of a client that only asks and administers.
pub fn admin(kafka: &Kafka) -> ClientConfig {
    let mut config = client(kafka);
    pass_on(&mut config, kafka, is_connection);
    // Nobody reads the log of a client that lives for one question.
    config.set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// The settings of a reader that belongs to no group and commits nothing.
pub fn consumer(kafka: &Kafka) -> ClientConfig {
    let mut config = client(kafka);
    pass_on(&mut config, kafka, is_connection);
    config
        // librdkafka does not assign without one; it is never joined.
        .set("group.id", "b24kafka-tap")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set_log_level(RDKafkaLogLevel::Error);
    config
}

fn client(kafka: &Kafka) -> ClientConfig {
    let security = &kafka.security;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("client.id", "b24kafka")
        // A topic comes to be by our own request, with our number of partitions, or not at all.
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        .set("socket.connection.setup.timeout.ms", CONNECT_MS)
        .set("reconnect.backoff.max.ms", RECONNECT_MAX_MS)
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Info);
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let settings = [
        ("security.protocol", security.protocol.clone()),
        ("sasl.mechanism", security.sasl_mechanism.clone()),
        ("sasl.username", security.username.clone()),
        ("sasl.password", security.password.as_ref().map(|secret| secret.expose_secret().to_owned())),
        ("ssl.ca.location", path(&security.ca_file)),
        ("ssl.certificate.location", path(&security.cert_file)),
        ("ssl.key.location", path(&security.key_file)),
    ];
    for (name, value) in settings {
        if let Some(value) = value {
            config.set(name, value);
        }
    }
    config
}

fn pass_on(config: &mut ClientConfig, kafka: &Kafka, wanted: impl Fn(&str) -> bool) {
    for (option, value) in &kafka.options {
        if wanted(option) && refusal(option, value).is_none() {
            // One setting under two names would leave it to chance which of them wins.
            let name = if option == "queue.buffering.max.ms" { "linger.ms" } else { option };
            config.set(name, value);
        }
    }
}

/// Options that concern the connection and not the producer.
fn is_connection(option: &str) -> bool {
    [
        "ssl.",
        "sasl.",
        "socket.",
        "broker.",
        "client.",
        "reconnect.",
        "retry.",
        "enable.ssl.",
        "enable.sasl.",
        "https.",
        "api.",
        "connections.",
        "metadata.",
        "debug",
    ]
    .iter()
    .any(|prefix| option.starts_with(prefix))
}

/// Options that would break the promise, or that are set elsewhere.
fn refusal(option: &str, value: &str) -> Option<(String, String)> {
    let at_most = |limit: u64| value.trim().parse().is_ok_and(|value: u64| value <= limit);
    let at_least = |limit: u64| value.trim().parse().is_ok_and(|value: u64| value >= limit);
    let (reason, instead) = match option {
        "acks" | "request.required.acks" => {
            ("a row is cleared only after all in-sync replicas hold its record", "remove it, it is always \"all\"")
        }
        "enable.idempotence" => ("retries would duplicate and reorder records", "remove it, it is always on"),
        "transactional.id" | "transaction.timeout.ms" => {
            ("the producer is not transactional", "remove it; consumers deduplicate by ce_id")
        }
        "enable.gapless.guarantee" => (
            "one record that times out would stop the whole producer",
            "remove it; failed rows are produced again in order",
        ),
        "partitioner" => {
            ("keys would go to other partitions than those of Java clients", "remove it, it is murmur2_random")
        }
        "message.timeout.ms" | "delivery.timeout.ms" => ("it has a key of its own", "use kafka.message_timeout"),
        "compression.codec" | "compression.type" => ("it has a key of its own", "use kafka.compression"),
        "bootstrap.servers" | "metadata.broker.list" => ("it has a key of its own", "use kafka.bootstrap_servers"),
        "allow.auto.create.topics" => ("it has a key of its own", "use kafka.create_topics"),
        "security.protocol" => ("it has a key of its own", "use kafka.security.protocol"),
        "sasl.mechanism" | "sasl.mechanisms" => ("it has a key of its own", "use kafka.security.sasl_mechanism"),
        "sasl.username" => ("it has a key of its own", "use kafka.security.username"),
        "sasl.password" => ("it has a key of its own", "use kafka.security.password or password_file"),
        "ssl.ca.location" => ("it has a key of its own", "use kafka.security.ca_file"),
        "ssl.certificate.location" => ("it has a key of its own", "use kafka.security.cert_file"),
        "ssl.key.location" => ("it has a key of its own", "use kafka.security.key_file"),
        "max.in.flight" | "max.in.flight.requests.per.connection" if !at_most(IN_FLIGHT_MAX) => (
            "more than 5 requests in flight lose the order when one is retried",
            "use a number from 1 to 5, or remove it",
        ),
        "retries" | "message.send.max.retries" if !at_least(100) => {
            ("a short disturbance would fail every row", "remove it; kafka.message_timeout ends the retries")
        }
        "linger.ms" | "queue.buffering.max.ms" if !at_most(LINGER_MAX_MS) => {
            ("every exchange waits for its acknowledgements", "use at most 1000, or remove it")
        }
        "queuing.strategy" if value != "fifo" => ("records would overtake each other", "remove it, it is fifo"),
        "delivery.report.only.error" if value != "false" => {
            ("acknowledgements would never be reported, so no row could be cleared", "remove it")
        }
        "enabled_events"
        | "log.queue"
        | "opaque"
        | "default_topic_conf"
        | "interceptors"
        | "internal.termination.signal" => ("it belongs to the program and not to the configuration", "remove it"),
        _ if option.ends_with("_cb") || option == "msg_order_cmp" => {
            ("it is a function and cannot be configured", "remove it")
        }
        _ if option.starts_with("test.mock.") => {
            ("records would go to a pretended broker and be lost", "remove it; `b24kafka demo` has a broker of its own")
        }
        _ => return None,
    };
    Some((reason.to_owned(), instead.to_owned()))
}

/// Options that librdkafka does not know, or with a value that it does not take.
fn unknown(option: &str, value: &str) -> Option<(String, String)> {
    match ClientConfig::new().set(option, value).create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Some((
            "librdkafka has no such option".to_owned(),
            "see the list of options in its CONFIGURATION.md".to_owned(),
        )),
        // The text of the library may repeat the value, which may be a secret.
        Err(_) => Some((
            "librdkafka does not take this value".to_owned(),
            "see the option's range in librdkafka's CONFIGURATION.md".to_owned(),
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// A configuration of nothing but defaults.
    pub(crate) fn kafka(bootstrap_servers: &str) -> Kafka {
        Kafka {
            bootstrap_servers: bootstrap_servers.to_owned(),
            topic: "bitrix24.{entity}".to_owned(),
            key: "{member_id}:{entity}:{id}".to_owned(),
            dead_letter_topic: "bitrix24.dead-letter".to_owned(),
            tombstones: false,
            compression: "lz4".to_owned(),
            message_timeout: Duration::from_secs(60),
            create_topics: true,
            partitions: 6,
            replication_factor: -1,
            security: crate::config::kafka::Security::default(),
            options: BTreeMap::new(),
        }
    }

    fn refused(option: &str, value: &str) -> Vec<Refused> {
        check(&BTreeMap::from([(option.to_owned(), value.to_owned())]))
    }

    #[test]
    fn options_that_break_the_promise_are_named() {
        for (option, value) in [
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("enable.idempotence", "false"),
            ("transactional.id", "x"),
            ("enable.gapless.guarantee", "true"),
            ("partitioner", "random"),
            ("message.timeout.ms", "0"),
            ("delivery.timeout.ms", "1"),
            ("max.in.flight", "6"),
            ("max.in.flight.requests.per.connection", "many"),
            ("retries", "0"),
            ("message.send.max.retries", "1"),
            ("queuing.strategy", "lifo"),
            ("delivery.report.only.error", "true"),
            ("bootstrap.servers", "elsewhere:9092"),
            ("sasl.password", "x"),
            ("dr_msg_cb", "x"),
            ("linger.ms", "60000"),
            ("test.mock.num.brokers", "1"),
        ] {
            let refused = refused(option, value);
            assert!(matches!(refused.as_slice(), [one] if one.option == option && !one.instead.is_empty()), "{option}");
        }
    }

    #[test]
    fn harmless_options_pass_and_unknown_ones_do_not() {
        for (option, value) in [
            ("max.in.flight", "3"),
            ("linger.ms", "20"),
            ("message.max.bytes", "2000000"),
            ("queue.buffering.max.messages", "10"),
            ("client.rack", "a"),
            ("ssl.key.password", "x"),
            ("debug", "broker"),
        ] {
            assert_eq!(refused(option, value), [], "{option}");
        }
        assert!(refused("acks.all", "1")[0].reason.contains("no such option"));
        let secret = &refused("enable.ssl.certificate.verification", "s3cret")[0];
        assert!(secret.reason.contains("does not take") && !secret.to_string().contains("s3cret"));
    }

    #[test]
    fn the_promise_wins_over_any_option() {
        let mut kafka = kafka("localhost:9092");
        kafka.options = BTreeMap::from([
            ("acks".to_owned(), "0".to_owned()),
            ("linger.ms".to_owned(), "7".to_owned()),
            ("client.rack".to_owned(), "a".to_owned()),
        ]);
        kafka.security.password = Some("s3cret".into());
        let config = producer(&kafka);
        for (name, value) in [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", "60000"),
            ("compression.codec", "lz4"),
            ("linger.ms", "7"),
        ] {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
        assert!(!format!("{config:?}").contains("s3cret"));
        for config in [admin(&kafka), consumer(&kafka)] {
            assert_eq!((config.get("linger.ms"), config.get("client.rack")), (None, Some("a")));
            assert!(config.create_native_config().is_ok());
        }
        assert!(config.create_native_config().is_ok());
    }
}
