//! Child processes that are killed when the test ends, however it ends.

use std::{
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// What a process can be told.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Please stop.
    Term,
    /// Ctrl-C.
    Int,
    /// Freeze: it keeps its sockets and answers nobody.
    Stop,
    /// Go on after `Stop`.
    Cont,
}

/// A child process and its watchdog.
///
/// Dropping it kills both. If the test process itself is killed, the watchdog sees its standard input end and kills the
/// child. (The kernel's parent-death signal would not do: it comes when the *thread* that started the child ends.)
pub struct Guarded {
    child: Child,
    watchdog: Child,
}

impl Guarded {
    /// Starts `command`.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {:?}: {e}", command.get_program()));
        // The child is reaped by us alone and only after the watchdog could matter, so the number is never reused.
        let watchdog = Command::new("sh")
            .args(["-c", r#"trap "" INT TERM HUP; read -r _; kill -KILL "$1" 2>/dev/null"#, "watchdog"])
            .arg(child.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Self { child, watchdog },
            Err(e) => {
                child.kill().ok();
                child.wait().ok();
                panic!("cannot start a shell: {e}");
            }
        }
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal to the child.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Term => "-TERM",
            Signal::Int => "-INT",
            Signal::Stop => "-STOP",
            Signal::Cont => "-CONT",
        };
        let sent = Command::new("sh").args(["-c", r#"kill "$1" "$2""#, "kill", name, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|s| s.success()), "cannot send {name} to {}", self.id());
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("killing a child of ours");
        self.child.wait().expect("waiting for a child of ours");
    }

    /// The exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waiting for a child of ours")
    }

    /// Waits for its end; `None` if it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if start.elapsed() > limit {
                return None;
            }
            // The standard library cannot wait with a limit.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        for process in [&mut self.child, &mut self.watchdog] {
            process.kill().ok();
            process.wait().ok();
        }
    }
}
