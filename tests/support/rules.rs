//! The alert rules that the chart ships, read just far enough: `promtool` says whether they are well-formed.

use std::{fs, path::PathBuf};

/// Where the rules are, from the root of the repository.
pub const PATH: &str = "charts/b24kafka/alerts/b24kafka.rules.yaml";

/// One alert.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Alert {
    pub name: String,
    pub expr: String,
    pub severity: String,
    pub summary: String,
    pub description: String,
    pub runbook: String,
}

/// The text of the file.
pub fn text() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PATH);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every alert of a rule file in the form that ours has: one key a line, long values in blocks below their key.
pub fn alerts(text: &str) -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some((key, value)) = line.trim_start().trim_start_matches("- ").split_once(':') else { continue };
        let mut value = value.trim().trim_matches('\'').to_owned();
        if matches!(value.as_str(), "|-" | ">-") {
            let below = lines[at + 1..].iter().take_while(|line| line.len() - line.trim_start().len() > indent);
            value = below.map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        }
        if key == "alert" {
            alerts.push(Alert { name: value, ..Alert::default() });
            continue;
        }
        let Some(alert) = alerts.last_mut() else { continue };
        match key {
            "expr" => alert.expr = value,
            "severity" => alert.severity = value,
            "summary" => alert.summary = value,
            "description" => alert.description = value,
            "runbook_url" => alert.runbook = value,
            _ => {}
        }
    }
    alerts
}
