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
    /// How many there are.
    pub total: Option<usize>,
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
    last_errors: Vec<Trouble>,
    next: Option<Next>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    unbound: Vec<Unbound>,
    #[serde(default)]
    rows_unreadable: u64,
    #[serde(default)]
    rows_stuck: u64,
    #[serde(default)]
    queues: Vec<Queue>,
}

#[derive(Debug, Deserialize)]
struct Trouble {
    at: f64,
    error: String,
    times: u64,
}

#[derive(Debug, Deserialize)]
struct Next {
    action: String,
    at: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
struct Limits {
    budget: Option<Budget>,
    #[serde(default)]
    methods: Vec<Method>,
    rests_until: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Budget {
    spent: u64,
    ceiling: u64,
    per_second: u64,
    held_until: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Method {
    method: String,
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Unbound {
    connector: String,
    event: String,
    code: String,
}

#[derive(Debug, Deserialize)]
struct Queue {
    connector: String,
    held: u64,
    limit: u64,
    #[serde(default)]
    unconfirmed: u64,
    #[serde(default)]
    barred: bool,
    #[serde(default)]
    more: bool,
    last_exchange: Option<Exchange>,
    error_rows: Option<ErrorRows>,
}

#[derive(Debug, Deserialize)]
struct Exchange {
    at: f64,
    rows: u64,
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct ErrorRows {
    rows: u64,
    counted_at: f64,
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
    for trouble in portal.last_errors.iter().rev() {
        let times = if trouble.times > 1 { format!(" ({} times)", trouble.times) } else { String::new() };
        let error = printable(&trouble.error, TEXT);
        facts.push(("trouble".into(), format!("{}  {error}{times}", moment(trouble.at, zone))));
    }
    if let Some(next) = &portal.next {
        let at = next.at.map(|at| format!(", {}", moment(at, zone))).unwrap_or_default();
        facts.push(("next".into(), format!("{}{at}", printable(&next.action, TEXT))));
    }
    facts.extend(portal.limits.told(zone).into_iter().map(|limit| ("limits".to_owned(), limit)));
    for unbound in &portal.unbound {
        let event = printable(&unbound.event, TEXT);
        facts.push((
            "not bound".into(),
            format!("{event} of queue {}: {}", name(&unbound.connector), printable(&unbound.code, TEXT)),
        ));
    }
    if portal.rows_unreadable > 0 {
        let came = format!("rows came {} times without a usable ID since the start", portal.rows_unreadable);
        let stuck = portal.rows_stuck;
        facts.push((
            "unreadable".into(),
            format!("{came}: in the dead letters; {stuck} cannot be removed at the portal"),
        ));
    }
    for queue in &portal.queues {
        facts.extend(queue.told(zone).into_iter().map(|told| (format!("queue {}", name(&queue.connector)), told)));
    }
    let rows: Vec<[&str; 2]> = facts.iter().map(|(name, value)| [name.as_str(), value.as_str()]).collect();
    table(out, &rows)
}

impl Limits {
    fn told(&self, zone: &TimeZone) -> Vec<String> {
        let mut told = Vec::new();
        if let Some(Budget { spent, ceiling, per_second, held_until }) = self.budget {
            told.push(format!("{spent} of {ceiling} requests spent, {per_second} come back a second"));
            told.extend(held_until.map(|until| format!("nothing is sent until {}", moment(until, zone))));
        }
        let methods = self.methods.iter();
        told.extend(methods.map(|m| format!("{} has used {:.1} s of its time", printable(&m.method, TEXT), m.seconds)));
        told.extend(self.rests_until.map(|until| format!("a method rests until {}", moment(until, zone))));
        told
    }
}

impl Queue {
    fn told(&self, zone: &TimeZone) -> Vec<String> {
        let rows = if self.held == 1 { "row" } else { "rows" };
        let mut told = vec![format!("{} {rows} held, asks for {} at once", self.held, self.limit)];
        if let Some(Exchange { at, rows, seconds }) = self.last_exchange {
            let more = if self.more { ", there may be more" } else { "" };
            told.push(format!("{}: {rows} rows in {seconds:.1} s{more}", moment(at, zone)));
        }
        if self.unconfirmed > 0 {
            told.push(format!("{} rows wait to be cleared", self.unconfirmed));
        }
        if self.barred {
            told.push("rows wait for a topic that cannot be written".to_owned());
        }
        if let Some(ErrorRows { rows, counted_at }) = self.error_rows.as_ref().filter(|errors| errors.rows > 0) {
            told.push(format!(
                "{rows} error rows were put aside at the portal (counted {}); `b24kafka portals sweep-errors` takes them",
                moment(*counted_at, zone)
            ));
        }
        told
    }
}

fn name(connector: &str) -> String {
    if connector.is_empty() { "plain".to_owned() } else { printable(connector, TEXT) }
}

/// A conversion from a float saturates, and no clock shows what no calendar holds.
fn moment(seconds: f64, zone: &TimeZone) -> String {
    Timestamp::from_second(seconds as i64).map_or_else(|_| "?".to_owned(), |moment| clock(moment, zone))
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
        self.last_success.map_or_else(|| "never".to_owned(), |seconds| moment(seconds, zone))
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
        "operator" => "an operator has parked it",
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
        let full: Portal = serde_json::from_str(
            r#"{"member_id": "a1", "domain": "d", "state": "active", "mode": "reserve", "last_success": null,
                "last_errors": [{"at": 1795515330.5, "error": "TIMEOUT", "times": 3}],
                "next": {"action": "it is asked for rows", "at": 1795515400},
                "limits": {"budget": {"spent": 3, "ceiling": 49, "per_second": 2, "held_until": null},
                    "methods": [{"method": "event.offline.get", "seconds": 1.25, "reset_at": null}], "rests_until": 1795515400},
                "unbound": [{"connector": "", "event": "ONX", "code": "ERROR_CORE"}],
                "rows_unreadable": 3,
                "rows_stuck": 1,
                "queues": [{"connector": "", "held": 0, "limit": 50, "unconfirmed": 2, "barred": true, "more": true,
                    "last_exchange": {"at": 1795515330, "rows": 50, "seconds": 0.25},
                    "error_rows": {"rows": 7, "counted_at": 1795515330}}]}"#,
        )
        .expect("a portal");
        let text = written(|out| show(&full, &TimeZone::UTC, out));
        for line in [
            "trouble       2026-11-24 10:15:30  TIMEOUT (3 times)\n",
            "next          it is asked for rows, 2026-11-24 10:16:40\n",
            "limits        3 of 49 requests spent, 2 come back a second\n",
            "limits        event.offline.get has used 1.2 s of its time\n",
            "limits        a method rests until 2026-11-24 10:16:40\n",
            "not bound     ONX of queue plain: ERROR_CORE\n",
            "unreadable    rows came 3 times without a usable ID since the start: in the dead letters; 1 cannot be removed at the portal\n",
            "queue plain   2026-11-24 10:15:30: 50 rows in 0.2 s, there may be more\n",
            "queue plain   2 rows wait to be cleared\n",
            "queue plain   rows wait for a topic that cannot be written\n",
            "queue plain   7 error rows were put aside at the portal (counted 2026-11-24 10:15:30);",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let text = written(|out| show(&portals[1], &TimeZone::UTC, out));
        assert!(
            text.contains("advice        install it\\u{1b}[2J\n") && text.contains("last error    invalid_grant\n")
        );
    }
}
