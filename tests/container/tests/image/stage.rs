//! Kafka, a simulated portal and the bridge: three containers on a network of their own, gone with the stage.

use std::{
    collections::HashMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt as _,
    bollard::{Docker, models::PortBinding},
    core::{Mount, WaitFor, client::docker_client_instance},
    runners::AsyncRunner as _,
};

use super::{
    chart, images,
    java::root,
    port,
    portal::{Account, Portal},
    reader::{self, ReadRecord},
};

/// Only there to stop hangs.
const PATIENCE: Duration = Duration::from_secs(180);
/// Where the simulator listens within the network.
const SIM: u16 = 8024;
/// The pod's grace period of the chart: how long `docker stop` waits before it kills.
const GRACE: i32 = 70;
const TOPICS: &str = r"bitrix24\..*";

pub struct Stage {
    kafka: ContainerAsync<GenericImage>,
    portal: ContainerAsync<GenericImage>,
    bridge: ContainerAsync<GenericImage>,
    /// When the bridge's container was started.
    begun: Instant,
    admin: u16,
    bootstrap: String,
    /// The configuration and the secret, as the chart mounts them.
    _files: TempDir,
}

impl Stage {
    /// Builds the images and starts all three.
    pub async fn set() -> Self {
        let docker = docker_client_instance().await.expect("a container engine");
        // Other runs may use the same engine.
        let run = format!("b24kafka-test-{}", std::process::id());
        let [product, broker] = [format!("{run}:product"), format!("{run}:kafka")];
        let (kafka_name, sim_name, outside) = (format!("{run}-kafka"), format!("{run}-sim"), port::free());
        images::product(&docker, &product).await;
        describe(&docker, &product).await;
        images::kafka(&docker, &broker, &kafka_name, outside).await;
        has_no_shell(&run).await;

        let started = WaitFor::message_on_either_std("Kafka Server started");
        let kafka = image(&run, "kafka", started).with_container_name(&kafka_name).with_network(&run);
        let kafka = published(kafka, &[(9094, outside)]).start().await.expect("Kafka starts");

        let described = WaitFor::message_on_either_std("plan = ");
        let listen = format!("0.0.0.0:{SIM}");
        let name = format!("{sim_name}:{SIM}");
        let portal = image(&run, "product", described).with_container_name(&sim_name).with_network(&run);
        let portal = restricted(portal, &[]).with_cmd(["sim", "--rate", "200", "--listen", &listen, "--name", &name]);
        let portal = portal.start().await.expect("the simulator starts");

        let told = Portal::read(&out(&portal).await);
        let files = TempDir::with_prefix_in("container-", root().join("target")).expect("a directory");
        let config = file(files.path(), "etc/b24kafka.toml", &chart::configuration());
        let secret = file(files.path(), "secrets/client_secret", told.secret());
        let admin = port::free();
        let mut bridge = image(&run, "product", WaitFor::Nothing)
            .with_network(&run)
            .with_cmd(chart::arguments())
            .with_mount(Mount::bind_mount(config.display().to_string(), "/etc/b24kafka"))
            .with_mount(Mount::bind_mount(secret.display().to_string(), "/run/secrets/b24kafka"))
            .with_env_var("B24KAFKA__KAFKA__BOOTSTRAP_SERVERS", format!("{kafka_name}:9092"));
        for (name, value) in told.variables() {
            bridge = bridge.with_env_var(name, value);
        }
        let bridge = restricted(bridge, &[(chart::port("admin"), admin)]);
        let begun = Instant::now();
        let bridge = bridge.start().await.expect("the bridge starts");
        Self { kafka, portal, bridge, begun, admin, bootstrap: format!("127.0.0.1:{outside}"), _files: files }
    }

    /// Asks until the admin listener answers so; tells how long that took from the start of the container.
    pub async fn becomes(&self, path: &str, wanted: u16) -> Duration {
        while self.get(path).is_none_or(|(status, _)| status != wanted) {
            if self.begun.elapsed() > PATIENCE || !self.bridge.is_running().await.expect("the engine answers") {
                let answer = self.get(path);
                panic!("{path} does not become {wanted} but {answer:?}:\n{}", log(&self.bridge).await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.begun.elapsed()
    }

    /// A counter of the bridge.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics").expect("a running bridge");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
        line.trim().parse().expect("a whole number")
    }

    /// `docker stop`: exit code, how long it took, and the log.
    pub async fn stop_bridge(&self) -> (Option<i64>, Duration, String) {
        let begun = Instant::now();
        self.bridge.stop_with_timeout(Some(GRACE)).await.expect("it stops");
        let code = self.bridge.exit_code().await.expect("the engine answers");
        (code, begun.elapsed(), log(&self.bridge).await)
    }

    /// Stops the simulator, which then tells what became of the rows.
    pub async fn stop_portal(&self) -> Account {
        self.portal.stop_with_timeout(Some(GRACE)).await.expect("it stops");
        Account::read(&out(&self.portal).await)
    }

    /// Everything in Kafka, read by Java's client on this machine.
    pub async fn records(&self) -> Vec<ReadRecord> {
        assert!(self.kafka.is_running().await.expect("the engine answers"), "{}", log(&self.kafka).await);
        tokio::task::block_in_place(|| reader::read_all(&self.bootstrap, TOPICS))
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }
}

fn image(run: &str, tag: &str, ready: WaitFor) -> ContainerRequest<GenericImage> {
    let request: ContainerRequest<GenericImage> = GenericImage::new(run, tag).with_wait_for(ready).into();
    request.with_startup_timeout(PATIENCE)
}

/// As the chart runs it: no capabilities, no new ones, and nothing to write but the volume of the registry.
fn restricted(request: ContainerRequest<GenericImage>, ports: &[(u16, u16)]) -> ContainerRequest<GenericImage> {
    let user = chart::user();
    let (uid, gid) = user.split_once(':').expect("a user and a group");
    let volume = [("/var/lib/b24kafka".to_owned(), format!("uid={uid},gid={gid}"))];
    let ports = bindings(ports);
    request
        .with_user(&user)
        .with_readonly_rootfs(true)
        .with_cap_drop("ALL")
        .with_security_opt("no-new-privileges")
        .with_host_config_modifier(move |host| {
            host.tmpfs = Some(volume.clone().into());
            host.publish_all_ports = Some(false);
            host.port_bindings = Some(ports.clone());
        })
}

/// With ports of the container at ports of this machine's loopback, and nowhere else.
fn published(request: ContainerRequest<GenericImage>, ports: &[(u16, u16)]) -> ContainerRequest<GenericImage> {
    let ports = bindings(ports);
    request.with_host_config_modifier(move |host| {
        host.publish_all_ports = Some(false);
        host.port_bindings = Some(ports.clone());
    })
}

fn bindings(ports: &[(u16, u16)]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let binding = |port: u16| PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(port.to_string()) };
    ports.iter().map(|(inside, outside)| (format!("{inside}/tcp"), Some(vec![binding(*outside)]))).collect()
}

/// A directory with one file in it, for everybody to read: the user in the container is nobody here.
fn file(dir: &Path, path: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(path);
    let parent = path.parent().expect("a directory").to_owned();
    fs::create_dir_all(&parent).expect("a directory");
    fs::write(&path, text).expect("written");
    for dir in [dir, &parent] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("open to all");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("open to all");
    parent
}

/// Prints what the image weighs, and holds its metadata against what the Dockerfile promises.
async fn describe(docker: &Docker, tag: &str) {
    let image = docker.inspect_image(tag).await.expect("the image");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (whole, program) = (image.size.unwrap_or_default(), fs::metadata(images::program()).expect("a file").len());
    let rest = mib(whole.unsigned_abs() - program);
    println!(
        "the image has {:.0} MiB: the program as it was built for the tests {:.0}, the rest {rest:.1}",
        mib(whole.unsigned_abs()),
        mib(program)
    );
    let config = image.config.expect("a configuration");
    assert_eq!(config.user.as_deref(), Some(chart::user().as_str()), "the image's user is the chart's");
    let labels = config.labels.unwrap_or_default();
    for label in ["title", "description", "licenses", "version", "revision"] {
        let value = labels.get(&format!("org.opencontainers.image.{label}"));
        assert!(value.is_some_and(|value| !value.is_empty() && value != "unknown"), "{label}: {labels:?}");
    }
}

/// Nobody who gets into the container finds a shell there.
async fn has_no_shell(run: &str) {
    let shell = GenericImage::new(run, "product").with_entrypoint("/bin/sh").start().await;
    let error = shell.expect_err("no shell starts").to_string();
    assert!(error.contains("/bin/sh"), "{error}");
}

async fn out(container: &ContainerAsync<GenericImage>) -> String {
    String::from_utf8(container.stdout_to_vec().await.expect("the engine answers")).expect("UTF-8")
}

async fn log(container: &ContainerAsync<GenericImage>) -> String {
    let err = container.stderr_to_vec().await.expect("the engine answers");
    out(container).await + &String::from_utf8_lossy(&err)
}
