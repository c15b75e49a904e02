//! Takes the error rows of one queue: reserved, published, acknowledged, and only then cleared, like any other row.
//!
//! The queue must be at rest meanwhile. Whatever ends a sweep early, nothing is lost: a row that is not cleared is still an
//! error row, reserved or not, and the next sweep begins with those that an earlier one has reserved.

mod nameless;

use std::collections::BTreeMap;

use super::{
    Shared,
    gate::Urgency,
    publishing::{Tally, failures, receive, record},
    session::Session,
};
use crate::{
    bitrix::errors::ErrorRead,
    kafka::record::Recorder,
    protocol::{
        exchange::{Cleared, Exchange, ReadAnswer},
        ledger::{Ledger, Place, Publication, Settled},
        queue::Fact,
        types::{Connector, Delivery, ProcessId, Row, RowId},
    },
};

/// Rows that are taken at once: they are in memory until they are cleared.
const ROUND: u32 = 200;
/// Times that a row is handed to Kafka before a sweep gives up: together, alone, and as a dead letter of either kind.
const TRIES: usize = 4;

/// One queue whose error rows are to be taken.
pub struct Sweep<'a> {
    /// What all queues share.
    pub shared: &'a Shared,
    /// The calls to its portal.
    pub session: &'a Session,
    /// Which queue.
    pub connector: &'a Connector,
    /// Makes its records.
    pub recorder: Recorder,
}

/// What came of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows that were published, as records or dead letters, and removed at the portal.
    pub swept: u64,
    /// Rows that Kafka has not acknowledged; they stay at the portal.
    pub held: u64,
    /// Rows that Kafka has acknowledged and that are not known to be removed at the portal.
    pub unconfirmed: u64,
    /// How many are left at the portal, if that is known.
    pub left: Option<u64>,
    /// Why it ended early.
    pub trouble: Option<String>,
}

impl Sweep<'_> {
    /// Takes `most` rows or some more, round by round; ends early if `stopped` says so between two rounds.
    pub async fn run(&self, most: u64, stopped: impl Fn() -> bool) -> Swept {
        let mut swept = Swept::default();
        // What an earlier sweep has reserved comes first.
        let mut reserved = Some(None);
        while swept.trouble.is_none() && swept.swept < most {
            if stopped() {
                swept.trouble = Some("the bridge is being stopped".to_owned());
                break;
            }
            let read = reserved.map_or(ErrorRead::Reserve { limit: ROUND }, |after| ErrorRead::Reserved { after });
            let (answer, nameless) = match self.session.error_rows(self.connector, read).await {
                Ok(answer) => answer,
                Err(why) => {
                    swept.trouble = Some(why);
                    break;
                }
            };
            let (any, before) = (!nameless.is_empty(), swept.swept);
            self.nameless(nameless, &mut swept).await;
            let found: Vec<(ProcessId, Row)> = match answer {
                ReadAnswer::Reserved { process: Some(process), rows, .. } => {
                    rows.into_iter().map(|row| (process.clone(), row)).collect()
                }
                ReadAnswer::Reserved { .. } => Vec::new(),
                ReadAnswer::Listed { rows, more } => {
                    // Where rows without a name are gone, those behind them may be seen now.
                    let again = rows.is_empty() && more && swept.swept > before;
                    if !again {
                        reserved = rows.last().filter(|_| more).map(|(_, row)| Some(row.id));
                    }
                    if rows.is_empty() {
                        continue;
                    }
                    rows
                }
                _ => {
                    swept.trouble = Some("the portal has not told its error rows".to_owned());
                    break;
                }
            };
            if found.is_empty() && any {
                continue;
            }
            if found.is_empty() {
                break;
            }
            self.round(found, matches!(read, ErrorRead::Reserved { .. }), &mut swept).await;
        }
        swept.left = self.session.count_errors(self.connector).await.ok();
        swept
    }

    /// Publishes and clears these rows.
    async fn round(&self, found: Vec<(ProcessId, Row)>, recovered: bool, swept: &mut Swept) {
        let mut ledger = Ledger::default();
        let mut rows: BTreeMap<RowId, Row> = BTreeMap::new();
        for (process, row) in found {
            ledger.receive(Place::Reserved(process), receive(&row), recovered);
            rows.insert(row.id, row);
        }
        let mut tries = TRIES * rows.len();
        while ledger.has_unpublished() && tries > 0 {
            tries -= 1;
            if !self.publish(&mut ledger, &rows).await {
                swept.trouble = Some("Kafka has not taken every row".to_owned());
                break;
            }
        }
        let held = ledger.held();
        loop {
            let (clears, _) = ledger.clears();
            if clears.is_empty() {
                break;
            }
            let exchange = Exchange { clears, delete: None, read: None };
            let (answer, _) = self.session.exchange(self.connector, &exchange, Urgency::Woken).await;
            let mut refused = false;
            for (clear, outcome) in exchange.clears.iter().zip(answer.clears) {
                ledger.cleared(clear, outcome);
                refused |= outcome != Cleared::Done;
            }
            if refused {
                swept.trouble = Some("the portal has not confirmed that every row is removed".to_owned());
                break;
            }
        }
        let (unconfirmed, cleared) = (ledger.len() as u64 - held, rows.len() - ledger.len());
        self.tally(&rows).count(std::iter::once(Fact::Cleared(cleared)), None, &[]);
        swept.swept += cleared as u64;
        swept.held += held;
        swept.unconfirmed += unconfirmed;
    }

    /// Hands to Kafka what is due. Returns whether it makes sense to go on.
    async fn publish(&self, ledger: &mut Ledger, rows: &BTreeMap<RowId, Row>) -> bool {
        let publications = ledger.publications();
        // They were put aside long ago: newer rows have gone before them.
        let late = |publication: &Publication| Publication { late: true, ..*publication };
        let due: Vec<(RowId, &Row, Publication)> =
            publications.iter().filter_map(|p| Some((p.row, rows.get(&p.row)?, late(p)))).collect();
        let topic = &self.shared.dead_letter_topic;
        let records = due.iter().map(|(_, row, publication)| record(&self.recorder, topic, row, publication));
        let timer = self.shared.metrics.produce_seconds.start_timer();
        let deliveries = self.shared.producer.publish(records.collect()).await;
        timer.observe_duration();
        let failed = failures(deliveries.iter());
        let (mut facts, mut goes_on) = (Vec::new(), true);
        for ((row, ..), delivery) in due.iter().zip(deliveries) {
            if let Delivery::Refused(reason) = delivery
                && ledger.is_refused_letter(*row, reason)
            {
                facts.push(Fact::LetterRefused(*row, reason));
                goes_on = false;
            }
            goes_on &= !matches!(delivery, Delivery::Failed(_));
            let Some(settled) = ledger.delivered(*row, delivery) else { continue };
            // Counted as received only now: what is not acknowledged is left to the next sweep, and nobody holds it.
            facts.push(Fact::Received { row: *row, recovered: false, again: false });
            facts.push(match settled {
                Settled::Acknowledged => Fact::Acknowledged(*row),
                Settled::DeadLettered(reason) => Fact::DeadLettered(*row, reason),
            });
        }
        ledger.end_of_reports();
        self.tally(rows).count(facts.into_iter(), None, &failed);
        goes_on
    }

    fn tally<'a>(&'a self, rows: &'a BTreeMap<RowId, Row>) -> Tally<'a> {
        Tally {
            metrics: &self.shared.metrics,
            rows,
            session: self.session,
            connector: self.connector,
            dead_letter_topic: &self.shared.dead_letter_topic,
            letters: &self.shared.letters,
        }
    }
}
