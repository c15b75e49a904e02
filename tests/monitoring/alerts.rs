//! The alerts: well-formed, fed by metrics that exist, each with its page of the runbook and its cases.

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::{
    expression::{self, Exported},
    support::{
        promtool,
        rules::{self, Alert},
    },
};

/// The alerts that the project promises.
const PROMISED: [&str; 10] = [
    "B24KafkaDown",
    "B24KafkaStalled",
    "B24KafkaLate",
    "B24KafkaReservationOld",
    "B24KafkaPortalsParked",
    "B24KafkaDeadLetters",
    "B24KafkaProduceFailing",
    "B24KafkaRefreshFailing",
    "B24KafkaLimited",
    "B24KafkaNotConserved",
];
/// What each section of the runbook holds, in this order.
const SECTION: [&str; 4] = ["**Meaning.**", "**First look.**", "**Usual causes.**", "**What to do.**"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shipped() -> Vec<Alert> {
    rules::alerts(&rules::text())
}

fn cases(alert: &str) -> PathBuf {
    root().join("tests/monitoring/alerts").join(format!("{alert}.yaml"))
}

#[test]
fn the_rules_are_well_formed_and_complete() {
    let said = promtool::run(&["check", "rules", rules::PATH], "").unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains("SUCCESS: 10 rules found"), "{said}");
    let alerts = shipped();
    let names: Vec<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(names, PROMISED);
    for alert in &alerts {
        assert!(["critical", "warning"].contains(&alert.severity.as_str()), "{alert:?}");
        assert!(alert.summary.len() > 20 && alert.description.len() > 60, "{alert:?}");
        assert_eq!(alert.runbook, format!("docs/runbook.md#{}", alert.name.to_lowercase()), "{alert:?}");
    }
}

#[test]
fn every_metric_of_an_alert_is_exported() {
    let exported = Exported::from_program();
    for alert in shipped() {
        assert!(!expression::metrics(&alert.expr).is_empty(), "{alert:?}");
        assert_eq!(exported.missing(&alert.expr), [""; 0], "{}", alert.name);
    }
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).expect("a runbook");
    assert_eq!(faults(&runbook, &PROMISED), [""; 0]);
    let broken = runbook.replace("## B24KafkaLate\n", "## B24KafkaLater\n").replacen("**First look.**", "Look.", 1);
    assert_eq!(faults(&broken, &PROMISED).len(), 3, "{:?}", faults(&broken, &PROMISED));
}

fn faults(runbook: &str, alerts: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut sections: Vec<(&str, &str)> = Vec::new();
    for section in runbook.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').expect("a title and a text");
        sections.push((title, text));
        let places: Vec<_> = SECTION.iter().map(|part| text.find(part)).collect();
        if !places.iter().all(Option::is_some) || !places.is_sorted() {
            faults.push(format!("{title}: it does not hold {SECTION:?} in this order"));
        }
    }
    let titles: BTreeSet<&str> = sections.iter().map(|(title, _)| *title).collect();
    let alerts: BTreeSet<&str> = alerts.iter().copied().collect();
    faults.extend(
        titles.symmetric_difference(&alerts).map(|name| format!("{name}: a page or an alert without the other")),
    );
    faults
}

#[test]
fn every_alert_fires_when_it_should_and_not_when_it_should_not() {
    let files: BTreeSet<PathBuf> = PROMISED.iter().map(|alert| cases(alert)).collect();
    let there = fs::read_dir(root().join("tests/monitoring/alerts")).expect("the cases");
    assert_eq!(there.map(|entry| entry.expect("readable").path()).collect::<BTreeSet<_>>(), files);
    for alert in PROMISED {
        let text = fs::read_to_string(cases(alert)).expect("readable");
        let asked: Vec<&str> = text.split("alert_rule_test:").skip(1).collect();
        let fires = |case: &&&str| case.contains("exp_labels") || case.contains("exp_alerts: *");
        assert!(asked.iter().any(|case| fires(&case)), "{alert}: no case in which it fires");
        assert!(asked.iter().any(|case| !fires(&case)), "{alert}: no case in which it never fires");
        assert!(text.contains(&format!("alertname: {alert}")) && text.contains(rules::PATH), "{alert}");
    }
    let mut args = vec!["test", "rules"];
    let paths: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    args.extend(paths.iter().map(String::as_str));
    if let Err(said) = promtool::run(&args, "") {
        panic!("{said}");
    }
}

#[test]
fn a_case_fails_when_its_alert_is_broken() {
    let dir = tempfile::tempdir().expect("a directory");
    let rules = dir.path().join("rules.yaml");
    for (alert, right, wrong) in [
        ("B24KafkaPortalsParked", "{state=\"parked\"} > 0", "{state=\"parked\"} > 9"),
        ("B24KafkaNotConserved", "!= 0", "!= 1e9"),
        ("B24KafkaDown", "for: 5m", "for: 30m"),
        ("B24KafkaStalled", "b24kafka_portals_silent > 0", "b24kafka_portals_silent < 0"),
    ] {
        let broken = rules::text().replacen(right, wrong, 1);
        assert_ne!(broken, rules::text(), "{right} is there");
        fs::write(&rules, broken).expect("written");
        let case = fs::read_to_string(cases(alert)).expect("readable");
        let file = dir.path().join("case.yaml");
        let named = case.replace(&format!("../../../{}", rules::PATH), &rules.display().to_string());
        fs::write(&file, named).expect("written");
        assert!(promtool::run(&["test", "rules", &file.display().to_string()], "").is_err(), "{alert}: {wrong}");
    }
}
