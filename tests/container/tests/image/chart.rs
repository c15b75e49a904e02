//! What the chart says of the container, read from its least rendered form.

use std::fs;

use super::java::root;

/// A probe of the chart.
pub struct Probe {
    pub name: &'static str,
    pub path: String,
}

/// The manifests.
fn rendered() -> String {
    fs::read_to_string(root().join("tests/chart/golden/minimal.yaml")).expect("the rendered chart")
}

/// The probes, all of the admin port.
pub fn probes() -> Vec<Probe> {
    let text = rendered();
    ["startupProbe", "livenessProbe", "readinessProbe"]
        .into_iter()
        .map(|name| {
            let (_, probe) = text.split_once(&format!("{name}:\n")).expect("a probe");
            let value = |key: &str| probe.lines().find_map(|line| line.trim().strip_prefix(key)).expect("a value");
            assert_eq!(value("port: "), "admin");
            Probe { name, path: value("path: ").to_owned() }
        })
        .collect()
}

/// The number of a named port.
pub fn port(name: &str) -> u16 {
    let text = rendered();
    let (_, port) = text.split_once(&format!("- name: {name}\n              containerPort: ")).expect("a port");
    port.lines().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// The arguments of the program.
pub fn arguments() -> Vec<String> {
    let text = rendered();
    let (_, rest) = text.split_once("          args:\n").expect("arguments");
    rest.lines().map_while(|line| line.strip_prefix("            - ")).map(str::to_owned).collect()
}

/// User and group of the pod.
pub fn user() -> String {
    let text = rendered();
    let value = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).expect("a value").to_owned();
    assert_eq!(value("readOnlyRootFilesystem: "), "true");
    format!("{}:{}", value("runAsUser: "), value("runAsGroup: "))
}

/// The configuration.
pub fn configuration() -> String {
    let text = rendered();
    let (_, rest) = text.split_once("  b24kafka.toml: |\n").expect("a configuration");
    let lines: Vec<&str> = rest.lines().map_while(|line| line.strip_prefix("    ")).collect();
    lines.join("\n") + "\n"
}
