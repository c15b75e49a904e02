//! Breadth-first search over all worlds: the first violation found has the shortest trace.

use std::{
    collections::HashSet,
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

use crate::{
    core::protocol::invariants::Violation,
    world::{Move, Setup, World},
};

/// What a search has found.
pub struct Found {
    pub states: usize,
    pub moves: usize,
    pub seconds: f64,
    pub violation: Option<(Violation, String)>,
}

/// A search that goes on past this has lost its bounds.
const MOST_STATES: usize = 5_000_000;

/// Two independent 64-bit hashes: with a million states the odds of one collision are below 10^-25.
fn print_of(world: &World) -> u128 {
    let mut one = DefaultHasher::new();
    world.hash(&mut one);
    let mut two = DefaultHasher::new();
    0x5eed_u64.hash(&mut two);
    world.hash(&mut two);
    u128::from(one.finish()) << 64 | u128::from(two.finish())
}

struct Search {
    setup: Setup,
    seen: HashSet<u128>,
    /// From these every row gets out when nothing more goes wrong.
    safe: HashSet<u128>,
    /// How each state was first reached.
    came: Vec<(usize, Option<Move>)>,
}

pub fn explore(setup: Setup) -> Found {
    let begun = Instant::now();
    let mut search = Search { setup, seen: HashSet::new(), safe: HashSet::new(), came: vec![(0, None)] };
    let first = World::new(&setup).expect("the first state keeps the invariants");
    search.seen.insert(print_of(&first));
    let mut layer = vec![(0, first)];
    let mut moves = 0;
    let mut violation = None;
    'search: while !layer.is_empty() {
        for (index, world) in std::mem::take(&mut layer) {
            if let Some(stuck) = search.gets_stuck(&world) {
                violation = Some((stuck, search.trace(index, None)));
                break 'search;
            }
            for step in world.moves() {
                moves += 1;
                let mut next = world.clone();
                if let Err(broken) = next.apply(&setup, step) {
                    violation = Some((broken, search.trace(index, Some(step))));
                    break 'search;
                }
                if search.seen.insert(print_of(&next)) {
                    search.came.push((index, Some(step)));
                    layer.push((search.came.len() - 1, next));
                }
            }
        }
        assert!(search.seen.len() < MOST_STATES, "the model has lost its bounds");
    }
    Found { states: search.seen.len(), moves, seconds: begun.elapsed().as_secs_f64(), violation }
}

impl Search {
    /// I3: from here on nothing goes wrong. Does every row get out?
    fn gets_stuck(&mut self, from: &World) -> Option<Violation> {
        let mut world = from.clone();
        let mut path = Vec::new();
        loop {
            let print = print_of(&world);
            if world.is_done() || self.safe.contains(&print) {
                self.safe.extend(path);
                return None;
            }
            if path.contains(&print) {
                return Some(Violation::I3Hidden);
            }
            path.push(print);
            let Some(step) = world.fault_free() else { return Some(Violation::I3Hidden) };
            if let Err(broken) = world.apply(&self.setup, step) {
                return Some(broken);
            }
        }
    }

    fn trace(&self, mut index: usize, last: Option<Move>) -> String {
        let mut steps: Vec<Move> = last.into_iter().collect();
        while let (parent, Some(step)) = self.came[index] {
            steps.push(step);
            index = parent;
        }
        let mut text = String::new();
        for (number, step) in steps.iter().rev().enumerate() {
            let _ = writeln!(text, "  {}. {step:?}", number + 1);
        }
        text
    }
}
