//! The only place where the core meets IO: one task per queue that selects an input, steps the machine, and performs what
//! the machine asks for.
//!
//! The runner decides nothing. It keeps the content of the rows that the machine knows by id, turns them into records, and
//! reports what became of them: what it does not know it reports as unknown.

pub mod abandoned;
pub mod clock;
pub mod gate;
pub mod letters;
pub mod licence;
pub mod limits;
mod nameless;
mod publishing;
pub mod session;
pub mod standing;
pub mod status;
pub mod sweep;
pub mod tokens;
mod told;
pub mod trace;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use tokio::sync::mpsc;

pub use crate::protocol::queue::Settings;
use crate::{
    kafka::{producer::Producer, record::Recorder},
    metrics::Metrics,
    protocol::{
        exchange::{Answer, Exchange, LIST_PAGE, Read, ReadAnswer},
        invariants,
        ledger::Publication,
        queue::{Action, Input, Queue},
        types::{Connector, Delivery, Hindrance, Millis, Mode, NamelessRow, Row, RowId},
    },
};
use abandoned::Abandoned;
use clock::{Clock, unix_seconds};
use gate::{Gate, Urgency};
use letters::Letters;
use nameless::Shelf;
use publishing::{Tally, failures, receive, record};
use session::{Removals, Session};
use standing::Probes;
use status::{LastRead, Status};
use trace::{Trace, Tracer};

/// What somebody outside wants of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The portal says that there are new rows.
    Wake,
    /// Wake-ups are bound, with this pause between two of them at least; or they are not.
    WakeUps(Option<Millis>),
    /// What kept the portal from being served is over.
    Resume,
    /// Come to rest.
    Drain,
}

/// The task of one queue.
pub struct Runner {
    connector: Connector,
    queue: Queue,
    /// The content of the rows that are held and may have to be produced (again).
    rows: BTreeMap<RowId, Row>,
    /// The rows that have no name, if there ever was one.
    nameless: Option<Box<Shelf>>,
    /// The last read may have left rows behind that it has not told of.
    more: bool,
    recorder: Recorder,
    /// The place that the recorder knows.
    domain: Arc<str>,
    dead_letter_topic: Arc<str>,
    session: Arc<Session>,
    producer: Producer,
    metrics: Arc<Metrics>,
    letters: Arc<Letters>,
    abandoned: Arc<Abandoned>,
    clock: Clock,
    status: Arc<Status>,
    /// When the request that is under way was sent, in seconds since 1970, and how many rows it may bring.
    asked: Option<(f64, usize)>,
    /// Writes down what the machine sees; `None` without a trace.
    tracer: Option<Tracer>,
    /// Somebody has said so since the last exchange.
    woken: bool,
    /// Reused between steps.
    actions: Vec<Action>,
}

/// What all queues share.
#[derive(Clone)]
pub struct Shared {
    /// Where records go.
    pub producer: Producer,
    /// Where dead letters go.
    pub dead_letter_topic: Arc<str>,
    /// How queues are worked.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which rows went to the dead letters last.
    pub letters: Arc<Letters>,
    /// Which rows runners have left that were cut short.
    pub abandoned: Arc<Abandoned>,
    /// What time it is.
    pub clock: Clock,
    /// Where the steps of all machines are written down, if anywhere.
    pub trace: Option<Trace>,
    /// Who may call a portal now.
    pub gate: Arc<Gate>,
    /// When a parked portal is tried again.
    pub probes: Probes,
}

/// What has been finished.
enum Done {
    Exchanged(Answer<Row>, Vec<NamelessRow>),
    Delivered(Vec<(RowId, Delivery)>),
    Removed(Removals),
}

type Doing = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What the machine has asked for.
struct Work {
    doing: Doing,
    /// Rows are handed to Kafka; otherwise the portal is called.
    publishes: bool,
    /// What is deleted at the portal comes with the answer, and nobody else has it then.
    deletes: bool,
}

impl Runner {
    /// A queue that is not taken over yet.
    pub fn new(
        shared: &Shared,
        connector: Connector,
        recorder: Recorder,
        session: Arc<Session>,
        status: Arc<Status>,
    ) -> Self {
        let tracer = shared.trace.as_ref().map(|trace| trace.tracer(session.portal(), &connector));
        let poll_max = clock::own_wait(shared.settings.poll_max);
        Self {
            connector,
            queue: Queue::new(&Settings { poll_max, ..shared.settings }),
            rows: BTreeMap::new(),
            nameless: None,
            more: false,
            recorder,
            // Nowhere yet: it follows before its first record.
            domain: Arc::default(),
            dead_letter_topic: shared.dead_letter_topic.clone(),
            session,
            producer: shared.producer.clone(),
            metrics: shared.metrics.clone(),
            letters: shared.letters.clone(),
            abandoned: shared.abandoned.clone(),
            clock: shared.clock,
            status,
            asked: None,
            tracer,
            woken: false,
            actions: Vec::new(),
        }
    }

    /// Takes the queue over and works it until it is drained. Closing `commands` drains it too.
    ///
    /// Dropping the future stops at once: what is reserved then stays so until the next take-over.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut mode = self.session.licence().follow();
        let present = *mode.borrow_and_update();
        // Nothing is done before the take-over.
        if self.session.licence().is_open() {
            let _ = self.feed(Input::Mode(Mode::Conditional));
        }
        let _ = self.feed(Input::Mode(present));
        let mut next = self.feed(Input::TakeOver);
        let mut doing = None;
        let mut open = true;
        while !self.queue.is_drained() || self.owes() {
            if doing.is_none() {
                doing = self.choose(&mut next);
            }
            let clock = self.clock;
            let deadline = self.queue.deadline();
            let beside = self.beside(doing.is_some());
            let input = tokio::select! {
                biased;
                done = finish(&mut doing), if doing.is_some() => {
                    doing = None;
                    self.input(done)
                }
                reports = Shelf::reports(&mut self.nameless) => {
                    self.reported(&reports);
                    None
                }
                command = commands.recv(), if open => Some(match command {
                    Some(Command::Wake) => Input::Wake,
                    Some(Command::WakeUps(pause)) => Input::WakeUps(pause),
                    Some(Command::Resume) => Input::Resume,
                    Some(Command::Drain) => Input::Drain,
                    None => {
                        open = false;
                        Input::Drain
                    }
                }),
                Ok(()) = mode.changed() => Some(Input::Mode(*mode.borrow_and_update())),
                () = clock.sleep_until(deadline.unwrap_or_default()), if deadline.is_some() => Some(Input::Timer),
                () = clock.sleep_until(beside.unwrap_or_default()), if beside.is_some() => None,
            };
            let more = std::mem::take(&mut self.more).then_some(Input::More);
            for input in input.into_iter().chain(more) {
                next = self.feed(input).or(next);
            }
            self.tend();
        }
    }

    /// What a finished thing means to the machine, if anything.
    fn input(&mut self, done: Done) -> Option<Input> {
        match done {
            Done::Delivered(reports) => Some(Input::Delivered(reports)),
            Done::Exchanged(answer, nameless) => {
                // They are no rows to the machine, which takes a read of nothing but them for an idle one.
                self.more = !nameless.is_empty() && matches!(answer.read, ReadAnswer::Reserved { .. });
                self.shelve(nameless);
                Some(Input::Exchanged(answer.map(|row| {
                    let received = receive(&row);
                    // Kept for now; what the machine does not take in is dropped after the step.
                    self.rows.insert(row.id, row);
                    received
                })))
            }
            // Where they were there may be more, or what they stood before.
            Done::Removed(removals) => self.removed(removals).then_some(Input::More),
        }
    }

    /// One step of the machine, and all that it asks for.
    fn feed(&mut self, input: Input) -> Option<Work> {
        let failed = match &input {
            Input::Delivered(reports) => failures(reports.iter().map(|(_, delivery)| delivery)),
            _ => Vec::new(),
        };
        let brought = match &input {
            Input::Exchanged(Answer { read: ReadAnswer::Reserved { rows, .. }, .. }) => Some(rows.len()),
            Input::Exchanged(Answer { read: ReadAnswer::Listed { rows, .. }, .. }) => Some(rows.len()),
            Input::Exchanged(Answer { read: ReadAnswer::Free { rows, .. }, .. }) => Some(rows.len()),
            _ => None,
        };
        let exchanged = matches!(input, Input::Exchanged(_));
        self.woken |= matches!(input, Input::Wake | Input::Resume | Input::Drain);
        self.mended(&input);
        if exchanged {
            self.tell_read(brought);
        }
        let mut actions = std::mem::take(&mut self.actions);
        let now = self.clock.now();
        let traced = self.tracer.as_mut().and_then(|tracer| tracer.before(&self.queue, &input));
        self.queue.step(now, input, &mut actions);
        if let (Some(tracer), Some(input)) = (&mut self.tracer, traced) {
            tracer.after(now, input, &actions);
        }
        debug_assert_eq!(invariants::check(&self.queue, &actions), Ok(()));
        let tally = Tally {
            metrics: &self.metrics,
            rows: &self.rows,
            session: &self.session,
            connector: &self.connector,
            dead_letter_topic: &self.dead_letter_topic,
            letters: &self.letters,
        };
        let facts =
            actions.iter().filter_map(|action| if let Action::Note(fact) = action { Some(*fact) } else { None });
        let facts = facts.map(|fact| self.abandoned.as_counted(self.session.portal(), &self.connector, fact));
        tally.count(facts, brought, &failed);
        if exchanged {
            let ledger = self.queue.ledger();
            self.rows.retain(|id, _| ledger.contains(*id));
        }
        let mut exchange = None;
        let mut publications = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::Exchange(next) => exchange = Some(next),
                Action::Publish(publication) => publications.push(publication),
                Action::Note(_) | Action::Drained => {}
            }
        }
        self.actions = actions;
        self.update(now);
        if let Some(exchange) = exchange {
            return Some(self.ask(exchange));
        }
        if publications.is_empty() {
            return None;
        }
        self.follow();
        Some(Work { doing: self.publish(&publications), publishes: true, deletes: false })
    }

    /// A request is to be sent; what it may bring is remembered for whoever asks.
    fn ask(&mut self, exchange: Exchange) -> Work {
        for id in exchange.clears.iter().flat_map(|clear| clear.ids.as_slice()) {
            self.rows.remove(id);
        }
        let most = match exchange.read {
            Some(Read::Reserve { limit }) => usize::try_from(limit).unwrap_or(usize::MAX),
            Some(Read::Scan { pages, .. } | Read::List { pages, .. }) => usize::from(pages) * LIST_PAGE,
            None => usize::MAX,
        };
        self.asked = Some((unix_seconds(), most));
        let (session, connector) = (self.session.clone(), self.connector.clone());
        // Confirmations of a queue that is brought to rest read nothing.
        let urgent = std::mem::take(&mut self.woken) || exchange.read.is_none();
        let urgency = if urgent { Urgency::Woken } else { Urgency::Due };
        let deletes = exchange.delete.is_some();
        let doing = Box::pin(async move {
            let (answer, nameless) = session.exchange(&connector, &exchange, urgency).await;
            Done::Exchanged(answer, nameless)
        });
        Work { doing, publishes: false, deletes }
    }

    /// The request was answered, and its read has brought so many rows.
    fn tell_read(&mut self, brought: Option<usize>) {
        let (Some(rows), Some((asked, most))) = (brought, self.asked.take()) else { return };
        let at = unix_seconds();
        self.status.read(LastRead { at, rows, took: (at - asked).max(0.0), full: rows >= most });
    }

    /// Records tell where the portal is now.
    fn follow(&mut self) {
        let domain = self.session.domain();
        if domain != self.domain {
            self.recorder.relocate(&domain);
            self.domain = domain;
        }
    }

    fn publish(&self, publications: &[Publication]) -> Doing {
        let mut ids = Vec::with_capacity(publications.len());
        let mut records = Vec::with_capacity(publications.len());
        let mut missing = Vec::new();
        for publication in publications {
            match self.rows.get(&publication.row) {
                Some(row) => {
                    ids.push(publication.row);
                    records.push(record(&self.recorder, &self.dead_letter_topic, row, publication));
                }
                // The machine and the rows disagree. Nothing was produced, so nothing may be acknowledged.
                None => missing.push((publication.row, Delivery::Failed(Hindrance::Passing))),
            }
        }
        if !missing.is_empty() {
            let (portal, connector) = (self.session.portal(), self.connector.as_str());
            tracing::error!(%portal, connector, rows = missing.len(), "rows to publish are missing; the queue is held");
        }
        let (producer, metrics) = (self.producer.clone(), self.metrics.clone());
        Box::pin(async move {
            let timer = metrics.produce_seconds.start_timer();
            let deliveries = producer.publish(records).await;
            timer.observe_duration();
            let reports = ids.into_iter().zip(deliveries);
            Done::Delivered(reports.chain(missing).collect())
        })
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.abandoned.leave(self.session.portal(), &self.connector, self.queue.ledger().held_rows());
        let rows = self.queue.ledger().only_here();
        if rows > 0 {
            let (portal, connector) = (self.session.portal(), self.connector.as_str());
            tracing::error!(
                %portal, connector, rows,
                "stopped before Kafka had rows that changed at the moment of their deletion: their last change is lost",
            );
        }
    }
}

async fn finish(doing: &mut Option<Doing>) -> Done {
    match doing {
        Some(doing) => doing.await,
        None => std::future::pending().await,
    }
}
