//! What became of records, counted; the metrics read it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::protocol::types::{Delivery, Hindrance, Refusal};

/// Why records were not acknowledged: the closed set of `produce_failures_total{class}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// It was not acknowledged within `message_timeout`.
    Timeout,
    /// The connection, or the broker behind it.
    Transport,
    /// Too few in-sync replicas.
    Replicas,
    /// The topic does not exist, or there is no right to it.
    Route,
    /// The rules of the topic let nothing of what is sent in, or the clocks differ; no row is at fault.
    Rules,
    /// Too large for the producer or the topic.
    TooLarge,
    /// Refused as invalid.
    Invalid,
    /// The producer itself was broken and has been replaced.
    Fatal,
    /// Anything else.
    Other,
}

impl Failure {
    /// All of them, for closed sets of metric labels.
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Transport,
        Self::Replicas,
        Self::Route,
        Self::Rules,
        Self::TooLarge,
        Self::Invalid,
        Self::Fatal,
        Self::Other,
    ];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Replicas => "replicas",
            Self::Route => "route",
            Self::Rules => "rules",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::Fatal => "fatal",
            Self::Other => "other",
        }
    }

    /// What it means for the row.
    pub const fn delivery(self) -> Delivery {
        match self {
            Self::Timeout | Self::Transport | Self::Replicas | Self::Fatal | Self::Other => {
                Delivery::Failed(Hindrance::Passing)
            }
            Self::Route | Self::Rules => Delivery::Failed(Hindrance::Route),
            Self::TooLarge => Delivery::Refused(Refusal::TooLarge),
            Self::Invalid => Delivery::Refused(Refusal::InvalidRecord),
        }
    }

    /// The class of an error; the one place where librdkafka's and the broker's codes are judged.
    pub fn of(error: &KafkaError) -> Self {
        let Some(code) = error.rdkafka_error_code() else {
            // Only a topic or header that holds a NUL gets here, and the names of topics are made without one.
            return if matches!(error, KafkaError::Nul(_)) { Self::Invalid } else { Self::Other };
        };
        match code {
            Code::MessageTimedOut | Code::OperationTimedOut | Code::TimedOutQueue | Code::RequestTimedOut => {
                Self::Timeout
            }
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::SSL
            | Code::Authentication
            | Code::NetworkException
            | Code::BrokerNotAvailable
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::SaslAuthenticationFailed
            | Code::KafkaStorageError => Self::Transport,
            Code::ISRInsufficient | Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => Self::Replicas,
            Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Self::Route,
            // Of a time that is not believed: the clocks of bridge and broker differ, since a record's time is that of its
            // making. That is no fault of the row, and its dead letter would fare no better.
            Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType
            | Code::InvalidTimestamp
            | Code::PolicyViolation => Self::Rules,
            Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => Self::TooLarge,
            // The last one hits the neighbours of the record at fault: all of them are tried alone.
            Code::InvalidRecord | Code::InvalidMessage | Code::InvalidDifferentRecord => Self::Invalid,
            Code::Fatal
            | Code::Fenced
            | Code::GaplessGuarantee
            | Code::OutOfOrderSequenceNumber
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
            | Code::PurgeQueue
            | Code::PurgeInflight => Self::Fatal,
            _ => Self::Other,
        }
    }
}

/// How many records became what, since the start of the process; a tombstone counts as a record of its own.
#[derive(Debug, Default)]
pub struct Counters {
    acknowledged: AtomicU64,
    failed: [AtomicU64; Failure::ALL.len()],
    replaced: AtomicU64,
}

impl Counters {
    /// Records that Kafka has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Relaxed)
    }

    /// Records that failed in this way.
    pub fn failed(&self, failure: Failure) -> u64 {
        self.failed[failure as usize].load(Relaxed)
    }

    /// Producers that broke and were replaced.
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Relaxed)
    }

    pub(super) fn count(&self, outcome: Result<(), Failure>) {
        let counter = match outcome {
            Ok(()) => &self.acknowledged,
            Err(failure) => &self.failed[failure as usize],
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn count_replaced(&self) {
        self.replaced.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_judged_by_what_can_be_done() {
        for (code, delivery) in [
            (Code::MessageTimedOut, Delivery::Failed(Hindrance::Passing)),
            (Code::BrokerTransportFailure, Delivery::Failed(Hindrance::Passing)),
            (Code::NotEnoughReplicas, Delivery::Failed(Hindrance::Passing)),
            (Code::QueueFull, Delivery::Failed(Hindrance::Passing)),
            (Code::Fatal, Delivery::Failed(Hindrance::Passing)),
            (Code::PurgeInflight, Delivery::Failed(Hindrance::Passing)),
            (Code::UnknownTopic, Delivery::Failed(Hindrance::Route)),
            (Code::TopicAuthorizationFailed, Delivery::Failed(Hindrance::Route)),
            (Code::InvalidTopic, Delivery::Failed(Hindrance::Route)),
            (Code::MessageSizeTooLarge, Delivery::Refused(Refusal::TooLarge)),
            (Code::InvalidTimestamp, Delivery::Failed(Hindrance::Route)),
            (Code::InvalidRecord, Delivery::Refused(Refusal::InvalidRecord)),
            (Code::InvalidDifferentRecord, Delivery::Refused(Refusal::InvalidRecord)),
        ] {
            assert_eq!(Failure::of(&KafkaError::MessageProduction(code)).delivery(), delivery, "{code:?}");
        }
    }

    #[test]
    fn every_class_has_its_own_counter() {
        let counters = Counters::default();
        for (at, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, at);
            counters.count(Err(failure));
            assert_eq!(counters.failed(failure), 1, "{}", failure.as_str());
        }
        assert_eq!(counters.acknowledged(), 0);
    }
}
