use super::*;
use crate::sim::{php::parse_plain, row::Zone};

const P1: Hex = Hex([1; 16]);
const P2: Hex = Hex([2; 16]);

fn change(object: u64, at: i64) -> Change {
    let data = format!(r#"{{"FIELDS":{{"ID":"{object}"}}}}"#);
    Change { event: "ONCRMDEALUPDATE".into(), data: data.into(), odd: false, user: None, at }
}

fn get(limit: usize, by: Field) -> Get {
    let order = Order(vec![(by, true)]);
    Get { source: Source::Free, filter: Filter::default(), order, limit, error: false }
}

fn reserve(queue: &mut Queue, limit: usize, process: Hex) -> Vec<u64> {
    let ids = queue.select(&get(limit, Field::Id));
    queue.mark(&ids, process)
}

fn filled(n: u64) -> Queue {
    let mut queue = Queue::default();
    for id in 1..=n {
        assert_eq!(queue.emit(change(id, 100), id), id);
    }
    queue
}

#[test]
fn a_repeat_is_merged_while_the_row_is_free_and_is_a_new_row_while_it_is_reserved() {
    let mut queue = filled(1);
    assert_eq!(queue.emit(change(1, 200), 2), 1);
    assert_eq!(queue.rows(&[1]).next().unwrap().changed_at, 200);
    assert_eq!(reserve(&mut queue, 50, P1), [1]);
    assert_eq!(queue.emit(change(1, 300), 2), 2);
    assert_eq!(queue.emit(change(1, 400), 3), 2);
    assert_eq!(queue.rows(&[1]).next().unwrap().changed_at, 200);
    assert_eq!(queue.counts(), (1, 0, 1));
}

#[test]
fn a_hot_row_moves_to_the_tail_by_time_and_stays_in_place_by_id() {
    let mut queue = filled(3);
    queue.emit(change(1, 200), 4);
    assert_eq!(queue.select(&get(2, Field::ChangedAt)), [2, 3]);
    assert_eq!(queue.select(&get(2, Field::Id)), [1, 2]);
    let down = |field| Get { order: Order(vec![(field, false)]), ..get(2, Field::Id) };
    assert_eq!(queue.select(&down(Field::Id)), [3, 2]);
    assert_eq!(queue.select(&down(Field::ChangedAt)), [1, 3]);
    assert_eq!(queue.select(&Get { order: Order(vec![(Field::Event, true)]), ..get(9, Field::Id) }), [1, 2, 3]);
}

#[test]
fn an_empty_list_deletes_the_whole_reservation() {
    for empty in [Chosen::All, Chosen::Ids(vec![]), Chosen::Messages(vec![])] {
        let mut queue = filled(3);
        reserve(&mut queue, 2, P1);
        let ids = queue.chosen(Some(P1), &empty);
        assert_eq!(queue.delete(&ids), [1, 2]);
        assert_eq!(queue.counts(), (1, 0, 0));
    }
}

#[test]
fn a_clear_touches_its_own_reservation_only() {
    let mut queue = filled(3);
    reserve(&mut queue, 1, P1);
    reserve(&mut queue, 1, P2);
    assert_eq!(queue.chosen(Some(P1), &Chosen::Ids(vec![1, 2, 3, 9])), [1]);
    let message = queue.rows(&[2]).next().unwrap().message;
    assert_eq!(queue.chosen(Some(P1), &Chosen::Messages(vec![Some(message)])), Vec::<u64>::new());
    assert_eq!(queue.chosen(Some(P2), &Chosen::Messages(vec![None, Some(message)])), [2]);
    assert_eq!(queue.chosen(Some(Hex([9; 16])), &Chosen::All), Vec::<u64>::new());
    assert_eq!(queue.chosen(None, &Chosen::All), Vec::<u64>::new());
}

#[test]
fn an_error_deletes_the_twin_and_silences_the_object() {
    let mut queue = filled(1);
    reserve(&mut queue, 1, P1);
    queue.emit(change(1, 200), 2);
    assert_eq!(queue.error(&[1]), (vec![1], vec![2]));
    assert_eq!(queue.emit(change(1, 300), 3), 1);
    assert_eq!(queue.select(&get(50, Field::Id)), Vec::<u64>::new());
    assert_eq!(queue.select(&get(50, Field::ChangedAt)), Vec::<u64>::new());
    assert_eq!(queue.select(&Get { error: true, ..get(50, Field::Id) }), [1]);
    assert_eq!(queue.counts(), (0, 1, 0));
}

#[test]
fn a_later_mark_takes_the_rows_away() {
    let mut queue = filled(2);
    let seen_by_both = queue.select(&get(50, Field::Id));
    assert_eq!(queue.mark(&seen_by_both, P1), [1, 2]);
    assert_eq!(queue.mark(&seen_by_both, P2), [1, 2]);
    assert_eq!(queue.chosen(Some(P1), &Chosen::All), Vec::<u64>::new());
    assert_eq!(queue.chosen(Some(P2), &Chosen::All), [1, 2]);
}

#[test]
fn pages_of_a_list_shift_and_count() {
    let mut queue = filled(120);
    reserve(&mut queue, 60, P1);
    let filter = |q: &str| Filter::parse(Some(&parse_plain(q)), &Zone::new(0), true).unwrap();
    let by_id = Order(vec![(Field::Id, true)]);
    let page = |q: &str, start| {
        let (ids, total) = queue.list(&filter(q), &by_id, start);
        (ids.first().copied(), ids.len(), total)
    };
    assert_eq!(page("", 0), (Some(1), 50, 120));
    assert_eq!(page("", 100), (Some(101), 20, 120));
    assert_eq!(page(">PROCESS_ID=", 50), (Some(51), 10, 60));
    assert_eq!(page(">PROCESS_ID=&>ID=30", 0), (Some(31), 30, 30));
    assert_eq!(page(&format!("=PROCESS_ID={P1}"), 0), (Some(1), 50, 60));
    assert_eq!(page("=PROCESS_ID=", 0), (Some(61), 50, 60));
    assert_eq!(page("=PROCESS_ID=nobody", 0), (None, 0, 0));
    assert_eq!(queue.list(&filter(""), &Order(vec![(Field::Id, false)]), 0).0[0], 120);
}

#[test]
fn old_rows_are_purged_whatever_their_state() {
    let mut queue = filled(3);
    reserve(&mut queue, 1, P1);
    queue.emit(change(3, 101), 4);
    assert_eq!(queue.purge(100 + PURGE_AFTER), Vec::<u64>::new());
    assert_eq!(queue.purge(101 + PURGE_AFTER), [1, 2]);
    assert_eq!(queue.counts(), (1, 0, 0));
    assert_eq!(queue.chosen(Some(P1), &Chosen::All), Vec::<u64>::new());
}

#[test]
fn indexes_agree_with_the_rows_after_any_schedule() {
    use rand::{Rng, SeedableRng, rngs::SmallRng};
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut queue, mut next, mut left) = (Queue::default(), 1, BTreeSet::new());
    for step in 0..5000_u32 {
        let process = Hex([rng.random_range(0..4); 16]);
        match rng.random_range(0..10) {
            0..6 => {
                let id = queue.emit(change(rng.random_range(0..40), i64::from(step)), next);
                next += u64::from(id == next);
                left.insert(id);
            }
            6 => drop(reserve(&mut queue, rng.random_range(1..5), process)),
            7 => {
                let ids = queue.chosen(Some(process), &Chosen::All);
                let (_, twins) = queue.error(&ids[..ids.len().min(1)]);
                twins.iter().for_each(|id| assert!(left.remove(id)));
            }
            _ => {
                let ids = queue.chosen(Some(process), &Chosen::All);
                queue.delete(&ids).iter().for_each(|id| assert!(left.remove(id)));
            }
        }
        let (free, errors, reserved) = queue.counts();
        assert_eq!(free + errors + reserved, queue.rows.len());
        assert_eq!((free, queue.open.len()), (queue.free_by_time.len(), free + errors));
        assert_eq!(queue.by_process.values().map(BTreeSet::len).sum::<usize>(), reserved);
        assert!(queue.rows.keys().eq(&left));
    }
}
