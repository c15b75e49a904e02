//! How a line is written: as the subscriber's own format has it, unless it repeats.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatFields,
        format::{FormatEvent, Writer},
    },
    registry::LookupSpan,
};

use super::repeats::{Line, Repeats};

/// The fields that say what a line is about. Others, counts and errors among them, differ between repetitions.
const SUBJECT: [&str; 10] =
    ["portal", "connector", "topic", "event", "code", "reason", "class", "facility", "host", "file"];

/// How a line ends, where the number of repetitions goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// With a field behind the others.
    Text,
    /// With the brace of the object.
    Json,
}

/// Writes lines of another format, and leaves out what repeats.
pub(super) struct Lines<F> {
    format: F,
    ending: Ending,
    repeats: Arc<Mutex<Repeats>>,
}

impl<F> Lines<F> {
    pub fn new(format: F, ending: Ending, repeats: Arc<Mutex<Repeats>>) -> Self {
        Self { format, ending, repeats }
    }

    /// How many lines of this kind were left out; `None` if this one is. Who asks for debug lines gets all of them, and an
    /// error about rows may be the only thing that tells of them: one with a number of rows is always written, and one that
    /// names a row is a repetition only of itself.
    fn admit(&self, event: &Event<'_>) -> Option<u64> {
        if *event.metadata().level() > Level::INFO {
            return Some(0);
        }
        let level = *event.metadata().level();
        let mut subject = Subject { by_row: level == Level::ERROR, ..Subject::default() };
        event.record(&mut subject);
        // What says how often something was left out is no repetition of anything.
        if subject.by_row && subject.counts_rows || subject.counts_repeats {
            return Some(0);
        }
        let Subject { fields, message, .. } = subject;
        let text = fields.iter().fold(String::new(), |text, (name, value)| text + name + "=" + value + " ");
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        repeats.admit(Instant::now(), event.metadata().callsite(), text, || Line { level, message, fields })
    }
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self.admit(event) {
            None => Ok(()),
            Some(0) => self.format.format_event(ctx, writer, event),
            Some(repeats) => {
                let mut line = String::new();
                self.format.format_event(ctx, Writer::new(&mut line), event)?;
                let line = line.trim_end();
                match self.ending {
                    Ending::Text => writeln!(writer, "{line} repeats={repeats}"),
                    Ending::Json => {
                        writeln!(writer, "{},\"repeats\":{repeats}}}", line.strip_suffix('}').unwrap_or(line))
                    }
                }
            }
        }
    }
}

/// What a line is about.
#[derive(Default)]
struct Subject {
    /// The fields that say so, and their values.
    fields: Vec<(&'static str, String)>,
    /// The sentence.
    message: String,
    /// One row is told from another.
    by_row: bool,
    /// It tells a number of rows.
    counts_rows: bool,
    /// It tells how many lines were left out.
    counts_repeats: bool,
}

impl Visit for Subject {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A value that cannot be shown tells nothing apart.
        let shown = || {
            let mut text = String::new();
            let _ = write!(text, "{value:?}");
            text
        };
        match field.name() {
            "message" => self.message = shown(),
            "rows" => self.counts_rows = true,
            "repeats" => self.counts_repeats = true,
            name if SUBJECT.contains(&name) || (self.by_row && ["row", "mark"].contains(&name)) => {
                self.fields.push((name, shown()));
            }
            _ => {}
        }
    }
}
