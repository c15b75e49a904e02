//! Where values come from: the file and, above it, the environment, layered so that each value keeps its origin.
//!
//! Text goes in, one tree of values comes out; what the values mean is not known here.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider, Source,
    value::{Dict, Map, Value},
};
use toml_edit::{Document, Item, TableLike};

use super::fault::{Fault, Place};

/// What every variable that overrides a key begins with.
pub(super) const PREFIX: &str = "B24KAFKA__";
/// A configuration is a page or two; whatever is larger is a mistake (or a device) and is not read.
const FILE_LIMIT: u64 = 1 << 20;
/// No key lies deeper. Values are built and dropped by recursion, so a name must not say how deep that goes.
const MOST_LEVELS: usize = 8;
/// Most characters of a variable's name that a fault about the name repeats.
const SHOWN: usize = 80;
/// Stands for bytes that are no UTF-8 in a variable; see [`environment`].
const NOT_UTF8: char = '\u{FFFD}';

/// The process's variables that override keys. Bytes that are no UTF-8 are replaced, which the loader refuses.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect()
}

/// The layered tree and what is known of its places.
#[derive(Debug)]
pub(super) struct Sources {
    /// The values, the environment's above the file's.
    pub root: Dict,
    layers: Figment,
    file: PathBuf,
    lines: BTreeMap<String, usize>,
}

impl Sources {
    /// Parses the file's text and lays the variables over it. Faults of variables' names are added to `faults`; a
    /// text that is no TOML is the error.
    pub fn new(
        file: &Path,
        text: &str,
        env: impl Iterator<Item = (String, String)>,
        faults: &mut Vec<Fault>,
    ) -> Result<Self, Fault> {
        let mut lines = BTreeMap::new();
        let document = Document::parse(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            // The parser's message names what it met, never the text around it, which may be a secret.
            let wrong = format!("the file is no valid TOML: {}", error.message());
            whole_file(file, line, wrong, "correct the syntax at this place")
        })?;
        let dict = dict(document.as_table(), "", &mut |key, start| {
            lines.insert(key, line_of(text, start));
        });
        let layer = Layer { source: Source::File(file.to_path_buf()), dict };
        let mut layers = Figment::from(layer);
        for (name, path, value) in variables(env, faults) {
            let leaf = Value::from(value);
            let tree = path.iter().rev().fold(leaf, |inner, key| Value::from(Dict::from([(key.clone(), inner)])));
            let Some(dict) = tree.into_dict() else { continue };
            layers = layers.merge(Layer { source: Source::Custom(name), dict });
        }
        let root = layers.find_value("").ok().and_then(Value::into_dict).unwrap_or_default();
        Ok(Self { root, layers, file: file.to_path_buf(), lines })
    }

    /// Where the value of a key was given.
    pub fn place(&self, key: &str, value: &Value) -> Place {
        match self.layers.get_metadata(value.tag()).and_then(|metadata| metadata.source.as_ref()) {
            Some(Source::Custom(variable)) => Place::Variable(variable.clone()),
            _ => self.place_in_file(key),
        }
    }

    /// Where the value at a path was given, whoever gave it.
    pub fn place_of(&self, path: &str) -> Place {
        match self.layers.find_value(path) {
            Ok(value) if value.as_dict().is_none() => self.place(path, &value),
            _ => self.place_in_file(path),
        }
    }

    /// Where a key, or else the section around it, is in the file.
    pub fn place_in_file(&self, key: &str) -> Place {
        Place::File(self.file.clone(), self.lines.get(key).copied())
    }
}

/// Reads the file; whatever stops that is one fault.
pub(super) fn read(path: &Path) -> Result<String, Fault> {
    let unreadable = |error: std::io::Error| {
        let right = match error.kind() {
            std::io::ErrorKind::NotFound => "create it or give another path with -c",
            std::io::ErrorKind::PermissionDenied => "let the user of this process read it",
            _ => "give a readable file with -c",
        };
        whole_file(path, None, format!("the configuration file cannot be read ({error})"), right)
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LIMIT {
        let wrong = format!("the configuration file is larger than {} KiB", FILE_LIMIT >> 10);
        return Err(whole_file(path, None, wrong, "give the right file with -c"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        whole_file(path, Some(line), "the file is not UTF-8".into(), "save it as UTF-8")
    })
}

/// Parses the text of a variable that holds a list or a table.
pub(super) fn parse_value(text: &str) -> Result<Value, String> {
    let text = format!("value = {text}");
    let document = Document::parse(text.as_str()).map_err(|error| error.message().to_owned())?;
    let mut dict = dict(document.as_table(), "", &mut |_, _| ());
    match (dict.remove("value"), dict.is_empty()) {
        (Some(value), true) => Ok(value),
        _ => Err("it is more than one value".into()),
    }
}

fn whole_file(path: &Path, line: Option<usize>, wrong: String, right: &str) -> Fault {
    Fault { place: Place::File(path.to_path_buf(), line), key: String::new(), wrong, right: right.into() }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The variables that override keys, sorted by name, each with the path that it names.
fn variables(
    env: impl Iterator<Item = (String, String)>,
    faults: &mut Vec<Fault>,
) -> Vec<(String, Vec<String>, String)> {
    let mut found: Vec<(String, Vec<String>, String)> = Vec::new();
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        let odd = path.len() > MOST_LEVELS || path.iter().any(String::is_empty);
        let wrong = if odd || name.contains(NOT_UTF8) || rest != rest.to_uppercase() {
            "names no key"
        } else if value.contains(NOT_UTF8) {
            "does not hold UTF-8"
        } else {
            found.push((name, path, value));
            continue;
        };
        let right = format!("write {PREFIX}SECTION__KEY in capitals, with a value in UTF-8");
        let name = match name.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}...", &name[..end]),
            None => name,
        };
        faults.push(Fault { place: Place::Variable(name), key: String::new(), wrong: wrong.into(), right });
    }
    found.sort_by(|a, b| a.1.cmp(&b.1));
    for pair in found.windows(2) {
        if pair[1].1.starts_with(&pair[0].1) {
            faults.push(Fault {
                place: Place::Variable(pair[1].0.clone()),
                key: pair[1].1.join("."),
                wrong: format!("is set by {} too, as a whole", pair[0].0),
                right: "set one of the two".into(),
            });
        }
    }
    found
}

/// A TOML table as values; `seen` learns where each key begins. The parser limits the depth, so recursion is bounded.
fn dict(table: &dyn TableLike, path: &str, seen: &mut dyn FnMut(String, usize)) -> Dict {
    let mut dict = Dict::new();
    for (name, item) in table.iter() {
        let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let start = table.key(name).and_then(toml_edit::Key::span).or_else(|| item.span());
        if let Some(start) = start {
            seen(key.clone(), start.start);
        }
        if let Some(value) = value(item, &key, seen) {
            dict.insert(name.to_owned(), value);
        }
    }
    dict
}

fn value(item: &Item, key: &str, seen: &mut dyn FnMut(String, usize)) -> Option<Value> {
    match item {
        Item::None => None,
        Item::Table(table) => Some(Value::from(dict(table, key, seen))),
        Item::ArrayOfTables(tables) => {
            let mut values = Vec::new();
            for (index, table) in tables.iter().enumerate() {
                let key = format!("{key}[{index}]");
                if let Some(span) = table.span() {
                    seen(key.clone(), span.start);
                }
                values.push(Value::from(dict(table, &key, seen)));
            }
            Some(Value::from(values))
        }
        Item::Value(value) => Some(plain(value, key, seen)),
    }
}

fn plain(value: &toml_edit::Value, key: &str, seen: &mut dyn FnMut(String, usize)) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::from(text.value().as_str()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(switch) => Value::from(*switch.value()),
        toml_edit::Value::Datetime(time) => Value::from(time.value().to_string()),
        toml_edit::Value::InlineTable(table) => Value::from(dict(table, key, seen)),
        toml_edit::Value::Array(array) => {
            let mut values = Vec::new();
            for (index, element) in array.iter().enumerate() {
                let key = format!("{key}[{index}]");
                if let Some(span) = element.span() {
                    seen(key.clone(), span.start);
                }
                values.push(plain(element, &key, seen));
            }
            Value::from(values)
        }
    }
}

/// One origin of values.
struct Layer {
    source: Source,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::from("configuration", self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str, env: &[(&str, &str)]) -> (Sources, Vec<Fault>) {
        let mut faults = Vec::new();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sources = Sources::new(Path::new("c.toml"), text, env, &mut faults).expect("TOML");
        (sources, faults)
    }

    #[test]
    fn each_value_keeps_its_origin() {
        let text =
            "[fetch]\nlimit_min = 1\nlimit_max = 2\n\n[[queues]]\nconnector = \"a\"\n[[queues]]\nevents = [\n1,\n2]";
        let (sources, faults) = sources(text, &[("B24KAFKA__FETCH__LIMIT_MIN", "7"), ("HOME", "/")]);
        assert_eq!(faults, []);
        let fetch = sources.root["fetch"].as_dict().expect("a table");
        assert_eq!(fetch["limit_min"].as_str(), Some("7"));
        let variable = sources.place("fetch.limit_min", &fetch["limit_min"]);
        assert_eq!(variable, Place::Variable("B24KAFKA__FETCH__LIMIT_MIN".into()));
        let line = |key: &str| sources.place_in_file(key).to_string();
        assert_eq!(sources.place("fetch.limit_max", &fetch["limit_max"]).to_string(), "c.toml:3");
        assert_eq!(line("queues[1]"), "c.toml:7");
        assert_eq!(line("queues[1].events[1]"), "c.toml:10");
        assert_eq!(line("nothing"), "c.toml");
    }

    #[test]
    fn a_variable_that_names_no_key_is_a_fault() {
        for name in ["B24KAFKA__", "B24KAFKA__A__", "B24KAFKA__a__B", "B24KAFKA____A"] {
            assert_eq!(sources("", &[(name, "x")]).1.len(), 1, "{name}");
        }
        assert_eq!(sources("", &[("B24KAFKA__A__B", "\u{FFFD}")]).1.len(), 1);
        let (_, faults) = sources("", &[("B24KAFKA__A", "x"), ("B24KAFKA__A__B", "x")]);
        assert_eq!(faults.len(), 1, "{faults:?}");
    }

    #[test]
    fn broken_toml_is_one_fault_with_its_line() {
        let mut faults = Vec::new();
        let text = "[app]\nclient_id = \"x\"\nclient_secret = s3cr3t\n";
        let fault = Sources::new(Path::new("c.toml"), text, std::iter::empty(), &mut faults).expect_err("no TOML");
        assert_eq!(fault.place.to_string(), "c.toml:3");
        assert!(!fault.to_string().contains("s3cr3t"), "{fault}");
        let deep = format!("{}=1", vec!["a"; 100_000].join("."));
        assert!(Sources::new(Path::new("c.toml"), &deep, std::iter::empty(), &mut faults).is_err());
    }

    #[test]
    fn a_variable_may_hold_toml() {
        let list = parse_value("[\"a\", 1]").expect("a list");
        assert_eq!(list.as_array().map(<[_]>::len), Some(2));
        assert!(parse_value("1\nother = 2").is_err());
        assert!(parse_value("").is_err());
        assert!(parse_value("[").is_err());
    }
}
