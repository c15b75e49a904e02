//! The real binary: exit codes, output, and what it says about faults.

#[path = "cli/check.rs"]
mod check;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/portals.rs"]
mod portals;
#[path = "cli/sim.rs"]
mod sim;
#[path = "cli/stop.rs"]
mod stop;
#[path = "cli/tap.rs"]
mod tap;

mod support;

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

const MINIMAL: &str = "[app]\nclient_id = \"local.1\"\nclient_secret = \"s3cr3t\"\n";

/// What a run of the binary gave.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_b24kafka"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("B24KAFKA_") {
            command.env_remove(name);
        }
    }
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
    command
}

fn run(args: &[&str], env: &[(&str, &str)]) -> Ran {
    ran(command(args, env).output().expect("the binary runs"))
}

fn run_with_input(args: &[&str], env: &[(&str, &str)], input: &str) -> Ran {
    let mut command = command(args, env);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("written");
    drop(stdin);
    ran(child.wait_with_output().expect("it ends"))
}

fn ran(output: std::process::Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let ran = Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    ran
}

/// A configuration file in a directory of its own.
struct Site {
    dir: TempDir,
}

impl Site {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("c.toml"), text).expect("written");
        Self { dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("c.toml")
    }

    fn check(&self, more: &[&str], env: &[(&str, &str)]) -> Ran {
        let file = self.file();
        let args = [&["check", "-c", utf8(&file)], more].concat();
        run(&args, env)
    }
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A configuration that is refused: exit 78, nothing on standard output, each line of `begins` said, and counted.
fn refused(ran: &Ran, begins: &[String]) {
    assert_eq!((ran.code, ran.out.as_str()), (Some(78), ""), "{ran:?}");
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines.len(), begins.len() + 1, "{ran:?}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin.as_str()), "{line}\n{begin}");
    }
    let count = if begins.len() == 1 { "1 fault in".to_owned() } else { format!("{} faults in", begins.len()) };
    assert!(lines[begins.len()].starts_with(&count), "{ran:?}");
}

#[test]
fn a_right_configuration_is_summed_up() {
    let site = Site::new(MINIMAL);
    let ran = site.check(&[], &[]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert!(
        ran.out.contains("no fault") && ran.out.contains("localhost:9092") && !ran.out.contains("s3cr3t"),
        "{ran:?}"
    );
    let ran = run(&["check"], &[("B24KAFKA_CONFIG", utf8(&site.file()))]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = site.check(&["--json"], &[]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, &json["ok"], &json["summary"]["registry"]["path"]), (Some(0), &true.into(), &"data".into()));
}

#[test]
fn a_file_that_is_missing_or_unreadable_is_said() {
    let site = Site::new(MINIMAL);
    let none = site.dir.path().join("none.toml");
    let begin = format!("{}: the configuration file cannot be read (No such file", none.display());
    for command in ["check", "run", "tap"] {
        refused(&run(&[command, "-c", utf8(&none)], &[]), std::slice::from_ref(&begin));
    }
    let ran = run(&["check", "--json", "-c", utf8(&none)], &[]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, &json["faults"][0]["key"]), (Some(78), &serde_json::Value::Null), "{ran:?}");
    let begin = format!("{}: the configuration file cannot be read", site.dir.path().display());
    refused(&run(&["check", "-c", utf8(site.dir.path())], &[]), &[begin]);
}

#[test]
fn a_trace_that_cannot_be_written_is_said_before_anything_is_fetched() {
    let site = Site::new(MINIMAL);
    let dir = site.dir.path();
    let path = dir.join("data");
    let env = [("B24KAFKA__REGISTRY__PATH", utf8(&path)), ("B24KAFKA__ADMIN__LISTEN", "127.0.0.1:0")];
    for (trace, why) in
        [(dir.to_path_buf(), "is no regular file"), (dir.join("none/trace"), "cannot be written: No such")]
    {
        let ran = run(&["run", "-c", utf8(&site.file()), "--trace", utf8(&trace)], &env);
        let told = format!("b24kafka: the trace {} {why}", trace.display());
        assert!(ran.code == Some(1) && ran.err.lines().any(|line| line.starts_with(&told)), "{told}: {ran:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_without_the_right_to_read_is_said() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new(MINIMAL);
    std::fs::set_permissions(site.file(), std::fs::Permissions::from_mode(0o000)).expect("changed");
    if std::fs::File::open(site.file()).is_ok() {
        eprintln!("NOT TESTED: this user may read every file, so a missing right cannot be shown");
    } else {
        let begin = format!("{}: the configuration file cannot be read (Permission denied", site.file().display());
        refused(&site.check(&[], &[]), &[begin]);
    }
}

#[test]
fn all_faults_are_said_at_once() {
    let site = Site::new(
        "[app]\nclient_id = 5\nclient_secret_file = \"/none/secret\"\n[fetch]\nlimit_mni = 1\npoll_min = \"1 day\"\n",
    );
    let file = site.file().display().to_string();
    let ran = site.check(&[], &[("B24KAFKA__KAFKA__PARTITIONS", "six"), ("B24KAFKA__KAFKA__TOPICS", "x")]);
    refused(
        &ran,
        &[
            format!("{file}:2: app.client_id is a whole number; give a text"),
            format!("{file}:3: app.client_secret_file names /none/secret, which cannot be read (No such file"),
            format!("{file}:5: fetch.limit_mni is not known; the nearest known name is limit_min"),
            format!("{file}:6: fetch.poll_min is \"1 day\"; give a duration such as \"10s\""),
            "B24KAFKA__KAFKA__PARTITIONS: kafka.partitions is \"six\"; give a whole number from 1 to".into(),
            "B24KAFKA__KAFKA__TOPICS: kafka.topics is not known; the nearest known name is topic".into(),
        ],
    );
    let ran = site.check(&["--json"], &[]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, ran.err.as_str(), &json["ok"]), (Some(78), "", &false.into()));
    assert_eq!(json["faults"][2]["line"], 5);
    assert_eq!(json["faults"][2]["key"], "fetch.limit_mni");
}

#[test]
fn broken_toml_is_said_with_its_line() {
    let site = Site::new("[app]\nclient_id = \"x\nclient_secret = \"s3cr3t\"\n");
    let ran = site.check(&[], &[]);
    refused(&ran, &[format!("{}:2: the file is no valid TOML: ", site.file().display())]);
    assert!(!ran.err.contains("s3cr3t"), "{ran:?}");
}

#[test]
fn a_variable_heals_what_the_file_lacks() {
    let site = Site::new("[app]\nclient_id = \"local.1\"\n");
    let secret = site.dir.path().join("secret");
    refused(&site.check(&[], &[]), &[format!("{}:1: app.client_secret is missing", site.file().display())]);
    std::fs::write(&secret, "s3cr3t\n").expect("written");
    let ran = site.check(&[], &[("B24KAFKA__APP__CLIENT_SECRET_FILE", utf8(&secret))]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_relative_path_follows_the_working_directory_and_is_said_in_full() {
    let site = Site::new("[app]\nclient_id = \"local.1\"\nclient_secret_file = \"secrets/app\"\n");
    let check = |dir: &Path| {
        let output = command(&["check", "-c", utf8(&site.file())], &[]).current_dir(dir).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let elsewhere = tempfile::tempdir().expect("a directory");
    let elsewhere = elsewhere.path().canonicalize().expect("a path");
    std::fs::create_dir(site.dir.path().join("secrets")).expect("a directory");
    std::fs::write(site.dir.path().join("secrets/app"), "s3cr3t\n").expect("written");
    assert_eq!(check(site.dir.path()), (Some(0), String::new()));
    let (code, err) = check(&elsewhere);
    let said = format!("names secrets/app, here {}/secrets/app, which cannot be read", elsewhere.display());
    assert!(code == Some(78) && err.contains(&said), "{err}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_said() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let site = Site::new(MINIMAL);
    let mut command = command(&["check", "-c", utf8(&site.file())], &[]);
    command.env("B24KAFKA__APP__CLIENT_ID", OsStr::from_bytes(b"\xff"));
    let output = command.output().expect("the binary runs");
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(78), "{err}");
    assert!(err.starts_with("B24KAFKA__APP__CLIENT_ID: does not hold UTF-8"), "{err}");
}

#[test]
fn wrong_usage_exits_2() {
    for args in
        [&[][..], &["runn"], &["run"], &["check", "--offline", "-c", "x"], &["-c", "x", "run"], &["events", "a", "b"]]
    {
        let ran = run(args, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?} {ran:?}");
        assert!(ran.err.contains("Usage"), "{ran:?}");
    }
    let ran = run(&["--help"], &[]);
    assert!(ran.code == Some(0) && ran.out.contains("check") && ran.err.is_empty(), "{ran:?}");
}

#[test]
fn the_catalogue_is_listed_and_filtered() {
    let all = run(&["events"], &[]);
    assert_eq!((all.code, all.err.as_str()), (Some(0), ""));
    assert!(all.out.lines().count() > 200 && all.out.starts_with("EVENT "), "{}", all.out);
    let deals = run(&["events", "CRM.deal"], &[]);
    assert!(deals.out.contains("ONCRMDEALADD") && !deals.out.contains("ONTASKADD"), "{}", deals.out);
    let family = run(&["events", "task.*"], &[]);
    assert!(!family.out.contains("ONCRM"), "{}", family.out);
    let json = run(&["events", "oncrmdealupdate", "--json"], &[]);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!((&json[0]["entity"], &json[0]["change"]), (&"crm.deal".into(), &"update".into()));
    let none = run(&["events", "nothing.of.this"], &[]);
    assert_eq!((none.code, none.out.as_str()), (Some(1), ""), "{none:?}");
    assert!(none.err.contains("nothing.of.this"), "{none:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for args in [&["events", "--json"][..], &["events"], &["--help"]] {
        let mut child =
            command(args, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        // Closed before anything was read.
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("UTF-8");
        let code = child.wait().expect("ended").code();
        assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}");
    }
}
