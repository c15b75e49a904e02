//! Blocks of code in the documents, the commands in them, and which of these have been run.

use std::{fs, mem};

use super::support::java::root;

/// What a block may be. A block without a kind could hide commands.
const KINDS: [&str; 8] = ["sh", "java", "json", "promql", "python", "text", "toml", "yaml"];
/// Marks for readers, alone on a line before the commands, and with what the commands under it may begin.
const MARKS: [(&str, &[&str]); 2] =
    [("# needs a cluster", &["kubectl ", "helm "]), ("# needs Docker", &["make image", "docker ", "mkdir "])];

/// A block of code.
#[derive(Debug)]
struct Block {
    document: String,
    kind: String,
    text: String,
    commands: Vec<Command>,
}

/// One command of a block of `sh`, which may be several lines long.
#[derive(Debug, PartialEq, Eq)]
struct Command {
    line: usize,
    text: String,
    /// It was run, or it is marked.
    settled: bool,
}

/// The blocks of all documents.
#[derive(Debug)]
pub struct Documents(Vec<Block>);

impl Documents {
    /// Reads documents, named from the root of the repository.
    pub fn read(names: &[String]) -> Self {
        let mut blocks = Vec::new();
        for name in names {
            let text = fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            blocks.extend(blocks_of(name, &text).unwrap_or_else(|fault| panic!("{fault}")));
        }
        Self(blocks)
    }

    /// The whole block of `kind` in which `part` stands; there has to be one, and its commands count as run.
    pub fn block(&mut self, document: &str, kind: &str, part: &str) -> String {
        let of = |block: &&mut Block| block.document == document && block.kind == kind && block.text.contains(part);
        let mut found: Vec<&mut Block> = self.0.iter_mut().filter(of).collect();
        assert_eq!(found.len(), 1, "blocks of {kind} in {document} with {part:?}");
        found[0].commands.iter_mut().for_each(|command| command.settled = true);
        found[0].text.clone()
    }

    /// The command that is `start`, or else begins with it, for which all its appearances count as run; there has to be
    /// one that was not run before.
    pub fn command(&mut self, start: &str) -> String {
        let exact = self.0.iter().flat_map(|block| &block.commands).any(|command| command.text == start);
        let meant = |text: &str| if exact { text == start } else { text.starts_with(start) };
        let commands = self.0.iter_mut().flat_map(|block| &mut block.commands);
        let mut found = String::new();
        for command in commands.filter(|command| meant(&command.text) && !command.settled) {
            assert!(found.is_empty() || found == command.text, "two commands begin with {start:?}");
            command.settled = true;
            found.clone_from(&command.text);
        }
        assert!(!found.is_empty(), "no command begins with {start:?}, or it was run before");
        found
    }

    /// The commands that were not run and are not marked, each with its place.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for block in &self.0 {
            let open = block.commands.iter().filter(|command| !command.settled);
            left.extend(open.map(|command| format!("{}:{}: {}", block.document, command.line, command.text)));
        }
        left
    }
}

fn blocks_of(document: &str, text: &str) -> Result<Vec<Block>, String> {
    let (mut blocks, mut open) = (Vec::new(), None::<(Block, usize)>);
    for (at, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, None) => {}
            (None, Some(kind)) if KINDS.contains(&kind) => {
                let (document, kind) = (document.to_owned(), kind.to_owned());
                open = Some((Block { document, kind, text: String::new(), commands: Vec::new() }, at + 2));
            }
            (None, Some(kind)) => return Err(format!("{document}:{}: no kind of block: {kind:?}", at + 1)),
            (Some((block, _)), None) => block.text += &format!("{line}\n"),
            (Some((block, first)), Some(_)) => {
                if block.kind == "sh" {
                    block.commands = commands(&block.text, *first).map_err(|e| format!("{document}:{e}"))?;
                }
                blocks.extend(open.take().map(|(block, _)| block));
            }
        }
    }
    if open.is_some() { Err(format!("{document}: a block has no end")) } else { Ok(blocks) }
}

/// The commands of a block whose first line is number `first`, without the comments behind them.
fn commands(text: &str, first: usize) -> Result<Vec<Command>, String> {
    let (mut commands, mut whole) = (Vec::new(), String::new());
    let (mut begins, mut mark) = (first, None::<&[&str]>);
    for (at, line) in text.lines().enumerate() {
        if whole.is_empty() {
            begins = first + at;
            if line.starts_with("# needs ") {
                let known = MARKS.iter().find(|(words, _)| line.starts_with(words));
                mark = Some(known.ok_or_else(|| format!("{begins}: no mark: {line}"))?.1);
            }
            if line.trim_start().starts_with('#') || line.trim().is_empty() {
                continue;
            }
        }
        whole += line;
        if let Some(text) = complete(&whole) {
            whole.clear();
            if let Some(tools) = mark
                && !tools.iter().any(|tool| text.starts_with(tool))
            {
                return Err(format!("{begins}: the mark above does not excuse this: {text}"));
            }
            commands.push(Command { line: begins, text, settled: mark.is_some() });
        } else {
            whole.push('\n');
        }
    }
    if whole.is_empty() { Ok(commands) } else { Err(format!("{begins}: a command without an end")) }
}

/// A command without the comment behind it, if it ends here: no quote is open, and no backslash asks for more.
fn complete(text: &str) -> Option<String> {
    let (mut quote, mut escaped, mut before) = (None, false, ' ');
    let mut kept = String::new();
    for c in text.chars() {
        match (c, quote) {
            _ if mem::take(&mut escaped) => {}
            ('\\', None | Some('"')) => escaped = true,
            ('\'' | '"', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            ('#', None) if before.is_whitespace() => break,
            _ => {}
        }
        kept.push(c);
        before = c;
    }
    (quote.is_none() && !escaped).then(|| kept.trim_end().to_owned())
}

#[test]
fn commands_are_found_whole() {
    let text = "x -a \\\n  -b   # why\n\n# a word\necho 'a\n# b' \"it's\" c#d\ny\n";
    let found = commands(text, 10).expect("commands");
    let all: Vec<(usize, &str)> = found.iter().map(|command| (command.line, command.text.as_str())).collect();
    assert_eq!(all, [(10, "x -a \\\n  -b"), (14, "echo 'a\n# b' \"it's\" c#d"), (16, "y")]);
    assert!(commands("echo 'a\n", 1).is_err());
}

#[test]
fn a_mark_excuses_what_it_names_and_nothing_else() {
    let marked = commands("# needs a cluster, and more\nhelm list\nkubectl get pods\n", 1).expect("commands");
    assert!(marked.iter().all(|command| command.settled) && marked.len() == 2);
    assert!(!commands("# a cluster is needed\nhelm list\n", 1).expect("a command")[0].settled);
    assert!(commands("# needs a cluster\nb24kafka run\n", 1).is_err());
    assert!(commands("# needs luck\nhelm list\n", 1).is_err());
}

#[test]
fn what_nobody_runs_is_told() {
    let text = "a\n```sh\none\ntwo --x\n```\n\n  ```toml\nthree\n```\n";
    let mut documents = Documents(blocks_of("d.md", text).expect("blocks"));
    assert_eq!(documents.command("two"), "two --x");
    assert_eq!(documents.left(), ["d.md:3: one"]);
    assert_eq!(documents.block("d.md", "sh", "one"), "one\ntwo --x\n");
    assert!(documents.left().is_empty());
    assert!(blocks_of("d.md", "```\nthree\n```\n").is_err(), "it could be commands");
    assert!(blocks_of("d.md", "```sh\nthree\n").is_err());
}
