//! What the admin API tells of a portal, and what it can do to one. The forms are those of `docs/openapi.json`.

use std::pin::Pin;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// One portal.
#[derive(Clone, Debug, Serialize)]
pub struct PortalView {
    /// Its identity.
    pub member_id: String,
    /// The host of its endpoint.
    pub domain: String,
    /// `starting`, `active`, `parked` or `removed`.
    pub state: &'static str,
    /// Why it is parked.
    pub reason: Option<&'static str>,
    /// What to do about it.
    pub advice: Option<&'static str>,
    /// `reserve` or `conditional`.
    pub mode: &'static str,
    /// What went wrong last, if nothing has worked since.
    pub last_error: Option<String>,
    /// The last troubles, the newest last; success does not clear them.
    pub last_errors: Vec<TroubleView>,
    /// When a request last worked, in seconds since 1970.
    pub last_success: Option<f64>,
    /// What happens next.
    pub next: NextView,
    /// What its limits leave.
    pub limits: LimitsView,
    /// Events that its queues should have and have not.
    pub unbound: Vec<UnboundView>,
    /// Rows that came without a usable ID since the start, each time they came: each goes to the dead letters.
    pub rows_unreadable: u64,
    /// How many of them, since the start, are in the dead letters and could not be removed at the portal, since nothing else
    /// names them there.
    pub rows_stuck: u64,
    /// Its queues.
    pub queues: Vec<QueueView>,
}

/// Something that went wrong.
#[derive(Clone, Debug, Serialize)]
pub struct TroubleView {
    /// When it happened last, in seconds since 1970.
    pub at: f64,
    /// What.
    pub error: String,
    /// How often in a row.
    pub times: u64,
}

/// What happens next.
#[derive(Clone, Debug, Serialize)]
pub struct NextView {
    /// What, in words.
    pub action: &'static str,
    /// When, in seconds since 1970; `null` if it waits for somebody or something.
    pub at: Option<f64>,
}

/// What the limits of a portal leave.
#[derive(Clone, Debug, Serialize)]
pub struct LimitsView {
    /// The budget of requests; `null` without one.
    pub budget: Option<BudgetView>,
    /// The time that methods have used within the last ten minutes, as the portal says.
    pub methods: Vec<MethodView>,
    /// Until when a method rests whose time is used up, in seconds since 1970.
    pub rests_until: Option<f64>,
}

/// A budget of requests.
#[derive(Clone, Debug, Serialize)]
pub struct BudgetView {
    /// Requests that are spent and not yet regained.
    pub spent: u64,
    /// Requests that may be spent.
    pub ceiling: u64,
    /// Requests regained a second.
    pub per_second: u64,
    /// Until when nothing is sent, since the portal said that the limit is reached. In seconds since 1970.
    pub held_until: Option<f64>,
}

/// The time budget of a method.
#[derive(Clone, Debug, Serialize)]
pub struct MethodView {
    /// The REST method.
    pub method: &'static str,
    /// Seconds used.
    pub seconds: f64,
    /// When the oldest minute drops out, in seconds since 1970 by the portal's clock.
    pub reset_at: Option<i64>,
}

/// An event that a queue should have and has not.
#[derive(Clone, Debug, Serialize)]
pub struct UnboundView {
    /// Which queue.
    pub connector: String,
    /// Which event.
    pub event: String,
    /// What the portal said when it was to be bound.
    pub code: String,
}

/// One queue of a portal.
#[derive(Clone, Debug, Serialize)]
pub struct QueueView {
    /// `auth_connector`.
    pub connector: String,
    /// Rows that are received and not yet acknowledged.
    pub held: u64,
    /// Rows that are acknowledged and not yet known to be cleared.
    pub unconfirmed: u64,
    /// How many rows the next `get` asks for.
    pub limit: u32,
    /// Whether a topic cannot be written, so that its rows wait for somebody to mend that.
    pub barred: bool,
    /// Whether the last read brought as many rows as were asked for: there may be a backlog.
    pub more: bool,
    /// The last read that was answered.
    pub last_exchange: Option<ExchangeView>,
    /// Whether wake-ups announce its rows: `unused`, `expected`, or `missed` if some came unannounced.
    pub wake_ups: &'static str,
    /// What happens next.
    pub next: NextView,
    /// Rows that somebody has put aside with `event.offline.error`, as they were last counted.
    pub error_rows: Option<ErrorRowsView>,
}

/// A read that was answered.
#[derive(Clone, Debug, Serialize)]
pub struct ExchangeView {
    /// When, in seconds since 1970.
    pub at: f64,
    /// Rows that it brought.
    pub rows: usize,
    /// How long the request took.
    pub seconds: f64,
}

/// Rows that are put aside.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorRowsView {
    /// How many.
    pub rows: u64,
    /// When they were counted, in seconds since 1970.
    pub counted_at: f64,
}

/// What is to be done to a portal.
#[derive(Clone, Debug)]
pub enum Change {
    /// Take it in, or renew its tokens.
    Add(Addition),
    /// Forget it.
    Remove(String),
    /// Stop serving it until it is resumed.
    Park(String),
    /// Serve it again.
    Resume(String),
    /// Poll its queues now.
    Poll(String),
    /// Publish and remove the rows that somebody has put aside.
    SweepErrors(String),
}

/// A portal to take in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addition {
    /// Its identity.
    pub member_id: String,
    /// Its REST endpoint.
    pub endpoint: String,
    /// The refresh token to begin with.
    #[serde(deserialize_with = "secret")]
    pub refresh_token: SecretString,
    /// An access token; the refresh token is enough.
    #[serde(default, deserialize_with = "some_secret")]
    pub access_token: Option<SecretString>,
    /// Which callbacks to believe.
    #[serde(default, deserialize_with = "some_secret")]
    pub application_token: Option<SecretString>,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    /// The portal.
    pub member_id: String,
    /// Its state after it, or before a poll.
    pub state: &'static str,
    /// Why it is parked, or was before a poll.
    pub reason: Option<&'static str>,
    /// What was done, in words.
    pub message: String,
    /// What became of the rows, where that is of interest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsView>,
    /// Whether it was done, begun, or has made a new portal.
    #[serde(skip)]
    pub kind: Kind,
}

/// What became of rows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RowsView {
    /// Published, as records or dead letters, and removed at the portal.
    pub swept: u64,
    /// Received and not acknowledged by Kafka: they stay reserved at the portal.
    pub held: u64,
    /// Acknowledged and not known to be removed at the portal.
    pub unconfirmed: u64,
    /// Queues in which a request whose outcome is not known may have reserved rows, or may still; `None` after a sweep,
    /// since they are worked on.
    pub hiding: Option<u64>,
    /// Left to be swept, if that is known.
    pub left: Option<u64>,
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is done.
    Done,
    /// It is done, and there is a portal more.
    Created,
    /// It is begun.
    Begun,
}

/// A change that is under way.
pub type Changing = Pin<Box<dyn Future<Output = Result<Changed, Refusal>> + Send>>;

fn secret<'de, D: serde::Deserializer<'de>>(input: D) -> Result<SecretString, D::Error> {
    String::deserialize(input).map(SecretString::from)
}

fn some_secret<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(input)?.map(SecretString::from))
}
