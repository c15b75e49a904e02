//! Results on standard output.

use std::io::{self, BufWriter, Write};

use jiff::{Timestamp, tz::TimeZone};

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
    write(|out| writeln!(out, "{}", printable_json(&format!("{value:#}"))))
}

/// Foreign text for one line of a terminal: what would steer the terminal, break the line or reorder it is escaped, and
/// what is longer than `limit` characters is cut.
pub(super) fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit));
    for (at, c) in text.chars().enumerate() {
        if at == limit {
            shown.push('…');
            break;
        }
        if is_hostile(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The same JSON, with escapes for what a terminal should not see. JSON has such characters inside of strings only, but
/// for the breaks between its tokens, which stay.
pub(super) fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hostile(c) && !c.is_ascii_whitespace() {
            for unit in c.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Control characters, and characters that are invisible or change the direction of writing.
fn is_hostile(c: char) -> bool {
    let invisible = '\u{200b}'..='\u{200f}';
    let breaks_and_directions = '\u{2028}'..='\u{202e}';
    let isolates = '\u{2060}'..='\u{206f}';
    let tags = '\u{e0000}'..='\u{e007f}';
    c.is_control()
        || [invisible, breaks_and_directions, isolates, tags].iter().any(|range| range.contains(&c))
        || matches!(c, '\u{61c}' | '\u{feff}')
}

/// A moment as the clock on the wall of `zone` shows it.
pub(super) fn clock(moment: Timestamp, zone: &TimeZone) -> String {
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
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
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut out = Vec::new();
        table(&mut out, &[["a", "long"], ["wide", ""], ["é", "x"]]).expect("written");
        assert_eq!(String::from_utf8(out).expect("UTF-8"), "a     long\nwide\né     x\n");
    }

    #[test]
    fn foreign_text_does_not_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nb\u{9b}\u{202e}é", 99), "a\\u{1b}[31m\\u{a}b\\u{9b}\\u{202e}é");
        assert_eq!(printable("éäö", 2), "éä…");
        let json = "{\n  \"a\": \"\u{9b}\u{202e}\u{7f}\u{e0041}é\"\n}";
        let shown = printable_json(json);
        assert_eq!(shown, "{\n  \"a\": \"\\u009b\\u202e\\u007f\\udb40\\udc41é\"\n}");
        let value = |text| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&shown), value(json));
    }

    #[test]
    fn a_moment_is_shown_in_the_zone_of_the_reader() {
        let zone = TimeZone::fixed(jiff::tz::offset(3));
        assert_eq!(clock(Timestamp::UNIX_EPOCH, &zone), "1970-01-01 03:00:00");
    }
}
