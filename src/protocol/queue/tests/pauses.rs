//! Who waits for how long after which trouble.

use super::*;

/// A `get` that fails until the queue has been through `rounds` of it, each followed by a scan that works.
fn failing_gets(story: &mut Story, rounds: usize) -> Vec<u64> {
    let mut waits = Vec::new();
    for _ in 0..rounds {
        assert!(story.unknown(0).is_empty());
        let failed_at = story.now;
        let mut actions = story.at_deadline();
        assert!(matches!(exchange(&actions).read, Some(Read::Scan { .. })), "{actions:?}");
        actions = story.listed(Vec::new(), false, &[]);
        while actions.is_empty() {
            actions = story.at_deadline();
        }
        while matches!(exchange(&actions).read, Some(Read::Scan { .. })) {
            actions = story.listed(Vec::new(), false, &[]);
            while actions.is_empty() {
                actions = story.at_deadline();
            }
        }
        waits.push(story.now.since(failed_at).0 / 1000);
    }
    waits
}

#[test]
fn a_scan_that_works_does_not_make_a_failing_get_more_frequent() {
    let (mut story, _) = Story::new();
    assert_eq!(failing_gets(&mut story, 8), [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_get_that_has_used_up_its_time_pauses_the_gets_and_not_the_clears() {
    let (mut story, actions) = Story::new();
    assert!(matches!(exchange(&actions).read, Some(Read::Reserve { .. })));
    let actions = story.reserved("p", rows(1..=2), &[]);
    let actions = story.acknowledge(&actions);
    assert_eq!(exchange(&actions).clears.len(), 1);
    // The clear was done, the get beside it has to wait for its budget.
    let read = ReadAnswer::Refused { retry_after: Some(Millis::secs(300)), smaller: true };
    story.feed(Input::Exchanged(Answer { clears: vec![Cleared::Done], read, ..Answer::default() }));
    assert!(story.queue.ledger().is_empty());
    let mut scanned = false;
    loop {
        let actions = story.at_deadline();
        match actions.as_slice() {
            [] => {}
            [Action::Exchange(Exchange { read: Some(Read::Reserve { .. }), .. })] => break,
            _ => {
                scanned = true;
                story.listed(Vec::new(), false, &[]);
            }
        }
    }
    assert_eq!(story.now, Millis::secs(300));
    assert!(scanned, "the late scan of take-over is another method's time");
}

#[test]
fn a_refused_clear_waits_as_long_as_the_portal_says() {
    let (mut story, _) = Story::new();
    let actions = story.reserved("p", rows(1..=2), &[]);
    story.acknowledge(&actions);
    let refused = Cleared::Refused { retry_after: Some(Millis::secs(200)) };
    let nothing = story.reserved("q", Vec::new(), &[refused]);
    assert!(nothing.is_empty(), "{nothing:?}");
    assert_eq!(story.queue.deadline(), Some(Millis::secs(200)));
    assert_eq!(exchange(&story.at_deadline()).clears.len(), 1);
}

#[test]
fn nothing_more_is_reserved_before_a_clear_that_failed_is_done() {
    let (mut story, _) = Story::new();
    let actions = story.reserved("p", rows(1..=2), &[]);
    story.acknowledge(&actions);
    for _ in 0..5 {
        let nothing = story.feed(Input::Exchanged(Answer {
            clears: vec![Cleared::Unknown],
            read: ReadAnswer::Reserved { process: None, rows: Vec::new(), took: Millis(1) },
            ..Answer::default()
        }));
        assert!(nothing.is_empty(), "{nothing:?}");
        let actions = story.at_deadline();
        assert_eq!(exchange(&actions).clears.len(), 1);
        assert!(!matches!(exchange(&actions).read, Some(Read::Reserve { .. })), "{actions:?}");
    }
}

#[test]
fn a_drain_says_whether_a_get_may_still_reserve_rows() {
    let (mut story, _) = Story::new();
    story.unknown(0);
    story.at_deadline();
    story.feed(Input::Drain);
    assert_eq!(story.listed(Vec::new(), false, &[]), [Action::Drained]);
    assert!(story.queue.may_hide(), "it may be executed until the portal ends it");

    let (mut story, _) = Story::new();
    story.unknown(0);
    story.at_deadline();
    let mut actions = story.listed(Vec::new(), false, &[]);
    while story.now < Millis::secs(80) {
        actions = match actions.as_slice() {
            [Action::Exchange(Exchange { read: Some(Read::Scan { .. }), .. })] => story.listed(Vec::new(), false, &[]),
            [Action::Exchange(_)] => story.reserved("q", Vec::new(), &[]),
            _ => story.at_deadline(),
        };
    }
    assert!(!story.queue.may_hide(), "the late scan has found nothing");
}

#[test]
fn gets_that_work_and_whose_answers_are_lost_do_not_slow_down() {
    let (mut story, _) = Story::new();
    for n in 1..=5 {
        story.unknown(0);
        let failed_at = story.now;
        story.at_deadline();
        let found = (process("hidden"), Received { id: id(n), key: EntityKey(n), malformed: false, changed_at: None });
        let actions = story.listed(vec![found], false, &[]);
        let actions = story.acknowledge(&actions);
        assert_eq!(exchange(&actions).clears.len(), 1);
        assert!(matches!(exchange(&actions).read, Some(Read::Reserve { .. })), "at once: {actions:?}");
        story.reserved("p", Vec::new(), &[Cleared::Done]);
        assert_eq!(story.now.since(failed_at), Millis::secs(1));
        story.feed(Input::Wake);
    }
}
