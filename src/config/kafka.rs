//! `[kafka]`: where the records go.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use secrecy::SecretString;

/// `[kafka]`
#[derive(Clone, Debug)]
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
