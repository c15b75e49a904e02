//! Tests that need a process of their own: for limits that hold for a whole process, and for its peak of memory.

use std::{
    ffi::{OsStr, OsString},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Says in a child of a test that it is one; holds what the test hands over.
const CHILD: &str = "B24KAFKA_TEST_CHILD";

static STARTING: Mutex<()> = Mutex::new(());

/// What the parent hands over, in a child.
pub fn handed() -> Option<OsString> {
    std::env::var_os(CHILD)
}

/// Holds back new processes: for a moment, one that is being started has all files of this one open, and their locks.
pub fn no_start() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command to its good end.
pub fn run(command: &mut Command) {
    let guard = no_start();
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    drop(guard);
    let ended = child.wait_with_output().expect("ended");
    assert!(ended.status.success(), "{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr));
}

/// Runs the test of this name once more, alone in a process that has been through `setup`, a line of shell.
pub fn again(name: &str, setup: &str, handed: &OsStr) {
    let script = format!("{setup} exec \"$0\" --exact \"$1\" --test-threads=1 --nocapture");
    let test = std::env::current_exe().expect("this test");
    run(Command::new("sh").args(["-c", &script]).arg(test).arg(name).env(CHILD, handed));
}
