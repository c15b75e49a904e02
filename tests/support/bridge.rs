//! The bridge as a process of its own, as a platform engineer runs it: a configuration file, a registry, signals.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Command, ExitStatus},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    port,
    process::{Guarded, Signal},
    replay::Recording,
};

/// How long a start or a stop may take; only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// One configuration and the process that runs with it, if any.
///
/// The order of its fields is the order of its end: the process, the replay of what it has recorded, the directory.
pub struct Bridge {
    admin: u16,
    public: u16,
    process: Option<Guarded>,
    recording: Option<Recording>,
    /// When each process was started, in milliseconds since 1970.
    lives: Vec<i64>,
    dir: tempfile::TempDir,
}

impl Bridge {
    /// Writes a configuration around `rest`, which holds at least `[app]`, `[[portals]]` and `[kafka]`. Its processes
    /// record a trace, which is replayed in the end.
    pub fn configured(rest: &str) -> Self {
        let mut bridge = Self::with(rest, "", "level = \"info,b24kafka=debug\"");
        bridge.record();
        bridge
    }

    /// What its processes do from now on is recorded, and replayed in the end.
    pub fn record(&mut self) {
        self.recording = Some(Recording::new(self.dir.path().join("trace.jsonl")));
    }

    /// One that logs what it logs by default, records nothing of itself, and whose admin listener knows `token`.
    pub fn quiet(rest: &str, token: &str) -> Self {
        Self::with(rest, &format!("token = \"{token}\""), "level = \"info\"")
    }

    /// Lets the portals wake it from its next start on.
    pub fn be_woken(&self) {
        let text = fs::read_to_string(self.config()).expect("a configuration");
        let (before, after) = text.split_once("[http]\nlisten = \"").expect("a listener");
        let (listen, rest) = after.split_once('"').expect("an address");
        let text = format!("{before}[http]\npublic_url = \"http://{listen}/\"\nlisten = \"{listen}\"{rest}");
        fs::write(self.config(), text).expect("written");
    }

    /// One that says all that it can say: every line of its log, and a trace.
    pub fn chatty(rest: &str, token: &str) -> Self {
        let mut bridge = Self::with(rest, &format!("token = \"{token}\""), "level = \"trace\"");
        bridge.record();
        bridge
    }

    /// One that writes its log as JSON, with more of `[log]`.
    pub fn logging(rest: &str, token: &str, log: &str) -> Self {
        Self::with(rest, &format!("token = \"{token}\""), &format!("format = \"json\"\n{log}"))
    }

    fn with(rest: &str, token: &str, log: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (admin, public) = (port::free(), port::free());
        let text = format!(
            "{rest}\n[registry]\npath = {:?}\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n{token}\n[http]\nlisten = \"127.0.0.1:{public}\"\n[log]\n{log}\n",
            dir.path().join("registry"),
        );
        fs::write(dir.path().join("b24kafka.toml"), text).expect("written");
        Self { dir, admin, public, process: None, recording: None, lives: Vec::new() }
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("b24kafka.toml")
    }

    pub fn registry(&self) -> PathBuf {
        self.dir.path().join("registry")
    }

    /// Where Bitrix24 calls it.
    pub fn callback_url(&self) -> String {
        format!("http://127.0.0.1:{}/bitrix24/event", self.public)
    }

    /// What its processes have recorded so far, if they record.
    pub fn trace(&self) -> Option<String> {
        let recording = self.recording.as_ref()?;
        fs::read(recording.path()).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// When each process was started, in milliseconds since 1970.
    pub fn lives(&self) -> &[i64] {
        &self.lives
    }

    /// Starts the process; its log goes on where the last one ended.
    pub fn start(&mut self) {
        self.start_under(&[]);
    }

    /// Starts the process by way of a command that ends in executing it.
    pub fn start_under(&mut self, prefix: &[String]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        self.lives.push(i64::try_from(now.as_millis()).expect("a time"));
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).expect("a log");
        let words: Vec<&str> = prefix.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_b24kafka")]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("run").arg("-c").arg(self.config());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        if let Some(recording) = &self.recording {
            command.arg("--trace").arg(recording.path());
        }
        self.process = Some(Guarded::spawn(&mut command));
    }

    /// Waits until `/ready` says yes.
    pub fn wait_ready(&mut self) {
        let begun = Instant::now();
        while self.get("/ready").is_none_or(|(status, _)| status != 200) {
            if let Some(status) = self.process.as_mut().and_then(Guarded::exited) {
                panic!("the bridge ended with {status}:\n{}", self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "the bridge is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("a running bridge").id()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("a running bridge").signal(signal);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("a running bridge").kill();
    }

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::Term);
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("a running bridge");
        process.wait(PATIENCE).unwrap_or_else(|| panic!("the bridge does not end:\n{}", self.log()))
    }

    /// Everything that all its processes have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Status and body of an admin address; `None` while nobody listens.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.request("GET", path, "", "")
    }

    /// Has a portal polled at once.
    pub fn poll(&self, member_id: &str, token: &str) {
        let path = format!("/api/portals/{member_id}/poll");
        let status = self.request("POST", &path, &bearer(token), "").map(|(status, _)| status);
        assert_eq!(status, Some(202), "the poll is taken");
    }

    /// Status and answer of a `PUT`.
    pub fn put(&self, path: &str, token: &str, body: &str) -> Option<(u16, String)> {
        self.request("PUT", path, &bearer(token), body)
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
            body.len(),
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// The value of one series, or the sum over the labels of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        sum(&self.metrics(), name)
    }

    /// Received = acknowledged + dead-lettered + held, in one scrape.
    pub fn assert_conserved(&self) {
        let text = self.metrics();
        let received = sum(&text, "b24kafka_rows_received_total");
        let acknowledged = sum(&text, "b24kafka_records_acknowledged_total");
        let (dead, held) = (sum(&text, "b24kafka_dead_letters_total"), sum(&text, "b24kafka_rows_held"));
        assert!(
            (received - acknowledged - dead - held).abs() < 0.5,
            "not conserved: {received} received, {acknowledged} acknowledged, {dead} dead letters, {held} held"
        );
    }

    fn metrics(&self) -> String {
        self.get("/metrics").expect("a running bridge").1
    }
}

/// The sum over all series of a metric, or the value of one.
fn sum(metrics: &str, name: &str) -> f64 {
    let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let lines = metrics.lines().filter(|line| !line.starts_with('#')).filter(of);
    lines.map(|line| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).expect("a number")).sum()
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}
