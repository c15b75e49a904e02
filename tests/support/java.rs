//! Java programs from Apache Kafka's artifacts, which `make kafka` fetches.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Where a file of the test support is, from the root of the repository.
const SUPPORT: &str = "tests/support/kafka";

/// The repository: the package of these tests, or what that lies in.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|dir| dir.join(SUPPORT).is_dir()).expect("a package within the repository")
}

/// A file of the test support.
pub fn support_file(name: &str) -> PathBuf {
    root().join(SUPPORT).join(name)
}

/// `java` with Kafka and the reader on its class path.
pub fn java() -> Command {
    prepare();
    let mut command = Command::new("java");
    // Short-lived or small: the quick collector with few threads, and no file in /tmp for monitoring.
    command.args(["-XX:+UseSerialGC", "-XX:-UsePerfData", "-cp"]);
    let kafka = root().join("target/kafka").display().to_string();
    command.arg(format!("{kafka}/classes:{kafka}/libs/*"));
    command.stdin(Stdio::null());
    command
}

/// `java` for a program that runs once: it compiles quickly and logs errors only, to standard error.
pub fn tool(class: &str) -> Command {
    let mut command = java();
    command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1"]);
    command.arg(format!("-Dlog4j2.configurationFile={}", support_file("log4j2-quiet.xml").display()));
    command.arg(class);
    command
}

/// Runs a program to its end; panics with its words if it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().expect("java starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed ({}):\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}

/// Fetches the artifacts if they are missing or older than what they are made from; once per test process.
fn prepare() {
    static READY: OnceLock<bool> = OnceLock::new();
    let ready = READY.get_or_init(|| {
        // Without the variables of an outer make, which might be the one that runs these tests.
        let make = Command::new("make")
            .args(["--silent", "kafka"])
            .current_dir(root())
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .stdin(Stdio::null())
            .status();
        make.is_ok_and(|status| status.success())
    });
    assert!(*ready, "Apache Kafka for the tests is not there: run `make kafka`; `make doctor` tells what is missing");
}
