//! Prometheus' own tool, which is the judge of metrics, rules and expressions.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// Runs `promtool` from the root of the repository; what it said, `Err` if it refused.
pub fn run(args: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("promtool")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool cannot be started ({error}); `make install-deps` installs it"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    // On a thread of its own: it may say much before it has read all.
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("written");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(said) } else { Err(said) }
}
