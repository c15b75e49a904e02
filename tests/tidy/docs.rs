//! What has a name for users is mentioned in the documentation: configuration keys, metrics, commands.

use super::{
    none,
    source::{self, Source},
    text, tree,
};

/// How a metric's name ends, if it does not begin with the prefix: a unit or what is counted.
const METRIC_ENDS: [&str; 7] = ["_total", "_seconds", "_info", "_rows", "_held", "_owned", "_messages"];

#[test]
fn every_configuration_key_is_documented() {
    let tree = tree();
    let (example, page) = (text(&tree, "config/b24kafka.example.toml"), text(&tree, "docs/configuration.md"));
    if !page.is_empty() {
        assert!(!keys(example).is_empty(), "the example was read");
        none(&undocumented_keys(example, page));
    }
    let example = "[app]\nclient_id = \"x\"\n# a sentence = no key\n[kafka]\n# topic = \"y\"\n#   key = \"z\"\n";
    assert_eq!(keys(example), ["app.client_id", "kafka.topic", "kafka.key"]);
    assert_eq!(undocumented_keys(example, "`app.client_id` and `topic`").len(), 1);
}

/// `section.key` for each key of a TOML file, those in comments too.
fn keys(example: &str) -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in example.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if line.starts_with('[') && line.contains(']') {
            section = line.trim_start_matches('[').split(']').next().unwrap_or_default().into();
        } else if let Some((key, _)) = line.split_once(" = ")
            && !key.is_empty()
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys
}

fn undocumented_keys(example: &str, page: &str) -> Vec<String> {
    let known = |key: &String| {
        let short = key.rsplit('.').next().unwrap_or(key);
        page.contains(&format!("`{key}`")) || page.contains(&format!("`{short}`"))
    };
    let missing = keys(example).into_iter().filter(|key| !known(key));
    missing.map(|key| format!("docs/configuration.md does not mention `{key}`")).collect()
}

#[test]
fn every_configuration_key_can_be_given_to_the_chart() {
    let tree = tree();
    let (example, schema) =
        (text(&tree, "config/b24kafka.example.toml"), text(&tree, "charts/b24kafka/values.schema.json"));
    let schema: serde_json::Value = serde_json::from_str(schema).expect("the chart's schema was read");
    none(&unknown_to(&schema["properties"]["config"], example));
    let schema = serde_json::json!({"properties": {"app": {"properties": {"client_id": {}}}}});
    assert_eq!(unknown_to(&schema, "[app]\nclient_id = \"x\"\n# client_secret = \"x\"\n# new = 1\n").len(), 1);
}

/// Keys that a JSON schema of the configuration does not know. Secrets are given to the chart by their files only.
fn unknown_to(schema: &serde_json::Value, example: &str) -> Vec<String> {
    let keys = keys(example);
    let secret = |key: &String| keys.contains(&format!("{key}_file")) || key == "app.client_secret";
    let known = |key: &String| {
        let mut at = schema;
        for part in key.split('.') {
            at = at.get("items").unwrap_or(at);
            at = &at["properties"][part];
        }
        !at.is_null()
    };
    let missing = keys.iter().filter(|key| !secret(key) && !known(key));
    missing.map(|key| format!("charts/b24kafka/values.schema.json does not know config.{key}")).collect()
}

#[test]
fn every_metric_is_documented() {
    let tree = tree();
    let page = text(&tree, "docs/metrics.md");
    if !page.is_empty() {
        let metrics = |s: &&Source| s.is_product() && s.path.starts_with("src/metrics");
        let faults: Vec<_> = tree.iter().filter(metrics).flat_map(|s| undocumented_metrics(&s.text, page)).collect();
        none(&faults);
    }
    let code = "Opts::new(\"rows_cleared_total\", \"rows\"); f(\"b24kafka_queues\"); f(\"entity\"); // \"x_total\"";
    assert_eq!(undocumented_metrics(code, "nothing").len(), 2);
    assert_eq!(undocumented_metrics(code, "`b24kafka_rows_cleared_total`, `b24kafka_queues`").len(), 0);
}

fn undocumented_metrics(code: &str, page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (line, name) in source::parts(code).strings {
        let word = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let metric = name.starts_with("b24kafka_") || METRIC_ENDS.iter().any(|end| name.ends_with(end));
        if word && metric && name != "b24kafka_" && !page.contains(&name) {
            faults.push(format!("src/metrics, line {line}: docs/metrics.md does not mention `{name}`"));
        }
    }
    faults
}

#[test]
fn every_make_target_has_its_help() {
    let tree = tree();
    let makefile = text(&tree, "Makefile");
    assert!(makefile.contains("\ntest:"), "the Makefile was read");
    none(&helpless(makefile));
    assert_eq!(helpless(".PHONY: a\na: b ## does a\n\n.PHONY: c\nc:\n\tdo\n").len(), 1);
    assert_eq!(helpless("d: ## does d\n").len(), 1, "a command must be phony");
}

fn helpless(makefile: &str) -> Vec<String> {
    let phony: Vec<_> = makefile.lines().filter_map(|l| l.strip_prefix(".PHONY: ")).collect();
    let mut faults = Vec::new();
    for line in makefile.lines() {
        let Some((target, rest)) = line.split_once(':') else { continue };
        if target.is_empty() || !target.chars().all(|c| c.is_ascii_lowercase() || c == '-') || rest.starts_with('=') {
            continue;
        }
        if !rest.contains("## ") {
            faults.push(format!("Makefile: `{target}` has no help text"));
        }
        if !phony.contains(&target) {
            faults.push(format!("Makefile: `{target}` is not declared .PHONY"));
        }
    }
    faults
}

#[test]
fn the_readme_opens_with_the_two_commands() {
    assert!(opens(text(&tree(), "README.md")));
    assert!(!opens("# x\n\n```sh\nmake test\n```\n"));
}

/// Whether the first block of commands holds both.
fn opens(readme: &str) -> bool {
    let block = readme.split("```").nth(1).unwrap_or_default();
    let has = |command: &str| block.lines().any(|l| l.split('#').next().unwrap_or_default().trim() == command);
    has("make demo") && has("make test")
}
