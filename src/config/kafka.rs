//! `[kafka]`: where the records go.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::{
    fault::Place,
    form::{Checked, Choice, Readable, Span, Switch, Text, Whole, quote},
    reader::{Named, Section},
    rules,
    secret::Secret,
};

/// `[kafka]`
#[derive(Clone)]
pub struct Kafka {
    /// `host:port` list, comma separated.
    pub bootstrap_servers: String,
    /// Template of a topic's name; placeholders `{entity}`, `{event}`, `{member_id}`, `{connector}`.
    pub topic: String,
    /// Template of a record's key; the same placeholders and `{id}`.
    pub key: String,
    /// Where rows go that can never become a record.
    pub dead_letter_topic: String,
    /// Whether a `delete` is followed by a record with a null value.
    pub tombstones: bool,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// When librdkafka gives a record up; finite.
    pub message_timeout: Duration,
    /// Whether missing topics are created.
    pub create_topics: bool,
    /// Partitions of created topics.
    pub partitions: i32,
    /// Replication factor of created topics; -1 is the broker's default.
    pub replication_factor: i32,
    /// `[kafka.security]`
    pub security: Security,
    /// `[kafka.options]`: other librdkafka options, none of which breaks the promise.
    pub options: BTreeMap<String, String>,
}

/// `[kafka.security]`
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// `plaintext` (default), `ssl`, `sasl_plaintext`, `sasl_ssl`.
    pub protocol: Option<String>,
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`.
    pub sasl_mechanism: Option<String>,
    /// SASL user.
    pub username: Option<String>,
    /// SASL password.
    pub password: Option<SecretString>,
    /// PEM file of the authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM file of our key.
    pub key_file: Option<PathBuf>,
}

/// What a topic's template may hold.
pub(super) const TOPIC: &str = "a template of {entity}, {event}, {member_id}, {connector} and text";
const KEY: &str = "a template of {member_id}, {entity}, {id}, {event}, {connector} and text";
const PASSWORD: Secret =
    Secret { key: Named("password", "SASL password."), file: Named("password_file", "The same in a file.") };

/// Without the options' values: some of them are secrets, such as `ssl.key.password`.
impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("topic", &self.topic)
            .field("key", &self.key)
            .field("security", &self.security)
            .field("options", &self.options.keys())
            .finish_non_exhaustive()
    }
}

impl Kafka {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let servers = Checked("a list such as \"kafka-1:9092,kafka-2:9092\"", servers);
        let bootstrap_servers = section.or(
            Named("bootstrap_servers", "Brokers to begin with, separated by commas."),
            "\"localhost:9092\"",
            &servers,
        );
        let topic = section.or(
            Named("topic", "Template of the topics' names: by default one topic an entity."),
            "\"bitrix24.{entity}\"",
            &Checked(TOPIC, rules::topic),
        );
        let key = section.or(
            Named("key", "Template of the records' keys; records of one key stay in order."),
            "\"{member_id}:{entity}:{id}\"",
            &Checked(KEY, rules::key),
        );
        let dead_letter_topic = section.or(
            Named("dead_letter_topic", "Where rows go that can never become a record."),
            "\"bitrix24.dead-letter\"",
            &Checked("a topic's name of 1 to 249 letters, digits, '.', '_' and '-'", rules::topic_name),
        );
        let tombstones = section.or(
            Named("tombstones", "Follow a delete by a record without value, for compacted topics."),
            "false",
            &Switch,
        );
        let compression = section.or(
            Named("compression", "How record batches are compressed; lz4 costs the least time."),
            "\"lz4\"",
            &Choice(&[("none", "none"), ("gzip", "gzip"), ("snappy", "snappy"), ("lz4", "lz4"), ("zstd", "zstd")]),
        );
        let message_timeout = section.or(
            Named(
                "message_timeout",
                "When an unacknowledged record is given up; its row stays reserved and is produced again.",
            ),
            "\"60s\"",
            &Span(Duration::from_secs(1), Duration::from_secs(3600)),
        );
        let create_topics = section.or(
            Named("create_topics", "Create missing topics; false where somebody else does."),
            "true",
            &Switch,
        );
        let partitions = section.or(
            Named("partitions", "Partitions of created topics; changing it later would move keys."),
            "6",
            &Whole(1..=10_000),
        );
        let replication_factor = replication_factor(section);
        let security = section.section("security", Security::read);
        let options = options(section);
        Some(Self {
            bootstrap_servers: bootstrap_servers?,
            topic: topic?,
            key: key?,
            dead_letter_topic: dead_letter_topic?,
            tombstones: tombstones?,
            compression: compression?.to_owned(),
            message_timeout: message_timeout?,
            create_topics: create_topics?,
            partitions: partitions?,
            replication_factor: replication_factor?,
            security: security?,
            options: options?,
        })
    }
}

impl Security {
    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let protocol = section.optional(
            Named("protocol", "How to talk to the brokers; plaintext if it is left out."),
            &Choice(&[
                ("plaintext", "plaintext"),
                ("ssl", "ssl"),
                ("sasl_plaintext", "sasl_plaintext"),
                ("sasl_ssl", "sasl_ssl"),
            ]),
        );
        let sasl_mechanism = section.optional(
            Named("sasl_mechanism", "How to prove who we are, for the sasl_ protocols."),
            &Choice(&[
                ("PLAIN", "PLAIN"),
                ("SCRAM-SHA-256", "SCRAM-SHA-256"),
                ("SCRAM-SHA-512", "SCRAM-SHA-512"),
                ("OAUTHBEARER", "OAUTHBEARER"),
            ]),
        );
        let username = section.optional(Named("username", "SASL user."), &Text);
        let password = PASSWORD.optional(section);
        let ca_file = section.optional(
            Named("ca_file", "PEM file of the authorities to trust; the system's if it is left out."),
            &Readable,
        );
        let cert_file = section
            .optional(Named("cert_file", "PEM file of our certificate, for brokers that ask for one."), &Readable);
        let key_file = section.optional(Named("key_file", "PEM file of our key."), &Readable);
        let security = Self {
            protocol: protocol?.map(str::to_owned),
            sasl_mechanism: sasl_mechanism?.map(str::to_owned),
            username: username?,
            password: password?,
            ca_file: ca_file?,
            cert_file: cert_file?,
            key_file: key_file?,
        };
        security.agree(section);
        Some(security)
    }

    /// What one key demands of another.
    fn agree(&self, section: &mut Section<'_, '_>) {
        let protocol = self.protocol.as_deref().unwrap_or("plaintext");
        let (sasl, tls) = (protocol.starts_with("sasl_"), protocol.ends_with("ssl"));
        let mechanism = self.sasl_mechanism.as_deref();
        if sasl && mechanism.is_none() {
            section.missing("sasl_mechanism", "give one: the protocol demands it");
        }
        let user = self.username.is_some() && self.password.is_some();
        if mechanism.is_some_and(|mechanism| mechanism != "OAUTHBEARER") && !user {
            section.fault("sasl_mechanism", "needs username and password", "give both");
        }
        let useless = [
            ("sasl_mechanism", !sasl && mechanism.is_some(), "sasl_plaintext or sasl_ssl"),
            ("ca_file", !tls && self.ca_file.is_some(), "ssl or sasl_ssl"),
            ("cert_file", !tls && self.cert_file.is_some(), "ssl or sasl_ssl"),
        ];
        for (key, found, protocols) in useless {
            if found {
                section.fault(
                    key,
                    format!("has no use with protocol {protocol}"),
                    format!("set protocol to {protocols}, or leave it out"),
                );
            }
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            let given = if self.cert_file.is_some() { "cert_file" } else { "key_file" };
            section.fault(given, "is given alone", "give cert_file and key_file together");
        }
    }
}

fn replication_factor(section: &mut Section<'_, '_>) -> Option<i32> {
    let key = Named("replication_factor", "Replicas of created topics; -1 is the broker's default.");
    let factor = section.or(key, "-1", &Whole(-1..=100))?;
    if factor == 0 {
        section.fault("replication_factor", "is 0", "give -1 for the broker's default, or 1 and more");
        return None;
    }
    Some(factor)
}

fn options(section: &mut Section<'_, '_>) -> Option<BTreeMap<String, String>> {
    let doc = "Any other option of librdkafka by its own name; those that would break the promise are refused.";
    let given = section.free(Named("options", doc), "a table of librdkafka options")?;
    let places: BTreeMap<&str, &Place> = given.iter().map(|(name, _, place)| (name.as_str(), place)).collect();
    let options = given.iter().map(|(name, value, _)| (name.clone(), value.clone())).collect();
    let refused = rules::refused(&options);
    for refused in &refused {
        if let Some(place) = places.get(refused.option.as_str()) {
            let name = format!("options.{}", refused.option);
            section.fault_at((*place).clone(), &name, refused.wrong.clone(), refused.right.clone());
        }
    }
    refused.is_empty().then_some(options)
}

/// Checks a list of `host:port`.
fn servers(text: &str) -> Result<String, String> {
    let server = |server: &str| {
        let (host, port) = server.rsplit_once(':').unwrap_or((server, "9092"));
        let name = !host.is_empty() && !host.contains('/') && !host.contains(char::is_whitespace);
        let literal = host.starts_with('[') && host.ends_with(']');
        name && (literal || !host.contains(':')) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let list: Vec<&str> = text.split(',').map(str::trim).collect();
    if list.iter().all(|entry| server(entry)) { Ok(list.join(",")) } else { Err(format!("is {}", quote(text))) }
}

#[cfg(test)]
mod tests {
    use super::servers;

    #[test]
    fn servers_are_hosts_with_ports() {
        assert_eq!(servers("a:1, b.c:65535"), Ok("a:1,b.c:65535".into()));
        assert_eq!(servers("[::1]:9092"), Ok("[::1]:9092".into()));
        for bad in ["", ",", "a:", ":1", "a:0", "a:65536", "a b:1", "http://a:1", "::1:9092", "a:1,,b:2"] {
            assert!(servers(bad).is_err(), "{bad}");
        }
    }
}
