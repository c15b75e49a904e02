//! Reads sections of the layered tree, key by key, and collects every fault on the way.
//!
//! Reading a key also makes it known: unknown keys are what is left when a section has been read, and the list of all
//! known keys, with form, default and meaning, is what the documentation is made from. A reading method answers `None`
//! after it has recorded a fault, so that a section can go on and report the others too.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::{
    fault::{Fault, Place},
    form::{Form, Given, kind},
    source::Sources,
};

/// A key of the configuration, for the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// With its section: `fetch.limit_min`, `queues.topic`.
    pub path: String,
    /// What it may hold.
    pub form: String,
    /// What holds without it, as TOML.
    pub default: Option<String>,
    /// Whether it has to be given.
    pub required: bool,
    /// What it is for.
    pub doc: &'static str,
}

/// How a key is called and what it is for.
#[derive(Clone, Copy)]
pub(super) struct Named(pub &'static str, pub &'static str);

/// What has been read so far.
pub(super) struct Reader<'s> {
    sources: &'s Sources,
    /// The faults, in the order of reading.
    pub faults: Vec<Fault>,
    /// The keys, in the order of reading.
    pub keys: Vec<Key>,
}

impl<'s> Reader<'s> {
    /// Nothing has been read yet; faults of the sources themselves are handed on.
    pub fn new(sources: &'s Sources, faults: Vec<Fault>) -> Self {
        Self { sources, faults, keys: Vec::new() }
    }

    /// Reads everything.
    pub fn root<T>(&mut self, read: impl FnOnce(&mut Section<'_, 's>) -> T) -> T {
        let table = self.sources.root.clone();
        self.section(String::new(), table, None, read)
    }

    fn section<T>(
        &mut self,
        path: String,
        table: Dict,
        whole: Option<Place>,
        read: impl FnOnce(&mut Section<'_, 's>) -> T,
    ) -> T {
        let mut section = Section { reader: self, path, table, whole, known: Vec::new(), places: BTreeMap::new() };
        let out = read(&mut section);
        section.finish();
        out
    }
}

/// A section that is being read.
pub(super) struct Section<'r, 's> {
    reader: &'r mut Reader<'s>,
    path: String,
    /// What has not been read yet.
    table: Dict,
    /// The variable that holds the section as a whole, if one does.
    whole: Option<Place>,
    known: Vec<&'static str>,
    places: BTreeMap<&'static str, Place>,
}

impl<'s> Section<'_, 's> {
    /// Reads a key that has to be given.
    pub fn required<F: Form>(&mut self, key: Named, form: &F) -> Option<F::Out> {
        self.learn(key, form.right(), None, true);
        match self.take(key.0) {
            Some((value, place)) => self.read(key.0, form, &value, place),
            None => {
                self.missing(key.0, &format!("give {}", form.right()));
                None
            }
        }
    }

    /// Reads a key that has a default, given as TOML.
    pub fn or<F: Form>(&mut self, key: Named, default: &str, form: &F) -> Option<F::Out> {
        self.learn(key, form.right(), Some(default), false);
        let (value, place) = self.take(key.0).or_else(|| self.fallback(default))?;
        self.read(key.0, form, &value, place)
    }

    /// Reads a key that may be left out; the outer `None` is a fault.
    pub fn optional<F: Form>(&mut self, key: Named, form: &F) -> Option<Option<F::Out>> {
        self.learn(key, form.right(), None, false);
        match self.take(key.0) {
            Some((value, place)) => self.read(key.0, form, &value, place).map(Some),
            None => Some(None),
        }
    }

    /// Reads a list, element by element; the default is TOML too.
    pub fn each<F: Form>(&mut self, key: Named, default: &str, form: &F) -> Option<Vec<F::Out>> {
        self.learn(key, format!("a list, each {}", form.right()), Some(default), false);
        let (value, place) = self.take(key.0).or_else(|| self.fallback(default))?;
        let elements = match given(&value, &place).list() {
            Ok(elements) => elements,
            Err(wrong) => {
                self.fault_at(place, key.0, wrong, "give a list such as [\"...\", \"...\"]".into());
                return None;
            }
        };
        let mut read = Vec::new();
        let count = elements.len();
        for (index, element) in elements.iter().enumerate() {
            let name = format!("{}[{index}]", key.0);
            let place = self.within(&place, &name);
            match form.read(Given { value: element, variable: false }) {
                Ok(element) => read.push(element),
                Err(wrong) => self.fault_at(place, &name, wrong, format!("give {}", form.right())),
            }
        }
        (read.len() == count).then_some(read)
    }

    /// Reads a table of free keys as texts; tables in it are joined with dots, so `linger.ms = 5` is one key.
    pub fn free(&mut self, key: Named, form: &str) -> Option<Vec<(String, String, Place)>> {
        self.learn(key, form.into(), Some("{}"), false);
        let Some((value, place)) = self.take(key.0) else { return Some(Vec::new()) };
        let table = given(&value, &place).structured().map(Value::into_dict);
        let Ok(Some(table)) = table else {
            self.fault_at(place, key.0, format!("is {}", kind(&value)), "give a table".into());
            return None;
        };
        let (mut flat, before) = (Vec::new(), self.reader.faults.len());
        self.flatten(key.0, "", table, &place, &mut flat);
        (self.reader.faults.len() == before).then_some(flat)
    }

    /// Reads a section within this one.
    pub fn section<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Section<'_, 's>) -> T) -> T {
        self.known.push(name);
        let path = self.full(name);
        let table = match self.take(name) {
            None => Dict::new(),
            Some((Value::Dict(_, table), _)) => table,
            Some((value, place)) => {
                let right = format!("give a section [{path}] with keys");
                self.fault_at(place, name, format!("is {}", kind(&value)), right);
                Dict::new()
            }
        };
        let whole = self.whole.clone();
        self.reader.section(path, table, whole, read)
    }

    /// Reads a list of sections; `None` if one of them, or the list itself, has a fault.
    pub fn sections<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Section<'_, 's>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.known.push(name);
        let Some((value, place)) = self.take(name) else { return Some(Vec::new()) };
        let tables = given(&value, &place).list().and_then(|elements| {
            let tables: Option<Vec<Dict>> = elements.into_iter().map(Value::into_dict).collect();
            tables.ok_or_else(|| "is a list of something else than sections".to_owned())
        });
        let tables = match tables {
            Ok(tables) => tables,
            Err(wrong) => {
                let right = format!("give sections [[{name}]], or in a variable a list of inline tables");
                self.fault_at(place, name, wrong, right);
                return None;
            }
        };
        let whole = matches!(place, Place::Variable(_)).then_some(place);
        let count = tables.len();
        let mut all = Vec::new();
        for (index, table) in tables.into_iter().enumerate() {
            let path = format!("{}[{index}]", self.full(name));
            all.extend(self.reader.section(path, table, whole.clone(), &mut read));
        }
        (all.len() == count).then_some(all)
    }

    /// Whether a key is given. Only what has not been read yet counts.
    pub fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Takes whatever is left as known, where the section as a whole is refused already.
    pub fn abandon(&mut self) {
        self.table.clear();
    }

    /// Records what is wrong with a key that has been read, or left out.
    pub fn fault(&mut self, name: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let place = self.places.get(name).cloned().unwrap_or_else(|| self.here());
        self.fault_at(place, name, wrong.into(), right.into());
    }

    /// Records what is wrong between sections, at a key of one of them.
    pub fn fault_in_file(&mut self, path: &str, wrong: &str, right: &str) {
        let parents = std::iter::successors(Some(path), |path| path.rsplit_once(['.', '[']).map(|(parent, _)| parent));
        let places = parents.map(|path| self.reader.sources.place_of(path));
        let place = places.into_iter().find(|place| !matches!(place, Place::File(_, None)));
        let place = place.unwrap_or_else(|| self.here());
        self.fault_at(place, path, wrong.into(), right.into());
    }

    /// Records what is wrong at a place.
    pub fn fault_at(&mut self, place: Place, name: &str, wrong: String, right: String) {
        let key = self.full(name);
        self.reader.faults.push(Fault { place, key, wrong, right });
    }

    /// Records that a key has to be given.
    pub fn missing(&mut self, name: &str, right: &str) {
        let place = self.here();
        self.fault_at(place, name, "is missing".into(), right.into());
    }

    /// Makes a key known to the documentation and to the search for the nearest name.
    pub fn learn(&mut self, key: Named, form: String, default: Option<&str>, required: bool) {
        self.known.push(key.0);
        let path = without_indices(&self.full(key.0));
        if self.reader.keys.iter().all(|known| known.path != path) {
            let default = default.map(str::to_owned);
            self.reader.keys.push(Key { path, form, default, required, doc: key.1 });
        }
    }

    /// Takes a key's value and its place.
    pub fn take(&mut self, name: &'static str) -> Option<(Value, Place)> {
        let value = self.table.remove(name)?;
        let place = match &self.whole {
            Some(place) => place.clone(),
            None => self.reader.sources.place(&self.full(name), &value),
        };
        self.places.insert(name, place.clone());
        Some((value, place))
    }

    /// Reads a value that was taken.
    pub fn read<F: Form>(&mut self, name: &str, form: &F, value: &Value, place: Place) -> Option<F::Out> {
        // Within a variable that holds a whole table the values are TOML already.
        let variable = self.whole.is_none() && matches!(place, Place::Variable(_));
        match form.read(Given { value, variable }) {
            Ok(out) => Some(out),
            Err(wrong) => {
                self.fault_at(place, name, wrong, format!("give {}", form.right()));
                None
            }
        }
    }

    fn flatten(
        &mut self,
        name: &str,
        prefix: &str,
        table: Dict,
        place: &Place,
        flat: &mut Vec<(String, String, Place)>,
    ) {
        for (key, value) in table {
            let option = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            let name_of_option = format!("{name}.{option}");
            let place = match (&self.whole, place) {
                (Some(place), _) | (None, place @ Place::Variable(_)) => place.clone(),
                (None, Place::File(..)) => self.reader.sources.place(&self.full(&name_of_option), &value),
            };
            let text = match &value {
                Value::Dict(_, inner) => {
                    self.flatten(name, &option, inner.clone(), &place, flat);
                    continue;
                }
                Value::String(_, text) => Some(text.clone()),
                Value::Bool(_, switch) => Some(switch.to_string()),
                Value::Num(..) => {
                    value.to_i128().map(|n| n.to_string()).or_else(|| value.to_f64().map(|n| n.to_string()))
                }
                _ => None,
            };
            match text {
                Some(text) => flat.push((option, text, place)),
                None => {
                    let right = "give a text, a number, true or false".into();
                    self.fault_at(place, &name_of_option, format!("is {}", kind(&value)), right);
                }
            }
        }
    }

    fn fallback(&self, default: &str) -> Option<(Value, Place)> {
        super::source::parse_value(default).ok().map(|value| (value, self.here()))
    }

    /// The place of an element of a list at `list`.
    fn within(&self, list: &Place, element: &str) -> Place {
        match list {
            Place::Variable(_) => list.clone(),
            Place::File(..) => match self.reader.sources.place_in_file(&self.full(element)) {
                Place::File(_, None) => list.clone(),
                place => place,
            },
        }
    }

    /// The place of the section itself.
    fn here(&self) -> Place {
        self.whole.clone().unwrap_or_else(|| self.reader.sources.place_in_file(&self.path))
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// What nobody has asked for is unknown.
    fn finish(mut self) {
        for (name, value) in std::mem::take(&mut self.table) {
            let place = match &self.whole {
                Some(place) => place.clone(),
                None => self.reader.sources.place(&self.full(&name), &value),
            };
            let right = match nearest(&name, &self.known) {
                Some(known) => format!("the nearest known name is {known}"),
                None => format!("known here are {}", self.known.join(", ")),
            };
            self.fault_at(place, &name, "is not known".into(), right);
        }
    }
}

fn given<'v>(value: &'v Value, place: &Place) -> Given<'v> {
    Given { value, variable: matches!(place, Place::Variable(_)) }
}

/// The known name that somebody may have meant.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    // Nobody mistypes that much, and the comparison would take its time.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let lower = plain(name);
    let distances = known.iter().map(|known| (strsim::damerau_levenshtein(&lower, &plain(known)), *known));
    let (distance, known) = distances.min()?;
    // A third of the letters: more would suggest names that have nothing in common.
    (distance <= known.len().div_ceil(3)).then_some(known)
}

fn without_indices(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside |= *c == '[';
            let keep = !inside;
            inside &= *c != ']';
            keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_strange_one_is_not() {
        let known = ["limit_min", "limit_max", "poll_min"];
        assert_eq!(nearest("limit_mim", &known), Some("limit_min"));
        assert_eq!(nearest("Limit-Max", &known), Some("limit_max"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn a_documented_path_has_no_indices() {
        assert_eq!(without_indices("queues[12].events"), "queues.events");
    }
}
