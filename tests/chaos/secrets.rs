//! Whatever the bridge writes and wherever it writes it, no secret is in it.
//!
//! The real binary tells all that it can tell, through refreshes, lost answers, refusals, dead letters, kills, stops and a
//! panic.
//! Everything that comes out of it is kept, and searched for every secret that it was given or has received.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use b24kafka::sim::{Fault, Options as SimOptions, Portal, Sim, Trouble};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    stage::PATIENCE,
    support::{
        bridge::Bridge,
        broker::{Broker, Options},
        process::Signal,
        reader,
    },
    threads::{self, Threads},
};

/// All made up, and to be found nowhere.
const PASSWORD: &str = "kafka-passw0rd-of-the-bridge";
const ADMIN: &str = "admin-t0ken-of-the-bridge";
const INSIDE: &str = "t0ken-inside-of-an-event";
const CALLS: [&str; 8] =
    ["/metrics", "/health", "/ready", "/live", "/", "/portals/nobody", "/api/portals", "/api/portals/nobody"];

/// What was written, by the name of where.
#[derive(Default)]
struct Written(Vec<(String, String)>);

impl Written {
    fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    /// What the admin listener says now.
    fn listen(&mut self, bridge: &Bridge, portals: &[Portal]) {
        let own = portals
            .iter()
            .flat_map(|portal| ["/portals", "/api/portals"].map(|place| format!("{place}/{}", portal.member_id())));
        for path in CALLS.iter().map(|path| (*path).to_owned()).chain(own) {
            let said = bridge.get(&path).map(|(_, body)| body).unwrap_or_default();
            self.add(path, said);
        }
    }

    /// Runs the binary and keeps what it says; returns that.
    fn run(&mut self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_b24kafka"));
        let output = command.args(args).env("B24KAFKA_LOG", "trace").output().expect("it runs");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        self.add(args.join(" "), said.clone());
        said
    }

    /// Every secret in every text. What stands before a find is told, and not the find.
    fn assert_holds_none_of(&self, secrets: &[SecretString]) {
        for (place, text) in &self.0 {
            for secret in secrets {
                let at = text.find(secret.expose_secret());
                let before = at.map(|at| text[..at].chars().rev().take(200).collect::<Vec<_>>());
                let before: Option<String> = before.map(|chars| chars.into_iter().rev().collect());
                assert!(before.is_none(), "a secret is in {place}, behind ...{}", before.unwrap_or_default());
            }
        }
    }

    fn contains(&self, words: &str) -> bool {
        self.0.iter().any(|(_, text)| text.contains(words))
    }
}

fn configuration(sim: &Sim, bootstrap: &str) -> String {
    let mut text = sim.configuration("unlimited", usize::MAX);
    for portal in sim.portals() {
        let refresh = format!("refresh_token = \"{}\"", portal.refresh_token().expose_secret());
        let application = portal.application_token();
        let both = format!("{refresh}\napplication_token = \"{}\"", application.expose_secret());
        text = text.replace(&refresh, &both);
    }
    format!(
        r#"{text}
[fetch]
poll_min = "100ms"
poll_max = "500ms"
request_timeout = "3s"
[kafka]
bootstrap_servers = "{bootstrap}"
partitions = 2
replication_factor = 1
message_timeout = "5s"
[kafka.security]
protocol = "sasl_plaintext"
sasl_mechanism = "PLAIN"
username = "bridge"
password = "{PASSWORD}"
[kafka.options]
debug = "all"
"message.max.bytes" = "20000"
"#
    )
}

/// What the process was given and what it has received.
fn secrets(sim: &Sim) -> Vec<SecretString> {
    let mut secrets = vec![sim.client_secret(), PASSWORD.into(), ADMIN.into(), INSIDE.into()];
    for portal in sim.portals() {
        secrets.push(portal.application_token());
        secrets.extend(tokens(&portal));
    }
    secrets
}

fn tokens(portal: &Portal) -> Vec<SecretString> {
    portal.issued_tokens().into_iter().flat_map(|(access, refresh)| [access, refresh]).collect()
}

/// Events that carry tokens: one that becomes a record, and one that becomes a dead letter.
fn emit(portal: &Portal) {
    let auth = format!(r#"{{"access_token":"{INSIDE}","refresh_token":"{INSIDE}","application_token":"{INSIDE}"}}"#);
    portal.emit(
        "ONIMBOTMESSAGEADD",
        &format!(r#"{{"BOT":{{"1":{{"AUTH":{auth}}}}},"PARAMS":{{"MESSAGE_ID":"5"}}}}"#),
        "",
    );
    let large = "x".repeat(30_000);
    portal.emit("ONCRMDEALUPDATE", &format!(r#"{{"auth":{auth},"FIELDS":{{"ID":"7"}},"TITLE":"{large}"}}"#), "");
    portal.backlog(50, 3);
}

async fn until(what: &str, wanted: impl Fn() -> bool) {
    let begun = Instant::now();
    while !wanted() {
        assert!(begun.elapsed() < PATIENCE, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn start(bridge: &mut Bridge) {
    tokio::task::block_in_place(|| {
        bridge.start();
        bridge.wait_ready();
    });
}

/// Refreshes with everything that can go wrong with them, then calls of a portal.
async fn tokens_come_and_go(bridge: &Bridge, portal: &Portal) {
    portal.set_token_life(Duration::from_secs(3600), true);
    for trouble in [
        None,
        Some(Trouble::LostAnswer),
        Some(Trouble::Status { status: 502, executed: false }),
        Some(Trouble::Truncated),
        Some(Trouble::code("something_new")),
    ] {
        if let Some(trouble) = trouble {
            portal.add_fault(Fault::new(trouble).on("oauth").times(1));
        }
        portal.expire_tokens();
        portal.backlog(20, 1);
        let empty = portal.wait_until_empty(PATIENCE).await;
        assert!(empty, "{:?}", portal.counts());
    }
    // A call that is believed, and one that may not be: it names an address that no call may lead to.
    let url = bridge.callback_url();
    assert_eq!(portal.send_wake(&url).await.expect("an answer"), 200);
    portal.send_install(&url).await.expect("an answer");
}

/// Tasks of it panic while it holds every secret, since there is no thread for what they need to ask or to tell the broker.
/// What else it comes to after that is the affair of other tests: it is killed, and the next start goes on.
async fn a_task_panics(bridge: &mut Bridge, portal: &Portal) {
    let threads = Threads::new();
    tokio::task::block_in_place(|| {
        bridge.start_under(&threads.prefix());
        bridge.wait_ready();
    });
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
    threads.deny();
    emit(portal);
    until("a task panics", || bridge.log().contains(threads::PANIC)).await;
    until("it says where", || bridge.log().matches("stack backtrace").count() > 0).await;
    tokio::task::block_in_place(|| bridge.kill());
    start(bridge);
    assert!(portal.wait_until_empty(PATIENCE).await, "{:?}", portal.counts());
}

/// The files of the registry: each may hold the tokens of its own portal.
fn read_registry(dir: &Path, sim: &Sim) {
    let all = secrets(sim);
    let files: Vec<_> = fs::read_dir(dir).expect("a registry").flatten().map(|entry| entry.path()).collect();
    for path in &files {
        let text = String::from_utf8_lossy(&fs::read(path).expect("readable")).into_owned();
        let owner = sim.portals().find(|portal| path.ends_with(format!("{}.json", portal.member_id())));
        let own: Vec<SecretString> =
            owner.iter().flat_map(|portal| tokens(portal).into_iter().chain([portal.application_token()])).collect();
        let foreign = |secret: &&SecretString| own.iter().all(|own| own.expose_secret() != secret.expose_secret());
        let found = all.iter().filter(foreign).any(|secret| text.contains(secret.expose_secret()));
        assert!(!found, "{} holds what does not belong there", path.display());
    }
    assert!(files.len() > 1, "the registry was read");
}

/// What the other commands say, beside a running bridge.
fn ask(written: &mut Written, bridge: &Bridge, text: &str, member: &str) {
    // With a right and a wrong token; the second bridge on a registry is refused.
    let (config, admin) = (bridge.config(), bridge.admin());
    let config = config.to_str().expect("UTF-8");
    let dir = tempfile::tempdir().expect("a directory");
    for (name, token) in [("right", ADMIN), ("wrong", PASSWORD)] {
        let file = dir.path().join(name);
        fs::write(&file, token).expect("written");
        let file = file.to_str().expect("UTF-8");
        written.run(&["portals", "poll", member, "--admin", &admin, "--token-file", file]);
    }
    written.run(&["portals", "list", "--json", "-c", config]);
    written.run(&["portals", "show", member, "-c", config]);
    written.run(&["check", "--json", "-c", config]);
    let online = written.run(&["check", "--online", "-c", config]);
    assert!(online.contains("registry"), "{online}");
    written.run(&["run", "-c", config]);
    // Faults of a configuration, right where its secrets are.
    let broken = dir.path().join("broken.toml");
    for (right, wrong) in [
        ("client_secret = \"", "client_secret = \"\"\""),
        ("client_secret = ", "client_secrets = "),
        ("refresh_token = \"", "refresh_token = '"),
        ("password = ", "password ="),
        ("protocol = \"sasl_plaintext\"", "protocol = \"none\""),
    ] {
        fs::write(&broken, text.replacen(right, wrong, 1)).expect("written");
        written.run(&["check", "-c", broken.to_str().expect("UTF-8")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_written_anywhere() {
    let broker = tokio::task::block_in_place(|| Broker::start(&Options::new().user("bridge", PASSWORD)));
    let sim = Sim::start(SimOptions { portals: 3, seed: 5, ..SimOptions::default() }).await.expect("a simulator");
    let portals: Vec<Portal> = sim.portals().collect();
    let [busy, rejected, denied] = &portals[..] else { panic!("three portals") };
    let text = configuration(&sim, &broker.sasl_bootstrap());
    let mut bridge = Bridge::chatty(&text, ADMIN);
    let mut written = Written::default();
    // Tokens that are revoked are told no more.
    let mut all = secrets(&sim);
    rejected.revoke_tokens();
    denied.add_fault(Fault::new(Trouble::code("ACCESS_DENIED")));

    start(&mut bridge);
    emit(busy);
    tokens_come_and_go(&bridge, busy).await;
    for parked in [rejected, denied] {
        let path = format!("/api/portals/{}", parked.member_id());
        let is_parked = || bridge.get(&path).is_some_and(|(_, body)| body.contains("parked"));
        until("it is parked", is_parked).await;
    }
    written.listen(&bridge, &portals);
    let commands = || ask(&mut written, &bridge, &text, &busy.member_id());
    tokio::task::block_in_place(commands);

    // Killed, started, told to stop twice while rows are held, started and stopped well.
    tokio::task::block_in_place(|| bridge.kill());
    start(&mut bridge);
    written.listen(&bridge, &portals);
    busy.add_fault(Fault::new(Trouble::Slow(Duration::from_secs(2))).on("event.offline.clear"));
    busy.backlog(100, 4);
    assert!(busy.wait_until(PATIENCE, |counts| counts.reserved > 0).await);
    bridge.signal(Signal::Term);
    bridge.signal(Signal::Int);
    tokio::task::block_in_place(|| bridge.wait());
    busy.clear_faults();
    a_task_panics(&mut bridge, busy).await;
    let status = tokio::task::block_in_place(|| bridge.stop());
    assert_eq!(status.code(), Some(0));

    written.add("the log", bridge.log());
    written.add("the trace", bridge.trace().expect("it records"));
    let records = tokio::task::block_in_place(|| reader::read_all(&broker.bootstrap(), ".*"));
    let dead = records.iter().filter(|record| record.topic == "bitrix24.dead-letter").count();
    written.add("the records", format!("{records:?}"));
    all.extend(secrets(&sim));
    // All of it was there to be searched.
    assert!(dead > 0 && records.len() > 100, "{dead} dead letters in {} records", records.len());
    assert!(all.len() > 20, "{} secrets", all.len());
    for words in [
        "TRACE",
        "[redacted]",
        "refreshed the portal's tokens",
        "needs_reinstall",
        threads::PANIC,
        "SASL",
        "sasl_plaintext",
    ] {
        assert!(written.contains(words), "nothing was written of {words}");
    }
    assert!(written.contains(&busy.member_id()), "a portal is named");
    written.assert_holds_none_of(&all);
    read_registry(&bridge.registry(), &sim);
}
