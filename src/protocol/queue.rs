//! One queue: what was read is published and confirmed before the next rows are published.
//!
//! In reserve mode a read reserves the rows and a clear confirms them. In conditional mode it only lists them and a deletion
//! confirms them; what is special about that is in [`conditional`](super::conditional). The mode may change at any time:
//! what was read in one mode is confirmed in its own way, and what is next is read in the other.
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

mod answers;
pub mod events;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::{
    conditional::Conditional,
    exchange::{BATCH_COMMANDS, Exchange, LIST_PAGE, Read},
    ledger::{Ledger, Settled},
    pace::{AdaptiveLimit, Backoff, IdleSchedule, ListPages, ScanPages, WakeUps},
    recovery::Recovery,
    seeded::{Bug, Seeded},
    types::{Delivery, Hindrance, Millis, Mode, RowId},
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
    mode: Mode,
    /// The request that is on its way.
    on_its_way: Option<Exchange>,
    ledger: Ledger,
    recovery: Recovery,
    conditional: Conditional,
    /// Rows that the next `get` asks for.
    limit: AdaptiveLimit,
    /// Pages that the next scan asks for.
    scan_pages: ScanPages,
    /// Pages that the next listing asks for.
    list_pages: ListPages,
    idle: IdleSchedule,
    /// After trouble with the portal.
    portal: Backoff,
    /// After a `get` that failed, or whose method has to rest: a reservation or a deletion.
    get: Backoff,
    /// The same for `list`: a scan or a listing.
    list: Backoff,
    /// After trouble with Kafka.
    kafka: Backoff,
    /// After trouble that an operator has to end.
    route: Backoff,
    #[serde(skip)]
    seeded: Seeded,
}

impl Queue {
    /// A queue that has not been taken over yet; it does nothing before [`Input::TakeOver`]. It is in reserve mode until
    /// [`Input::Mode`] says otherwise; what that says before the take-over is also taken for the mode of a former owner.
    pub fn new(settings: &Settings) -> Self {
        Self {
            life: Life::Fresh,
            mode: Mode::Reserve,
            on_its_way: None,
            ledger: Ledger::default(),
            recovery: Recovery::new(settings.sweep),
            conditional: Conditional::default(),
            limit: AdaptiveLimit::new(settings.limit_min, settings.limit_max),
            scan_pages: ScanPages::new((settings.limit_max as usize).max(LIST_PAGE)),
            // One page is left to the young rows, which may all be published as they are.
            list_pages: ListPages::new(held_limit(settings.limit_max) - LIST_PAGE),
            idle: IdleSchedule::new(settings.poll_min, settings.poll_max),
            portal: Backoff::new(Millis::secs(1), Millis::secs(60)),
            get: Backoff::new(Millis::secs(1), Millis::secs(60)),
            list: Backoff::new(Millis::secs(1), Millis::secs(60)),
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
                self.reset_portal();
                self.route.cut();
                self.idle.poll_now(now);
            }
            Input::More => self.idle.poll_now(now),
            Input::Mode(mode) => self.change_mode(now, mode),
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
        let delete = self.may_delete().then(|| after_trouble(self.get.until().unwrap_or_default()));
        let confirm = self.ledger.has_clears().then(|| after_trouble(Millis(0)));
        let read = if produce.is_none() { self.next_read_at().map(after_trouble) } else { None };
        [produce, confirm, delete, read].into_iter().flatten().min()
    }

    /// How its rows are read.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether rows that are free at the portal may have been published: the next owner is to be told
    /// [`Mode::Conditional`] before it takes over, whatever mode it begins in.
    pub fn leaves_published_rows(&self) -> bool {
        self.conditional.is_open()
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
        self.ledger.end_of_reports();
        if !self.ledger.has_unpublished() {
            self.kafka.reset();
            self.route.reset();
        }
    }

    /// Whether what was listed can be deleted: all of it is acknowledged. A wish to delete that failed stays one, in either
    /// mode.
    fn may_delete(&self) -> bool {
        self.conditional.has_round() && !self.ledger.has_unpublished()
    }

    fn change_mode(&mut self, now: Millis, mode: Mode) {
        if mode == Mode::Conditional {
            self.conditional.begin(self.life == Life::Fresh);
        }
        if self.mode != mode {
            self.mode = mode;
            // What was refused was refused for the mode.
            self.reset_portal();
            self.idle.poll_now(now);
        }
    }

    fn reset_portal(&mut self) {
        for backoff in [&mut self.portal, &mut self.get, &mut self.list] {
            backoff.reset();
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
        if self.portal.is_over(now)
            && let Some(exchange) = self.next_exchange(now)
        {
            self.on_its_way = Some(exchange.clone());
            out.push(Action::Exchange(exchange));
            return;
        }
        let owes = self.ledger.has_unpublished()
            || self.ledger.has_clears()
            || self.conditional.has_round()
            || self.recovery.is_urgent();
        if self.life == Life::Draining && !owes {
            self.life = Life::Drained;
            out.push(Action::Drained);
        }
    }

    fn next_exchange(&mut self, now: Millis) -> Option<Exchange> {
        // Nothing is reserved while a confirmation has failed, or what is not confirmed would grow without end; nor while
        // listed rows are still to be deleted, or they would be reserved too.
        let may_reserve = !self.ledger.is_confirming() && !self.conditional.has_round();
        let (clears, all) = self.ledger.clears();
        let free = BATCH_COMMANDS - clears.len();
        let delete = if self.may_delete() && self.get.is_over(now) && free > 0 {
            self.ledger.deleting();
            self.conditional.deletion(now)
        } else {
            None
        };
        // A scan would meet rows of ours that this request does not confirm.
        let room = if all { free - usize::from(delete.is_some()) } else { 0 };
        let read = self.next_read(now, room, may_reserve, delete.is_some());
        let asks = read.is_some() || delete.is_some() || !clears.is_empty();
        asks.then_some(Exchange { clears, delete, read })
    }

    /// What to read in the next exchange, with so many commands. Nothing while rows of ours have to be produced: they come
    /// first.
    fn next_read(&mut self, now: Millis, room: usize, may_reserve: bool, deletes: bool) -> Option<Read> {
        if room == 0 || self.ledger.has_unpublished() {
            return None;
        }
        let draining = self.life == Life::Draining;
        let scan = self.recovery.is_urgent() || (self.recovery.is_due(now) && !draining);
        let pages = |most: u8, room: usize| u8::try_from(room).unwrap_or(u8::MAX).min(most).max(1);
        if scan && self.list.is_over(now) {
            let pages = pages(self.scan_pages.get(), room);
            return Some(Read::Scan { after: self.recovery.position(now), pages });
        }
        let due = self.idle.next() <= now || self.ledger.has_clearable();
        if draining || !due {
            return None;
        }
        let read = match self.mode {
            Mode::Reserve if may_reserve && self.get.is_over(now) => Read::Reserve { limit: self.limit.get() },
            // What was listed and is not yet deleted would only be listed again, and what cannot be deleted as well.
            Mode::Conditional if (deletes || !self.conditional.has_round()) && self.may_list(now) && room > 1 => {
                self.conditional.next_list(now, pages(self.list_pages.get(), room - 1))
            }
            Mode::Reserve | Mode::Conditional => return None,
        };
        self.idle.asked();
        Some(read)
    }

    fn may_list(&self, now: Millis) -> bool {
        self.list.is_over(now) && self.get.is_over(now)
    }

    /// When the next read is due, if nothing else comes before it.
    fn next_read_at(&self) -> Option<Millis> {
        let draining = self.life == Life::Draining;
        let later = |due: Millis, backoff: &Backoff| backoff.until().map_or(due, |until| due.max(until));
        let scan = self.recovery.due_at().filter(|_| !draining || self.recovery.is_urgent());
        let scan = scan.map(|due| later(due, &self.list));
        let poll = match self.mode {
            Mode::Reserve => Some(later(self.idle.next(), &self.get)).filter(|_| !self.ledger.is_confirming()),
            Mode::Conditional => Some(later(later(self.idle.next(), &self.list), &self.get)),
        };
        // What was listed is deleted first, and that has a deadline of its own.
        [scan, poll.filter(|_| !draining && !self.conditional.has_round())].into_iter().flatten().min()
    }

    /// The queue with a deliberate fault, for the model.
    #[cfg(test)]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<Bug>) -> Self {
        self.seeded = Seeded { bug };
        (self.ledger.seeded, self.conditional.seeded) = (self.seeded, self.seeded);
        self
    }

    /// Moves the origin of time to `now` and forgets sums that only grow: two states that differ in nothing else are one
    /// state of the model.
    #[cfg(test)]
    pub fn rebase(&mut self, now: Millis) {
        self.recovery.rebase(now);
        self.idle.rebase(now);
        for backoff in [&mut self.portal, &mut self.get, &mut self.list, &mut self.kafka, &mut self.route] {
            backoff.rebase(now);
        }
        self.ledger.forget_sums();
    }

    /// Moves the origin of the portal's time by so many seconds, with [`Queue::rebase`].
    #[cfg(test)]
    pub fn rebase_portal(&mut self, now: Millis, seconds: i64, clamp: impl Fn(i64) -> i64 + Copy) {
        self.conditional.rebase(now, seconds, clamp);
        self.ledger.rebase_portal(|at| clamp(at - seconds));
        if let Some(exchange) = &mut self.on_its_way {
            exchange.rebase_portal(|at| clamp(at - seconds));
        }
    }
}

/// Most rows that are held: as many as a `get` asks for, and two pages of a list at least.
fn held_limit(limit_max: u32) -> usize {
    (limit_max as usize).max(2 * LIST_PAGE)
}
