//! Real Apache Kafka in KRaft mode: one node, or a cluster, on ports and directories of its own.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::TcpStream,
    ops::{Index, IndexMut},
    path::PathBuf,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer},
};
use tempfile::TempDir;

use super::{
    java, port,
    process::{Guarded, Signal},
};

/// How long a node may take to answer; only there to stop a hang.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long a node may take to stop by itself.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// How long the controller waits for a silent node. After a SIGKILL this is how long the restarted node stays locked
/// out, since its former self is still registered; Kafka's 9 s would only make tests slower.
const SESSION_MS: u32 = 3000;

/// What a broker should be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    properties: Vec<(String, String)>,
    users: Vec<(String, String)>,
}

impl Options {
    /// A plain broker: no security, topics only by request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a server property, e.g. `min.insync.replicas`; the last word wins.
    #[must_use]
    pub fn property(mut self, name: &str, value: impl ToString) -> Self {
        self.properties.push((name.into(), value.to_string()));
        self
    }

    /// Adds a user of SASL PLAIN and, with the first one, a second listener (see [`Broker::sasl_bootstrap`]) and an
    /// authorizer.
    ///
    /// Who comes through the plain listener may do everything. A user may do what no ACL forbids: as soon as a resource
    /// has an ACL (see [`Broker::tool`]), only who is named in one may use it.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.into(), password.into()));
        self
    }
}

/// Where one node of a cluster lives.
#[derive(Clone, Copy)]
struct Place {
    node: u16,
    port: u16,
    controller: u16,
}

/// One node. Dropping it kills it and removes its data.
pub struct Broker {
    place: Place,
    sasl: Option<u16>,
    dir: TempDir,
    process: Option<Guarded>,
}

impl Broker {
    /// Starts a cluster of one node and waits until it answers.
    pub fn start(options: &Options) -> Self {
        let place = Place::choose(1);
        let mut broker = Self::format(place, &[place], &cluster_id(), options);
        broker.restart();
        broker
    }

    /// `host:port` of the plain listener.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.place.port)
    }

    /// `host:port` of the SASL listener (`SASL_PLAINTEXT`, `PLAIN`).
    pub fn sasl_bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.sasl.expect("the broker was started with Options::user"))
    }

    /// The broker's own log.
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("broker.log")
    }

    /// Starts it again, with the same port and data, and waits until it answers. It must not be running.
    pub fn restart(&mut self) {
        self.launch();
        self.await_answer(1);
    }

    /// SIGKILL: it has no chance to say good-bye.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and waits for the controlled shutdown.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.signal(Signal::Term);
        assert!(process.wait(STOP_LIMIT).is_some(), "the broker does not stop:\n{}", self.last_words());
    }

    /// Freezes it: connections stay open, and nobody answers.
    pub fn pause(&self) {
        self.running().signal(Signal::Stop);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.running().signal(Signal::Cont);
    }

    /// Runs one of Kafka's command line tools against the plain listener and returns what it printed, e.g.
    /// `tool("org.apache.kafka.tools.AclCommand", &["--add", "--deny-principal", "User:bridge", "--topic", "t"])` or
    /// `tool("kafka.admin.ConfigCommand", ...)`.
    pub fn tool(&self, class: &str, args: &[&str]) -> String {
        java::run(java::tool(class).args(["--bootstrap-server", &self.bootstrap()]).args(args))
    }

    /// Creates a topic; `config` are topic properties.
    pub async fn create_topic(&self, name: &str, partitions: i32, replication: i32, config: &[(&str, &str)]) {
        let admin: AdminClient<_> = client(&self.bootstrap()).create().expect("an admin client");
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        topic.config = config.to_vec();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let created = admin.create_topics([&topic], &options).await.expect("the broker answers");
        assert!(created.iter().all(Result::is_ok), "cannot create {name}: {created:?}");
    }

    /// Deletes a topic.
    pub async fn delete_topic(&self, name: &str) {
        let admin: AdminClient<_> = client(&self.bootstrap()).create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let deleted = admin.delete_topics(&[name], &options).await.expect("the broker answers");
        assert!(deleted.iter().all(Result::is_ok), "cannot delete {name}: {deleted:?}");
    }

    /// Writes the configuration and formats the storage; nothing runs yet.
    fn format(place: Place, cluster: &[Place], cluster_id: &str, options: &Options) -> Self {
        let dir = TempDir::with_prefix("b24kafka-broker-").expect("a temporary directory");
        let sasl = (!options.users.is_empty()).then(port::free);
        let broker = Self { place, sasl, dir, process: None };
        fs::write(broker.properties_file(), broker.properties(cluster, options)).expect("writing server.properties");
        let properties = broker.properties_file();
        java::run(java::tool("kafka.tools.StorageTool").args(["format", "-t", cluster_id, "-c"]).arg(properties));
        broker
    }

    fn properties_file(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    fn properties(&self, cluster: &[Place], options: &Options) -> String {
        let Place { node, port, controller } = self.place;
        let voters: Vec<_> = cluster.iter().map(|p| format!("{}@127.0.0.1:{}", p.node, p.controller)).collect();
        let replicas = cluster.len().min(3);
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{port}");
        if let Some(sasl) = self.sasl {
            write!(listeners, ",SASL_PLAINTEXT://127.0.0.1:{sasl}").expect("writing to a string");
        }
        let mut text = format!(
            "process.roles=broker,controller\n\
             node.id={node}\n\
             controller.quorum.voters={voters}\n\
             controller.listener.names=CONTROLLER\n\
             listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners={listeners}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={dir}/data\n\
             offsets.topic.replication.factor={replicas}\n\
             transaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor={replicas}\n\
             share.coordinator.state.topic.min.isr=1\n\
             default.replication.factor={replicas}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.num.partitions=4\n\
             group.initial.rebalance.delay.ms=0\n\
             broker.session.timeout.ms={SESSION_MS}\n\
             broker.heartbeat.interval.ms=500\n\
             auto.create.topics.enable=false\n\
             log.cleaner.dedupe.buffer.size=16777216\n",
            voters = voters.join(","),
            dir = self.dir.path().display(),
        );
        if self.sasl.is_some() {
            text.push_str(&security(&options.users));
        }
        for (name, value) in &options.properties {
            writeln!(text, "{name}={value}").expect("writing to a string");
        }
        text
    }

    fn launch(&mut self) {
        assert!(self.process.is_none(), "the broker runs already");
        let console = File::create(self.dir.path().join("console.log")).expect("a file for the console");
        let mut command = java::java();
        command
            .arg("-Xmx512m")
            .arg(format!("-Dlog4j2.configurationFile={}", java::support_file("log4j2.xml").display()))
            .arg(format!("-Db24kafka.broker.log={}", self.log_file().display()))
            .arg("kafka.Kafka")
            .arg(self.properties_file())
            .stdout(console.try_clone().expect("a second handle"))
            .stderr(console);
        self.process = Some(Guarded::spawn(&mut command));
    }

    /// Waits until the node tells about at least `nodes` live nodes, itself among them.
    fn await_answer(&mut self, nodes: usize) {
        let start = Instant::now();
        let mut consumer: Option<BaseConsumer> = None;
        loop {
            let status = self.process.as_mut().and_then(Guarded::exited);
            assert!(status.is_none(), "the broker has ended ({status:?}):\n{}", self.last_words());
            assert!(start.elapsed() < START_LIMIT, "the broker does not answer:\n{}", self.last_words());
            // librdkafka backs off after a refused connection, so it is asked only when somebody listens.
            if TcpStream::connect(("127.0.0.1", self.place.port)).is_ok() {
                let asked = consumer.get_or_insert_with(|| client(&self.bootstrap()).create().expect("a consumer"));
                if let Ok(metadata) = asked.fetch_metadata(None, Duration::from_millis(500)) {
                    let alive = metadata.brokers();
                    if alive.len() >= nodes && alive.iter().any(|b| b.id() == i32::from(self.place.node)) {
                        return;
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn running(&self) -> &Guarded {
        self.process.as_ref().expect("the broker is not running")
    }

    /// The end of its log and of its console, for a failing test.
    fn last_words(&self) -> String {
        let mut words = String::new();
        for file in [self.dir.path().join("console.log"), self.log_file()] {
            let text = fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(15)..] {
                writeln!(words, "  {line}").expect("writing to a string");
            }
        }
        words
    }
}

impl Place {
    fn choose(node: u16) -> Self {
        Self { node, port: port::free(), controller: port::free() }
    }
}

/// Several nodes that replicate to each other.
pub struct Cluster {
    nodes: Vec<Broker>,
}

impl Cluster {
    /// Starts `nodes` nodes and waits until each knows all of them. Topics are replicated to up to three by default.
    pub fn start(nodes: u16, options: &Options) -> Self {
        let places: Vec<_> = (1..=nodes).map(Place::choose).collect();
        let id = cluster_id();
        let mut nodes: Vec<_> = places.iter().map(|p| Broker::format(*p, &places, &id, options)).collect();
        for node in &mut nodes {
            node.launch();
        }
        let all = nodes.len();
        for node in &mut nodes {
            node.await_answer(all);
        }
        Self { nodes }
    }

    /// All plain listeners, comma separated.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(Broker::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// Starts some nodes again at once, as [`Broker::restart`] does with one: where a quorum is lost, none answers alone.
    pub fn restart(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.nodes[*node].launch();
        }
        for node in nodes {
            self.nodes[*node].await_answer(1);
        }
    }

    /// How many nodes it was started with.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
}

impl Index<usize> for Cluster {
    type Output = Broker;

    fn index(&self, node: usize) -> &Broker {
        &self.nodes[node]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, node: usize) -> &mut Broker {
        &mut self.nodes[node]
    }
}

/// A client that is quick to notice a broker on the loopback.
fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
    config
}

/// The properties of the SASL listener and of the authorizer.
fn security(users: &[(String, String)]) -> String {
    let mut logins = String::new();
    for (name, password) in users {
        write!(logins, " user_{name}=\"{password}\"").expect("writing to a string");
    }
    format!(
        "sasl.enabled.mechanisms=PLAIN\n\
         listener.name.sasl_plaintext.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required{logins};\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\n\
         allow.everyone.if.no.acl.found=true\n"
    )
}

/// A new cluster id: 16 bytes in URL-safe base64 without padding. The last of the 22 digits holds four spare bits.
fn cluster_id() -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let digit = || char::from(DIGITS[rand::random_range(0..DIGITS.len())]);
    (0..21).map(|_| digit()).chain(['A']).collect()
}
