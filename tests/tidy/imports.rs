//! Who may import whom: the import rule of `src/lib.rs` as a table.

use super::source::{self, Source};

/// Each part of the crate with what it may import: whole parts, or single modules of them.
///
/// Its own modules are open to every part. What is missing here is forbidden.
const MAY_IMPORT: [(&str, &[&str]); 15] = [
    ("main", &["cli"]),
    ("chain", &[]),
    (
        "cli",
        &[
            "app",
            "chain",
            "config",
            "telemetry",
            "metrics",
            "sim",
            "bitrix",
            "kafka",
            "registry",
            "http",
            "protocol::types",
        ],
    ),
    (
        "app",
        &[
            "chain",
            "fleet",
            "runner",
            "http",
            "registry",
            "bitrix",
            "kafka",
            "config",
            "telemetry",
            "metrics",
            "protocol::types",
        ],
    ),
    ("fleet", &["runner", "registry", "bitrix", "kafka", "metrics", "protocol", "config::app", "config::portals"]),
    ("runner", &["chain", "protocol", "bitrix", "kafka", "registry", "metrics", "config::app"]),
    ("protocol", &[]),
    (
        "bitrix",
        &[
            "protocol::types",
            "protocol::exchange",
            "metrics",
            "config::app",
            "config::fetch",
            "config::portals",
            "config::queues",
        ],
    ),
    ("kafka", &["protocol::types", "metrics", "config::kafka"]),
    ("registry", &["protocol::types", "metrics", "config::registry", "config::portals"]),
    ("http", &["protocol::types", "metrics", "config::http"]),
    ("config", &["protocol::types", "bitrix::catalogue", "kafka::options", "kafka::template"]),
    ("metrics", &["protocol::types", "bitrix::catalogue"]),
    ("telemetry", &["config::process"]),
    ("sim", &["bitrix::catalogue"]),
];

/// Crates that the core may name, for their derive macros.
const CORE_CRATES: [&str; 2] = ["serde", "thiserror"];
/// Modules of the standard library that act on the world.
const IMPURE: [&str; 6] = ["env", "fs", "io", "net", "process", "thread"];

/// Every import that the table does not allow. `dependencies` are the crate's own, as Cargo.toml spells them.
pub fn faults(sources: &[Source], dependencies: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in sources.iter().filter(|s| s.is_product() && s.path != "src/lib.rs") {
        let module: Vec<&str> = file.path.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(part, _)| *part == module[0]) else {
            faults
                .push(format!("{}: the part `{}` is not in the table of tests/tidy/imports.rs", file.path, module[0]));
            continue;
        };
        let code = source::without_tests(&source::parts(&file.text).code);
        let tokens = tokens(&code);
        for (line, path) in local_paths(&tokens, &module) {
            let inside = |prefix: &&str| path.len() >= prefix.split("::").count() && starts_with(&path, prefix);
            if path.first().is_some_and(|part| part != module[0]) && !allowed.iter().any(inside) {
                faults.push(format!("{}:{line}: `{}` may not import `{}`", file.path, module[0], path.join("::")));
            }
        }
        if module[0] == "protocol" {
            for (line, path) in foreign(&tokens, dependencies) {
                faults.push(format!("{}:{line}: the core may not use `{path}`", file.path));
            }
        }
    }
    faults
}

fn starts_with(path: &[String], prefix: &str) -> bool {
    prefix.split("::").zip(path).all(|(a, b)| a == b)
}

/// Words and punctuation, each with its line; `::` is one token.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                word => word,
            };
            tokens.push((number + 1, rest[..length].into()));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Paths into this crate, resolved from its root: `crate::a::b`, `super::super::a`, and groups of them.
fn local_paths(tokens: &[(usize, String)], module: &[&str]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let begins = at == 0 || tokens[at - 1].1 != "::";
        let root = matches!(token.as_str(), "crate" | "super" | "b24kafka");
        if !(begins && root && tokens.get(at + 1).is_some_and(|t| t.1 == "::")) {
            continue;
        }
        let mut paths = Vec::new();
        expand(tokens, at, &[], &mut paths);
        found.extend(paths.iter().map(|path| (*line, resolve(path, module))));
    }
    found
}

/// Collects the paths of the use tree at `at` and returns where it ends.
fn expand(tokens: &[(usize, String)], mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while let Some((_, token)) = tokens.get(at) {
        if token == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|t| t.1 != "}") {
                at = expand(tokens, at, &path, paths);
                // Behind a path: `as name`, a comma, or the end of the group.
                while tokens.get(at).is_some_and(|t| t.1 != "," && t.1 != "}") {
                    at += 1;
                }
                at += usize::from(tokens.get(at).is_some_and(|t| t.1 == ","));
            }
            return at + 1;
        }
        path.push(token.clone());
        at += 1;
        if tokens.get(at).is_none_or(|t| t.1 != "::") {
            break;
        }
        at += 1;
    }
    paths.push(path);
    at
}

fn resolve(path: &[String], module: &[&str]) -> Vec<String> {
    let mut resolved: Vec<String> = module.iter().map(|m| (*m).into()).collect();
    for step in path {
        match step.as_str() {
            "crate" | "b24kafka" => resolved.clear(),
            "super" => drop(resolved.pop()),
            "self" => {}
            name => resolved.push(name.into()),
        }
    }
    resolved
}

/// Paths into other crates than the core may name, and into the parts of `std` that act.
fn foreign(tokens: &[(usize, String)], dependencies: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, (line, token)) in tokens.iter().enumerate() {
        let begins = at == 0 || tokens[at - 1].1 != "::";
        if !begins || tokens.get(at + 1).is_none_or(|t| t.1 != "::") {
            continue;
        }
        if token == "std" {
            let mut paths = Vec::new();
            expand(tokens, at, &[], &mut paths);
            let acts = |p: &&Vec<String>| p.get(1).is_some_and(|m| IMPURE.contains(&m.as_str()));
            found.extend(paths.iter().filter(acts).map(|p| (*line, p.join("::"))));
        } else if dependencies.iter().any(|d| d.replace('-', "_") == *token) && !CORE_CRATES.contains(&token.as_str()) {
            found.push((*line, token.clone()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        faults(&[Source::new(path, text)], &["tokio".into(), "futures-util".into(), "serde".into()])
    }

    #[test]
    fn forbidden_imports_are_found() {
        for (path, text) in [
            ("src/kafka/producer.rs", "use crate::bitrix::wire::Row;"),
            ("src/kafka/producer.rs", "use crate::{\n    protocol::{types::RowId, queue::Queue},\n};"),
            ("src/kafka/producer.rs", "use super::super::registry::Registry;"),
            ("src/kafka.rs", "use super::http;"),
            ("src/kafka.rs", "fn f() { crate::app::start() }"),
            ("src/kafka.rs", "use crate::config::Config;"),
            ("src/kafka.rs", "use crate::config::{kafka::Kafka as K, app::App};"),
            ("src/sim/portal.rs", "use crate::protocol::types::RowId;"),
            ("src/sim/portal.rs", "use crate::bitrix::client;"),
            ("src/main.rs", "use b24kafka::app;"),
            ("src/protocol/queue.rs", "use crate::metrics;"),
            ("src/protocol/queue.rs", "use tokio::sync::mpsc;"),
            ("src/protocol/queue.rs", "fn f() { futures_util::pin_mut!(x) }"),
            ("src/protocol/queue.rs", "use std::{fmt, fs::File};"),
            ("src/novel.rs", ""),
        ] {
            assert_eq!(check(path, text).len(), 1, "{path}: {text}: {:?}", check(path, text));
        }
    }

    #[test]
    fn allowed_imports_pass() {
        for (path, text) in [
            ("src/kafka/producer.rs", "use crate::{kafka::record, protocol::types::{RowId, Row as R}, metrics};"),
            ("src/kafka/producer.rs", "use super::record; use super::super::protocol::types;"),
            ("src/kafka.rs", "pub(crate) fn f() {} // crate::bitrix\nconst T: &str = \"crate::bitrix\";"),
            ("src/kafka.rs", "#[cfg(test)]\nmod tests { use crate::sim; }"),
            ("src/sim.rs", "use crate::bitrix::catalogue::{self, Event};"),
            ("src/protocol/queue.rs", "use std::{collections::BTreeMap, fmt}; use serde::Serialize; use super::types;"),
            ("src/main.rs", "use b24kafka::cli;"),
        ] {
            assert_eq!(check(path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }
}
