//! Traces that the bridge has recorded go through the core again, step by step, and must be accepted.
//!
//! `tests/support/replay.rs` replays; the tiers `bridge` and `kafka` do so with all that they record. Here are samples of
//! both, which `make traces` records anew when the core has learned to act in another way, and the proof that a trace
//! which no machine can have written is refused.

#[path = "support/replay.rs"]
#[allow(dead_code, reason = "the recording half is for the tiers that record")]
mod replay;

use std::{collections::BTreeMap, fs, path::Path};

use b24kafka::{
    protocol::{
        exchange::{Answer, ReadAnswer},
        queue::{Action, Input, Queue, Settings},
        types::Millis,
    },
    runner::trace::line::{Begin, End, FORMAT, Line, Machine, State, Step},
};
use replay::{Report, replay};

/// What a sample has to hold, or it proves nothing.
const KINDS: [&str; 10] =
    ["take-over", "mode", "timer", "drain", "exchanged", "delivered", "exchange", "publish", "note", "drained"];

fn samples() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay");
    let files = fs::read_dir(dir).expect("the samples").map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "jsonl"));
    let read = |path: std::path::PathBuf| (path.display().to_string(), fs::read_to_string(&path).expect("a sample"));
    let mut samples: Vec<_> = files.map(read).collect();
    samples.sort();
    samples
}

fn accepted(text: &str) -> Report {
    replay(text).unwrap_or_else(|refused| panic!("{refused}"))
}

#[track_caller]
fn refused(text: &str, why: &str) {
    match replay(text) {
        Ok(report) => panic!("accepted: {report:?}"),
        Err(refused) => assert!(refused.why.contains(why), "refused for another reason: {refused}"),
    }
}

fn written(lines: &[Line]) -> String {
    lines.iter().map(|line| serde_json::to_string(line).expect("JSON") + "\n").collect()
}

fn parsed(text: &str) -> Vec<Line> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

#[test]
fn every_sample_is_accepted() {
    let samples = samples();
    assert!(samples.len() >= 3, "the samples are there");
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, text) in &samples {
        let report = replay(text).unwrap_or_else(|refused| panic!("{name}, {refused}"));
        println!("{name}: {report:?}");
        assert!(report.steps > 5 && report.lost == 0 && report.torn == 0, "{name}: {report:?}");
        for (kind, count) in report.kinds {
            *kinds.entry(kind).or_default() += count;
        }
    }
    for kind in KINDS {
        assert!(kinds.contains_key(kind), "no sample has {kind}: {kinds:?}");
    }
}

#[test]
fn a_missing_doubled_or_exchanged_line_is_refused() {
    for (name, text) in samples() {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for at in 0..lines.len() {
            let mut doubled = lines.clone();
            doubled.insert(at, lines[at]);
            // Twice the same beginning, or the same state, says nothing new.
            if lines[at].starts_with(r#"{"step""#) {
                assert!(replay(&doubled.concat()).is_err(), "{name}: line {} twice", at + 1);
            }
            let is_step = |at: usize| lines.get(at).is_some_and(|line| line.starts_with(r#"{"step""#));
            let mut missing = lines.clone();
            missing.remove(at);
            // What is missing at the end may have been taken by a kill.
            if is_step(at + 1) || at == 0 {
                assert!(replay(&missing.concat()).is_err(), "{name}: without line {}", at + 1);
            }
            let mut exchanged = lines.clone();
            if is_step(at) && is_step(at + 1) {
                exchanged.swap(at, at + 1);
                assert!(replay(&exchanged.concat()).is_err(), "{name}: line {} behind the next", at + 1);
            }
        }
    }
}

/// Every way in which one step can be told otherwise.
fn told_otherwise(step: &Step) -> Vec<Step> {
    let with = |change: fn(&mut Step)| {
        let mut step = step.clone();
        change(&mut step);
        step
    };
    let mut others = vec![
        with(|step| step.actions.push(Action::Drained)),
        with(|step| step.step += 1),
        with(|step| step.queue += 7),
        with(|step| {
            step.actions.pop();
        }),
        with(|step| step.actions.reverse()),
        with(|step| {
            if let Some(Action::Publish(publication)) = step.actions.last_mut() {
                publication.late = !publication.late;
            }
        }),
        with(|step| {
            if let Some(Action::Exchange(exchange)) = step.actions.last_mut() {
                exchange.clears.clear();
                exchange.read = None;
            }
        }),
    ];
    others.retain(|other| other != step);
    others
}

#[test]
fn an_action_that_the_machine_did_not_ask_for_is_refused() {
    let mut tried = 0;
    for (name, text) in samples() {
        let lines = parsed(&text);
        for (at, line) in lines.iter().enumerate() {
            let Line::Step(step) = line else { continue };
            for other in told_otherwise(step) {
                tried += 1;
                let mut tampered = lines.clone();
                tampered[at] = Line::Step(other.clone());
                let refused = replay(&written(&tampered)).expect_err("it was told otherwise");
                assert_eq!(refused.line, at + 1, "{name}: {refused}");
            }
        }
    }
    assert!(tried > 100, "only {tried}");
}

#[test]
fn an_outcome_that_was_another_is_refused() {
    let mut tried = 0;
    for (name, text) in samples() {
        for (one, other) in [
            (r#","acknowledged"]"#, r#",{"failed":"passing"}]"#),
            (r#"{"exchanged":{"clears":["done"]"#, r#"{"exchanged":{"clears":["unknown"]"#),
            (r#""read":"unknown""#, r#""read":{"refused":{"retry_after":null,"smaller":false}}"#),
            (r#""life":"fresh""#, r#""life":"drained""#),
            (r#""life":"fresh""#, r#""life":"working""#),
            (r#""format":2"#, r#""format":3"#),
            (r#"{"step":{"#, r#"{"step":{"secret":1,"#),
            (r#""malformed":false"#, r#""malformed":true"#),
        ] {
            if text.contains(one) {
                tried += 1;
                assert!(replay(&text.replacen(one, other, 1)).is_err(), "{name}: {other}");
            }
        }
    }
    assert!(tried > 15, "only {tried}");
}

#[test]
fn what_a_kill_has_broken_off_is_no_fault_and_anything_else_that_cannot_be_read_is() {
    let (_, text) = samples().swap_remove(0);
    for cut in [10, text.len() / 2, text.len() - 5] {
        let broken = &text[..cut];
        assert_eq!(accepted(broken).torn, 1, "cut at {cut}");
        // The next life ends the line and begins anew.
        let both = accepted(&format!("{broken}\n{text}"));
        assert_eq!((both.processes - u64::from(cut > 100), both.torn), (1, 1));
        let (second_line, _) = text.match_indices('\n').nth(1).expect("lines");
        refused(&format!("{broken}\n{}", &text[second_line + 1..]), "cannot be read");
    }
    refused(&text[..text.len() - 1].replacen('\n', "\nnonsense\n", 1), "cannot be read");
    refused(&format!("{text}{}", text.lines().nth(2).expect("a step")), "after the end");
}

/// A machine that writes its trace by hand.
struct Written {
    machine: Queue,
    step: u64,
    lines: Vec<Line>,
}

impl Written {
    fn new() -> Self {
        let settings =
            Settings { limit_min: 50, limit_max: 100, poll_min: Millis(500), poll_max: Millis(500), sweep: None };
        let mut written = Self { machine: Queue::new(&settings), step: 0, lines: Vec::new() };
        written.begin(1);
        written.state(0);
        written.step(Input::TakeOver);
        written
    }

    fn begin(&mut self, part: u64) {
        self.lines.push(Line::Begin(Begin { format: FORMAT, bridge: "0".into(), begun: 7, part }));
    }

    fn state(&mut self, lost: u64) {
        let (member_id, connector) = ("a1".to_owned(), String::new());
        let machine = Machine::Queue(self.machine.clone());
        self.lines.push(Line::State(Box::new(State {
            queue: 0,
            member_id,
            connector,
            step: self.step,
            lost,
            machine,
        })));
    }

    /// One step; times go on by themselves.
    fn step(&mut self, input: Input) {
        self.step += 1;
        let (now, mut actions) = (Millis::secs(self.step * 100), Vec::new());
        self.machine.step(now, input.clone(), &mut actions);
        self.lines.push(Line::Step(Step { queue: 0, step: self.step, now, input, actions }));
    }

    fn unknown(&mut self) {
        self.step(Input::Exchanged(Answer { read: ReadAnswer::Unknown, ..Answer::default() }));
    }

    fn report(&self) -> Report {
        accepted(&written(&self.lines))
    }
}

#[test]
fn a_gap_is_told_and_a_state_leads_over_it() {
    let mut trace = Written::new();
    trace.unknown();
    let kept = trace.lines.len();
    trace.unknown();
    trace.step(Input::Timer);
    trace.lines.truncate(kept);
    let silent = trace.lines.clone();
    trace.state(2);
    trace.step(Input::Drain);
    trace.lines.push(Line::End(End { lost: 2 }));
    let report = trace.report();
    assert_eq!((report.queues, report.steps, report.lost), (1, 3, 2));
    *trace.lines.last_mut().expect("the end") = Line::End(End { lost: 5 });
    assert_eq!(trace.report().lost, 5, "what was left out last is told by the end only");
    *trace.lines.last_mut().expect("the end") = Line::End(End { lost: 1 });
    refused(&written(&trace.lines), "more than it says");
    let mut gap = silent;
    gap.push(trace.lines[kept + 1].clone());
    refused(&written(&gap), "a gap");
}

#[test]
fn a_trace_goes_on_in_its_next_file() {
    let mut trace = Written::new();
    trace.unknown();
    trace.begin(2);
    let second = trace.lines.len() - 1;
    // Was on its way when the file was changed.
    trace.step(Input::Timer);
    trace.state(0);
    trace.unknown();
    let report = trace.report();
    assert_eq!((report.processes, report.queues, report.steps, report.headless), (1, 1, 4, 0));
    let alone = accepted(&written(&trace.lines[second..]));
    assert_eq!((alone.queues, alone.steps, alone.headless), (1, 1, 1));
    let mut other = Written::new();
    other.step(Input::Wake);
    let Line::State(state) = &mut trace.lines[second + 2] else { panic!("a state") };
    state.machine = Machine::Queue(other.machine);
    refused(&written(&trace.lines), "does not follow");
}
