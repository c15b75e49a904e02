//! What is written, what is left out, and where it goes on.

use std::fs;

use super::{line::*, part::former, *};
use crate::protocol::queue::Settings;

const SETTINGS: Settings = Settings {
    limit_min: 50,
    limit_max: 100,
    poll_min: Millis::secs(1),
    poll_max: Millis::secs(8),
    sweep: Some(Millis::secs(900)),
};

/// A machine and its tracer, as a runner holds them.
struct Traced {
    machine: Queue,
    tracer: Tracer,
    now: Millis,
}

impl Traced {
    fn new(trace: &Trace) -> Self {
        let portal = PortalId::new("a1").expect("an id");
        Self { machine: Queue::new(&SETTINGS), tracer: trace.tracer(&portal, &Connector::new("erp")), now: Millis(0) }
    }

    fn feed(&mut self, input: Input) {
        let traced = self.tracer.before(&self.machine, &input);
        let mut actions = Vec::new();
        self.machine.step(self.now, input, &mut actions);
        if let Some(input) = traced {
            self.tracer.after(self.now, input, &actions);
        }
    }

    fn unknown(&mut self) {
        self.now = self.now.plus(Millis::secs(100));
        self.feed(Input::Exchanged(Answer { read: ReadAnswer::Unknown, ..Answer::default() }));
    }
}

fn lines(path: &Path) -> Vec<Line> {
    let text = fs::read_to_string(path).expect("a trace");
    text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

/// A trace that nobody writes down: what its queues hand over stays in the channel.
fn unwritten(capacity: usize) -> (Trace, mpsc::Receiver<Line>) {
    let (lines, receiver) = mpsc::channel(capacity);
    let ledger = Arc::new(Ledger { part: AtomicU64::new(1), ..Ledger::default() });
    let inner = Inner { lines, ledger, next: AtomicU64::new(0), ended: Mutex::new(None) };
    (Trace { inner: Arc::new(inner) }, receiver)
}

#[tokio::test]
async fn a_trace_tells_each_step_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("trace");
    for life in 1..=2 {
        let trace = Trace::open(&path).expect("a trace");
        let mut traced = Traced::new(&trace);
        traced.feed(Input::TakeOver);
        traced.unknown();
        trace.close().await;
        assert_eq!(trace.inner.ledger.waiting.load(Relaxed), 0, "what was taken in was written");
        traced.unknown();
        let lines = lines(&path);
        assert_eq!(lines.len(), life * 5, "nothing comes behind the end: {lines:?}");
        let [Line::Begin(begin), Line::State(state), Line::Step(first), Line::Step(_), Line::End(End { lost: 0 })] =
            &lines[lines.len() - 5..]
        else {
            panic!("{lines:?}")
        };
        assert_eq!((begin.format, begin.part), (FORMAT, 1));
        assert_eq!((state.step, state.lost, state.connector.as_str()), (0, 0, "erp"));
        assert_eq!(state.machine, Machine::Queue(Queue::new(&SETTINGS)));
        assert_eq!((first.step, &first.input, first.actions.len()), (1, &Input::TakeOver, 1));
    }
}

#[tokio::test]
async fn a_full_file_is_renamed_and_the_next_one_stands_for_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("trace");
    let trace = Trace::with(&path, 4000).expect("a trace");
    let mut traced = Traced::new(&trace);
    traced.feed(Input::TakeOver);
    // One line at a time, so that the file is full behind the last of them and nothing waits for the next one.
    while trace.inner.ledger.part.load(Relaxed) == 1 {
        traced.unknown();
        while trace.inner.ledger.waiting.load(Relaxed) > 0 {
            std::thread::yield_now();
        }
    }
    traced.unknown();
    trace.close().await;
    assert!(fs::metadata(former(&path)).expect("renamed").len() <= 4000);
    let both = [lines(&former(&path)), lines(&path)];
    let Line::Begin(Begin { part, .. }) = &both[1][0] else { panic!("{:?}", both[1]) };
    assert_eq!(*part, 2);
    assert!(both[1].iter().any(|line| matches!(line, Line::State(state) if state.step > 0 && state.lost == 0)));
}

#[test]
fn what_finds_no_room_is_counted_and_the_state_leads_over_the_gap() {
    let (trace, mut receiver) = unwritten(3);
    let mut traced = Traced::new(&trace);
    traced.feed(Input::TakeOver);
    for _ in 0..5 {
        traced.unknown();
    }
    assert_eq!(trace.inner.ledger.lost.load(Relaxed), 4, "a state and two steps had room");
    while receiver.try_recv().is_ok() {}
    let expected = traced.machine.clone();
    traced.unknown();
    let Ok(Line::State(state)) = receiver.try_recv() else { panic!("a state") };
    assert_eq!((state.step, state.lost, state.machine), (6, 4, Machine::Queue(expected)));
    let Ok(Line::Step(step)) = receiver.try_recv() else { panic!("a step") };
    assert_eq!(step.step, 7);
}

#[test]
fn what_waits_for_the_disk_is_limited_by_its_weight() {
    let (trace, _receiver) = unwritten(10);
    assert!(trace.send(WEIGHT + 1, || Line::End(End { lost: 0 })), "a heavy line alone is let through");
    assert!(!trace.send(1, || panic!("it is not even built")));
}

#[test]
fn a_line_that_a_kill_has_broken_off_does_not_spoil_the_next() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("trace");
    fs::write(&path, "{\"step\":{\"que").expect("written");
    let mut part = Part::open(&path, 1000).expect("opened");
    part.write(b"next\n").and_then(|()| part.flush()).expect("written");
    assert_eq!(fs::read_to_string(&path).expect("read"), "{\"step\":{\"que\nnext\n");
}

#[test]
fn only_a_file_of_ones_own_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("trace");
    let _held = Part::open(&path, 1000).expect("opened");
    assert!(matches!(Part::open(&path, 1000), Err(TraceError::Locked(_))));
    assert!(matches!(Part::open(dir.path(), 1000), Err(TraceError::NoFile(_))));
    assert!(matches!(Part::open(Path::new("/dev/null"), 1000), Err(TraceError::NoFile(_))));
    let nowhere = dir.path().join("nowhere/trace");
    let error = Part::open(&nowhere, 1000).expect_err("no directory");
    assert!(matches!(&error, TraceError::Io { path, .. } if *path == nowhere));
}
