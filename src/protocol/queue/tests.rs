//! One queue, told as stories; the exhaustive part is `tests/model.rs`.

mod pauses;
mod wakes;

use super::{
    super::{
        exchange::{Answer, BATCH_COMMANDS, CLEAR_IDS, Clear, Cleared, ReadAnswer},
        invariants,
        ledger::Publication,
        types::{EntityKey, NonEmpty, ProcessId, Refusal},
    },
    *,
};

const SETTINGS: Settings = Settings {
    limit_min: 50,
    limit_max: 1000,
    poll_min: Millis(1000),
    poll_max: Millis(8000),
    sweep: Some(Millis::secs(600)),
};

/// A queue with its clock; every step is checked against the invariants.
struct Story {
    queue: Queue,
    now: Millis,
}

fn id(n: u64) -> RowId {
    RowId::new(n).expect("positive")
}

fn process(name: &str) -> ProcessId {
    ProcessId::new(name).expect("not empty")
}

fn rows(ids: std::ops::RangeInclusive<u64>) -> Vec<Received> {
    ids.map(|n| Received { id: id(n), key: EntityKey(n), malformed: false, changed_at: None }).collect()
}

impl Story {
    /// Taken over, with nothing hidden at the portal: the next request is a `get`.
    fn new() -> (Self, Vec<Action>) {
        let mut story = Self { queue: Queue::new(&SETTINGS), now: Millis(0) };
        let actions = story.feed(Input::TakeOver);
        assert!(matches!(exchange(&actions).read, Some(Read::Scan { after: None, .. })), "{actions:?}");
        let actions = story.listed(Vec::new(), false, &[]);
        (story, actions)
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.queue.step(self.now, input, &mut actions);
        assert_eq!(invariants::check(&self.queue, &actions), Ok(()));
        actions.retain(|action| !matches!(action, Action::Note(_)));
        actions
    }

    fn reserved(&mut self, name: &str, rows: Vec<Received>, clears: &[Cleared]) -> Vec<Action> {
        let read = ReadAnswer::Reserved { process: Some(process(name)), rows, took: Millis(5) };
        self.feed(Input::Exchanged(Answer { clears: clears.to_vec(), read, ..Answer::default() }))
    }

    fn listed(&mut self, rows: Vec<(ProcessId, Received)>, more: bool, clears: &[Cleared]) -> Vec<Action> {
        self.feed(Input::Exchanged(Answer {
            clears: clears.to_vec(),
            read: ReadAnswer::Listed { rows, more },
            ..Answer::default()
        }))
    }

    fn unknown(&mut self, clears: usize) -> Vec<Action> {
        self.feed(Input::Exchanged(Answer {
            clears: vec![Cleared::Unknown; clears],
            read: ReadAnswer::Unknown,
            ..Answer::default()
        }))
    }

    fn acknowledge(&mut self, actions: &[Action]) -> Vec<Action> {
        let reports = published(actions).iter().map(|p| (p.row, Delivery::Acknowledged)).collect();
        self.feed(Input::Delivered(reports))
    }

    fn at_deadline(&mut self) -> Vec<Action> {
        self.now = self.queue.deadline().expect("a deadline");
        self.feed(Input::Timer)
    }
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

fn published_ids(actions: &[Action]) -> Vec<u64> {
    published(actions).iter().map(|p| p.row.get()).collect()
}

#[test]
fn a_reservation_is_published_acknowledged_and_cleared_together_with_the_next_get() {
    let (mut story, actions) = Story::new();
    assert_eq!(exchange(&actions).read, Some(Read::Reserve { limit: 50 }));
    let actions = story.reserved("p", rows(1..=3), &[]);
    assert_eq!(published_ids(&actions), [1, 2, 3]);
    let actions = story.acknowledge(&actions);
    let ids = NonEmpty::new(vec![id(1), id(2), id(3)]).expect("not empty");
    assert_eq!(exchange(&actions).clears, [Clear { process: process("p"), ids }]);
    assert_eq!(exchange(&actions).read, Some(Read::Reserve { limit: 50 }));
    assert!(story.reserved("q", Vec::new(), &[Cleared::Done]).is_empty());
    assert!(story.queue.ledger().is_empty());
    assert_eq!(story.queue.deadline(), Some(Millis(1000)), "idle now");
}

#[test]
fn clears_hold_at_most_500_ids_each() {
    let (mut story, mut actions) = Story::new();
    let mut next = 1;
    while story.queue.limit() < 1000 {
        let limit = u64::from(story.queue.limit());
        let clears = exchange(&actions).clears.len();
        let publish = story.reserved("p", rows(next..=next + limit - 1), &vec![Cleared::Done; clears]);
        actions = story.acknowledge(&publish);
        next += limit;
    }
    let clears = exchange(&actions).clears.len();
    let publish = story.reserved("p", rows(next..=next + 999), &vec![Cleared::Done; clears]);
    let actions = story.acknowledge(&publish);
    let sizes: Vec<usize> = exchange(&actions).clears.iter().map(|clear| clear.ids.as_slice().len()).collect();
    assert_eq!(sizes, [CLEAR_IDS, CLEAR_IDS]);
}

#[test]
fn an_unknown_get_is_followed_by_a_scan_at_once_and_again_when_it_must_be_dead() {
    let (mut story, _) = Story::new();
    assert!(story.unknown(0).is_empty(), "backing off");
    let actions = story.at_deadline();
    assert!(matches!(exchange(&actions).read, Some(Read::Scan { .. })));
    let found = rows(1..=2).into_iter().map(|row| (process("lost"), row)).collect();
    let actions = story.listed(found, false, &[]);
    assert!(published(&actions).iter().all(|p| p.redelivery && !p.late), "recovered, and nothing newer went before");
    let actions = story.acknowledge(&actions);
    assert!(matches!(exchange(&actions).read, Some(Read::Reserve { .. })));
    let actions = story.reserved("p", rows(7..=7), &[Cleared::Done]);
    let actions = story.acknowledge(&actions);
    assert!(matches!(exchange(&actions).read, Some(Read::Reserve { .. })));
    story.reserved("q", Vec::new(), &[Cleared::Done]);

    story.now = Millis::secs(70);
    let actions = story.feed(Input::Timer);
    assert!(matches!(exchange(&actions).read, Some(Read::Scan { .. })), "{actions:?}");
    let found = rows(3..=3).into_iter().map(|row| (process("late"), row)).collect();
    let actions = story.listed(found, false, &[]);
    assert!(published(&actions).iter().all(|p| p.redelivery && p.late), "row 7 went before row 3");
}

#[test]
fn a_request_that_left_late_is_waited_for_from_the_moment_it_was_given_up() {
    let (mut story, _) = Story::new();
    // The driver may hold a request back for its budget, so it may have left at any time until now.
    story.now = Millis::secs(40);
    story.unknown(0);
    story.at_deadline();
    story.listed(Vec::new(), false, &[]);
    story.reserved("q", Vec::new(), &[]);
    let mut scans = Vec::new();
    while story.now < Millis::secs(150) {
        let actions = story.at_deadline();
        if matches!(exchange(&actions).read, Some(Read::Scan { .. })) {
            scans.push(story.now);
            story.listed(Vec::new(), false, &[]);
        } else {
            story.reserved("q", Vec::new(), &[]);
        }
    }
    let dead = Millis::secs(40 + 60);
    assert!(scans.iter().any(|at| *at > dead), "no scan after {dead:?}, when the request must be dead: {scans:?}");
}

#[test]
fn a_clear_of_unknown_outcome_is_asked_for_again_before_anything_found_is_believed() {
    let (mut story, _) = Story::new();
    let actions = story.reserved("p", rows(1..=1), &[]);
    story.acknowledge(&actions);
    story.unknown(1);
    let actions = story.at_deadline();
    assert_eq!(exchange(&actions).clears.len(), 1);
    assert!(matches!(exchange(&actions).read, Some(Read::Scan { .. })));
    let own = vec![(process("p"), rows(1..=1)[0])];
    assert!(
        story.listed(own, false, &[Cleared::Refused { retry_after: None }]).is_empty(),
        "our own row, not yet cleared: not published again"
    );
    let actions = story.at_deadline();
    assert_eq!(exchange(&actions).clears.len(), 1);
    assert!(matches!(exchange(&actions).read, Some(Read::Scan { .. })));
}

#[test]
fn after_a_failure_the_row_and_what_is_behind_it_in_its_entity_go_again_and_others_are_cleared() {
    let (mut story, _) = Story::new();
    let mut batch = rows(1..=4);
    (batch[0].key, batch[2].key) = (EntityKey(9), EntityKey(9));
    story.reserved("p", batch, &[]);
    let failed = Delivery::Failed(Hindrance::Passing);
    let actions = story.feed(Input::Delivered(vec![
        (id(1), failed),
        (id(2), Delivery::Acknowledged),
        (id(3), Delivery::Acknowledged),
        (id(4), Delivery::Acknowledged),
    ]));
    let cleared: Vec<u64> =
        exchange(&actions).clears.iter().flat_map(|c| c.ids.as_slice()).map(|row| row.get()).collect();
    assert_eq!((cleared, exchange(&actions).read), (vec![2, 4], None));
    story.feed(Input::Exchanged(Answer {
        clears: vec![Cleared::Done],
        read: ReadAnswer::NotAsked,
        ..Answer::default()
    }));
    let actions = story.at_deadline();
    let again: Vec<(u64, bool, bool)> =
        published(&actions).iter().map(|p| (p.row.get(), p.redelivery, p.late)).collect();
    assert_eq!(again, [(1, true, true), (3, true, false)]);
}

#[test]
fn a_refused_record_is_found_alone_and_becomes_a_dead_letter() {
    let (mut story, _) = Story::new();
    story.reserved("p", rows(1..=3), &[]);
    let refused = Delivery::Refused(Refusal::TooLarge);
    let mut actions = story.feed(Input::Delivered((1..=3).map(|n| (id(n), refused)).collect()));
    assert_eq!(published_ids(&actions), [1], "suspects go alone");
    actions = story.acknowledge(&actions);
    assert_eq!(published_ids(&actions), [2]);
    actions = story.feed(Input::Delivered(vec![(id(2), refused)]));
    assert_eq!(published(&actions)[0].refused, Some(Refusal::TooLarge), "refused alone: it is the one");
    actions = story.acknowledge(&actions);
    assert_eq!(published_ids(&actions), [3]);
    actions = story.acknowledge(&actions);
    assert_eq!(exchange(&actions).clears[0].ids.as_slice().len(), 3);
    assert_eq!(story.queue.ledger().sums(), (3, 2, 1));
}

#[test]
fn a_dead_letter_that_is_refused_holds_the_row_and_is_tried_slowly() {
    let (mut story, _) = Story::new();
    let malformed = Received { id: id(1), key: EntityKey(1), malformed: true, changed_at: None };
    let actions = story.reserved("p", vec![malformed], &[]);
    assert_eq!(published(&actions)[0].refused, Some(Refusal::MalformedRow));
    let actions = story.feed(Input::Delivered(vec![(id(1), Delivery::Refused(Refusal::InvalidRecord))]));
    assert!(actions.is_empty(), "{actions:?}");
    assert_eq!(story.queue.deadline(), Some(Millis::secs(10)));
    assert_eq!(story.queue.ledger().held(), 1);
}

#[test]
fn a_dead_letter_that_is_too_large_is_made_anew_without_the_data_and_only_that_one_may_fail_for_good() {
    let (mut story, _) = Story::new();
    let malformed = Received { id: id(1), key: EntityKey(1), malformed: true, changed_at: None };
    story.reserved("p", vec![malformed], &[]);
    let refuse = |story: &mut Story| story.feed(Input::Delivered(vec![(id(1), Delivery::Refused(Refusal::TooLarge))]));
    let actions = refuse(&mut story);
    assert_eq!(published(&actions)[0].refused, Some(Refusal::TooLarge));
    assert!(!story.queue.is_barred());
    assert!(refuse(&mut story).is_empty(), "nothing smaller can be made");
    assert!(story.queue.is_barred());
    let actions = story.at_deadline();
    let actions = story.acknowledge(&actions);
    assert_eq!(exchange(&actions).clears.len(), 1);
    assert_eq!(story.queue.ledger().sums(), (1, 0, 1));
}

#[test]
fn a_drain_finishes_and_confirms_what_is_held_and_reads_nothing_new() {
    let (mut story, _) = Story::new();
    assert!(story.feed(Input::Drain).is_empty(), "a get is on its way");
    let actions = story.reserved("p", rows(1..=2), &[]);
    assert_eq!(published_ids(&actions), [1, 2]);
    let actions = story.acknowledge(&actions);
    assert_eq!((exchange(&actions).clears.len(), exchange(&actions).read), (1, None));
    let actions = story.feed(Input::Exchanged(Answer {
        clears: vec![Cleared::Done],
        read: ReadAnswer::NotAsked,
        ..Answer::default()
    }));
    assert_eq!(actions, [Action::Drained]);
    assert_eq!(story.queue.deadline(), None);
}

#[test]
fn a_drain_after_an_unknown_get_looks_for_what_it_reserved() {
    let (mut story, _) = Story::new();
    story.feed(Input::Drain);
    assert!(story.unknown(0).is_empty());
    let actions = story.at_deadline();
    assert!(matches!(exchange(&actions).read, Some(Read::Scan { .. })));
    assert_eq!(story.listed(Vec::new(), false, &[]), [Action::Drained]);
}

#[test]
fn a_hint_keeps_the_queue_waiting_and_a_wake_up_does_not_cut_it_short_but_resume_does() {
    let (mut story, _) = Story::new();
    let read = ReadAnswer::Refused { retry_after: Some(Millis::secs(300)), smaller: false };
    story.feed(Input::Exchanged(Answer { clears: Vec::new(), read, ..Answer::default() }));
    assert_eq!(story.queue.deadline(), Some(Millis::secs(300)));
    assert!(story.feed(Input::Wake).is_empty());
    assert!(matches!(exchange(&story.feed(Input::Resume)).read, Some(Read::Reserve { .. })));
}

#[test]
fn a_long_reservation_of_somebody_else_is_recovered_page_by_page() {
    let mut story = Story { queue: Queue::new(&SETTINGS), now: Millis(0) };
    story.feed(Input::TakeOver);
    let page = |ids| rows(ids).into_iter().map(|row| (process("old"), row)).collect::<Vec<_>>();
    let actions = story.listed(page(1..=1000), true, &[]);
    assert_eq!(published(&actions).len(), 1000);
    let actions = story.acknowledge(&actions);
    assert_eq!(exchange(&actions).clears.len(), 2);
    let Some(Read::Scan { after, .. }) = exchange(&actions).read else { panic!("goes on: {actions:?}") };
    assert_eq!(after, Some(id(1000)));
    let actions = story.listed(page(1001..=1001), false, &[Cleared::Done, Cleared::Done]);
    assert_eq!(published_ids(&actions), [1001]);
}

#[test]
fn inputs_that_nobody_waits_for_are_harmless() {
    let (mut story, _) = Story::new();
    story.reserved("p", rows(1..=1), &[]);
    let unexpected = vec![(id(7), Delivery::Acknowledged)];
    assert!(story.feed(Input::Delivered(unexpected)).is_empty());
    assert!(story.unknown(0).is_empty());
    let actions = story.feed(Input::Delivered(vec![(id(1), Delivery::Acknowledged)]));
    assert!(matches!(exchange(&actions).read, Some(Read::Scan { .. })), "an answer out of nowhere may hide something");
}

#[test]
fn orphans_of_many_reservations_are_confirmed_in_requests_that_a_portal_takes() {
    let mut story = Story { queue: Queue::new(&SETTINGS), now: Millis(0) };
    story.feed(Input::TakeOver);
    // Somebody reserved one row at a time and never cleared.
    let found = rows(1..=120).into_iter().map(|row| (process(&format!("p{}", row.id)), row)).collect();
    let actions = story.listed(found, false, &[]);
    let mut actions = story.acknowledge(&actions);
    let mut confirmed = 0;
    while story.queue.ledger().has_clearable() {
        let asked = exchange(&actions).clone();
        let pages = match asked.read {
            Some(Read::Scan { pages, .. }) => usize::from(pages),
            Some(Read::Reserve { .. }) => 1,
            Some(Read::List { .. }) | None => 0,
        };
        assert!(asked.clears.len() + pages <= BATCH_COMMANDS, "{} clears, {:?}", asked.clears.len(), asked.read);
        let beyond = confirmed + asked.clears.len() < 120;
        assert!(!beyond || asked.read.is_none(), "a scan would meet rows of ours that are not confirmed");
        confirmed += asked.clears.len();
        let clears = vec![Cleared::Done; asked.clears.len()];
        let read = match asked.read {
            None => ReadAnswer::NotAsked,
            Some(_) => ReadAnswer::Reserved { process: None, rows: Vec::new(), took: Millis(1) },
        };
        actions = story.feed(Input::Exchanged(Answer { clears, read, ..Answer::default() }));
    }
    assert_eq!(confirmed, 120);
}

#[test]
fn a_scan_whose_answer_does_not_come_asks_for_less() {
    let mut story = Story { queue: Queue::new(&SETTINGS), now: Millis(0) };
    let mut actions = story.feed(Input::TakeOver);
    let mut asked = Vec::new();
    for _ in 0..6 {
        let Some(Read::Scan { pages, .. }) = exchange(&actions).read else { panic!("a scan: {actions:?}") };
        asked.push(pages);
        story.unknown(0);
        actions = story.at_deadline();
    }
    // Rows may be so large that the answer is larger than what is read of it: twenty pages never come, one page does.
    assert_eq!(asked, [20, 10, 5, 2, 1, 1]);
}
