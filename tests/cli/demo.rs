//! `demo`: the verdict, with the broker of this process.

use std::time::{Duration, Instant};

use super::{run, support::port};

#[test]
fn it_loses_answers_and_ends_with_nothing_lost() {
    let ran = run(&["demo", "--events", "2000"], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let figure = |name: &str| -> u64 {
        let line = ran.out.lines().find(|line| line.trim_start().starts_with(name));
        let words =
            line.unwrap_or_else(|| panic!("no {name} in {}", ran.out)).trim_start()[name.len()..].split_whitespace();
        words.filter_map(|word| word.parse().ok()).next().expect("a number")
    };
    assert_eq!(figure("changes at the portal"), 2000);
    assert_eq!((figure("lost"), figure("left behind"), figure("out of order")), (0, 0, 0));
    assert_eq!(figure("rows in Kafka"), figure("cleared at the portal"));
    assert!(figure("faults that struck") > 0, "the easy case shows nothing: {}", ran.out);
    // A recovered row is told as such, and as delivered again only if Kafka had it.
    assert!(figure("recovered") <= 2000, "{}", ran.out);
    let again = ran.out.lines().filter(|line| line.ends_with("  again")).count() as u64;
    assert!(again <= figure("delivered again"), "{}", ran.out);
    assert!(ran.out.ends_with("verdict: nothing is lost, nothing is left behind\n"), "{}", ran.out);
}

#[test]
fn more_than_the_mock_broker_can_keep_is_refused() {
    let ran = run(&["demo", "--events", "1000000"], &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("--bootstrap"), "{ran:?}");
}

#[test]
fn a_broker_that_does_not_answer_is_said_in_time() {
    let nobody = format!("127.0.0.1:{}", port::free());
    let begun = Instant::now();
    let ran = run(&["demo", "--events", "10", "--bootstrap", &nobody], &[]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(1), "", 1), "{ran:?}");
    let begin = format!("b24kafka: no Kafka broker answers at {nobody} (--bootstrap); start it, correct the address");
    assert!(ran.err.starts_with(&begin), "{ran:?}");
}
