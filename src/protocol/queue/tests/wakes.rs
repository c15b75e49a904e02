//! Wake-ups: what they hasten, and what follows when they stay away.

use super::*;

/// Idle and empty, with wake-ups bound.
fn idle() -> Story {
    let (mut story, _) = Story::new();
    story.feed(Input::WakeUps(Some(Millis::secs(1))));
    assert!(story.reserved("p", Vec::new(), &[]).is_empty());
    assert_eq!(story.queue.deadline(), Some(SETTINGS.poll_max), "the longest wait at once");
    story
}

/// The facts of a step that the story's own feed leaves out.
fn facts(story: &mut Story, input: Input) -> Vec<Fact> {
    let mut actions = Vec::new();
    story.queue.step(story.now, input, &mut actions);
    let facts = actions.into_iter().filter_map(|action| match action {
        Action::Note(fact) => Some(fact),
        _ => None,
    });
    facts.collect()
}

/// What the poll that is on its way finds.
fn found(story: &mut Story, rows: Vec<Received>) -> Vec<Fact> {
    let clears = vec![Cleared::Done; story.queue.on_its_way().map_or(0, |exchange| exchange.clears.len())];
    let read = match story.queue.on_its_way().and_then(|exchange| exchange.read) {
        Some(Read::Scan { .. }) => ReadAnswer::Listed { rows: Vec::new(), more: false },
        _ => ReadAnswer::Reserved { process: Some(process("p")), rows, took: Millis(5) },
    };
    facts(story, Input::Exchanged(Answer { clears, read, ..Answer::default() }))
}

#[test]
fn a_wake_up_polls_at_once_and_many_during_a_poll_make_one_more() {
    let mut story = idle();
    story.now = Millis(5);
    assert!(matches!(exchange(&story.feed(Input::Wake)).read, Some(Read::Reserve { .. })));
    for _ in 0..100 {
        assert!(story.feed(Input::Wake).is_empty(), "one request of a queue at a time");
    }
    let actions = story.reserved("q", Vec::new(), &[]);
    assert!(matches!(exchange(&actions).read, Some(Read::Reserve { .. })), "it may have missed their rows");
    assert!(story.reserved("r", Vec::new(), &[]).is_empty(), "one, however many came");
    assert_eq!(story.queue.deadline(), Some(Millis(5).plus(SETTINGS.poll_max)));
}

#[test]
fn a_wake_up_while_rows_are_produced_waits_for_them() {
    let mut story = idle();
    let actions = story.feed(Input::Wake);
    assert!(matches!(exchange(&actions).read, Some(Read::Reserve { .. })));
    let actions = story.reserved("p", rows(1..=2), &[]);
    assert!(story.feed(Input::Wake).is_empty());
    let actions = story.acknowledge(&actions);
    assert_eq!(exchange(&actions).clears.len(), 1);
    assert!(matches!(exchange(&actions).read, Some(Read::Reserve { .. })));
}

#[test]
fn rows_without_a_wake_up_are_noted_once_and_so_is_the_first_wake_up_after_that() {
    let mut story = idle();
    story.at_deadline();
    assert!(!found(&mut story, rows(1..=1)).contains(&Fact::WakeUpsMissed), "it may be on its way");
    story.feed(Input::Delivered(vec![(id(1), Delivery::Acknowledged)]));
    let mut noted = found(&mut story, Vec::new());
    for _ in 0..20 {
        story.at_deadline();
        noted.extend(found(&mut story, Vec::new()));
    }
    assert_eq!(noted.iter().filter(|fact| **fact == Fact::WakeUpsMissed).count(), 1, "{noted:?}");
    assert_eq!(story.queue.wake_ups(), WakeUps::Missed);
    assert_eq!(facts(&mut story, Input::Wake), [Fact::WakeUpsBack]);
    assert_eq!(facts(&mut story, Input::Wake), []);
}

#[test]
fn a_drained_queue_is_not_woken() {
    let mut story = idle();
    assert_eq!(story.feed(Input::Drain), [Action::Drained]);
    assert!(story.feed(Input::Wake).is_empty());
    assert_eq!(story.queue.deadline(), None);
}
