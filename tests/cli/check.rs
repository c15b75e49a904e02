//! `check --online`, against a mock broker, a simulated portal, and things that are broken.

use b24kafka::{
    protocol::types::PortalId,
    registry::{PortalRecord, Registry},
    sim::{Options, Sim},
};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    mocking::MockCluster,
    producer::DefaultProducerContext,
};
use serde_json::Value;

use super::{Ran, Site, support::port};

/// A portal, a broker, and a configuration that joins them.
struct Stage {
    site: Site,
    broker: MockCluster<'static, DefaultProducerContext>,
    sim: Sim,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new(queues: &str, kafka: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let sim = runtime.block_on(Sim::start(Options::default())).expect("a simulator");
        let broker = MockCluster::new(1).expect("a mock broker");
        broker.create_topic("bitrix24.crm.deal", 3, 1).expect("a topic");
        let site = Site::new("");
        let text = format!(
            "{}\n{queues}\n[registry]\npath = {:?}\n[kafka]\nbootstrap_servers = \"{}\"\n{kafka}\n",
            sim.configuration("unlimited", 1),
            site.dir.path().join("registry"),
            broker.bootstrap_servers(),
        );
        std::fs::write(site.file(), text).expect("written");
        Self { site, broker, sim, runtime }
    }

    fn check(&self, env: &[(&str, &str)]) -> Ran {
        self.site.check(&["--online"], env)
    }

    /// The names of the topics that the broker has.
    fn topics(&self) -> Vec<String> {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.broker.bootstrap_servers()).create().expect("a client");
        let metadata = client.fetch_metadata(None, std::time::Duration::from_secs(20)).expect("metadata");
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
    }
}

/// The mark and the detail of the finding on `what`.
fn finding<'a>(ran: &'a Ran, what: &str) -> (&'a str, &'a str) {
    let line = ran.out.lines().find_map(|line| {
        let (mark, rest) = (line.get(2..7)?, line.get(9..)?);
        Some((mark.trim_end(), rest.strip_prefix(what)?.strip_prefix(": ")?))
    });
    line.unwrap_or_else(|| panic!("nothing on {what} in\n{}", ran.out))
}

#[test]
fn topics_of_a_template_are_looked_at_and_none_is_created() {
    let stage = Stage::new("[[queues]]\nevents = [\"crm.deal\", \"ONTASKADD\"]", "");
    let ran = stage.check(&[]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(finding(&ran, "topic bitrix24.crm.deal"), ("ok", "is there, partitions: 3, replicas: 1"));
    for missing in ["topic bitrix24.task", "topic bitrix24.dead-letter"] {
        assert_eq!(finding(&ran, missing), ("ok", "is missing; `run` will create it"));
    }
    assert_eq!(finding(&ran, "right to write to the topics").0, "?");
    let ran = stage.check(&[("B24KAFKA__KAFKA__CREATE_TOPICS", "false")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let (mark, detail) = finding(&ran, "topic bitrix24.task");
    assert!(mark == "FAULT" && detail.contains("does not exist; create it"), "{ran:?}");
    assert_eq!(stage.topics(), ["bitrix24.crm.deal"]);
}

#[test]
fn a_registry_in_use_keeps_nothing_but_the_portals_from_being_checked() {
    let stage = Stage::new("", "");
    let dir = stage.site.dir.path().join("registry");
    let held = stage.runtime.block_on(Registry::open(&dir)).expect("a registry");
    let ran = stage.check(&[]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let (mark, detail) = finding(&ran, "portals");
    assert!(mark == "?" && detail.starts_with("not checked: the registry is in use by a running bridge"), "{ran:?}");
    assert!(ran.out.contains("  ok     broker 127.0.0.1:") && !ran.out.contains("token and reserve"), "{ran:?}");
    let ran = stage.site.check(&["--online", "--json"], &[]);
    let json: Value = serde_json::from_str(&ran.out).expect("JSON");
    let portals = json["online"].as_array().expect("findings").iter().find(|found| found["what"] == "portals");
    assert_eq!((&json["ok"], &portals.expect("a finding")["ok"]), (&true.into(), &Value::Null));
    drop(held);
    assert!(stage.check(&[]).out.contains("token and reserve mode: usable"));
}

#[test]
fn a_damaged_file_of_the_registry_is_a_fault_with_its_name() {
    let stage = Stage::new("", "");
    let dir = stage.site.dir.path().join("registry");
    std::fs::create_dir(&dir).expect("a directory");
    let file = dir.join("zz9.json");
    std::fs::write(&file, "{\"refresh_token\": \"s3cr3t\"").expect("written");
    let ran = stage.check(&[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let (mark, detail) = finding(&ran, &format!("registry file {}", file.display()));
    assert!(mark == "FAULT" && detail.starts_with("ends too early (line 1, "), "{ran:?}");
    assert!(ran.out.contains("token and reserve mode: usable"), "the other portals are checked: {ran:?}");
    assert!(!format!("{ran:?}").contains("s3cr3t"), "{ran:?}");
    // And where it is no directory at all, the rest is looked at too.
    let path = format!("{}/b24kafka", file.display());
    let ran = stage.check(&[("B24KAFKA__REGISTRY__PATH", &path)]);
    assert_eq!((ran.code, finding(&ran, &format!("registry {path}")).0), (Some(1), "FAULT"), "{ran:?}");
    assert!(ran.out.contains("  ok     broker "), "{ran:?}");
}

#[test]
fn an_oauth_server_that_cannot_be_reached_is_named_with_the_cause_and_the_remedy() {
    let stage = Stage::new("", "");
    let ran = stage.check(&[]);
    assert_eq!(finding(&ran, "OAuth server 127.0.0.1"), ("ok", "answers"));
    assert!(stage.sim.portal(0).expect("a portal").misuse().is_clean());
    let stage = Stage::new("", "");
    let text = std::fs::read_to_string(stage.site.file()).expect("the configuration");
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("access_token")).collect();
    std::fs::write(stage.site.file(), without.join("\n")).expect("written");
    let url = format!("http://127.0.0.1:{}/oauth/token/", port::free());
    let ran = stage.check(&[("B24KAFKA__APP__OAUTH_URL", &url)]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let said = "cannot be reached (CONNECT); check app.oauth_url, the firewall and the proxy settings";
    let (mark, detail) = finding(&ran, "OAuth server 127.0.0.1");
    assert!(mark == "FAULT" && detail.starts_with(said), "{ran:?}");
    assert!(ran.out.contains("token: ") && ran.out.contains("; see what is said of the OAuth server\n"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("grant_type"), "{ran:?}");
}

#[test]
fn a_stored_portal_whose_name_stands_for_a_private_address_is_not_called() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    listener.set_nonblocking(true).expect("it does not wait");
    let port = listener.local_addr().expect("an address").port();
    let stage = Stage::new("", "");
    let dir = stage.site.dir.path().join("registry");
    let endpoint = format!("https://localhost:{port}/rest/").parse().expect("a URL");
    let id = PortalId::new("f00d").expect("an id");
    let record = PortalRecord { access_token: Some("made-up".into()), ..PortalRecord::new(id, endpoint) };
    let stored = stage.runtime.block_on(async {
        let (registry, ..) = Registry::open(&dir).await?;
        registry.store(record).await
    });
    stored.expect("stored");
    let text = std::fs::read_to_string(stage.site.file()).expect("the configuration");
    // Nothing but the stored portal: what the configuration names itself may be private.
    let app = "[app]\nclient_id = \"local.made.up\"\nclient_secret = \"made-up\"\nallowed_hosts = [\"localhost\"]\n\
               oauth_url = \"https://127.0.0.1:1/oauth/token/\"\n";
    let rest = &text[text.find("[registry]").expect("the registry")..];
    std::fs::write(stage.site.file(), format!("{app}{rest}")).expect("written");
    let ran = stage.check(&[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(finding(&ran, "portal f00d (localhost): token").0, "FAULT", "{ran:?}");
    assert!(listener.accept().is_err(), "somebody has called: {ran:?}");
}
