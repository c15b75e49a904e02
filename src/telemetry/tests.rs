//! The log as it is written.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;

/// Where the lines of a test go.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a page").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().expect("a page").clone()).expect("text").lines().map(str::to_owned).collect()
    }
}

fn log(level: &str, format: Format, portals: &[&str]) -> (Page, Dispatch, LogHandle) {
    let page = Page::default();
    let writer = page.clone();
    let log = Log { level: level.into(), format, portals: portals.iter().map(|id| (*id).to_owned()).collect() };
    let (dispatch, handle) = build(&log, false, move || writer.clone()).expect("built");
    (page, dispatch, handle)
}

#[test]
fn the_level_changes_while_the_process_runs() {
    for format in [Format::Text, Format::Json] {
        let (_, dispatch, handle) = log("warn", format, &[]);
        tracing::dispatcher::with_default(&dispatch, || {
            assert!(tracing::enabled!(tracing::Level::WARN) && !tracing::enabled!(tracing::Level::INFO));
            handle.set_level("debug").expect("changed");
            assert!(tracing::enabled!(tracing::Level::DEBUG));
            assert!(matches!(handle.set_level("inof"), Err(LogError::Level(_))));
            assert_eq!(handle.logged().expect("it runs").level, "debug");
            handle.set_level("off").expect("changed");
            assert!(!tracing::enabled!(tracing::Level::ERROR));
        });
    }
}

#[test]
fn one_portal_is_followed_while_the_rest_stays_as_it_was() {
    let (page, dispatch, handle) = log("warn", Format::Text, &["troubled"]);
    let speak = |word: &str| {
        for portal in ["troubled", "quiet"] {
            tracing::trace!(portal, "{word} trace");
            tracing::debug!(portal, "{word} debug");
            tracing::debug!(portal = %portal, "{word} shown debug");
            tracing::info!(portal, "{word} info");
            tracing::error!(portal, word, "{word} error");
        }
        tracing::debug!("{word} of nobody");
        tracing::debug!(target: "hyper", portal = "troubled", "{word} of a library");
    };
    let wanted = |portals: &[&str], word: &str| {
        let mut wanted: Vec<String> = Vec::new();
        for portal in ["troubled", "quiet"] {
            let followed = portals.contains(&portal);
            let levels = if followed { &["debug", "shown debug", "info", "error"][..] } else { &["error"][..] };
            wanted.extend(levels.iter().map(|level| format!("{word} {level} {portal}")));
        }
        wanted
    };
    let said = |page: &Page| -> Vec<String> {
        let line = |line: String| {
            let (_, message) = line.split_once(": ").expect("a message");
            let (message, fields) = message.split_once(" portal=").expect("a portal");
            format!("{message} {}", fields.split(' ').next().unwrap_or_default().trim_matches('"'))
        };
        page.lines().into_iter().map(line).collect()
    };
    tracing::dispatcher::with_default(&dispatch, || {
        speak("first");
        assert_eq!(said(&page), wanted(&["troubled"], "first"));
        page.0.lock().expect("a page").clear();
        handle.follow(BTreeSet::from(["quiet".to_owned()])).expect("changed");
        speak("second");
        // An error that was written a moment ago is a repetition, whatever its text.
        let second: Vec<String> =
            wanted(&["quiet"], "second").into_iter().filter(|line| !line.contains("error")).collect();
        assert_eq!(said(&page), second);
        assert_eq!(handle.logged().expect("it runs").portals.into_iter().collect::<Vec<_>>(), ["quiet"]);
    });
}

#[test]
fn an_error_about_rows_is_never_taken_for_a_repetition_of_another() {
    let (page, dispatch, _handle) = log("info", Format::Text, &[]);
    let speak = |rows: u64| {
        tracing::error!(portal = "a", rows, "rows are lost");
        tracing::warn!(portal = "a", rows, "rows wait");
        tracing::error!(portal = "a", row = %(rows % 2), "a row waits");
    };
    tracing::dispatcher::with_default(&dispatch, || (1..=4).for_each(speak));
    let count = |words: &str| page.lines().iter().filter(|line| line.contains(words)).count();
    assert_eq!((count("rows are lost"), count("rows wait"), count("a row waits")), (4, 1, 2), "{:?}", page.lines());
}

#[test]
fn a_repetition_is_left_out_and_debug_lines_never_are() {
    let (page, dispatch, _) = log("debug", Format::Json, &[]);
    tracing::dispatcher::with_default(&dispatch, || {
        for poll in 0..50 {
            for portal in ["a", "b"] {
                tracing::warn!(portal, error = format!("time-out {poll}"), "a request failed");
                tracing::debug!(portal, "details");
            }
        }
    });
    let lines = page.lines();
    assert_eq!(lines.iter().filter(|line| line.contains("a request failed")).count(), 2, "one for each portal");
    assert_eq!(lines.iter().filter(|line| line.contains("details")).count(), 100);
    let line: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!((&line["level"], &line["portal"]), (&"WARN".into(), &"a".into()), "{line}");
    assert_eq!((&line["message"], &line["error"]), (&"a request failed".into(), &"time-out 0".into()), "{line}");
    assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
}

#[test]
fn what_was_left_out_is_told_at_the_end_with_its_level_its_fields_and_its_number() {
    for format in [Format::Text, Format::Json] {
        let (page, dispatch, handle) = log("info", format, &[]);
        let told = |words: &str| -> Vec<String> {
            page.lines()
                .into_iter()
                .filter(|line| line.contains("left out until the end") && line.contains(words))
                .collect()
        };
        tracing::dispatcher::with_default(&dispatch, || {
            for n in 0..3 {
                tracing::error!(portal = "a", code = "X", error = n, "a request failed");
                tracing::warn!(portal = %"a", row = n, "rows wait");
                tracing::debug!(portal = "a", "details");
            }
            tracing::warn!(portal = "b", "rows wait");
            handle.sum_up();
            handle.sum_up();
        });
        let (errors, warnings) = (told("a request failed"), told("rows wait"));
        assert_eq!((errors.len(), warnings.len(), told("").len()), (1, 1, 2), "{:?}", page.lines());
        if format == Format::Json {
            let line: Value = serde_json::from_str(&errors[0]).expect("an object");
            let fields = ["level", "portal", "code", "repeats"].map(|field| line[field].clone());
            assert_eq!(fields, ["ERROR".into(), "a".into(), "X".into(), Value::from(2)], "{line}");
            let line: Value = serde_json::from_str(&warnings[0]).expect("an object");
            assert!(line["level"] == "WARN" && line["portal"] == "a" && line.get("code").is_none(), "{line}");
        }
    }
}

#[test]
fn what_is_told_at_the_end_is_bounded_and_adds_up() {
    let (page, dispatch, handle) = log("info", Format::Json, &[]);
    tracing::dispatcher::with_default(&dispatch, || {
        for n in 0..150 {
            // The first ones twice more, the others once.
            (0..if n < 50 { 3 } else { 2 }).for_each(|_| tracing::warn!(portal = n, "it fails"));
        }
        page.0.lock().expect("a page").clear();
        handle.sum_up();
    });
    let lines: Vec<Value> = page.lines().iter().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let repeats = |line: &Value| line["repeats"].as_u64().expect("a number");
    assert_eq!(lines.len(), 101);
    assert!(lines[..50].iter().all(|line| repeats(line) == 2), "the worst first");
    assert_eq!(lines.iter().map(repeats).sum::<u64>(), 200);
    assert!(lines[100]["message"].as_str().is_some_and(|said| said.contains("50 more things")), "{}", lines[100]);
}

#[test]
fn a_panic_is_one_more_object_and_shows_no_secret() {
    let token = secrecy::SecretString::from("made-up-t0ken");
    let (page, dispatch, handle) = log("info", Format::Json, &[]);
    let plain = panic::take_hook();
    let doomed = std::thread::current().id();
    // Other tests of this process go on to panic as they like.
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != doomed || !tell_panic(info) {
            plain(info);
        }
    }));
    let caught =
        tracing::dispatcher::with_default(&dispatch, || panic::catch_unwind(|| panic!("no way out with {token:?}")));
    drop(panic::take_hook());
    assert!(caught.is_err() && handle.format == Format::Json);
    let lines = page.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line: Value = serde_json::from_str(&lines[0]).expect("an object");
    let error = line["error"].as_str().expect("a text");
    assert!(line["level"] == "ERROR" && error.contains("no way out") && error.contains("tests.rs:"), "{line}");
    assert!(error.contains("REDACTED") && !lines[0].contains("made-up-t0ken"), "{line}");
}
