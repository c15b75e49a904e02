//! A queue without reservations, told as stories; the exhaustive part is `tests/model.rs`.

use super::{
    super::{
        exchange::{Answer, Cleared, Deleted, Exchange, ReadAnswer},
        invariants,
        ledger::Publication,
        queue::{Action, Fact, Input, Queue, Settings},
        types::{Delivery, EntityKey, Hindrance, Mode, ProcessId},
    },
    *,
};

const SETTINGS: Settings =
    Settings { limit_min: 50, limit_max: 1000, poll_min: Millis(1000), poll_max: Millis(8000), sweep: None };
/// The portal's clock when ours shows 0.
const PORTAL: i64 = 1_800_000_000;

/// A queue with its clock and its portal's; every step is checked against the invariants.
struct Story {
    queue: Queue,
    now: Millis,
    notes: Vec<Fact>,
}

/// What a listing brings.
#[derive(Clone, Default)]
struct Rows {
    old: Vec<Received>,
    more: bool,
    young: Vec<Received>,
}

fn id(n: u64) -> RowId {
    RowId::new(n).expect("positive")
}

fn row(n: u64, changed_at: i64) -> Received {
    Received { id: id(n), key: EntityKey(n), malformed: false, changed_at: Some(changed_at) }
}

fn old(ids: impl IntoIterator<Item = u64>) -> Rows {
    Rows { old: ids.into_iter().map(|n| row(n, PORTAL - 1000)).collect(), ..Rows::default() }
}

fn young(n: u64, changed_at: i64) -> Rows {
    Rows { young: vec![row(n, changed_at)], ..Rows::default() }
}

fn exchange(actions: &[Action]) -> &Exchange {
    match actions {
        [Action::Exchange(exchange)] => exchange,
        other => panic!("one exchange: {other:?}"),
    }
}

fn published(actions: &[Action]) -> Vec<Publication> {
    let publications = actions.iter().map(|action| match action {
        Action::Publish(publication) => *publication,
        other => panic!("publications only: {other:?}"),
    });
    publications.collect()
}

fn ids(actions: &[Action]) -> Vec<u64> {
    published(actions).iter().map(|p| p.row.get()).collect()
}

fn deletion(actions: &[Action]) -> Delete {
    exchange(actions).delete.expect("a deletion")
}

fn list(actions: &[Action]) -> (i64, u8, Option<RowId>) {
    match exchange(actions).read {
        Some(Read::List { before, pages, young_after }) => (before.seconds - PORTAL, pages, young_after),
        other => panic!("a listing: {other:?}"),
    }
}

impl Story {
    /// Taken over in conditional mode, with nothing hidden at the portal: the next request is a listing.
    fn new() -> (Self, Vec<Action>) {
        let mut story = Self { queue: Queue::new(&SETTINGS), now: Millis(0), notes: Vec::new() };
        assert!(story.feed(Input::Mode(Mode::Conditional)).is_empty());
        let actions = story.feed(Input::TakeOver);
        assert!(matches!(exchange(&actions).read, Some(Read::Scan { after: None, .. })), "{actions:?}");
        let actions = story.scanned(Vec::new());
        (story, actions)
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.queue.step(self.now, input, &mut actions);
        assert_eq!(invariants::check(&self.queue, &actions), Ok(()));
        self.notes.extend(actions.iter().filter_map(|action| match action {
            Action::Note(fact) => Some(*fact),
            _ => None,
        }));
        actions.retain(|action| !matches!(action, Action::Note(_)));
        actions
    }

    fn second(&self) -> i64 {
        PORTAL + signed(self.now).div_euclid(1000)
    }

    fn time(&self) -> Option<PortalTime> {
        Some(PortalTime { seconds: self.second(), offset: 7200 })
    }

    fn answer(&mut self, deleted: Deleted<Received>, read: ReadAnswer<Received>) -> Vec<Action> {
        let (clears, time) = (vec![Cleared::Done; self.queue.on_its_way().map_or(0, |e| e.clears.len())], self.time());
        self.feed(Input::Exchanged(Answer { clears, deleted, read, time }))
    }

    fn scanned(&mut self, rows: Vec<(ProcessId, Received)>) -> Vec<Action> {
        self.answer(Deleted::NotAsked, ReadAnswer::Listed { rows, more: false })
    }

    fn listed(&mut self, rows: Rows) -> Vec<Action> {
        self.deleted_and_listed(None, rows)
    }

    /// The answer to a deletion and a listing; `None` if there was no deletion.
    fn deleted_and_listed(&mut self, gone: Option<Vec<Received>>, rows: Rows) -> Vec<Action> {
        let deleted = gone.map_or(Deleted::NotAsked, |rows| Deleted::Done { rows });
        let Rows { old, more, young } = rows;
        self.answer(deleted, ReadAnswer::Free { rows: old, more, young, took: Millis(5) })
    }

    fn acknowledge(&mut self, actions: &[Action]) -> Vec<Action> {
        self.deliver(actions, |_| Delivery::Acknowledged)
    }

    fn deliver(&mut self, actions: &[Action], delivery: impl Fn(u64) -> Delivery) -> Vec<Action> {
        let reports = published(actions).iter().map(|p| (p.row, delivery(p.row.get()))).collect();
        self.feed(Input::Delivered(reports))
    }

    fn at_deadline(&mut self) -> Vec<Action> {
        self.now = self.queue.deadline().expect("a deadline");
        self.feed(Input::Timer)
    }

    /// The next listing, past scans that find nothing.
    fn next_list(&mut self) -> Vec<Action> {
        let mut next = self.at_deadline();
        while next.is_empty() || matches!(exchange(&next).read, Some(Read::Scan { .. })) {
            next = if next.is_empty() { self.at_deadline() } else { self.scanned(Vec::new()) };
        }
        next
    }
}

#[test]
fn rows_are_listed_published_and_deleted_together_with_the_next_listing() {
    let (mut story, actions) = Story::new();
    assert_eq!(list(&actions), (-MARGIN, 1, None), "older than the portal's time less the margin");
    let actions = story.listed(old([3, 4, 9]));
    assert_eq!(ids(&actions), [3, 4, 9]);
    story.now = Millis(2500);
    let actions = story.acknowledge(&actions);
    let before = PortalTime { seconds: PORTAL - MARGIN, offset: 7200 };
    assert_eq!(
        deletion(&actions),
        Delete { first: id(3), last: id(9), before, limit: 3 },
        "as of the listing, whatever time it is now"
    );
    assert_eq!(list(&actions).0, 2 - MARGIN, "the next listing knows how much time has passed");
    let gone = old([3, 4, 9]).old;
    assert!(story.deleted_and_listed(Some(gone), Rows::default()).is_empty());
    assert!(story.queue.ledger().is_empty());
    assert_eq!(story.queue.ledger().sums(), (3, 3, 0));
    assert_eq!(story.queue.deadline(), Some(Millis(3500)), "idle now");
}

#[test]
fn a_row_that_changed_stays_at_the_portal_and_is_published_again_as_a_reception_of_its_own() {
    let (mut story, _) = Story::new();
    let actions = story.listed(old([1, 2]));
    assert!(published(&actions).iter().all(|p| p.redelivery), "who owned the queue before may have published them");
    story.acknowledge(&actions);
    let second = story.second();
    assert!(story.deleted_and_listed(Some(old([2]).old), young(1, second)).is_empty(), "too young");
    assert_eq!(story.queue.deadline(), Some(Millis::secs(6)), "when it will be old enough");
    let actions = story.at_deadline();
    assert_eq!(list(&actions).0, 1);
    let actions = story.listed(Rows { old: vec![row(1, PORTAL)], ..Rows::default() });
    assert_eq!(ids(&actions), [1]);
    assert!(published(&actions)[0].late, "row 2 went before it");
    let actions = story.acknowledge(&actions);
    assert_eq!(deletion(&actions).limit, 1);
    assert_eq!(story.queue.ledger().sums(), (3, 3, 0), "received and acknowledged once more");
}

#[test]
fn nothing_is_deleted_while_any_listed_row_is_not_acknowledged() {
    let (mut story, _) = Story::new();
    let actions = story.listed(old([1, 2, 3]));
    let fails = |n| if n == 2 { Delivery::Failed(Hindrance::Passing) } else { Delivery::Acknowledged };
    assert!(story.deliver(&actions, fails).is_empty(), "a deletion names a range");
    let actions = story.at_deadline();
    assert_eq!(ids(&actions), [2]);
    let actions = story.acknowledge(&actions);
    assert_eq!(deletion(&actions).limit, 3);
}

#[test]
fn a_deletion_of_unknown_outcome_is_sent_again_as_it_was_and_what_was_listed_beside_it_is_not_believed() {
    let (mut story, _) = Story::new();
    let actions = story.listed(old([1, 2]));
    let first = deletion(&story.acknowledge(&actions));
    let read = ReadAnswer::Free { rows: old([1, 2]).old, more: false, young: Vec::new(), took: Millis(5) };
    assert!(story.answer(Deleted::Unknown, read).is_empty());
    let actions = story.at_deadline();
    assert_eq!(deletion(&actions), first);
    // The first attempt has worked after all: nothing is left for the second, and that is no sign of trouble.
    assert!(story.deleted_and_listed(Some(Vec::new()), Rows::default()).is_empty());
    assert!(story.queue.ledger().is_empty());
    assert_eq!(story.queue.deadline(), Some(story.now.plus(Millis(1000))), "idle, not backing off");
}

#[test]
fn a_deletion_that_deletes_nothing_is_a_sign_of_trouble() {
    let (mut story, _) = Story::new();
    for wait in [1000, 2000, 4000] {
        let begun = story.now;
        let actions = story.listed(old([1]));
        story.acknowledge(&actions);
        // Listed under the very conditions that nothing is deleted under.
        assert!(story.deleted_and_listed(Some(Vec::new()), old([1])).is_empty());
        assert_eq!(story.queue.deadline(), Some(begun.plus(Millis(wait))));
        let actions = story.at_deadline();
        assert!(exchange(&actions).delete.is_none(), "listed anew first");
    }
}

#[test]
fn a_stranger_in_the_answer_to_a_deletion_is_held_and_published_whatever_it_takes() {
    let (mut story, _) = Story::new();
    let actions = story.listed(old([1, 2]));
    story.acknowledge(&actions);
    // Row 2 changed between the two statements of the deletion; row 7 nobody has ever seen.
    let gone = vec![row(1, PORTAL - 1000), row(2, PORTAL), row(7, PORTAL - 1000)];
    let mut actions = story.deleted_and_listed(Some(gone), old([5]));
    assert!(story.notes.contains(&Fact::OnlyHere(id(2))) && story.notes.contains(&Fact::OnlyHere(id(7))));
    assert_eq!(story.queue.ledger().only_here(), 2);
    for _ in 0..3 {
        assert_eq!(ids(&actions), [2, 7], "and nothing else before them");
        assert!(story.deliver(&actions, |_| Delivery::Failed(Hindrance::Passing)).is_empty());
        assert_eq!((story.queue.ledger().only_here(), story.queue.ledger().held()), (2, 2));
        actions = story.at_deadline();
    }
    assert!(story.feed(Input::Drain).is_empty(), "a drain waits for them");
    assert_eq!(story.acknowledge(&actions), [Action::Drained]);
    assert!(story.queue.ledger().is_empty(), "there is nothing to confirm");
}

#[test]
fn an_answer_whose_own_time_does_not_bear_out_the_listing_is_not_believed() {
    let (mut story, _) = Story::new();
    // The portal's clock was put back by four seconds: rows that look old have not rested for the margin.
    let read = ReadAnswer::Free { rows: old([1]).old, more: false, young: Vec::new(), took: Millis(5) };
    let time = Some(PortalTime { seconds: PORTAL - 4, offset: 0 });
    assert!(story.feed(Input::Exchanged(Answer { read: read.clone(), time, ..Answer::default() })).is_empty());
    let actions = story.at_deadline();
    assert_eq!(list(&actions).0, 1 - 4 - MARGIN, "by the new time");
    let silent = story.feed(Input::Exchanged(Answer { read, time: None, ..Answer::default() }));
    assert!(silent.is_empty(), "without a time nothing can be told");
    assert!(story.queue.ledger().is_empty());
}

#[test]
fn a_row_that_never_rests_is_published_as_it_is_once_a_minute_and_deleted_when_it_has_come_to_rest() {
    let (mut story, _) = Story::new();
    let mut at = Vec::new();
    while story.now < Millis::secs(200) {
        // Changed a second ago, each time that it is looked at.
        let last = story.second() - 1;
        let actions = story.listed(young(5, last));
        if actions.is_empty() {
            story.next_list();
            continue;
        }
        at.push(story.now.0 / 1000);
        assert_eq!(ids(&actions), [5]);
        let actions = story.acknowledge(&actions);
        assert_eq!(exchange(&actions).delete, None, "it has not rested");
    }
    assert!(at.len() == 3 && at.windows(2).all(|w| (60..66).contains(&(w[1] - w[0]))), "{at:?}");
    let last = story.second() - 1;
    assert!(story.listed(young(5, last)).is_empty());
    story.at_deadline();
    let actions = story.listed(Rows { old: vec![row(5, last)], ..Rows::default() });
    assert_eq!(ids(&actions), [5], "what it is at last");
    assert_eq!(deletion(&story.acknowledge(&actions)).limit, 1);
}

#[test]
fn a_change_in_the_second_of_the_answer_waits_a_little_longer_and_not_for_ever() {
    let (mut story, _) = Story::new();
    let waited = loop {
        let second = story.second();
        if !story.listed(young(5, second)).is_empty() {
            break story.now;
        }
        story.next_list();
    };
    let (least, most) =
        (PATIENCE.plus(SAME_SECOND_PATIENCE), PATIENCE.plus(SAME_SECOND_PATIENCE).plus(Millis::secs(7)));
    assert!(least <= waited && waited <= most, "{waited:?}");
}

#[test]
fn listings_grow_while_there_is_more_and_shrink_again() {
    let (mut story, mut actions) = Story::new();
    let mut asked = Vec::new();
    let mut next = 1;
    let gone =
        |actions: &[Action]| exchange(actions).delete.map(|delete| old(delete.first.get()..=delete.last.get()).old);
    for _ in 0..7 {
        let pages = u64::from(list(&actions).1);
        asked.push(pages);
        let rows = old(next..next + 50 * pages);
        let gone = gone(&actions);
        let publish = story.deleted_and_listed(gone, Rows { more: true, ..rows });
        assert_eq!(published(&publish).len() as u64, 50 * pages);
        next += 50 * pages;
        actions = story.acknowledge(&publish);
    }
    assert_eq!(asked, [1, 2, 4, 8, 16, 19, 19], "one page is left to rows that never rest");
    let gone = gone(&actions);
    story.deleted_and_listed(gone, Rows::default());
    assert_eq!(list(&story.at_deadline()).1, 9);
}

#[test]
fn more_young_rows_than_a_page_are_gone_through_page_by_page() {
    let (mut story, _) = Story::new();
    let page: Vec<Received> = (1..=50).map(|n| row(n, PORTAL)).collect();
    story.listed(Rows { young: page, ..Rows::default() });
    assert_eq!(list(&story.at_deadline()).2, Some(id(50)));
    let second = story.second();
    story.listed(young(70, second));
    assert_eq!(list(&story.at_deadline()).2, None, "and from the beginning");
}

#[test]
fn a_plan_without_reservations_ends_what_was_reserved_in_its_own_way_and_looks_for_what_is_hidden() {
    let mut story = Story { queue: Queue::new(&SETTINGS), now: Millis(0), notes: Vec::new() };
    story.feed(Input::TakeOver);
    story.scanned(Vec::new());
    let process = ProcessId::new("p").expect("not empty");
    let read = ReadAnswer::Reserved { process: Some(process.clone()), rows: old([1, 2]).old, took: Millis(5) };
    let actions = story.answer(Deleted::NotAsked, read);
    assert_eq!(ids(&actions), [1, 2]);
    assert!(story.feed(Input::Mode(Mode::Conditional)).is_empty());
    let actions = story.acknowledge(&actions);
    assert_eq!(exchange(&actions).clears.len(), 1, "a clear works without the feature");
    assert_eq!(list(&actions).1, 1);
    story.listed(Rows::default());
    assert!(story.queue.ledger().is_empty());
    // The scan that is due since the take-over is made in this mode too, and finds what a late answer has hidden.
    let mut actions = story.at_deadline();
    while !matches!(exchange(&actions).read, Some(Read::Scan { .. })) {
        actions = story.listed(Rows::default());
        if actions.is_empty() {
            actions = story.at_deadline();
        }
    }
    let actions = story.scanned(vec![(process, row(9, PORTAL))]);
    assert_eq!(ids(&actions), [9]);
    assert_eq!(exchange(&story.acknowledge(&actions)).clears.len(), 1);
}

#[test]
fn what_a_former_owner_may_have_published_says_so_until_all_of_it_has_been_reserved() {
    let mut story = Story { queue: Queue::new(&SETTINGS), now: Millis(0), notes: Vec::new() };
    // The driver knows that the queue was read without reservations; the plan has them again.
    story.feed(Input::Mode(Mode::Conditional));
    story.feed(Input::Mode(Mode::Reserve));
    story.feed(Input::TakeOver);
    story.scanned(Vec::new());
    let process = ProcessId::new("p");
    let reserve = |story: &mut Story, rows: Rows| {
        let read = ReadAnswer::Reserved { process: process.clone(), rows: rows.old, took: Millis(5) };
        let actions = story.answer(Deleted::NotAsked, read);
        let marks: Vec<bool> = published(&actions).iter().map(|p| p.redelivery).collect();
        story.acknowledge(&actions);
        (marks.len(), marks.iter().filter(|mark| **mark).count(), story.queue.leaves_published_rows())
    };
    assert_eq!(reserve(&mut story, old(1..=50)), (50, 50, true), "there may be more");
    assert_eq!(reserve(&mut story, old(51..=60)), (10, 10, false), "these were the last");
    assert_eq!(reserve(&mut story, old(61..=62)), (2, 0, false), "and these are new");
    story.feed(Input::Mode(Mode::Conditional));
    assert!(story.queue.leaves_published_rows());
}

#[test]
fn a_plan_with_reservations_first_ends_what_was_listed() {
    let (mut story, _) = Story::new();
    let actions = story.listed(old([1, 2]));
    assert!(story.feed(Input::Mode(Mode::Reserve)).is_empty());
    let actions = story.acknowledge(&actions);
    assert_eq!(deletion(&actions).limit, 2);
    assert_eq!(exchange(&actions).read, None, "or they would be reserved once more");
    let gone = old([1, 2]).old;
    let actions = story.answer(Deleted::Done { rows: gone }, ReadAnswer::NotAsked);
    assert!(matches!(exchange(&actions).read, Some(Read::Reserve { .. })));
}

#[test]
fn a_mode_that_changes_while_a_request_is_on_its_way_takes_its_answer_all_the_same() {
    let (mut story, _) = Story::new();
    story.feed(Input::Mode(Mode::Reserve));
    let actions = story.listed(old([1]));
    assert_eq!(ids(&actions), [1]);
    let actions = story.acknowledge(&actions);
    assert_eq!(deletion(&actions).limit, 1);
    story.feed(Input::Mode(Mode::Conditional));
    let actions = story.answer(Deleted::Done { rows: old([1]).old }, ReadAnswer::NotAsked);
    assert_eq!(list(&actions).1, 1);
}

#[test]
fn a_drain_deletes_what_is_acknowledged_and_lists_nothing_new() {
    let (mut story, _) = Story::new();
    let actions = story.listed(old([1]));
    story.feed(Input::Drain);
    let actions = story.acknowledge(&actions);
    assert_eq!((deletion(&actions).limit, exchange(&actions).read), (1, None));
    let gone = old([1]).old;
    assert_eq!(story.answer(Deleted::Done { rows: gone }, ReadAnswer::NotAsked), [Action::Drained]);
}

#[test]
fn a_method_that_has_to_rest_does_not_hold_up_the_others() {
    let (mut story, _) = Story::new();
    let actions = story.listed(old([1]));
    story.acknowledge(&actions);
    let rests = Deleted::Refused { retry_after: Some(Millis::secs(100)), rests: true };
    let read = ReadAnswer::Free { rows: Vec::new(), more: false, young: Vec::new(), took: Millis(5) };
    assert!(story.answer(rests, read).is_empty());
    let actions = story.at_deadline();
    assert_eq!(story.now, Millis::secs(70), "the scan that is due since the take-over");
    assert!(matches!(exchange(&actions).read, Some(Read::Scan { .. })) && exchange(&actions).delete.is_none());
    assert!(story.scanned(Vec::new()).is_empty());
    let actions = story.at_deadline();
    assert_eq!((story.now, deletion(&actions).limit), (Millis::secs(100), 1));
}
