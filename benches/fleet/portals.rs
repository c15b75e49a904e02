//! The portals as the benchmark sees them: a process that is asked by a line and answers by a line.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::{actor, support::process::Guarded};

/// The process that plays the portals. It ends with this value.
pub struct Portals {
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _process: Guarded,
}

impl Portals {
    /// Starts it.
    pub fn start(count: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args([actor::ROLE, &count.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Guarded::spawn(&mut command);
        let stdin = process.child().stdin.take().expect("piped");
        let stdout = BufReader::new(process.child().stdout.take().expect("piped"));
        Self { pipes: Mutex::new((stdin, stdout)), _process: process }
    }

    /// Puts the portals into a registry.
    pub fn register(&self, dir: &Path) {
        self.ask(&format!("registry {}", dir.display()));
    }

    /// The section `[app]` of a bridge for them.
    pub fn app(&self) -> String {
        self.ask("app").as_str().expect("a text").to_owned()
    }

    /// Their `member_id`s.
    pub fn members(&self) -> Vec<String> {
        serde_json::from_value(self.ask("members")).expect("a list of texts")
    }

    /// A deal changes at a portal.
    pub fn emit(&self, portal: usize, deal: u64) {
        self.ask(&format!("emit {portal} {deal}"));
    }

    /// Every portal gets so many rows.
    pub fn spread(&self, rows: usize) {
        self.ask(&format!("spread {rows}"));
    }

    /// A portal gets many rows.
    pub fn flood(&self, portal: usize, rows: usize) {
        self.ask(&format!("flood {portal} {rows}"));
    }

    /// A portal takes requests and does not answer them.
    pub fn hang(&self, portal: usize) {
        self.ask(&format!("hang {portal}"));
    }

    /// It answers again.
    pub fn heal(&self, portal: usize) {
        self.ask(&format!("heal {portal}"));
    }

    /// A sum over all portals.
    pub fn sum(&self, name: &str) -> u64 {
        self.ask("sums")[name].as_u64().unwrap_or_else(|| panic!("no sum {name}"))
    }

    /// The most requests that they answered at the same time since this was last asked.
    pub fn most_at_once(&self) -> u64 {
        self.ask("most").as_u64().expect("a number")
    }

    fn ask(&self, line: &str) -> Value {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdin, stdout) = &mut *pipes;
        writeln!(stdin, "{line}").expect("the portals' process is there");
        let mut answer = String::new();
        stdout.read_line(&mut answer).expect("the portals' process is there");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{line}: {error}: {answer:?}"))
    }
}
