//! The verdict: what the portal has seen against what Kafka has.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::{audience::Audience, stage::Stage};

pub(super) struct Verdict {
    changes: u64,
    rows: u64,
    delivered: u64,
    recovered: u64,
    duplicates: u64,
    disordered: u64,
    cleared: u64,
    left: u64,
    lost: u64,
    misuse: String,
    requests: u64,
    faults: u64,
    took: Duration,
}

impl Verdict {
    pub fn of(stage: &Stage, audience: &Audience, took: Duration) -> Self {
        let totals = stage.totals();
        let expected = stage.expected();
        let (delivered, records, recovered, disordered) = audience.with(|arrived| {
            let delivered = expected.iter().filter(|id| arrived.records.contains_key(*id)).count() as u64;
            (delivered, arrived.total, arrived.recovered, arrived.disordered)
        });
        Self {
            changes: totals.changes,
            rows: totals.rows,
            delivered,
            recovered,
            duplicates: records.saturating_sub(delivered),
            disordered,
            cleared: totals.cleared,
            left: totals.free + totals.reserved,
            lost: (totals.rows - delivered).saturating_sub(totals.free + totals.reserved),
            misuse: stage.misuse(),
            requests: stage.requests(),
            faults: stage.faults(),
            took,
        }
    }

    pub fn is_good(&self) -> bool {
        self.lost == 0 && self.left == 0 && self.disordered == 0 && self.misuse.is_empty()
    }

    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        #[expect(clippy::cast_precision_loss, reason = "counts of a demo")]
        let per_request = self.rows as f64 / self.requests.max(1) as f64;
        writeln!(out)?;
        writeln!(out, "changes at the portal   {:>9}", self.changes)?;
        writeln!(
            out,
            "  merged into rows      {:>9}   a change of an object whose row still waits updates the row",
            self.rows
        )?;
        writeln!(out, "rows in Kafka           {:>9}", self.delivered)?;
        writeln!(
            out,
            "  recovered             {:>9}   their answer was lost, so Kafka might have had them (b24_redelivery)",
            self.recovered
        )?;
        writeln!(out, "  delivered again       {:>9}   Kafka had them already; ce_id tells them", self.duplicates)?;
        writeln!(out, "  out of order          {:>9}", self.disordered)?;
        writeln!(out, "cleared at the portal   {:>9}", self.cleared)?;
        writeln!(out, "  left behind           {:>9}", self.left)?;
        writeln!(out, "  lost                  {:>9}", self.lost)?;
        writeln!(out, "requests                {:>9}   {per_request:.0} rows each", self.requests)?;
        writeln!(out, "faults that struck      {:>9}", self.faults)?;
        writeln!(out, "time                    {:>8.1}s", self.took.as_secs_f64())?;
        if !self.misuse.is_empty() {
            writeln!(out, "misuse of the protocol: {}", self.misuse)?;
        }
        let word = if self.is_good() { "nothing is lost, nothing is left behind" } else { "NOT GOOD" };
        writeln!(out, "verdict: {word}")
    }
}
