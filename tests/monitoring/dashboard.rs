//! The dashboard: what Grafana needs, and nothing that it would show as "no data" for ever.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use serde_json::Value;

use super::{
    expression::{self, Exported},
    support::promtool,
};

/// What an operator has to find on it.
const ROWS: [&str; 6] = ["Now", "Flow", "Lateness", "Portals and their limits", "Producer and Kafka", "Process"];
/// The one data source, wherever one is named.
const SOURCE: &str = "${datasource}";

fn dashboard() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("charts/b24kafka/dashboards/b24kafka.json");
    serde_json::from_str(&fs::read_to_string(path).expect("a dashboard")).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Panels that show something; rows only head them.
fn panels(dashboard: &Value) -> Vec<&Value> {
    list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row").collect()
}

fn expressions(dashboard: &Value) -> Vec<String> {
    let targets = panels(dashboard).into_iter().flat_map(|panel| list(&panel["targets"]));
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    let dashboard = dashboard();
    assert_eq!(faults(&dashboard), [""; 0]);
    let rows: Vec<_> = list(&dashboard["panels"]).iter().filter(|panel| panel["type"] == "row").collect();
    let titles: Vec<_> = rows.iter().map(|row| row["title"].as_str().expect("a title")).collect();
    assert_eq!(titles, ROWS);
    let mut broken = dashboard.clone();
    broken["panels"][1]["description"] = "".into();
    broken["panels"][2]["fieldConfig"]["defaults"]["unit"] = Value::Null;
    broken["panels"][3]["datasource"]["uid"] = "prometheus".into();
    broken["panels"][4]["id"] = broken["panels"][5]["id"].clone();
    assert_eq!(faults(&broken).len(), 4, "{:?}", faults(&broken));
}

fn faults(dashboard: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().unwrap_or_default();
        let mut demand = |met: bool, what: &str| {
            if !met {
                faults.push(format!("{title}: {what}"));
            }
        };
        demand(!title.is_empty(), "no title");
        demand(panel["description"].as_str().is_some_and(|text| text.len() > 20), "no description");
        demand(panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "no unit");
        demand(panel["datasource"]["uid"] == SOURCE, "another data source");
        demand(!list(&panel["targets"]).is_empty(), "nothing to show");
        demand(ids.insert(panel["id"].as_u64()), "the id of another panel");
        for target in list(&panel["targets"]) {
            demand(target["datasource"]["uid"] == SOURCE, "another data source");
            demand(target["legendFormat"].as_str().is_some_and(|legend| !legend.is_empty()), "a line without a name");
        }
    }
    faults
}

#[test]
fn there_is_one_data_source_and_it_is_a_variable() {
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"]["list"]);
    let sources: Vec<_> = variables.iter().filter(|variable| variable["type"] == "datasource").collect();
    assert_eq!(sources.len(), 1);
    assert_eq!((&sources[0]["name"], &sources[0]["query"]), (&"datasource".into(), &"prometheus".into()));
}

#[test]
fn every_metric_of_the_dashboard_is_exported_and_most_are_shown() {
    let (dashboard, exported) = (dashboard(), Exported::from_program());
    let mut shown = BTreeSet::new();
    for expr in expressions(&dashboard) {
        let named = expression::metrics(&expr);
        assert!(!named.is_empty(), "{expr}");
        assert_eq!(exported.missing(&expr), [""; 0], "{expr}");
        shown.extend(named.into_iter().map(|named| named.metric));
    }
    for needed in [
        "b24kafka_rows_received_total",
        "b24kafka_records_acknowledged_total",
        "b24kafka_rows_cleared_total",
        "b24kafka_dead_letters_total",
        "b24kafka_event_age_seconds_bucket",
        "b24kafka_rest_budget_used_ratio",
        "b24kafka_limit_waits_total",
        "b24kafka_portals",
        "b24kafka_produce_failures_total",
        "process_resident_memory_bytes",
    ] {
        assert!(shown.contains(needed), "{needed} is not shown");
    }
}

#[test]
fn every_expression_is_one_and_rates_follow_the_scrape_interval() {
    let expressions = expressions(&dashboard());
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expr) in expressions.iter().enumerate() {
        let spans = expr.matches('[').count();
        assert_eq!(spans, expr.matches("[$__rate_interval]").count(), "a span of its own: {expr}");
        let expr = expr.replace("$__rate_interval", "5m").replace("$instance", ".*");
        assert!(!expr.contains('$'), "a variable that is not known here: {expr}");
        write!(rules, "      - record: dashboard:expression:{number}\n        expr: '{expr}'\n").expect("a string");
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), &rules).expect("written");
    let path = file.path().display().to_string();
    let said = promtool::run(&["check", "rules", &path], "").unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains(&format!("{} rules found", expressions.len())), "{said}");
    fs::write(file.path(), rules.replacen("expr: '", "expr: ')", 1)).expect("written");
    assert!(promtool::run(&["check", "rules", &path], "").is_err(), "a broken expression is refused");
}
