//! A container engine: the one that is there, or Docker's daemon, started for this test alone and gone with it.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{java::root, process::Guarded};

/// Where an engine listens unless it was told otherwise.
const USUAL: &str = "/var/run/docker.sock";
/// How long the daemon may take to start; only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much of the daemon's log is shown when something went wrong.
const LAST_WORDS: usize = 40;

/// An engine that answers.
pub struct Engine {
    socket: PathBuf,
    /// The daemon and what it writes, if it is ours. Dropped in this order.
    own: Option<(Guarded, TempDir, TempDir)>,
}

impl Engine {
    /// Finds an engine, or starts one; panics with what to do if neither is possible.
    pub fn find_or_start() -> Self {
        if let Ok(host) = std::env::var("DOCKER_HOST") {
            let path = host.strip_prefix("unix://").unwrap_or_else(|| panic!("DOCKER_HOST is {host}, not unix://..."));
            assert!(answers(Path::new(path)), "no container engine answers at DOCKER_HOST={host}");
            println!("the container engine at {host} is used");
            return Self { socket: path.into(), own: None };
        }
        if answers(Path::new(USUAL)) {
            println!("the container engine at {USUAL} is used");
            return Self { socket: USUAL.into(), own: None };
        }
        Self::start()
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The end of the daemon's log, if it is ours.
    pub fn last_words(&self) -> String {
        let Some((_, run, _)) = &self.own else { return "(it is not ours)".into() };
        let log = fs::read_to_string(run.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }

    /// The daemon lives in namespaces of its own for processes and mounts: when it is killed, the kernel ends all that it
    /// has started and takes back all that it has mounted. It leaves the firewall alone; containers of one network reach
    /// each other without it, and published ports are served by its own proxy.
    fn start() -> Self {
        // Short, because the path of a socket may have a hundred characters and a few only.
        let run = TempDir::with_prefix("b24kafka-engine-").expect("a directory");
        let data = TempDir::with_prefix_in("engine-", root().join("target")).expect("a directory");
        let log = File::create(run.path().join("log")).expect("a log");
        let socket = run.path().join("docker.sock");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "dockerd"])
            .arg("--data-root")
            .arg(data.path())
            .arg("--exec-root")
            .arg(run.path().join("exec"))
            .arg("--pidfile")
            .arg(run.path().join("pid"))
            .arg(format!("--host=unix://{}", socket.display()))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let daemon = Guarded::spawn(&mut command);
        let mut engine = Self { socket, own: Some((daemon, run, data)) };
        let begun = Instant::now();
        while !answers(&engine.socket) {
            let ended = engine.own.as_mut().and_then(|(daemon, ..)| daemon.exited());
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "no container engine: none answers at {USUAL}, DOCKER_HOST is not set, and Docker's daemon cannot be started \
                 (it takes root and Debian's docker.io: make install-deps):\n{}",
                engine.last_words()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("a container engine was started in {:.1} s", begun.elapsed().as_secs_f64());
        engine
    }
}

/// Whether an engine answers there.
fn answers(socket: &Path) -> bool {
    let ping = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nhost: engine\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ping().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
