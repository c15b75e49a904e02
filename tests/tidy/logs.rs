//! Log lines: the fields are those of docs/logging.md, and a line about a portal says which.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    none,
    source::{self, Source},
    text, tree,
};

/// The macros that write a line.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// What the formatter adds by itself.
const ADDED: [&str; 1] = ["repeats"];
/// Where lines are about one portal.
const OF_A_PORTAL: [&str; 5] =
    ["src/runner.rs", "src/runner/session.rs", "src/runner/tokens.rs", "src/runner/told.rs", "src/fleet/upkeep.rs"];

/// A line of the log, as the code has it.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    number: usize,
    fields: Vec<String>,
}

#[test]
fn the_fields_of_log_lines_are_documented() {
    let tree = tree();
    none(&undocumented(&tree, text(&tree, "docs/logging.md")));
    let page = "| field | meaning |\n| --- | --- |\n| `portal` | x |\n| `rows` | x |\n| `repeats` | x |\n";
    let code = Source::new("src/a.rs", "fn f() { tracing::info!(%portal, rwos = 1, \"x\"); }");
    assert_eq!(undocumented(&[code], page).len(), 2, "one is not documented and one not used");
}

fn undocumented(sources: &[Source], page: &str) -> Vec<String> {
    let table = page.split("| field | meaning |").nth(1).unwrap_or_default();
    let known: BTreeSet<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut used: BTreeMap<String, String> = BTreeMap::new();
    for file in sources.iter().filter(|file| file.is_product()) {
        for line in lines(&file.text) {
            let place = format!("{}:{}", file.path, line.number);
            used.extend(line.fields.into_iter().map(|field| (field, place.clone())));
        }
    }
    let mut faults = Vec::new();
    for (field, place) in &used {
        if !known.contains(field.as_str()) {
            faults.push(format!("{place}: docs/logging.md does not know the field `{field}`"));
        }
    }
    let unused = known.iter().filter(|field| !used.contains_key(**field) && !ADDED.contains(field));
    faults.extend(unused.map(|field| format!("docs/logging.md: no line has the field `{field}`")));
    faults
}

#[test]
fn lines_about_a_portal_say_which() {
    let tree = tree();
    let files: Vec<&Source> = tree.iter().filter(|file| OF_A_PORTAL.contains(&file.path.as_str())).collect();
    assert_eq!(files.len(), OF_A_PORTAL.len());
    none(&files.iter().flat_map(|file| nameless(file)).collect::<Vec<_>>());
    assert_eq!(nameless(&Source::new("src/a.rs", "fn f() { tracing::warn!(rows = 1, \"x\"); }")).len(), 1);
}

fn nameless(file: &Source) -> Vec<String> {
    let without = lines(&file.text).into_iter().filter(|line| line.fields.iter().all(|field| field != "portal"));
    without.map(|line| format!("{}:{}: the line does not say which portal", file.path, line.number)).collect()
}

/// Every log line of a source, tests left out.
fn lines(text: &str) -> Vec<Line> {
    let code = source::without_tests(&source::parts(text).code);
    let mut found = Vec::new();
    for level in LEVELS {
        let begin = format!("tracing::{level}!(");
        for (at, _) in code.match_indices(&begin) {
            let number = code[..at].matches('\n').count() + 1;
            found.push(Line { number, fields: arguments(&code[at + begin.len()..]).filter_map(field).collect() });
        }
    }
    found
}

/// The arguments of a call that begins here, up to its closing bracket.
fn arguments(code: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut start, mut all) = (0_i32, 0, Vec::new());
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                all.push(&code[start..at]);
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(&code[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    // Contents of strings are blanked out, so the message is empty; what follows it are its own arguments.
    all.into_iter().map(str::trim).take_while(|argument| !argument.is_empty())
}

/// The name of a field: `name = value`, `%name`, `?name` or `name`.
fn field(argument: &str) -> Option<String> {
    if argument.starts_with("target:") {
        return None;
    }
    let name = argument.split_once('=').map_or(argument, |(name, _)| name);
    Some(name.trim().trim_start_matches(['%', '?']).to_owned())
}

#[test]
fn fields_are_read_in_all_their_forms() {
    let code = "fn f() {\n    tracing::warn!(\n        target: \"t\", %portal, rows = all.iter().map(|(a, b)| a == b).len(), ?events, code,\n        \
                \"a {} {}\", one, two.three(),\n    );\n}\n#[cfg(test)]\nmod tests { fn g() { tracing::info!(x, \"y\"); } }\n";
    let fields = ["portal", "rows", "events", "code"].map(str::to_owned).to_vec();
    assert_eq!(lines(code), [Line { number: 2, fields }]);
}
