//! Documents that are made from the code: each is the same as what the code says. `make docs` writes them anew.

use std::{fmt::Write as _, fs, path::PathBuf};

use b24kafka::{
    bitrix::catalogue,
    metrics::{Description, Metrics, portals},
};

/// Set by `make docs`: write instead of compare.
const WRITE: &str = "B24KAFKA_WRITE_DOCS";

/// Compares a document with what it should be, or writes it.
#[track_caller]
fn settle(path: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        return;
    }
    let present = fs::read_to_string(&file).unwrap_or_default();
    let differs = present.lines().zip(text.lines()).position(|(present, wanted)| present != wanted);
    assert!(
        present == text,
        "{path}, line {}: it is not what the code says; `make docs`",
        differs.map_or(0, |at| at + 1)
    );
}

#[test]
fn the_metrics_are_documented() {
    settle("docs/metrics.md", &metrics());
}

fn metrics() -> String {
    let exported = Metrics::new(catalogue::entities(), 0).and_then(|metrics| metrics.expose()).expect("exported");
    let series = exported.lines().filter(|line| !line.starts_with('#')).count();
    let mut page = format!(
        "# Metrics\n\n\
         Made from the code by `make docs`. `GET /metrics` of the admin listener answers in Prometheus' text format.\n\n\
         Every series that is known in advance is exported from the start as 0, so that a rate or an alert never misses the\n\
         first event. Without `admin.portal_labels` there are about {} series, however many portals are served.\n\n\
         `rows received = records acknowledged + dead letters + rows held` is exact in every scrape:\n\n\
         ```promql\n\
         sum(b24kafka_rows_received_total)\n  \
         - sum(b24kafka_records_acknowledged_total) - sum(b24kafka_dead_letters_total) - sum(b24kafka_rows_held) == 0\n\
         ```\n\n\
         Alerts built on these metrics are in `charts/b24kafka/alerts/b24kafka.rules.yaml`, with a [runbook](runbook.md); a\n\
         dashboard for Grafana is `charts/b24kafka/dashboards/b24kafka.json`.\n\n",
        series.next_multiple_of(50),
    );
    table(&mut page, Metrics::DESCRIPTIONS);
    page.push_str("\n## Labels\n\n");
    for description in Metrics::DESCRIPTIONS {
        for label in description.labels {
            let name = description.name;
            write!(page, "`{}` of `b24kafka_{name}`: ", label.name).expect("a string");
            let values = label.values.iter().map(|(value, meaning)| format!("`{value}` ({})", sentence(meaning)));
            let open = match label.name {
                "entity" => "an entity of the catalogue, see `b24kafka events`, or `other`",
                "version" => "the version of the program",
                "revision" => "the revision that it was built from, if the build was told",
                _ => "",
            };
            writeln!(page, "{}{open}.\n", values.collect::<Vec<_>>().join(", ")).expect("a string");
        }
    }
    page.push_str(
        "## Single portals\n\n\
         Only with `admin.portal_labels = N`, N above 0. The first N portals that are served have their `member_id` as the\n\
         label `portal` as long as they are known; all others share `_other`. So there are at most N + 1 series of each:\n\n",
    );
    table(&mut page, portals::DESCRIPTIONS);
    page.push_str("\n## The process\n\nWithout the prefix, as Prometheus' own clients name them; on Linux only.\n\n");
    page.push_str("| metric | type | what it tells |\n| --- | --- | --- |\n");
    let mut help = "";
    for line in exported.lines() {
        if let Some(text) = line.strip_prefix("# HELP process_") {
            help = text;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE process_").and_then(|rest| rest.split_once(' ')) {
            let told = help.strip_prefix(name).unwrap_or_default().trim();
            writeln!(page, "| `process_{name}` | {kind} | {told} |").expect("a string");
        }
    }
    page
}

fn table(page: &mut String, descriptions: &[Description]) {
    page.push_str("| metric | type | labels | what it tells |\n| --- | --- | --- | --- |\n");
    for description in descriptions {
        let labels: Vec<_> = description.labels.iter().map(|label| format!("`{}`", label.name)).collect();
        let (name, kind) = (description.name, description.kind());
        writeln!(page, "| `b24kafka_{name}` | {kind} | {} | {} |", labels.join(", "), description.help.trim())
            .expect("a string");
    }
}

/// A sentence for brackets: without its full stop.
fn sentence(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}
