//! Portals in words, for people.

use std::io::{self, Write};

use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;

use crate::cli::output::{clock, printable, table};

/// The longest text that is shown whole, in characters.
const TEXT: usize = 300;

/// What the API tells of all portals.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    /// In the order of the bridge.
    pub portals: Vec<Portal>,
    /// Set where there are more than were told.
    pub next: Option<String>,
}

/// What the API tells of a portal. What a bridge leaves out is shown as not known.
#[derive(Debug, Deserialize)]
pub(super) struct Portal {
    member_id: String,
    #[serde(default)]
    domain: String,
    state: String,
    reason: Option<String>,
    advice: Option<String>,
    mode: Option<String>,
    last_error: Option<String>,
    /// Seconds since 1970.
    last_success: Option<f64>,
    #[serde(default)]
    queues: Vec<Queue>,
}

#[derive(Debug, Deserialize)]
struct Queue {
    connector: String,
    held: u64,
    limit: u64,
}

/// One line a portal.
pub(super) fn list(portals: &[Portal], zone: &TimeZone, out: &mut dyn Write) -> io::Result<()> {
    let cells: Vec<[String; 7]> = portals
        .iter()
        .map(|portal| {
            [
                printable(&portal.member_id, TEXT),
                printable(&portal.domain, TEXT),
                portal.state(),
                or_unknown(portal.mode.as_deref()),
                portal.queues.iter().map(|queue| queue.held).sum::<u64>().to_string(),
                portal.last_success(zone),
                printable(portal.advice.as_deref().unwrap_or_default(), TEXT),
            ]
        })
        .collect();
    let mut rows = vec![["PORTAL", "DOMAIN", "STATE", "MODE", "HELD", "LAST SUCCESS", "ADVICE"]];
    rows.extend(cells.iter().map(|row| row.each_ref().map(String::as_str)));
    table(out, &rows)
}

/// One portal in full.
pub(super) fn show(portal: &Portal, zone: &TimeZone, out: &mut dyn Write) -> io::Result<()> {
    let mut facts: Vec<(String, String)> = vec![
        ("portal".into(), printable(&portal.member_id, TEXT)),
        ("domain".into(), printable(&portal.domain, TEXT)),
        ("state".into(), portal.state()),
    ];
    if let Some(advice) = &portal.advice {
        facts.push(("advice".into(), printable(advice, TEXT)));
    }
    facts.push(("mode".into(), or_unknown(portal.mode.as_deref())));
    facts.push(("last success".into(), portal.last_success(zone)));
    facts.push((
        "last error".into(),
        portal.last_error.as_deref().map_or_else(|| "none".into(), |error| printable(error, TEXT)),
    ));
    for queue in &portal.queues {
        let name = if queue.connector.is_empty() { "plain".into() } else { printable(&queue.connector, TEXT) };
        let rows = if queue.held == 1 { "row" } else { "rows" };
        facts.push((format!("queue {name}"), format!("{} {rows} held, asks for {} at once", queue.held, queue.limit)));
    }
    let rows: Vec<[&str; 2]> = facts.iter().map(|(name, value)| [name.as_str(), value.as_str()]).collect();
    table(out, &rows)
}

impl Portal {
    /// The state with its reason.
    fn state(&self) -> String {
        let state = printable(&self.state, TEXT);
        match self.reason.as_deref() {
            None => state,
            Some(reason) => format!("{state}: {}", reason_in_words(reason)),
        }
    }

    fn last_success(&self, zone: &TimeZone) -> String {
        let Some(seconds) = self.last_success else { return "never".to_owned() };
        // A conversion from a float saturates, and no clock shows what no calendar holds.
        Timestamp::from_second(seconds as i64).map_or_else(|_| "?".to_owned(), |moment| clock(moment, zone))
    }
}

fn reason_in_words(reason: &str) -> String {
    let words = match reason {
        "needs_reinstall" => "the application must be installed again",
        "forbidden" => "a right is missing",
        "unlicensed" => "the plan does not include it",
        "unpaid" => "the portal is not paid",
        "deleted" => "the portal is deleted",
        "blocked" => "the portal is blocked",
        other => return printable(other, TEXT),
    };
    words.to_owned()
}

fn or_unknown(text: Option<&str>) -> String {
    text.map_or_else(|| "?".to_owned(), |text| printable(text, TEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portals() -> Vec<Portal> {
        let json = r#"[
            {"member_id": "a1", "domain": "one.bitrix24.com", "state": "active", "reason": null, "advice": null,
             "mode": "reserve", "last_error": null, "last_success": 1795515330.75,
             "queues": [{"connector": "", "held": 1, "limit": 50}, {"connector": "sync", "held": 40, "limit": 100}]},
            {"member_id": "b2", "domain": "two.bitrix24.com", "state": "parked", "reason": "needs_reinstall",
             "advice": "install it\u001b[2J", "mode": "reserve", "last_error": "invalid_grant", "last_success": null,
             "queues": []},
            {"member_id": "c3", "state": "parked", "reason": "by_moonlight", "last_success": 1e300}
        ]"#;
        serde_json::from_str(json).expect("portals")
    }

    fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("written");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn portals_are_listed_one_a_line() {
        let text = written(|out| list(&portals(), &TimeZone::UTC, out));
        let lines: Vec<&str> = text.lines().collect();
        let fields = |line: &str| line.split("  ").filter(|f| !f.is_empty()).map(|f| f.trim().to_owned()).collect();
        let fields: Vec<Vec<String>> = lines.iter().map(|line| fields(line)).collect();
        assert_eq!(fields[0], ["PORTAL", "DOMAIN", "STATE", "MODE", "HELD", "LAST SUCCESS", "ADVICE"]);
        assert_eq!(fields[1], ["a1", "one.bitrix24.com", "active", "reserve", "41", "2026-11-24 10:15:30"]);
        let parked = "parked: the application must be installed again";
        assert_eq!(fields[2], ["b2", "two.bitrix24.com", parked, "reserve", "0", "never", r"install it\u{1b}[2J"]);
        assert_eq!(fields[3], ["c3", "parked: by_moonlight", "?", "0", "?"]);
    }

    #[test]
    fn one_portal_is_shown_in_full() {
        let portals = portals();
        let text = written(|out| show(&portals[0], &TimeZone::UTC, out));
        assert_eq!(
            text,
            "portal        a1\n\
             domain        one.bitrix24.com\n\
             state         active\n\
             mode          reserve\n\
             last success  2026-11-24 10:15:30\n\
             last error    none\n\
             queue plain   1 row held, asks for 50 at once\n\
             queue sync    40 rows held, asks for 100 at once\n"
        );
        let text = written(|out| show(&portals[1], &TimeZone::UTC, out));
        assert!(
            text.contains("advice        install it\\u{1b}[2J\n") && text.contains("last error    invalid_grant\n")
        );
    }
}
