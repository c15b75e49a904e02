//! The only place where the core meets IO: one task per queue that selects an input, steps the machine, and performs what
//! the machine asks for.
//!
//! The runner decides nothing. It keeps the content of the rows that the machine knows by id, turns them into records, and
//! reports what became of them: what it does not know it reports as unknown.

pub mod clock;
pub mod gate;
pub mod session;
pub mod standing;
pub mod status;
pub mod tokens;
pub mod trace;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use tokio::sync::mpsc;

pub use crate::protocol::queue::Settings;
use crate::{
    kafka::{
        producer::Producer,
        record::{Marks, Record, Recorder},
    },
    metrics::{
        Metrics,
        labels::{ProduceFailure, Stage},
    },
    protocol::{
        exchange::{Answer, ReadAnswer},
        invariants,
        ledger::Publication,
        queue::{Action, Fact, Input, Queue, Received},
        types::{Body, Connector, Delivery, Hindrance, Millis, Refusal, Row, RowId},
    },
};
use clock::{Clock, unix_seconds};
use gate::{Gate, Urgency};
use session::Session;
use status::Status;
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
    recorder: Recorder,
    /// The place that the recorder knows.
    domain: Arc<str>,
    dead_letter_topic: Arc<str>,
    session: Arc<Session>,
    producer: Producer,
    metrics: Arc<Metrics>,
    clock: Clock,
    status: Arc<Status>,
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
    /// What time it is.
    pub clock: Clock,
    /// Where the steps of all machines are written down, if anywhere.
    pub trace: Option<Trace>,
    /// Who may call a portal now.
    pub gate: Arc<Gate>,
}

/// What has been finished.
enum Done {
    Exchanged(Answer<Row>),
    Delivered(Vec<(RowId, Delivery)>),
}

type Doing = Pin<Box<dyn Future<Output = Done> + Send>>;

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
            recorder,
            // Nowhere yet: it follows before its first record.
            domain: Arc::default(),
            dead_letter_topic: shared.dead_letter_topic.clone(),
            session,
            producer: shared.producer.clone(),
            metrics: shared.metrics.clone(),
            clock: shared.clock,
            status,
            tracer,
            woken: false,
            actions: Vec::new(),
        }
    }

    /// Takes the queue over and works it until it is drained. Closing `commands` drains it too.
    ///
    /// Dropping the future stops at once: what is reserved then stays so until the next take-over.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut doing = self.feed(Input::TakeOver);
        let mut open = true;
        while !self.queue.is_drained() {
            let clock = self.clock;
            let deadline = self.queue.deadline();
            let input = tokio::select! {
                biased;
                done = finish(&mut doing), if doing.is_some() => {
                    doing = None;
                    self.input(done)
                }
                command = commands.recv(), if open => match command {
                    Some(Command::Wake) => Input::Wake,
                    Some(Command::WakeUps(pause)) => Input::WakeUps(pause),
                    Some(Command::Resume) => Input::Resume,
                    Some(Command::Drain) => Input::Drain,
                    None => {
                        open = false;
                        Input::Drain
                    }
                },
                () = clock.sleep_until(deadline.unwrap_or_default()), if deadline.is_some() => Input::Timer,
            };
            if let Some(next) = self.feed(input) {
                doing = Some(next);
            }
        }
    }

    fn input(&mut self, done: Done) -> Input {
        match done {
            Done::Delivered(reports) => Input::Delivered(reports),
            Done::Exchanged(Answer { clears, read }) => {
                let read = read.map(|row| {
                    let received = receive(&row);
                    // Kept for now; what the machine does not take in is dropped after the step.
                    self.rows.insert(row.id, row);
                    received
                });
                Input::Exchanged(Answer { clears, read })
            }
        }
    }

    /// One step of the machine, and all that it asks for.
    fn feed(&mut self, input: Input) -> Option<Doing> {
        let failed = failures(&input);
        let brought = match &input {
            Input::Exchanged(Answer { read: ReadAnswer::Reserved { rows, .. }, .. }) => Some(rows.len()),
            Input::Exchanged(Answer { read: ReadAnswer::Listed { rows, .. }, .. }) => Some(rows.len()),
            _ => None,
        };
        let exchanged = matches!(input, Input::Exchanged(_));
        self.woken |= matches!(input, Input::Wake | Input::Resume | Input::Drain);
        let mut actions = std::mem::take(&mut self.actions);
        let now = self.clock.now();
        let traced = self.tracer.as_mut().and_then(|tracer| tracer.before(&self.queue, &input));
        self.queue.step(now, input, &mut actions);
        if let (Some(tracer), Some(input)) = (&mut self.tracer, traced) {
            tracer.after(now, input, &actions);
        }
        debug_assert_eq!(invariants::check(&self.queue, &actions), Ok(()));
        self.count(&actions, brought, &failed);
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
        self.status.update(&self.queue);
        if let Some(exchange) = exchange {
            for id in exchange.clears.iter().flat_map(|clear| clear.ids.as_slice()) {
                self.rows.remove(id);
            }
            let (session, connector) = (self.session.clone(), self.connector.clone());
            // Confirmations of a queue that is brought to rest read nothing.
            let urgent = std::mem::take(&mut self.woken) || exchange.read.is_none();
            let urgency = if urgent { Urgency::Woken } else { Urgency::Due };
            return Some(Box::pin(
                async move { Done::Exchanged(session.exchange(&connector, &exchange, urgency).await) },
            ));
        }
        if publications.is_empty() {
            return None;
        }
        self.follow();
        Some(self.publish(&publications))
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
                    let record = self.record(row, publication);
                    records.push(Record { alone: record.alone || publication.alone, ..record });
                }
                // The machine and the rows disagree. Nothing was produced, so nothing may be acknowledged.
                None => missing.push((publication.row, Delivery::Failed(Hindrance::Passing))),
            }
        }
        if !missing.is_empty() {
            tracing::error!(rows = missing.len(), "rows to publish are missing; the queue is held");
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

    fn record(&self, row: &Row, publication: &Publication) -> Record {
        let marks = Marks { redelivery: publication.redelivery, late: publication.late };
        match (&row.body, publication.refused) {
            (Body::Event(event), None) => self.recorder.record(row.id, event, marks),
            (Body::Event(_), Some(reason)) => {
                let detail = match reason {
                    Refusal::TooLarge => "the record is larger than the producer or the topic allows",
                    Refusal::InvalidRecord => "the broker refused the record",
                    Refusal::MalformedRow => "the row cannot be read",
                };
                self.recorder.dead_letter(&self.dead_letter_topic, row, reason, detail)
            }
            (Body::Malformed(malformed), reason) => {
                let reason = reason.unwrap_or(Refusal::MalformedRow);
                self.recorder.dead_letter(&self.dead_letter_topic, row, reason, &malformed.detail)
            }
        }
    }

    /// Metrics and log of one step. The sums of conservation change as one.
    fn count(&self, actions: &[Action], brought: Option<usize>, failed: &[(ProduceFailure, u64)]) {
        let mut received: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut acknowledged: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut dead: Vec<Refusal> = Vec::new();
        let (mut recovered, mut cleared, mut held) = (0, 0, 0_i64);
        for action in actions {
            let Action::Note(fact) = action else { continue };
            match *fact {
                Fact::Received { row, recovered: again_found, again } => {
                    recovered += u64::from(again_found);
                    if !again {
                        *received.entry(self.entity(row)).or_default() += 1;
                        held += 1;
                    }
                }
                Fact::Acknowledged(row) => {
                    *acknowledged.entry(self.entity(row)).or_default() += 1;
                    held -= 1;
                }
                Fact::DeadLettered(row, reason) => {
                    tracing::warn!(%row, reason = reason.as_str(), "a row went to the dead letters");
                    dead.push(reason);
                    held -= 1;
                }
                Fact::LetterRefused(row, reason) => {
                    let (portal, topic) = (self.session.portal(), &*self.dead_letter_topic);
                    tracing::error!(
                        %portal, %row, topic, reason = reason.as_str(),
                        "the dead-letter topic refuses a dead letter; its row stays reserved until the topic takes it",
                    );
                }
                Fact::Cleared(rows) => cleared += rows as u64,
                Fact::UnknownGet | Fact::WakeUpsMissed | Fact::WakeUpsBack => self.tell(*fact),
            }
        }
        let m = &self.metrics;
        if held != 0 || !received.is_empty() || !acknowledged.is_empty() || !dead.is_empty() {
            m.flow(|m| {
                for (entity, rows) in &received {
                    m.rows_received.with_label_values(&[entity]).inc_by(*rows);
                }
                for (entity, rows) in &acknowledged {
                    m.records_acknowledged.with_label_values(&[entity]).inc_by(*rows);
                }
                for reason in &dead {
                    m.dead_letters.with_label_values(&[reason.as_str()]).inc();
                }
                m.rows_held.add(held);
                self.session.series().moved(received.values().sum(), held);
            });
        }
        if !acknowledged.is_empty() {
            m.succeeded(Stage::Produce);
            self.observe_ages(actions);
        }
        if recovered > 0 {
            m.rows_recovered.inc_by(recovered);
            tracing::info!(rows = recovered, "found rows in a reservation that nobody held");
        }
        if cleared > 0 {
            m.rows_cleared.inc_by(cleared);
            m.succeeded(Stage::Clear);
        }
        if let Some(rows) = brought {
            #[expect(clippy::cast_precision_loss, reason = "a count of rows of one answer")]
            m.exchange_rows.observe(rows as f64);
            m.succeeded(Stage::Fetch);
        }
        for (class, records) in failed {
            m.produce_failures.with_label_values(&[class.as_str()]).inc_by(*records);
        }
    }

    /// How late what was acknowledged in this step is.
    fn observe_ages(&self, actions: &[Action]) {
        let now = unix_seconds();
        for action in actions {
            if let Action::Note(Fact::Acknowledged(row)) = action
                && let Some(Row { body: Body::Event(event), .. }) = self.rows.get(row)
            {
                #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit into 52 bits")]
                self.metrics.event_age_seconds.observe((now - event.changed_at as f64).max(0.0));
            }
        }
    }

    /// A fact that is only for the log.
    fn tell(&self, fact: Fact) {
        let (portal, connector) = (self.session.portal(), self.connector.as_str());
        match fact {
            Fact::WakeUpsMissed => tracing::warn!(
                %portal, connector,
                "rows came that no wake-up announced: the queue is polled more often until wake-ups come again",
            ),
            Fact::WakeUpsBack => tracing::info!(%portal, connector, "wake-ups come again"),
            _ => tracing::debug!(
                %portal, connector, "the outcome of a get is unknown; looking for what it reserved",
            ),
        }
    }

    fn entity(&self, row: RowId) -> &'static str {
        match self.rows.get(&row) {
            Some(Row { body: Body::Event(event), .. }) => event.entity,
            _ => "other",
        }
    }
}

async fn finish(doing: &mut Option<Doing>) -> Done {
    match doing {
        Some(doing) => doing.await,
        None => std::future::pending().await,
    }
}

fn receive(row: &Row) -> Received {
    match &row.body {
        Body::Event(event) => Received { id: row.id, key: event.key, malformed: false },
        // A class of its own: nobody knows which entity it is about.
        Body::Malformed(_) => {
            Received { id: row.id, key: crate::protocol::types::EntityKey(row.id.get()), malformed: true }
        }
    }
}

fn failures(input: &Input) -> Vec<(ProduceFailure, u64)> {
    let Input::Delivered(reports) = input else { return Vec::new() };
    let mut counts: BTreeMap<ProduceFailure, u64> = BTreeMap::new();
    for (_, delivery) in reports {
        let class = match delivery {
            Delivery::Acknowledged => continue,
            Delivery::Failed(Hindrance::Passing) => ProduceFailure::Passing,
            Delivery::Failed(Hindrance::Route) => ProduceFailure::Route,
            Delivery::Refused(_) => ProduceFailure::Record,
        };
        *counts.entry(class).or_default() += 1;
    }
    counts.into_iter().collect()
}
