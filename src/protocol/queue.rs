//! One queue in reserve mode: a reservation is published and confirmed before the next one is published.
//!
//! ```text
//!            +--------------------------------------------------------------------+
//!            v                                                                    |
//! decide: rows to produce? --publish--> reports --all in--> failures? --back-off--+
//!            | no                                               | no
//!            +--> confirmations, scan or poll due? --exchange--> answer --rows--> (produce)
//!                       | no
//!                       +--> wait for the deadline
//! ```
//!
//! Only one request of a queue is on its way, so a scan never meets a `get` of ours that is alive, and a scan's rows are
//! believed only when all clears before it are known to be done: then no reservation of ours is left for it to find (I8).

pub mod events;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::{
    exchange::{Answer, BATCH_COMMANDS, Cleared, Exchange, LIST_PAGE, Read, ReadAnswer},
    ledger::{Ledger, Settled},
    pace::{AdaptiveLimit, Backoff, IdleSchedule, ScanPages, WakeUps},
    recovery::Recovery,
    seeded::{Bug, Seeded},
    types::{Delivery, Hindrance, Millis, ProcessId, RowId},
};
pub use events::{Action, Fact, Input, Received, Settings};

/// The states of the life of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Life {
    /// Not taken over yet.
    Fresh,
    /// At work.
    Working,
    /// To be brought to rest: nothing new is read.
    Draining,
    /// At rest.
    Drained,
}

/// The machine of one queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Queue {
    life: Life,
    /// The request that is on its way.
    on_its_way: Option<Exchange>,
    ledger: Ledger,
    recovery: Recovery,
    limit: AdaptiveLimit,
    /// Pages that the next scan asks for.
    pages: ScanPages,
    idle: IdleSchedule,
    /// After trouble with the portal.
    portal: Backoff,
    /// After a `get` that failed, or whose method has to rest.
    get: Backoff,
    /// The same for scans.
    scan: Backoff,
    /// After trouble with Kafka.
    kafka: Backoff,
    /// After trouble that an operator has to end.
    route: Backoff,
    #[serde(skip)]
    seeded: Seeded,
}

impl Queue {
    /// A queue that has not been taken over yet; it does nothing before [`Input::TakeOver`].
    pub fn new(settings: &Settings) -> Self {
        Self {
            life: Life::Fresh,
            on_its_way: None,
            ledger: Ledger::default(),
            recovery: Recovery::new(settings.sweep),
            limit: AdaptiveLimit::new(settings.limit_min, settings.limit_max),
            pages: ScanPages::new(held_limit(settings.limit_max)),
            idle: IdleSchedule::new(settings.poll_min, settings.poll_max),
            portal: Backoff::new(Millis::secs(1), Millis::secs(60)),
            get: Backoff::new(Millis::secs(1), Millis::secs(60)),
            scan: Backoff::new(Millis::secs(1), Millis::secs(60)),
            kafka: Backoff::new(Millis(500), Millis::secs(30)),
            route: Backoff::new(Millis::secs(10), Millis::secs(60)),
            seeded: Seeded::default(),
        }
    }

    /// Takes one input and appends what has to be done. Total: every input is answered in every state.
    pub fn step(&mut self, now: Millis, input: Input, out: &mut Vec<Action>) {
        let before = self.idle.wake_ups();
        match input {
            Input::TakeOver => self.take_over(now),
            Input::Wake => self.idle.wake(now),
            Input::WakeUps(pause) => self.idle.expect(pause),
            Input::Resume => {
                for backoff in [&mut self.portal, &mut self.get, &mut self.scan] {
                    backoff.reset();
                }
                self.route.cut();
                self.idle.poll_now(now);
            }
            Input::Timer => {}
            Input::Drain => {
                if self.life != Life::Drained {
                    self.life = Life::Draining;
                }
            }
            Input::Exchanged(answer) => self.exchanged(now, answer, out),
            Input::Delivered(reports) => self.delivered(now, reports, out),
        }
        match (before, self.idle.wake_ups()) {
            (before, WakeUps::Missed) if before != WakeUps::Missed => out.push(Action::Note(Fact::WakeUpsMissed)),
            (WakeUps::Missed, WakeUps::Expected) => out.push(Action::Note(Fact::WakeUpsBack)),
            _ => {}
        }
        self.decide(now, out);
    }

    /// When [`Input::Timer`] is due; `None` while an answer or a report is awaited, or at rest.
    pub fn deadline(&self) -> Option<Millis> {
        if self.on_its_way.is_some() || self.ledger.awaits_reports() || matches!(self.life, Life::Fresh | Life::Drained)
        {
            return None;
        }
        let after_trouble = |at: Millis| self.portal.until().map_or(at, |until| at.max(until));
        let produce = self.ledger.has_unpublished().then(|| self.produce_at());
        let confirm = self.ledger.has_clearable().then(|| after_trouble(Millis(0)));
        let read = if produce.is_none() { self.next_read_at().map(after_trouble) } else { None };
        [produce, confirm, read].into_iter().flatten().min()
    }

    /// Where the rows stand.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How many rows the next `get` asks for.
    pub fn limit(&self) -> u32 {
        self.limit.get()
    }

    /// The request that is on its way.
    pub fn on_its_way(&self) -> Option<&Exchange> {
        self.on_its_way.as_ref()
    }

    /// Whether rows may be reserved by a request of ours without our knowing: what a drain leaves to the next take-over.
    pub fn may_hide(&self) -> bool {
        self.recovery.may_hide()
    }

    /// Whether rows wait for somebody to mend a topic or a right.
    pub fn is_barred(&self) -> bool {
        self.route.until().is_some()
    }

    /// Whether the queue has not been taken over yet.
    pub fn is_fresh(&self) -> bool {
        self.life == Life::Fresh
    }

    /// Whether rows are announced by wake-ups.
    pub fn wake_ups(&self) -> WakeUps {
        self.idle.wake_ups()
    }

    /// Whether the queue is at rest after a drain.
    pub fn is_drained(&self) -> bool {
        self.life == Life::Drained
    }

    /// Most rows that one answer can bring, and so most that are ever held (I6).
    pub fn held_limit(&self) -> usize {
        held_limit(self.limit.max())
    }

    fn take_over(&mut self, now: Millis) {
        let late_scan = !self.seeded.has(Bug::NoLateScanAfterTakeOver);
        self.life = Life::Working;
        self.recovery.take_over(now, late_scan);
        self.idle.poll_now(now);
    }

    fn exchanged(&mut self, now: Millis, answer: Answer<Received>, out: &mut Vec<Action>) {
        let Some(exchange) = self.on_its_way.take() else {
            // Nobody asked. If it holds a reservation, a scan will find it.
            self.recovery.unknown_get(now, true);
            return;
        };
        let (mut all_done, mut hint) = (true, None);
        let before = self.ledger.len();
        for (index, clear) in exchange.clears.iter().enumerate() {
            let outcome = answer.clears.get(index).copied().unwrap_or(Cleared::Unknown);
            all_done &= outcome == Cleared::Done;
            if let Cleared::Refused { retry_after } = outcome {
                hint = hint.max(retry_after);
            }
            self.ledger.cleared(clear, outcome);
        }
        let cleared = before - self.ledger.len();
        if cleared > 0 {
            out.push(Action::Note(Fact::Cleared(cleared)));
        }
        let (of_read, rests) = match &answer.read {
            ReadAnswer::Refused { retry_after, smaller } => (*retry_after, *smaller),
            _ => (None, false),
        };
        let read_well = self.read(now, exchange.read, answer.read, all_done, out);
        let method = match exchange.read {
            Some(Read::Reserve { .. }) => Some(&mut self.get),
            Some(Read::Scan { .. }) => Some(&mut self.scan),
            None => None,
        };
        if let Some(method) = method {
            if read_well {
                method.reset();
            } else {
                method.failed(now, of_read);
            }
        }
        // A method that has to rest says nothing about the others.
        if all_done && (read_well || rests) {
            self.portal.reset();
        } else {
            self.portal.failed(now, hint.max(if rests { None } else { of_read }));
        }
    }

    /// Takes in what the read has brought. Returns whether the portal did what it was asked.
    fn read(
        &mut self,
        now: Millis,
        asked: Option<Read>,
        answer: ReadAnswer<Received>,
        all_done: bool,
        out: &mut Vec<Action>,
    ) -> bool {
        match (asked, answer) {
            (None, _) => true,
            (Some(Read::Reserve { .. }), ReadAnswer::Reserved { process, rows, took }) => {
                self.limit.answered(rows.len(), took);
                if rows.is_empty() {
                    self.idle.idle(now);
                    return true;
                }
                let Some(process) = process else {
                    self.unknown_get(now, out);
                    return false;
                };
                self.idle.busy(now);
                self.recovery.postpone_sweep(now);
                for row in rows {
                    self.receive(&process, row, false, out);
                }
                true
            }
            (Some(Read::Scan { .. }), ReadAnswer::Listed { rows, more }) => {
                if !all_done && !self.seeded.has(Bug::BelieveScanDespiteUnknownClear) {
                    return false;
                }
                self.pages.answered();
                self.recovery.advance(now, rows.last().map(|(_, row)| row.id), more);
                if !rows.is_empty() {
                    // Gets do work, only their answers are lost: this is progress.
                    self.get.reset();
                }
                for (process, row) in rows {
                    self.receive(&process, row, true, out);
                }
                true
            }
            (Some(read), ReadAnswer::Refused { smaller, .. }) => {
                match read {
                    Read::Reserve { .. } if smaller => self.limit.lower(),
                    Read::Scan { .. } if smaller => self.pages.lower(),
                    _ => {}
                }
                false
            }
            (Some(Read::Scan { .. }), _) => {
                self.pages.lower();
                false
            }
            (Some(Read::Reserve { .. }), _) => {
                self.limit.lower();
                self.unknown_get(now, out);
                false
            }
        }
    }

    fn unknown_get(&mut self, now: Millis, out: &mut Vec<Action>) {
        out.push(Action::Note(Fact::UnknownGet));
        if !self.seeded.has(Bug::NoScanAfterUnknownGet) {
            self.recovery.unknown_get(now, !self.seeded.has(Bug::NoLateScanAfterUnknownGet));
        }
    }

    fn receive(&mut self, process: &ProcessId, row: Received, recovered: bool, out: &mut Vec<Action>) {
        let again = !self.ledger.receive(process, row, recovered);
        out.push(Action::Note(Fact::Received { row: row.id, recovered, again }));
    }

    fn delivered(&mut self, now: Millis, reports: Vec<(RowId, Delivery)>, out: &mut Vec<Action>) {
        let (mut passing, mut route) = (false, false);
        for (row, delivery) in reports {
            match delivery {
                Delivery::Failed(Hindrance::Passing) => passing = true,
                Delivery::Failed(Hindrance::Route) => route = true,
                Delivery::Refused(reason) if self.ledger.is_refused_letter(row, reason) => {
                    route = true;
                    out.push(Action::Note(Fact::LetterRefused(row, reason)));
                }
                Delivery::Refused(_) => {}
                Delivery::Acknowledged => {}
            }
            match self.ledger.delivered(row, delivery) {
                Some(Settled::Acknowledged) => out.push(Action::Note(Fact::Acknowledged(row))),
                Some(Settled::DeadLettered(reason)) => out.push(Action::Note(Fact::DeadLettered(row, reason))),
                None => {}
            }
        }
        if passing {
            self.kafka.failed(now, None);
        }
        if route {
            self.route.failed(now, None);
        }
        if self.ledger.awaits_reports() {
            return;
        }
        self.ledger.order_behind_failures();
        if !self.ledger.has_unpublished() {
            self.kafka.reset();
            self.route.reset();
        }
    }

    fn produce_at(&self) -> Millis {
        self.kafka.until().max(self.route.until()).unwrap_or(Millis(0))
    }

    fn decide(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.on_its_way.is_some() || self.ledger.awaits_reports() || matches!(self.life, Life::Fresh | Life::Drained)
        {
            return;
        }
        if self.ledger.has_unpublished() && self.produce_at() <= now {
            out.extend(self.ledger.publications().into_iter().map(Action::from));
            return;
        }
        if self.portal.is_over(now) {
            let may_reserve = !self.ledger.is_confirming();
            let (clears, all) = self.ledger.clears();
            // A scan would meet rows of ours that this request does not confirm.
            let room = if all { BATCH_COMMANDS - clears.len() } else { 0 };
            let read = self.next_read(now, room, may_reserve);
            if read.is_some() || !clears.is_empty() {
                let exchange = Exchange { clears, read };
                self.on_its_way = Some(exchange.clone());
                out.push(Action::Exchange(exchange));
                return;
            }
        }
        let owes = self.ledger.has_unpublished() || self.ledger.has_clearable() || self.recovery.is_urgent();
        if self.life == Life::Draining && !owes {
            self.life = Life::Drained;
            out.push(Action::Drained);
        }
    }

    /// What to read in the next exchange, with so many commands. Nothing while rows of ours have to be produced: they come
    /// first. And nothing is reserved while a clear has failed, or what is not confirmed would grow without end.
    fn next_read(&mut self, now: Millis, room: usize, may_reserve: bool) -> Option<Read> {
        if room == 0 || self.ledger.has_unpublished() {
            return None;
        }
        let draining = self.life == Life::Draining;
        let scan = self.recovery.is_urgent() || (self.recovery.is_due(now) && !draining);
        if scan && self.scan.is_over(now) {
            let pages = u8::try_from(room).unwrap_or(u8::MAX).min(self.pages.get()).max(1);
            return Some(Read::Scan { after: self.recovery.position(now), pages });
        }
        let poll = !draining && may_reserve && self.get.is_over(now);
        let due = self.idle.next() <= now || self.ledger.has_clearable();
        if !(poll && due) {
            return None;
        }
        self.idle.asked();
        Some(Read::Reserve { limit: self.limit.get() })
    }

    /// When the next read is due, if nothing else comes before it.
    fn next_read_at(&self) -> Option<Millis> {
        let draining = self.life == Life::Draining;
        let scan = self.recovery.due_at().filter(|_| !draining || self.recovery.is_urgent());
        let scan = scan.map(|due| self.scan.until().map_or(due, |until| due.max(until)));
        let poll = self.get.until().map_or(self.idle.next(), |until| self.idle.next().max(until));
        [scan, Some(poll).filter(|_| !draining && !self.ledger.is_confirming())].into_iter().flatten().min()
    }

    /// The queue with a deliberate fault, for the model.
    #[cfg(test)]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<Bug>) -> Self {
        self.seeded = Seeded { bug };
        self.ledger.seeded = self.seeded;
        self
    }

    /// Moves the origin of time to `now` and forgets sums that only grow: two states that differ in nothing else are one
    /// state of the model.
    #[cfg(test)]
    pub fn rebase(&mut self, now: Millis) {
        self.recovery.rebase(now);
        self.idle.rebase(now);
        for backoff in [&mut self.portal, &mut self.get, &mut self.scan, &mut self.kafka, &mut self.route] {
            backoff.rebase(now);
        }
        self.ledger.forget_sums();
    }
}

/// Most rows that are held: as many as a `get` asks for, and a page of a scan at least.
fn held_limit(limit_max: u32) -> usize {
    (limit_max as usize).max(LIST_PAGE)
}
