//! Documents that are made from the code: each is the same as what the code says. `make docs` writes them anew.

use std::{fmt::Write as _, fs, path::PathBuf};

use b24kafka::{
    bitrix::catalogue,
    config::{Config, Key},
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

#[test]
fn the_configuration_is_documented() {
    settle("docs/configuration.md", &configuration());
}

fn configuration() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Made from the code by `make docs`. One TOML file, given as `-c FILE` behind the command or as `B24KAFKA_CONFIG`; a file\n\
         with every key and the reason for its default is `config/b24kafka.example.toml`.\n\n\
         - Every key can be set by a variable that wins over the file: `kafka.bootstrap_servers` is\n  \
         `B24KAFKA__KAFKA__BOOTSTRAP_SERVERS`. A variable for a list, or for the sections `queues` and `portals`, holds TOML.\n\
         - Every secret can be given as itself or as a file, not as both. Files are what Kubernetes, systemd and Docker hand out;\n  \
         a line break at their end is left out.\n\
         - Durations are texts such as `\"500ms\"`, `\"10s\"` or `\"5m\"`, sizes such as `\"64MiB\"`.\n\
         - Relative paths follow the directory that the program is started in.\n\
         - An unknown key is refused, with the nearest known name. All faults are told in one run, and the exit code is 78:\n  \
         `b24kafka check -c FILE` does nothing else.\n",
    );
    // In the order of their first key: some sections are read in two parts.
    let mut sections: Vec<(String, Vec<Key>)> = Vec::new();
    for key in Config::keys() {
        let of = key.path.rsplit_once('.').map_or("", |(of, _)| of).to_owned();
        match sections.iter_mut().find(|(section, _)| *section == of) {
            Some((_, keys)) => keys.push(key),
            None => sections.push((of, vec![key])),
        }
    }
    let cell = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    for (section, keys) in sections {
        let (open, close) = if matches!(section.as_str(), "queues" | "portals") { ("[[", "]]") } else { ("[", "]") };
        write!(page, "\n## `{open}{section}{close}`\n\n").expect("a string");
        page.push_str("| key | what it is for | what it may hold | default |\n| --- | --- | --- | --- |\n");
        for key in keys {
            let name = key.path.rsplit('.').next().unwrap_or_default();
            let default = match (&key.default, key.required) {
                (Some(default), _) => format!("`{}`", cell(default)),
                (None, true) => "has to be given".to_owned(),
                (None, false) => "none".to_owned(),
            };
            writeln!(page, "| `{name}` | {} | {} | {default} |", cell(key.doc), cell(&key.form)).expect("a string");
        }
    }
    page
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
