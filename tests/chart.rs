//! The chart's configurations as Helm renders them, read by the program.
//!
//! What Helm renders is committed in `tests/chart/golden`, and `make chart-test` compares it; so no Helm is needed here.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

/// Where the chart mounts secrets, and in one of its tests an authority.
const MOUNTED: [&str; 2] = ["/run/secrets/b24kafka/", "/etc/kafka-ca/"];
/// In the golden manifests the configuration is a text of this name, indented by four.
const BLOCK: &str = "  b24kafka.toml: |\n";

/// The names and configurations of all features that the chart is rendered for.
fn rendered() -> Vec<(String, String)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/golden");
    let mut found = Vec::new();
    for entry in fs::read_dir(golden).expect("golden manifests") {
        let path = entry.expect("a file").path();
        let manifests = fs::read_to_string(&path).expect("text");
        let (_, rest) = manifests.split_once(BLOCK).expect("a configuration");
        let lines: Vec<&str> = rest.lines().map_while(|line| line.strip_prefix("    ")).collect();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        found.push((name, lines.join("\n") + "\n"));
    }
    assert!(found.len() >= 4, "{found:?}");
    found
}

/// The configuration with every mounted file in a directory of the test, where it is.
fn at_home(text: &str, dir: &TempDir) -> String {
    let mut text = text.to_owned();
    for mounted in MOUNTED {
        for (at, _) in text.match_indices(mounted) {
            let name: String = text[at + mounted.len()..].chars().take_while(|c| *c != '"').collect();
            fs::write(dir.path().join(name), "made-up\n").expect("written");
        }
        text = text.replace(mounted, &format!("{}/", dir.path().display()));
    }
    text
}

/// What `check` says of a configuration: its exit code, and the keys that it blames.
fn check(text: &str) -> (Option<i32>, Vec<String>) {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("b24kafka.toml");
    fs::write(&file, at_home(text, &dir)).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_b24kafka"));
    let output = command.args(["check", "--json", "-c"]).arg(&file).env_clear().output().expect("it runs");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let faults = answer["faults"].as_array().expect("a list");
    let keys = faults.iter().map(|fault| fault["key"].as_str().unwrap_or_default().to_owned());
    (output.status.code(), keys.collect())
}

#[test]
fn the_program_takes_every_rendered_configuration() {
    for (name, text) in rendered() {
        let wanted = if text.contains("kind = \"kafka\"") {
            // The chart is ready for this registry before the program is. When the program offers it, this fails: then
            // such a configuration is one like any other.
            (Some(78), vec!["registry.kind".to_owned()])
        } else {
            (Some(0), Vec::new())
        };
        assert_eq!(check(&text), wanted, "{name}:\n{text}");
    }
}

#[test]
fn a_fault_would_be_found() {
    let (_, text) = rendered().into_iter().find(|(name, _)| name == "minimal").expect("the least configuration");
    let (code, keys) = check(&text.replace("client_id", "client_ip"));
    assert_eq!(code, Some(78));
    assert_eq!(keys, ["app.client_id", "app.client_ip"]);
}
