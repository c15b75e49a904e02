//! `sim`: what it prints is a configuration that a bridge can use.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::Duration,
};

use super::{
    Site, command, run,
    support::process::{Guarded, Signal},
    utf8,
};

#[test]
fn it_prints_a_configuration_that_a_bridge_can_use_and_ends_on_a_signal() {
    let mut command = command(&["sim", "--listen", "127.0.0.1:0", "--portals", "2", "--faults", "lost-answer=0"], &[]);
    let mut sim = Guarded::spawn(command.stdout(Stdio::piped()));
    let out = BufReader::new(sim.child().stdout.take().expect("piped"));
    let mut text = String::new();
    for line in out.lines() {
        text.push_str(&line.expect("a line"));
        text.push('\n');
        if text.matches("refresh_token").count() == 2 {
            break;
        }
    }
    let site = Site::new(&text);
    let ran = run(&["check", "--json", "-c", utf8(&site.file())], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?} of\n{text}");
    let summary: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(summary["summary"]["portals"].as_array().map(Vec::len), Some(2), "{summary}");
    // The portals and their OAuth server answer; only the broker is missing.
    let env = [("B24KAFKA__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")];
    let site = Site::new(&format!("{text}\n[registry]\npath = {:?}\n", site.file().with_file_name("registry")));
    let ran = run(&["check", "--online", "-c", utf8(&site.file())], &env);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("FAULT  broker 127.0.0.1:1"), "{ran:?}");
    assert_eq!(ran.out.matches("token and reserve mode: usable").count(), 2, "{ran:?}");
    assert_eq!(ran.out.matches("right to read offline events: granted").count(), 2, "{ran:?}");
    sim.signal(Signal::Term);
    assert_eq!(sim.wait(Duration::from_secs(20)).and_then(|status| status.code()), Some(0));
}

#[test]
fn it_goes_by_the_name_it_is_given_and_says_at_the_end_what_became_of_the_rows() {
    let args = ["sim", "--listen", "127.0.0.1:0", "--name", "sim.example:8024", "--rate", "1000"];
    let mut sim = Guarded::spawn(command(&args, &[]).stdout(Stdio::piped()));
    let mut lines = BufReader::new(sim.child().stdout.take().expect("piped")).lines().map(|line| line.expect("a line"));
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.starts_with("plan")).collect();
    assert!(head.contains(&"oauth_url = \"http://sim.example:8024/oauth/token/\"".to_owned()), "{head:?}");
    assert!(head.contains(&"endpoint = \"http://sim.example:8024/p/0/rest/\"".to_owned()), "{head:?}");
    sim.signal(Signal::Term);
    let account = lines.last().expect("an account");
    let numbers: Vec<u64> = account.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [rows, rest @ ..] = numbers.as_slice() else { panic!("{account}") };
    assert_eq!(rest, [0, *rows, 0, 0, 0], "nobody has read, whatever there is: {account}");
    assert_eq!(sim.wait(Duration::from_secs(20)).and_then(|status| status.code()), Some(0));
    for wrong in ["", "sim:port", "user@sim:1", "sim:1/path"] {
        assert_eq!(run(&["sim", "--name", wrong], &[]).code, Some(2), "{wrong}");
    }
}

#[test]
fn faults_that_cannot_be_read_and_addresses_that_are_taken_are_said() {
    let ran = run(&["sim", "--faults", "lost-answers=much"], &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("lost-answers"), "{ran:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let ran = run(&["sim", "--listen", &address], &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains(&format!("cannot listen on {address}")), "{ran:?}");
}
