//! What a trace holds: one JSON object a line, of a kind that its only key names.
//!
//! ```json
//! {"begin":{"format":2,"bridge":"0.1.0","begun":1764057600123,"part":1}}
//! {"state":{"queue":0,"member_id":"a223c6b3710f85df22e9377d6c4f7553","connector":"","step":0,"lost":0,"machine":{"queue":{"life":"fresh"}}}}
//! {"step":{"queue":0,"step":1,"now":3,"input":"take_over","actions":[{"exchange":{"clears":[],"delete":null,"read":{"scan":{"after":null,"pages":20}}}}]}}
//! {"end":{"lost":0}}
//! ```
//!
//! (The machine of the second line is cut short here.) A `step` whose number does not follow is a gap, and so is a `state`
//! whose `lost` is not 0. A line that breaks off is the last that a killed process wrote.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::protocol::{
    queue::{Action, Input, Queue},
    types::Millis,
};

/// The version of the format; whoever reads another one has to refuse it.
pub const FORMAT: u32 = 2;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// A process begins to write, or goes on in a new file.
    Begin(Begin),
    /// The state of a queue's machine from here on.
    State(Box<State>),
    /// One step of a queue's machine.
    Step(Step),
    /// The process has ended in order.
    End(End),
}

/// A process begins to write, or goes on in a new file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the bridge.
    pub bridge: Cow<'static, str>,
    /// When the process began, in milliseconds since 1970; the same in all its parts.
    pub begun: u64,
    /// Which of this process's files it is, from 1.
    pub part: u64,
}

/// The state of a queue's machine from here on: at its beginning, in a new file, and after a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The number of the queue, for this process only.
    pub queue: u64,
    /// Whose queue it is.
    pub member_id: String,
    /// Which of the portal's queues it is.
    pub connector: String,
    /// How many steps the machine has made.
    pub step: u64,
    /// How many of them are missing before this line.
    pub lost: u64,
    /// The state.
    pub machine: Machine,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Machine {
    /// Of a queue, in either mode.
    Queue(Queue),
}

/// One step of a queue's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Which queue.
    pub queue: u64,
    /// The number of the step, from 1, without gaps.
    pub step: u64,
    /// When it was, on the clock of the process.
    pub now: Millis,
    /// What came in.
    pub input: Input,
    /// What the machine asked for.
    pub actions: Vec<Action>,
}

/// The process has ended in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// How many steps of all queues are not in the trace.
    pub lost: u64,
}
