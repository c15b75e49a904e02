//! Traces: every input of every queue's machine with its time, and what the machine asked for, in a file.
//!
//! A trace holds what the machines see and nothing else: ids of rows and reservations, hashes of entities, outcomes. No
//! content of a row and no token goes through a machine, so none can get here. Whoever replays a trace through the core
//! (`tests/replay.rs` does) meets each step of the past again and can check it, as often as needed.
//!
//! The runner only copies what it has and passes it on: it never waits for the disk. If the disk is slower than the
//! queues, steps are left out; the file says how many, and the state of the machine stands behind the gap, so that it can
//! be followed from there.

pub mod line;
pub mod part;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::clock::unix_seconds;
use crate::{
    chain::chain,
    protocol::{
        exchange::{Answer, Deleted, ReadAnswer},
        queue::{Action, Input, Queue},
        types::{Connector, Millis, PortalId},
    },
};
use line::{Begin, End, FORMAT, Line, Machine, State, Step};
use part::Part;

/// A file of a trace is renamed when it has so many bytes: half a GiB for both files is a day or more of a busy bridge.
const PART_BYTES: u64 = 256 << 20;
/// Lines that may wait for the disk.
const LINES: usize = 8192;
/// What these lines may hold together, in rows and actions: some 50 MiB.
const WEIGHT: usize = 500_000;
/// How long a stop waits for the disk.
const CLOSING: Duration = Duration::from_secs(10);

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be written.
    #[error("the trace {} cannot be written", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is something else in its place.
    #[error("the trace {} is no regular file; name one, or a path where nothing is yet", .0.display())]
    NoFile(PathBuf),
    /// Another process writes it.
    #[error("the trace {} is written by another process; name another file", .0.display())]
    Locked(PathBuf),
}

/// What all queues share of a trace. Clones share it.
#[derive(Clone, Debug)]
pub struct Trace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lines: mpsc::Sender<Line>,
    ledger: Arc<Ledger>,
    /// The number of the next queue.
    next: AtomicU64,
    /// Told when the last line is written.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// What queues and writer tell each other.
#[derive(Debug, Default)]
struct Ledger {
    /// The weight of the lines that wait.
    waiting: AtomicUsize,
    /// Steps that are not in the trace.
    lost: AtomicU64,
    /// The file that is being written; a queue whose state is in an older one has to tell it again.
    part: AtomicU64,
    /// The operator has been told that steps are left out.
    told: AtomicBool,
}

impl Trace {
    /// Opens the file and starts the thread that writes to it.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        Self::with(path, PART_BYTES)
    }

    fn with(path: &Path, limit: u64) -> Result<Self, TraceError> {
        let part = Part::open(path, limit)?;
        let (lines, queue) = mpsc::channel(LINES);
        let ledger = Arc::new(Ledger { part: AtomicU64::new(1), ..Ledger::default() });
        let (told, ended) = oneshot::channel();
        let writer = Writer { part, ledger: ledger.clone(), begun: begun(), line: Vec::new() };
        let thread = std::thread::Builder::new().name("trace".to_owned());
        let spawned = thread.spawn(move || {
            writer.run(queue);
            let _ = told.send(());
        });
        spawned.map_err(|source| TraceError::Io { path: path.to_path_buf(), source })?;
        Ok(Self { inner: Arc::new(Inner { lines, ledger, next: AtomicU64::new(0), ended: Mutex::new(Some(ended)) }) })
    }

    /// For a queue that begins.
    pub fn tracer(&self, portal: &PortalId, connector: &Connector) -> Tracer {
        Tracer {
            trace: self.clone(),
            queue: self.inner.next.fetch_add(1, Relaxed),
            portal: portal.clone(),
            connector: connector.clone(),
            part: 0,
            step: 0,
            lost: 0,
        }
    }

    /// Ends the trace: waits until everything is written, within a limit. What comes later is not in it.
    pub async fn close(&self) {
        let ended = self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ended) = ended else { return };
        let closing = async {
            let lost = self.inner.ledger.lost.load(Relaxed);
            if self.inner.lines.send(Line::End(End { lost })).await.is_ok() {
                let _ = ended.await;
            }
        };
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
            tracing::error!(grace_s = CLOSING.as_secs(), "the end of the trace is not written: the disk is too slow");
        }
    }

    /// Hands a line to the writer, if there is room for it; it is built only then.
    fn send(&self, weight: usize, line: impl FnOnce() -> Line) -> bool {
        let ledger = &self.inner.ledger;
        let waiting = ledger.waiting.fetch_add(weight, Relaxed);
        // A heavy line alone is let through: it will be written some time.
        let fits = waiting == 0 || waiting + weight <= WEIGHT;
        if fits && self.inner.lines.try_send(line()).is_ok() {
            return true;
        }
        ledger.waiting.fetch_sub(weight, Relaxed);
        false
    }
}

/// The part of one queue in a trace.
#[derive(Debug)]
pub struct Tracer {
    trace: Trace,
    queue: u64,
    portal: PortalId,
    connector: Connector,
    /// The file that holds the state of the machine; 0 if the reader does not know it.
    part: u64,
    /// Steps that were made.
    step: u64,
    /// How many of them have been left out since the last line.
    lost: u64,
}

impl Tracer {
    /// Before a step. Returns what [`Tracer::after`] needs; `None` if the trace has ended.
    pub fn before(&mut self, machine: &Queue, input: &Input) -> Option<Input> {
        if self.trace.inner.lines.is_closed() {
            return None;
        }
        let part = self.trace.inner.ledger.part.load(Relaxed);
        if self.part != part {
            let state = || State {
                queue: self.queue,
                member_id: self.portal.as_str().to_owned(),
                connector: self.connector.as_str().to_owned(),
                step: self.step,
                lost: self.lost,
                machine: Machine::Queue(machine.clone()),
            };
            if self.trace.send(weight_of(machine), || Line::State(Box::new(state()))) {
                (self.part, self.lost) = (part, 0);
            } else {
                self.part = 0;
            }
        }
        Some(input.clone())
    }

    /// After the step.
    pub fn after(&mut self, now: Millis, input: Input, actions: &[Action]) {
        self.step += 1;
        if self.part != 0 {
            let (queue, step, weight) = (self.queue, self.step, weight_in(&input, actions));
            if self.trace.send(weight, || Line::Step(Step { queue, step, now, input, actions: actions.to_vec() })) {
                return;
            }
        }
        self.part = 0;
        self.lost += 1;
        let ledger = &self.trace.inner.ledger;
        ledger.lost.fetch_add(1, Relaxed);
        if !self.trace.inner.lines.is_closed() && !ledger.told.swap(true, Relaxed) {
            tracing::warn!("the trace has gaps: its disk is slower than the queues");
        }
    }
}

fn weight_of(machine: &Queue) -> usize {
    1 + machine.ledger().len()
}

fn weight_in(input: &Input, actions: &[Action]) -> usize {
    let rows = match input {
        Input::Exchanged(Answer { read, deleted, .. }) => {
            let read = match read {
                ReadAnswer::Reserved { rows, .. } => rows.len(),
                ReadAnswer::Listed { rows, .. } => rows.len(),
                ReadAnswer::Free { rows, young, .. } => rows.len() + young.len(),
                ReadAnswer::NotAsked | ReadAnswer::Refused { .. } | ReadAnswer::Unknown => 0,
            };
            let Deleted::Done { rows } = deleted else { return 1 + read + actions.len() };
            read + rows.len()
        }
        Input::Delivered(reports) => reports.len(),
        _ => 0,
    };
    1 + rows + actions.len()
}

fn weight(line: &Line) -> usize {
    match line {
        Line::State(state) => match &state.machine {
            Machine::Queue(machine) => weight_of(machine),
        },
        Line::Step(step) => weight_in(&step.input, &step.actions),
        Line::Begin(_) | Line::End(_) => 0,
    }
}

/// The thread that writes.
struct Writer {
    part: Part,
    ledger: Arc<Ledger>,
    begun: u64,
    /// Reused between lines.
    line: Vec<u8>,
}

impl Writer {
    fn run(mut self, mut lines: mpsc::Receiver<Line>) {
        if let Err(error) = self.write_all(&mut lines) {
            tracing::error!(error = %chain(&error), "the trace ends here; the bridge goes on without it");
        }
    }

    fn write_all(&mut self, lines: &mut mpsc::Receiver<Line>) -> Result<(), TraceError> {
        self.begin(1)?;
        loop {
            let line = match lines.try_recv() {
                Ok(line) => line,
                Err(_) => {
                    // Nothing waits: what a kill would take with it is as little as can be.
                    self.part.flush()?;
                    let Some(line) = lines.blocking_recv() else { return Ok(()) };
                    line
                }
            };
            self.write(&line)?;
            self.ledger.waiting.fetch_sub(weight(&line), Relaxed);
            if matches!(line, Line::End(_)) {
                return self.part.flush();
            }
        }
    }

    fn begin(&mut self, part: u64) -> Result<(), TraceError> {
        let begin = Begin { format: FORMAT, bridge: env!("CARGO_PKG_VERSION").into(), begun: self.begun, part };
        self.encode(&Line::Begin(begin))?;
        self.part.write(&self.line)
    }

    fn write(&mut self, line: &Line) -> Result<(), TraceError> {
        self.encode(line)?;
        if !self.part.has_room(self.line.len()) {
            self.part.turn()?;
            let part = self.ledger.part.fetch_add(1, Relaxed) + 1;
            self.begin(part)?;
            self.encode(line)?;
        }
        self.part.write(&self.line)
    }

    fn encode(&mut self, line: &Line) -> Result<(), TraceError> {
        self.line.clear();
        let encoded = serde_json::to_writer(&mut self.line, line);
        self.line.push(b'\n');
        encoded.map_err(|error| TraceError::Io { path: self.part.path().to_path_buf(), source: error.into() })
    }
}

/// Now, in milliseconds since 1970.
fn begun() -> u64 {
    u64::try_from(Duration::from_secs_f64(unix_seconds()).as_millis()).unwrap_or(u64::MAX)
}
