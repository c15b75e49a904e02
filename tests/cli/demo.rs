//! `demo`: the verdict, with the broker of this process.

use super::run;

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
    assert!(ran.out.ends_with("verdict: nothing is lost, nothing is left behind\n"), "{}", ran.out);
}

#[test]
fn more_than_the_mock_broker_can_keep_is_refused() {
    let ran = run(&["demo", "--events", "1000000"], &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("--bootstrap"), "{ran:?}");
}
