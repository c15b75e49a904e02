//! The form of the repository: imports, sizes, leftovers, and documentation that mentions everything it should.
//!
//! Each check is a function from files to faults, and each has a test that shows it can find one.

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/logs.rs"]
mod logs;
#[path = "tidy/source.rs"]
mod source;

use std::path::Path;

use source::Source;

/// Past this a file holds more than one noun.
const MOST_LINES: usize = 450;
/// Files that may be longer, each with a reason beside it. None so far.
const LONG: [&str; 0] = [];

/// Code that has no place in a finished tree.
const LEFTOVERS: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
/// Marks in comments that say the same.
const MARKS: [&str; 3] = ["FIXME", "TODO", "XXX"];
/// Beginnings of paths that exist on somebody's machine only.
const PRIVATE: [&str; 4] = ["/home/", "/Users/", "/root/", "C:\\Users"];

fn tree() -> Vec<Source> {
    let sources = source::all(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(sources.iter().any(|s| s.path == "src/lib.rs"), "the tree was read");
    sources
}

fn text<'a>(sources: &'a [Source], path: &str) -> &'a str {
    sources.iter().find(|s| s.path == path).map_or("", |s| s.text.as_str())
}

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|l| *l != "[dependencies]").skip(1).take_while(|l| !l.starts_with('['));
    lines.filter_map(|l| Some(l.split_once('=')?.0.trim().to_owned())).collect()
}

#[test]
fn parts_import_only_what_they_may() {
    let tree = tree();
    let dependencies = dependencies(text(&tree, "Cargo.toml"));
    assert!(dependencies.iter().any(|d| d == "rdkafka"), "the manifest was read: {dependencies:?}");
    none(&imports::faults(&tree, &dependencies));
}

#[test]
fn files_are_short() {
    none(&long(&tree()));
    assert_eq!(long(&[Source::new("src/a.rs", &"x\n".repeat(MOST_LINES + 1))]).len(), 1);
    assert_eq!(long(&[Source::new("src/a.rs", &"x\n".repeat(MOST_LINES))]).len(), 0);
}

fn long(sources: &[Source]) -> Vec<String> {
    let code = |s: &&Source| s.is_rust() || Path::new(&s.path).extension().is_some_and(|e| e == "java");
    let mut faults = Vec::new();
    for file in sources.iter().filter(code).filter(|s| !LONG.contains(&s.path.as_str())) {
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            faults
                .push(format!("{}: {lines} lines, more than {MOST_LINES}: which noun wants its own file?", file.path));
        }
    }
    faults
}

#[test]
fn nothing_is_left_over() {
    none(&leftovers(&tree()));
    for bad in ["fn f() { todo!() }", "fn f() { dbg!(1); }", "// FIXME: later", "fn f() { x.unwrap(); }"] {
        assert_eq!(leftovers(&[Source::new("src/a.rs", bad)]).len(), 1, "{bad}");
    }
    for good in ["const A: &str = \"todo! FIXME\"; // .unwrap()", "#[cfg(test)]\nmod tests { fn f() { x.unwrap(); } }"]
    {
        none(&leftovers(&[Source::new("src/a.rs", good)]));
    }
}

fn leftovers(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in sources.iter().filter(|s| s.is_rust()) {
        let parts = source::parts(&file.text);
        let mut find = |code: &str, words: &[&str]| {
            for (number, line) in code.lines().enumerate() {
                let hits = words.iter().filter(|w| line.contains(**w));
                faults.extend(hits.map(|w| format!("{}:{}: `{w}` is left over", file.path, number + 1)));
            }
        };
        find(&parts.code, &LEFTOVERS);
        if file.is_product() {
            find(&source::without_tests(&parts.code), &[".unwrap()"]);
        }
        for (line, comment) in &parts.comments {
            let hits = MARKS.iter().filter(|m| comment.contains(**m));
            faults.extend(hits.map(|m| format!("{}:{line}: `{m}` is left over", file.path)));
        }
    }
    faults
}

#[test]
fn no_private_paths() {
    none(&private(&tree()));
    assert_eq!(private(&[Source::new("README.md", "see /home/me/notes")]).len(), 1);
}

fn private(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in sources.iter().filter(|s| !s.path.starts_with("tests/tidy")) {
        for (number, line) in file.text.lines().enumerate() {
            let hits = PRIVATE.iter().filter(|p| line.contains(**p));
            faults.extend(hits.map(|p| format!("{}:{}: a private path, {p}...", file.path, number + 1)));
        }
    }
    faults
}

#[test]
fn modules_are_files_named_by_their_noun() {
    none(&shapes(&tree()));
    assert_eq!(shapes(&[Source::new("src/kafka/mod.rs", "//! Kafka.")]).len(), 1);
    assert_eq!(shapes(&[Source::new("src/kafka.rs", "use std::fmt;")]).len(), 1);
}

fn shapes(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in sources.iter().filter(|s| s.is_rust()) {
        if file.path.starts_with("src/") && file.path.ends_with("/mod.rs") {
            faults.push(format!("{}: name it after its directory instead", file.path));
        }
        if !file.text.starts_with("//!") && !file.path.ends_with("/tests.rs") {
            faults.push(format!("{}: it does not begin with what it is for", file.path));
        }
    }
    faults
}

#[test]
fn the_core_is_checked_for_purity() {
    none(&purity(text(&tree(), "src/protocol.rs")));
    assert_eq!(purity("#![deny(clippy::disallowed_methods)]").len(), 2);
}

fn purity(core: &str) -> Vec<String> {
    let denied: String = core.lines().filter(|l| l.starts_with("#![deny(")).collect();
    let lints = ["disallowed_methods", "disallowed_types", "disallowed_macros"];
    let missing = lints.iter().filter(|lint| !denied.contains(&format!("clippy::{lint}")));
    missing.map(|lint| format!("src/protocol.rs: clippy::{lint} is not denied")).collect()
}
