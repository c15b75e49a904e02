//! Configuration that is none: every fault is named, and none quotes a secret.

use std::path::Path;

use b24kafka::config::{Config, Faults};

/// It must be found in no fault.
const SECRET: &str = "s3cr3t";

pub fn small() -> Vec<u8> {
    format!("[app]\nclient_id = \"local.1\"\nclient_secret = \"{SECRET}\"\n[kafka]\ntopic = \"x.{{entity}}\"\n")
        .into_bytes()
}

pub fn example() -> Vec<u8> {
    let example = include_str!("../../config/b24kafka.example.toml");
    // The keys in comments too: that is where most of them are.
    let lines = example.lines().map(|line| line.strip_prefix("# ").filter(|l| l.contains(" = ")).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

fn parse(text: &str, env: &[(&str, &str)]) -> Result<Config, Faults> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(Path::new("c.toml"), text, env)
}

/// Whatever the bytes are, they give a configuration or faults that can be shown.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return from_a_file(bytes) };
    match parse(text, &[]) {
        Ok(config) => assert!(!is_secret(text) || !format!("{config:?}").contains(SECRET), "{text}"),
        Err(faults) => check_faults(text, &faults),
    }
}

fn check_faults(text: &str, faults: &Faults) {
    assert!(!faults.as_slice().is_empty(), "{text}");
    for fault in faults.as_slice() {
        let shown = fault.to_string();
        assert!(!shown.is_empty() && shown.len() < 4096, "{shown}");
        assert!(!is_secret(text) || !shown.contains(SECRET), "{shown}\nof {text}");
    }
}

/// A breakage may carry the value to a key that is no secret; where it stands behind its own, and there alone, it must not
/// show.
fn is_secret(text: &str) -> bool {
    text.contains(&format!("client_secret = \"{SECRET}\"")) && text.matches(SECRET).count() == 1
}

fn from_a_file(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.toml");
    std::fs::write(&path, bytes).expect("written");
    let faults = Config::load(&path, std::iter::empty()).expect_err("not UTF-8");
    assert!(faults.as_slice()[0].to_string().contains("UTF-8"), "{faults}");
}

#[test]
fn what_is_good_is_taken() {
    parse(std::str::from_utf8(&small()).expect("UTF-8"), &[]).expect("good");
}

#[test]
fn depth_is_a_fault() {
    for (open, shut) in [("[", "]"), ("{a=", "}")] {
        for depth in [1_000, 100_000] {
            let deep = format!("{}1{}", open.repeat(depth), shut.repeat(depth));
            parse(&format!("x = {deep}\n"), &[]).expect_err("too deep");
            parse(&format!("x = {}", open.repeat(depth)), &[]).expect_err("too deep, and torn");
            let base = String::from_utf8(small()).expect("UTF-8");
            parse(&base, &[("B24KAFKA__QUEUES", &deep)]).expect_err("too deep in a variable");
            parse(&base, &[("B24KAFKA__APP__CLIENT_ID", &deep)]).ok();
        }
    }
    let dots = vec!["a"; 50_000].join(".");
    for text in
        [format!("{dots} = 1\n"), format!("[{dots}]\n"), format!("[[{dots}]]\n"), format!("x = {{{dots} = 1}}\n")]
    {
        parse(&text, &[]).expect_err("keys that nobody knows");
    }
}

#[test]
fn a_variable_of_many_levels_is_a_fault() {
    let base = String::from_utf8(small()).expect("UTF-8");
    for levels in [20, 40_000] {
        let name = format!("B24KAFKA{}", "__A".repeat(levels));
        let faults = parse(&base, &[(&name, "1")]).expect_err("nobody knows it");
        check_faults(&base, &faults);
    }
}

#[test]
fn numbers_and_texts_out_of_all_bounds_are_faults() {
    let base = String::from_utf8(small()).expect("UTF-8");
    for odd in [
        "1e400",
        "-1",
        "0",
        "nan",
        "99999999999999999999999",
        "18446744073709551615",
        "true",
        "[]",
        "{}",
        "\"\"",
        "1979-05-27",
        "\"\\u0000\"",
        "0x7fffffffffffffff",
    ] {
        let text = format!("{base}[fetch]\nlimit_max = {odd}\n");
        check_faults(&text, &parse(&text, &[]).expect_err(odd));
        let faults = parse(&base, &[("B24KAFKA__FETCH__LIMIT_MAX", odd)]).expect_err(odd);
        check_faults(&base, &faults);
    }
    let long = "9".repeat(1 << 20);
    for text in [format!("{base}[fetch]\nlimit_max = {long}\n"), format!("{base}[fetch]\npoll_min = \"{long}s\"\n")] {
        check_faults(&text, &parse(&text, &[]).expect_err("too long"));
    }
    let twice = format!("{base}[kafka]\ntopic = \"y\"\n");
    check_faults(&twice, &parse(&twice, &[]).expect_err("a section twice"));
}
