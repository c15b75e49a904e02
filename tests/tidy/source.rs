//! Files of the repository, and Rust source taken apart just far enough: code, comments and strings.

use std::{fs, path::Path};

/// A text file, named by its path from the root of the repository.
pub struct Source {
    pub path: String,
    pub text: String,
}

/// Rust source in parts. Line numbers stay right in all of them.
pub struct Parts {
    /// The source with comments and the contents of strings blanked out.
    pub code: String,
    /// Comments, documentation included, each with its line.
    pub comments: Vec<(usize, String)>,
    /// Contents of string literals, each with its line.
    pub strings: Vec<(usize, String)>,
}

/// Not ours, or not text.
const SKIPPED: [&str; 3] = ["target", ".git", "Cargo.lock"];

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    pub fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| e == "rs")
    }

    /// Whether it is product code: a file of tests may do more.
    pub fn is_product(&self) -> bool {
        let test = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        self.is_rust() && self.path.starts_with("src/") && !test
    }
}

/// Every text file below `root`, sorted by path.
pub fn all(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a readable directory") {
            let path = entry.expect("a readable entry").path();
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push(Source { path: name, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Takes Rust source apart.
pub fn parts(text: &str) -> Parts {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = Parts { code: String::new(), comments: Vec::new(), strings: Vec::new() };
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => find(&chars, at, |rest| rest[0] == '\n').unwrap_or(chars.len()),
            ('/', Some('*')) => block_comment(&chars, at),
            ('"', _) => string(&chars, at + 1),
            ('r', Some('"' | '#')) if !follows_word(&chars, at) => match raw_string(&chars, at) {
                Some(end) => end,
                None => at,
            },
            ('\'', _) => character(&chars, at),
            _ => at,
        };
        if end == at {
            parts.code.push(chars[at]);
            line += usize::from(chars[at] == '\n');
            at += 1;
            continue;
        }
        let piece: String = chars[at..end].iter().collect();
        parts.code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        let begins = line;
        line += piece.matches('\n').count();
        match chars[at] {
            '/' => parts.comments.push((begins, piece)),
            '\'' => {}
            _ => parts.strings.push((begins, piece.trim_matches(['r', '#']).trim_matches('"').into())),
        }
        at = end;
    }
    parts
}

/// The code without the items that exist in tests only.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let item = &rest[start..];
        let end = item_end(&item[MARK.len()..]) + MARK.len();
        kept.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    kept + rest
}

/// Where an item ends: behind its semicolon or its closing brace.
fn item_end(text: &str) -> usize {
    let (mut round, mut braces) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        if round == 0 && braces == 0 && matches!(c, ';' | '}') {
            return at + 1;
        }
    }
    text.len()
}

fn find(chars: &[char], from: usize, is: impl Fn(&[char]) -> bool) -> Option<usize> {
    (from..chars.len()).find(|at| is(&chars[*at..]))
}

fn block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// The end of a string whose first character is at `at`.
fn string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of a raw string, unless this is a raw identifier.
fn raw_string(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    Some(find(chars, open + 1, |rest| rest.starts_with(&close)).map_or(chars.len(), |at| at + close.len()))
}

/// The end of a character literal; a lifetime is none.
fn character(chars: &[char], start: usize) -> usize {
    match chars[start + 1..] {
        ['\\', _, ..] => find(chars, start + 3, |rest| rest[0] == '\'').map_or(start, |at| at + 1),
        [_, '\'', ..] => start + 3,
        _ => start,
    }
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

#[test]
fn source_is_taken_apart() {
    let text = "let a = \"x // \\\" y\"; // one \"two\"\nlet b = r#\"raw \" text\"#; /* c /* d */ */ let e: &'a char = &'\"';\n";
    let parts = parts(text);
    let strings: Vec<_> = parts.strings.iter().map(|(line, s)| (*line, s.as_str())).collect();
    assert_eq!(strings, [(1, "x // \\\" y"), (2, "raw \" text")]);
    let comments: Vec<_> = parts.comments.iter().map(|(line, c)| (*line, c.as_str())).collect();
    assert_eq!(comments, [(1, "// one \"two\""), (2, "/* c /* d */ */")]);
    assert!(parts.code.contains("let e: &'a char"), "{}", parts.code);
    assert!(!parts.code.contains('"') && !parts.code.contains("one"), "{}", parts.code);
    assert_eq!(parts.code.matches('\n').count(), 2);
}

#[test]
fn items_of_tests_are_left_out() {
    let code =
        "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod c { fn d(x: [u8; 3]) { x; } }\nfn e() {}";
    assert_eq!(without_tests(code), "fn a() {}\n\n\nfn b() {}\n\n\nfn e() {}");
}
