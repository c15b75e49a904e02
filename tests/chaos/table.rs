//! The table: what each scenario survived and what that cost.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;

use super::plan;

/// One scenario that ended well.
#[derive(Clone, Debug)]
pub struct Row {
    /// What went wrong.
    pub scenario: &'static str,
    /// How often.
    pub faults: usize,
    /// Rows that the portals had.
    pub rows: usize,
    /// Records beyond the first of each change.
    pub duplicates: usize,
    /// The longest time in which rows waited and none was cleared.
    pub stall: Duration,
    /// How long it took.
    pub took: Duration,
    /// What else is worth a word.
    pub note: String,
}

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// Prints a row and writes the table so far to `target/chaos.txt` and `target/chaos.json`.
pub fn add(row: Row) {
    let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    if rows.is_empty() {
        println!("{}", head());
    }
    println!("{}", line(&row));
    rows.push(row);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in target");
    let text = rows.iter().fold(head(), |text, row| text + "\n" + &line(row)) + "\n";
    std::fs::write(dir.join("chaos.txt"), text).expect("target/chaos.txt is written");
    let all: Vec<_> = rows.iter().map(entry).collect();
    let whole = json!({ "seed": plan::seed(), "long": plan::is_long(), "scenarios": all });
    std::fs::write(dir.join("chaos.json"), format!("{whole:#}\n")).expect("target/chaos.json is written");
}

fn head() -> String {
    let version = plan::size("short", "long");
    let mut text = format!("chaos, the {version} version, seed {}\n", plan::seed());
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{:<44} {:>6} {:>8} {:>10} {:>9} {:>8}",
        "scenario", "faults", "rows", "duplicates", "stall s", "took s"
    );
    text
}

fn line(row: &Row) -> String {
    let (stall, took) = (row.stall.as_secs_f64(), row.took.as_secs_f64());
    let note = if row.note.is_empty() { String::new() } else { format!("  {}", row.note) };
    format!(
        "{:<44} {:>6} {:>8} {:>10} {stall:>9.1} {took:>8.1}{note}",
        row.scenario, row.faults, row.rows, row.duplicates
    )
}

fn entry(row: &Row) -> serde_json::Value {
    json!({
        "scenario": row.scenario, "faults": row.faults, "rows": row.rows, "duplicates": row.duplicates,
        "longest_stall_seconds": row.stall.as_secs_f64(), "seconds": row.took.as_secs_f64(), "note": row.note,
    })
}
