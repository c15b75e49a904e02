//! What was left out and not told since, told when the process ends: otherwise the last count of each thing is lost.

use tracing::Level;

use super::repeats::Line;

/// At most so many things are told one by one, those that were left out most often first; the rest is one number.
const MOST: usize = 100;

/// Writes a line for each of `left_out` and how often that was. These lines are never repetitions: they say a number.
pub(super) fn tell(mut left_out: Vec<(Line, u64)>) {
    left_out.sort_by_key(|(_, repeats)| std::cmp::Reverse(*repeats));
    let others = left_out.split_off(left_out.len().min(MOST));
    for (line, repeats) in left_out {
        one(&line, repeats);
    }
    if !others.is_empty() {
        let repeats: u64 = others.iter().map(|(_, repeats)| repeats).sum();
        tracing::warn!(repeats, "left out until the end: lines about {} more things", others.len());
    }
}

fn one(line: &Line, repeats: u64) {
    // The fields of a line are known when the program is built, so each that may be there is named.
    macro_rules! say {
        ($level:expr) => {
            tracing::event!(
                $level,
                portal = line.field("portal"),
                connector = line.field("connector"),
                topic = line.field("topic"),
                event = line.field("event"),
                code = line.field("code"),
                reason = line.field("reason"),
                class = line.field("class"),
                facility = line.field("facility"),
                host = line.field("host"),
                file = line.field("file"),
                row = line.field("row"),
                mark = line.field("mark"),
                repeats,
                "left out until the end: {}",
                line.message
            )
        };
    }
    match line.level {
        Level::ERROR => say!(Level::ERROR),
        Level::WARN => say!(Level::WARN),
        _ => say!(Level::INFO),
    }
}
