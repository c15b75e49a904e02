//! Realistic changes: deals, contacts, leads, activities and tasks that are added, updated and deleted.

use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Entities, how often each changes in a hundred, and the stem of its events.
const ENTITIES: [(u32, &str); 5] =
    [(35, "ONCRMDEAL"), (20, "ONCRMCONTACT"), (15, "ONCRMLEAD"), (15, "ONCRMACTIVITY"), (15, "ONTASK")];

/// An endless, seeded sequence of changes.
#[derive(Clone, Debug)]
pub struct Generator {
    rng: SmallRng,
    names: Vec<[Arc<str>; 3]>,
    /// Ids are drawn from 1 to this, or are all different if there is no limit.
    objects: Option<u32>,
    next: u32,
}

impl Generator {
    /// Changes of `objects` objects per entity: many of them hit the same object again.
    pub fn new(seed: u64, objects: u32) -> Self {
        Self { objects: Some(objects.max(1)), ..Self::distinct(seed) }
    }

    /// Changes of objects that are all different.
    pub fn distinct(seed: u64) -> Self {
        let names = ENTITIES.map(|(_, stem)| ["ADD", "UPDATE", "DELETE"].map(|c| Arc::from(format!("{stem}{c}"))));
        Self { rng: SmallRng::seed_from_u64(seed), names: names.into(), objects: None, next: 1 }
    }
}

impl Iterator for Generator {
    type Item = (Arc<str>, Box<str>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut dice = self.rng.random_range(0..100);
        let mut entity = 0;
        while entity + 1 < ENTITIES.len() && dice >= ENTITIES[entity].0 {
            dice -= ENTITIES[entity].0;
            entity += 1;
        }
        let change = match self.rng.random_range(0..100) {
            0..15 => 0,
            15..95 => 1,
            _ => 2,
        };
        let id = match self.objects {
            Some(objects) => self.rng.random_range(1..=objects),
            None => self.next,
        };
        self.next = self.next.wrapping_add(1);
        let data =
            if ENTITIES[entity].1 == "ONTASK" { task(id, change) } else { format!(r#"{{"FIELDS":{{"ID":"{id}"}}}}"#) };
        Some((self.names[entity][change].clone(), data.into()))
    }
}

/// Tasks tell of before and after.
fn task(id: u32, change: usize) -> String {
    let known = format!(r#"{{"ID":"{id}"}}"#);
    let (before, after) = match change {
        0 => ("\"undefined\"", known.as_str()),
        1 => (known.as_str(), known.as_str()),
        _ => (known.as_str(), "\"undefined\""),
    };
    format!(
        r#"{{"FIELDS_BEFORE":{before},"FIELDS_AFTER":{after},"IS_ACCESSIBLE_BEFORE":"N","IS_ACCESSIBLE_AFTER":"undefined"}}"#
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_seed_decides_and_every_change_is_json() {
        let draw = |seed| Generator::new(seed, 20).take(500).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        for (event, data) in draw(3) {
            assert!(serde_json::from_str::<serde_json::Value>(&data).unwrap().is_object(), "{event}");
        }
        assert!(draw(1).iter().collect::<HashSet<_>>().len() < 400, "some must merge");
        assert_eq!(Generator::distinct(1).take(500).collect::<HashSet<_>>().len(), 500);
        let events: HashSet<_> = Generator::new(1, 20).take(5000).map(|(event, _)| event).collect();
        assert_eq!(events.len(), 15);
    }
}
