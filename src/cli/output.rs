//! Results on standard output.

use std::io::{self, BufWriter, Write};

use super::failure::Failure;

/// Writes a result; where the reader has gone, that is [`Failure::Output`].
pub(super) fn write(result: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = result(&mut out).and_then(|()| out.flush());
    // What is left in the buffer after a failure must not be tried again on the way out.
    if written.is_err() {
        let _ = out.into_parts();
    }
    written.map_err(Failure::Output)
}

/// Writes a result as JSON, for programs.
pub(super) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    write(|out| writeln!(out, "{value:#}"))
}

/// Writes rows as columns, each as wide as its widest cell, without blanks at the end of a line.
pub(super) fn table<const N: usize>(out: &mut dyn Write, rows: &[[&str; N]]) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        table(&mut out, &[["a", "long"], ["wide", ""], ["é", "x"]]).expect("written");
        assert_eq!(String::from_utf8(out).expect("UTF-8"), "a     long\nwide\né     x\n");
    }
}
