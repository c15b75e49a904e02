//! Commands that the text mentions: their targets, tiers, commands and options exist.

use std::{collections::BTreeMap, fs, process::Command};

use super::{documents, support::java::root};

/// What is in backticks, outside of blocks, in which a line break is a space.
fn spans(text: &str) -> Vec<String> {
    let mut outside = true;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        outside ^= fence;
        outside && !fence
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut spans = Vec::new();
    for paragraph in text.split("\n\n") {
        let inside = paragraph.split('`').skip(1).step_by(2);
        spans.extend(inside.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    spans
}

/// Asks the program what its commands take, each once.
#[derive(Default)]
struct Helps(BTreeMap<String, Option<String>>);

impl Helps {
    /// The help of a command such as `portals add`; `None` if there is no such command.
    fn of(&mut self, command: &str) -> Option<&str> {
        let ask = || {
            let mut program = Command::new(env!("CARGO_BIN_EXE_b24kafka"));
            let output = program.args(command.split(' ')).arg("--help").output().expect("the binary runs");
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        self.0.entry(command.to_owned()).or_insert_with(ask).as_deref()
    }
}

/// What is wrong with a command that is mentioned.
fn fault(span: &str, makefile: &str, helps: &mut Helps) -> Option<String> {
    // Variables may stand in front.
    let words: Vec<&str> = span.split(' ').skip_while(|word| word.contains('=')).collect();
    match words.as_slice() {
        ["make", target, ..] if !makefile.contains(&format!("\n{target}:")) => Some(format!("no target {target}")),
        ["cargo", "test", "--test", tier, ..] => {
            let there = [format!("tests/{tier}.rs"), format!("tests/{tier}/main.rs")];
            let known = there.iter().any(|file| root().join(file).is_file());
            (!known).then(|| format!("no tier {tier}"))
        }
        ["b24kafka", rest @ ..] => unknown(rest, helps),
        ["portals", rest @ ..] if !rest.is_empty() => unknown(&words, helps),
        _ => None,
    }
}

/// What the program does not know of a command.
fn unknown(words: &[&str], helps: &mut Helps) -> Option<String> {
    let word = |word: &&&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let depth = if words.first() == Some(&"portals") { 2 } else { 1 };
    let command: Vec<&str> = words.iter().take_while(word).take(depth).copied().collect();
    if command.is_empty() {
        return None;
    }
    let command = command.join(" ");
    let Some(help) = helps.of(&command) else { return Some(format!("no command {command}")) };
    let mut options = words.iter().filter(|word| word.starts_with('-'));
    let wrong = options.find(|option| !help.split([' ', ',', '\n']).any(|known| known == **option));
    wrong.map(|option| format!("{command} has no {option}"))
}

#[test]
fn every_command_that_is_mentioned_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("a Makefile");
    let (mut helps, mut faults, mut found) = (Helps::default(), Vec::new(), 0);
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).expect("a document");
        for span in spans(&text) {
            found += usize::from(["make ", "b24kafka ", "portals "].iter().any(|start| span.starts_with(start)));
            faults.extend(fault(&span, &makefile, &mut helps).map(|fault| format!("{document}: `{span}`: {fault}")));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(found > 30, "the documents were read: {found}");
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let text = "a `make\nall` b `x`\n\n```sh\n`make none`\n```\n`c";
    assert_eq!(spans(text), ["make all", "x", "c"]);
    let mut helps = Helps::default();
    let mut wrong = |span| fault(span, "\ntest: x\n", &mut helps).is_some();
    for bad in
        ["A=1 make tests", "cargo test --test none", "b24kafka start", "b24kafka run --tracing F", "portals kill"]
    {
        assert!(wrong(bad), "{bad}");
    }
    for good in
        ["make test", "make", "cargo test --test cli", "b24kafka run -c F --trace F", "portals add M --endpoint U"]
    {
        assert!(!wrong(good), "{good}");
    }
}

#[test]
fn the_image_has_the_version_that_the_readme_runs() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    assert!(readme.contains(concat!(" b24kafka:", env!("CARGO_PKG_VERSION"), "\n")), "docker run has another version");
}
