//! Where the documents' commands run: a directory in which a reader would sit, with a portal and a broker.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use b24kafka::sim::{Options as SimOptions, Portal, Sim};

use super::support::{
    broker::{Broker, Options},
    java::root,
    port,
    process::Guarded,
};

/// Only there to stop hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The directory, from the root of the repository. It is always the same, and the consumers' Python stays in it from run
/// to run: what Python installs knows its place.
const PLACE: &str = "target/documents";
const PYTHON: &str = "venv";
/// The bridge's `admin.token`.
const TOKEN: &str = "t0ken";

/// Variables that no reader's shell has: those of the bridge, and those that Cargo gives to tests, for which another Cargo
/// would build some of the dependencies anew.
const FOREIGN: [&str; 8] = [
    "B24KAFKA_",
    "CARGO_BIN_EXE_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// What a command said; it has succeeded.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
}

/// A command that goes on while others run, such as the bridge.
pub struct Running {
    pub process: Guarded,
    out: PathBuf,
    err: PathBuf,
}

/// The directory, the portals and the broker.
pub struct Stage {
    pub sim: Sim,
    pub broker: Broker,
    pub bridge: Option<Running>,
    dir: PathBuf,
    path: String,
    admin: u16,
    public: u16,
}

impl Stage {
    pub async fn set() -> Self {
        let sim = Sim::start(SimOptions { portals: 2, ..SimOptions::default() }).await.expect("a simulator");
        let broker = Broker::start(&Options::new());
        let dir = root().join(PLACE);
        let stage = Self {
            path: format!("{}/bin:{}", dir.display(), std::env::var("PATH").expect("a path")),
            sim,
            broker,
            bridge: None,
            dir,
            admin: port::free(),
            public: port::free(),
        };
        stage.furnish();
        stage
    }

    /// What a checkout has and this directory has not. Its `make` and `cargo` work in the repository; the optimised
    /// build, which takes minutes, is the one that these tests were built with.
    fn furnish(&self) {
        fs::create_dir_all(&self.dir).expect("a directory");
        for entry in fs::read_dir(&self.dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if !path.ends_with(PYTHON) {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.expect("what an earlier run has left");
            }
        }
        for dir in ["bin", "target/release"] {
            fs::create_dir_all(self.file(dir)).expect("a directory");
        }
        symlink(env!("CARGO_BIN_EXE_b24kafka"), self.file("target/release/b24kafka")).expect("a link");
        symlink(root().join("target/kafka"), self.file("target/kafka")).expect("a link");
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let (root, unset) = (root().display(), "unset MAKEFLAGS MAKELEVEL MFLAGS");
        for (name, body) in [
            ("make", format!("exec {} --no-print-directory -C '{root}' \"$@\"", self.real("make"))),
            ("cargo", format!("cd '{root}'\nexec '{cargo}' \"${{@/--release/--quiet}}\"")),
        ] {
            let file = self.file("bin").join(name);
            fs::write(&file, format!("#!/bin/bash\n{unset}\n{body}\n")).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a program");
        }
    }

    /// Where a program is, past the directory's own.
    fn real(&self, program: &str) -> String {
        let path = self.path.split(':').skip(1);
        let mut found = path.map(|dir| Path::new(dir).join(program)).filter(|file| file.is_file());
        found.next().map_or_else(|| program.to_owned(), |file| file.display().to_string())
    }

    /// A file of the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).expect("written");
    }

    pub fn portal(&self, number: usize) -> Portal {
        self.sim.portal(number).expect("a portal")
    }

    /// What the documents say with what they ask to fill in: the application, a portal, the addresses.
    pub fn filled(&self, text: &str, portal: usize) -> String {
        let portal = self.portal(portal);
        let fields = [
            ("local.0123456789abcd.12345678", self.sim.client_id().to_owned()),
            ("a223c6b3710f85df22e9377d6c4f7553", portal.member_id()),
            ("https://example.bitrix24.com/rest/", portal.endpoint().to_owned()),
            ("https://oauth.bitrix.info/oauth/token/", self.sim.oauth_url()),
            ("localhost:9092", self.broker.bootstrap()),
            ("localhost:9464", format!("127.0.0.1:{}", self.admin)),
        ];
        fields.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn bash(&self, text: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", text]).current_dir(&self.dir);
        for (name, _) in std::env::vars_os() {
            if FOREIGN.iter().any(|start| name.to_string_lossy().starts_with(start)) {
                command.env_remove(name);
            }
        }
        // The simulator is no real portal: it speaks plain HTTP on the loopback, on ports of its own.
        command.env("B24KAFKA__APP__OAUTH_URL", self.sim.oauth_url()).env("B24KAFKA__APP__ALLOW_HTTP", "true");
        command.env("B24KAFKA__ADMIN__LISTEN", format!("127.0.0.1:{}", self.admin));
        command.env("B24KAFKA__HTTP__LISTEN", format!("127.0.0.1:{}", self.public));
        command.env("B24KAFKA__FETCH__POLL_MIN", "200ms").env("B24KAFKA__FETCH__POLL_MAX", "1s");
        command.env("B24KAFKA__ADMIN__TOKEN", TOKEN).env("TOKEN", TOKEN);
        command.env("PIP_CONSTRAINT", root().join("tests/documents/constraints.txt"));
        command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PYTHONUNBUFFERED", "1").env("PATH", &self.path);
        command
    }

    /// Runs a text as it is printed, with what somebody types; it has to succeed.
    pub fn run(&mut self, text: &str, typed: &str) -> Said {
        self.run_for(text, typed, 0)
    }

    /// The same where the portal to fill in is another one.
    pub fn run_for(&mut self, text: &str, typed: &str, portal: usize) -> Said {
        const MARK: &str = "PATH is ";
        let text = self.filled(text, portal);
        let mut command = self.bash(&format!("{text}\nprintf '%s' '{MARK}'\"$PATH\""));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("bash");
        child.stdin.take().expect("piped").write_all(typed.as_bytes()).ok();
        let output = child.wait_with_output().expect("an end");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{} of\n{text}\n{out}{err}", output.status);
        let (out, path) = out.rsplit_once(MARK).expect("the path at the end");
        // What a block exports holds for those that follow in the same shell.
        path.clone_into(&mut self.path);
        Said { out: out.to_owned(), err: err.into_owned() }
    }

    /// Starts one command that goes on.
    pub fn start(&self, name: &str, command: &str) -> Running {
        let text = format!("exec {}", self.filled(command, 0));
        let (out, err) = (self.file(&format!("{name}.out")), self.file(&format!("{name}.err")));
        let create = |file: &PathBuf| fs::File::create(file).expect("a file");
        let process = Guarded::spawn(self.bash(&text).stdin(Stdio::null()).stdout(create(&out)).stderr(create(&err)));
        Running { process, out, err }
    }

    /// Status of an address of the bridge, as `curl` sees it.
    pub fn status(&mut self, path: &str) -> String {
        let text = format!("curl -s -o answer -w '%{{http_code}}' localhost:9464{path} || true");
        self.run(&text, "").out
    }
}

impl Running {
    /// What it has written to standard output so far.
    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it has written to standard error so far.
    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits until its output is as wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !wanted(&self.out()) {
            let ended = self.process.exited();
            let late = begun.elapsed() > PATIENCE;
            assert!(ended.is_none() && !late, "{what} never came ({ended:?}):\n{}{}", self.out(), self.err());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
