//! What is wrong with a configuration: each fault with its place, its key, and what would be right.

use std::{fmt, path::PathBuf};

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file; the line counts from 1 and is missing if the fault is that something is not there.
    File(PathBuf, Option<usize>),
    /// In an environment variable.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One fault. It never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// Which key, with its section; empty if the fault is about the whole file.
    pub key: String,
    /// What is wrong, to be read behind the key.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{} ", self.key)?;
        }
        write!(f, "{}; {}", self.wrong, self.right)
    }
}

/// All faults of one configuration: at least one, sorted by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `None` if nothing is wrong.
    pub(super) fn new(mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort();
        faults.dedup();
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// One fault that stands for all.
    pub(super) fn one(fault: Fault) -> Self {
        Self(vec![fault])
    }

    /// The faults in the order of their places.
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{fault}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 fault in the configuration"),
            n => write!(f, "{n} faults in the configuration"),
        }
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(place: Place) -> Fault {
        Fault { place, key: "a.b".into(), wrong: "is 0".into(), right: "give 1 or more".into() }
    }

    #[test]
    fn faults_are_sorted_by_place_and_counted() {
        let file = |line| Place::File("c.toml".into(), line);
        let all = vec![
            fault(Place::Variable("B24KAFKA__A__B".into())),
            fault(file(Some(10))),
            fault(file(Some(9))),
            fault(file(None)),
        ];
        assert_eq!(
            Faults::new(all).expect("faults").to_string(),
            "c.toml: a.b is 0; give 1 or more\n\
             c.toml:9: a.b is 0; give 1 or more\n\
             c.toml:10: a.b is 0; give 1 or more\n\
             B24KAFKA__A__B: a.b is 0; give 1 or more\n\
             4 faults in the configuration"
        );
        assert_eq!(Faults::new(Vec::new()), None);
    }
}
