//! Traces read back: every step of the past goes through the core again, which has to ask for the same as then.
//!
//! A trace is refused for anything that no machine can have done: another action, a step that is missing without a word,
//! a broken invariant, a state that does not follow from the steps before it. What is missing *with* a word (steps that
//! were left out, a line that a kill has broken off) is counted, and the states in the trace lead over it.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use b24kafka::{
    protocol::{
        invariants,
        queue::{Action, Input},
        types::Millis,
    },
    runner::trace::{
        line::{Begin, End, FORMAT, Line, Machine, State, Step},
        part::former,
    },
};

/// What a trace was found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lives of the bridge.
    pub processes: u64,
    /// Queues of all these lives.
    pub queues: u64,
    /// Steps that were made again.
    pub steps: u64,
    /// Steps that are missing, and the trace says so.
    pub lost: u64,
    /// Lines that a killed process has broken off.
    pub torn: u64,
    /// Steps of queues whose beginning is in a file that is gone.
    pub headless: u64,
    /// How often each kind of input and action occurred.
    pub kinds: BTreeMap<&'static str, u64>,
}

/// Why a trace is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// A queue as the trace tells it.
struct Followed {
    machine: Machine,
    step: u64,
    now: Millis,
}

#[derive(Default)]
struct Replay {
    report: Report,
    begun: Option<Begin>,
    queues: BTreeMap<u64, Followed>,
    /// What this life has told of as missing.
    lost: u64,
    ended: bool,
}

/// Replays a trace.
pub fn replay(text: &str) -> Result<Report, Refused> {
    let mut replay = Replay::default();
    let mut lines = text.split_inclusive('\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let refused = |why: String| Refused { line: index + 1, why };
        match serde_json::from_str::<Line>(line) {
            Ok(parsed) => replay.line(parsed).map_err(refused)?,
            // Broken off: at the end of everything, or before another life that goes on in the same file.
            Err(error) => match lines.peek() {
                None if !line.ends_with('\n') => replay.report.torn += 1,
                Some((_, next)) if next.starts_with(r#"{"begin":"#) => replay.report.torn += 1,
                _ => return Err(refused(format!("it cannot be read: {error}"))),
            },
        }
    }
    Ok(replay.report)
}

impl Replay {
    fn line(&mut self, line: Line) -> Result<(), String> {
        if self.begun.is_none() && !matches!(line, Line::Begin(_)) {
            return Err("the trace does not say what it is".to_owned());
        }
        if self.ended && !matches!(line, Line::Begin(_)) {
            return Err("it comes after the end".to_owned());
        }
        match line {
            Line::Begin(begin) => self.begin(begin),
            Line::State(state) => self.state(*state),
            Line::Step(step) => self.step(step),
            Line::End(End { lost }) => {
                self.ended = true;
                // What was left out last has no later line to say so.
                self.report.lost += lost.saturating_sub(self.lost);
                if self.lost > lost { Err("it misses more than it says".to_owned()) } else { Ok(()) }
            }
        }
    }

    fn begin(&mut self, begin: Begin) -> Result<(), String> {
        if begin.format != FORMAT {
            return Err(format!("it is in format {}, and {FORMAT} is read here", begin.format));
        }
        let goes_on = self.begun.as_ref().is_some_and(|b| b.begun == begin.begun && b.part + 1 == begin.part);
        if !goes_on {
            self.queues.clear();
            self.lost = 0;
            self.report.processes += 1;
        }
        self.ended = false;
        self.begun = Some(begin);
        Ok(())
    }

    fn state(&mut self, state: State) -> Result<(), String> {
        let State { queue, step, lost, machine, .. } = state;
        match self.queues.get(&queue) {
            Some(known) if step != known.step + lost => {
                return Err(format!("step {} is followed by a state after step {step}", known.step));
            }
            Some(known) if lost == 0 && known.machine != machine => {
                return Err("the state does not follow from the steps before it".to_owned());
            }
            Some(_) => {}
            None => {
                let later = self.begun.as_ref().is_some_and(|begun| begun.part > 1);
                if step != lost && !later {
                    return Err(format!("queue {queue} begins with step {step}"));
                }
                if step == 0 && !is_fresh(&machine) {
                    return Err(format!("queue {queue} does not begin at its beginning"));
                }
                self.report.queues += 1;
            }
        }
        self.lost += lost;
        self.report.lost += lost;
        let now = self.queues.get(&queue).map_or(Millis(0), |known| known.now);
        self.queues.insert(queue, Followed { machine, step, now });
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let Step { queue, step, now, input, actions } = step;
        let Some(known) = self.queues.get_mut(&queue) else {
            if self.begun.as_ref().is_some_and(|begun| begun.part > 1) {
                self.report.headless += 1;
                return Ok(());
            }
            return Err(format!("queue {queue} has no beginning"));
        };
        if step != known.step + 1 {
            return Err(format!("a gap: step {} of queue {queue} is followed by step {step}", known.step));
        }
        if now < known.now {
            return Err(format!("time goes back to {now:?} from {:?}", known.now));
        }
        self.report.steps += 1;
        *self.report.kinds.entry(input_kind(&input)).or_default() += 1;
        for action in &actions {
            *self.report.kinds.entry(action_kind(action)).or_default() += 1;
        }
        let (mut asked, mut checked) = (Vec::new(), Ok(()));
        match &mut known.machine {
            Machine::Queue(machine) => {
                machine.step(now, input, &mut asked);
                checked = checked.and(invariants::check(machine, &asked));
            }
        }
        (known.step, known.now) = (step, now);
        if asked != actions {
            return Err(format!("the trace has {actions:?}, the machine asks for {asked:?}"));
        }
        checked.map_err(|violation| format!("broken: {violation:?}"))
    }
}

/// Nothing has happened to it.
fn is_fresh(machine: &Machine) -> bool {
    let Machine::Queue(machine) = machine;
    let ledger = machine.ledger();
    machine.is_fresh() && ledger.is_empty() && ledger.sums() == (0, 0, 0) && machine.on_its_way().is_none()
}

fn input_kind(input: &Input) -> &'static str {
    match input {
        Input::TakeOver => "take-over",
        Input::Wake => "wake",
        Input::WakeUps(_) => "wake-ups",
        Input::Resume => "resume",
        Input::More => "more",
        Input::Mode(_) => "mode",
        Input::Timer => "timer",
        Input::Drain => "drain",
        Input::Exchanged(_) => "exchanged",
        Input::Delivered(_) => "delivered",
    }
}

fn action_kind(action: &Action) -> &'static str {
    match action {
        Action::Exchange(_) => "exchange",
        Action::Publish(_) => "publish",
        Action::Note(_) => "note",
        Action::Drained => "drained",
    }
}

/// Replays the trace in a file, and what is in the one before it.
pub fn replay_file(path: &Path) -> Result<Report, Refused> {
    let mut text = fs::read_to_string(former(path)).unwrap_or_default();
    text += &fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    replay(&text)
}

/// A trace that is being recorded. It is replayed when the story ends, whether or not anybody thinks of it.
pub struct Recording {
    path: PathBuf,
    /// What the test is called.
    name: String,
}

impl Recording {
    /// To be recorded in this file.
    pub fn new(path: PathBuf) -> Self {
        let name = std::thread::current().name().unwrap_or("unnamed").replace("::", "-");
        Self { path, name }
    }

    /// Where it is recorded.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the trace where somebody can look at it, or make a sample of it.
    fn keep(&self, dir: &Path) -> PathBuf {
        fs::create_dir_all(dir).expect("a directory");
        let free = |path: &PathBuf| !path.exists();
        let numbered = (1..).map(|n| dir.join(format!("{}-{n}.jsonl", self.name)));
        let kept = numbered.into_iter().find(free).expect("endless");
        let text = [former(&self.path), self.path.clone()].map(|path| fs::read(path).unwrap_or_default()).concat();
        fs::write(&kept, text).expect("written");
        kept
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // A test that fails anyway is not helped by a second reason.
        if std::thread::panicking() || !self.path.exists() {
            return;
        }
        if let Some(dir) = std::env::var_os("B24KAFKA_KEEP_TRACES") {
            self.keep(Path::new(&dir));
        }
        match replay_file(&self.path) {
            Ok(report) => println!("replayed: {report:?}"),
            Err(refused) => {
                let kept = self.keep(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target/traces"));
                panic!("the core does not accept the trace {}, {refused}", kept.display());
            }
        }
    }
}
