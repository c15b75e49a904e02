//! The images: bases from the libraries of this machine, the product's own by its Dockerfile, and a Kafka.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use futures_util::StreamExt as _;
use tempfile::TempDir;
use testcontainers::bollard::{
    Docker, body_full,
    query_parameters::{BuildImageOptionsBuilder, BuilderVersion},
};

use super::java::{self, root, support_file};

/// Modules of Java that a broker needs.
const MODULES: &str = "java.base,java.compiler,java.desktop,java.logging,java.management,java.naming,java.net.http,java.rmi,java.scripting,\
                       java.security.jgss,java.security.sasl,java.sql,java.xml,jdk.management,jdk.unsupported";
/// The broker's log goes where the engine finds it.
const LOG: &str = r#"<Configuration status="warn" shutdownHook="disable">
  <Appenders><Console name="out"><PatternLayout pattern="%d{HH:mm:ss.SSS} %p %m (%c)%n"/></Console></Appenders>
  <Loggers><Root level="info"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"#;

/// The program that goes into the image: the one that was built with the other tests.
pub fn program() -> PathBuf {
    let program =
        std::env::var_os("B24KAFKA_BINARY").map_or_else(|| root().join("target/debug/b24kafka"), PathBuf::from);
    assert!(program.is_file(), "{} is missing: run `make container-test`", program.display());
    program
}

/// The product's image around a program, as `docker build --target prebuilt` makes it.
pub async fn product(docker: &Docker, tag: &str) {
    let base = TempDir::new().expect("a directory");
    root_files(base.path(), &[program()]);
    let certificates = "etc/ssl/certs/ca-certificates.crt";
    copy(&Path::new("/").join(certificates), &base.path().join("rootfs").join(certificates));
    fs::write(base.path().join("Dockerfile"), "FROM scratch\nCOPY rootfs/ /\n").expect("written");
    let runtime = format!("{tag}-runtime");
    build(docker, &runtime, base.path(), "", &[]).await;

    let context = TempDir::new().expect("a directory");
    copy(&root().join("Dockerfile"), &context.path().join("Dockerfile"));
    copy(&program(), &context.path().join("b24kafka"));
    let arguments = [("RUNTIME", runtime.as_str()), ("VERSION", "0.0.0-test"), ("REVISION", "test")];
    build(docker, tag, context.path(), "prebuilt", &arguments).await;
}

/// A broker that others of its network call `name`, and that this machine reaches at a port of the loopback.
pub async fn kafka(docker: &Docker, tag: &str, name: &str, port: u16) {
    let context = TempDir::new().expect("a directory");
    let rootfs = context.path().join("rootfs");
    let jre = context.path().join("jre");
    let options = ["--strip-debug", "--no-header-files", "--no-man-pages", "--add-modules", MODULES, "--output"];
    java::run(Command::new("jlink").args(options).arg(&jre));
    let mut binaries = vec![jre.join("bin/java")];
    binaries.extend(files(&jre.join("lib")).into_iter().filter(|file| file.extension().is_some_and(|e| e == "so")));
    root_files(context.path(), &binaries);
    fs::rename(&jre, rootfs.join("jre")).expect("moved");

    let kafka = context.path().join("kafka");
    fs::create_dir(&kafka).expect("a directory");
    fs::write(kafka.join("log4j2.xml"), LOG).expect("written");
    // Formatted here, where the data has another path, because there is no shell in the image that could do it first.
    let properties = |data: &Path| properties(name, port, data);
    let here = context.path().join("here.properties");
    fs::write(&here, properties(&kafka.join("data"))).expect("written");
    fs::write(kafka.join("server.properties"), properties(Path::new("/kafka/data"))).expect("written");
    let id = java::run(java::tool("kafka.tools.StorageTool").arg("random-uuid"));
    java::run(java::tool("kafka.tools.StorageTool").args(["format", "-t", id.trim(), "-c"]).arg(&here));
    java::run(
        Command::new("cp").arg("-rL").arg(support_file("../../../target/kafka/libs")).arg(context.path().join("libs")),
    );
    let dockerfile = "FROM scratch\nCOPY rootfs/ /\nCOPY libs/ /libs/\nCOPY --chown=65532:65532 kafka/ /kafka/\nUSER 65532:65532\nEXPOSE 9092 9094\n\
        ENTRYPOINT [\"/jre/bin/java\", \"-Xmx512m\", \"-XX:+UseSerialGC\", \"-XX:-UsePerfData\", \"-cp\", \"/libs/*\", \
        \"-Dlog4j2.configurationFile=/kafka/log4j2.xml\", \"kafka.Kafka\", \"/kafka/server.properties\"]\n";
    fs::write(context.path().join("Dockerfile"), dockerfile).expect("written");
    build(docker, tag, context.path(), "", &[]).await;
}

fn properties(name: &str, port: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:9093\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=INSIDE\n\
         listeners=INSIDE://0.0.0.0:9092,OUTSIDE://0.0.0.0:9094,CONTROLLER://127.0.0.1:9093\n\
         advertised.listeners=INSIDE://{name}:9092,OUTSIDE://127.0.0.1:{port}\n\
         listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         auto.create.topics.enable=false\n",
        data.display()
    )
}

/// What every image here begins with: the libraries that the binaries are linked to, a user, and a place for files that
/// nobody keeps.
fn root_files(context: &Path, binaries: &[PathBuf]) {
    let rootfs = context.join("rootfs");
    for library in libraries(binaries) {
        copy(&library, &rootfs.join(library.strip_prefix("/").expect("a whole path")));
    }
    fs::create_dir_all(rootfs.join("tmp")).expect("a directory");
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("open to all");
    fs::create_dir_all(rootfs.join("etc")).expect("a directory");
    fs::write(rootfs.join("etc/passwd"), "nonroot:x:65532:65532::/tmp:/sbin/nologin\n").expect("written");
}

/// The libraries of this machine that binaries are linked to, the loader included.
fn libraries(binaries: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for binary in binaries {
        let output = Command::new("ldd").arg(binary).output().expect("ldd runs");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let path = line.split_once("=> ").map_or(line, |(_, path)| path).trim();
            let path = Path::new(path.split(' ').next().unwrap_or_default());
            if path.is_absolute() && path.is_file() && !binaries.iter().any(|own| same(own, path)) {
                found.insert(path.to_owned());
            }
        }
    }
    assert!(found.len() >= 3, "libraries of {binaries:?}: {found:?}");
    found
}

fn same(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok() == b.canonicalize().ok()
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
    fs::copy(from, to).unwrap_or_else(|error| panic!("{} cannot be copied: {error}", from.display()));
}

/// Builds an image with the builder that every engine has.
async fn build(docker: &Docker, tag: &str, context: &Path, target: &str, arguments: &[(&str, &str)]) {
    let tar = Command::new("tar").arg("-C").arg(context).args(["--owner=0", "--group=0", "-c", "."]).output();
    let tar = tar.expect("tar runs");
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    let arguments: HashMap<&str, &str> = arguments.iter().copied().collect();
    let options = BuildImageOptionsBuilder::new().dockerfile("Dockerfile").t(tag).target(target).buildargs(&arguments);
    let options = options.rm(true).forcerm(true).version(BuilderVersion::BuilderV1).build();
    let mut said = String::new();
    let mut building = docker.build_image(options, None, Some(body_full(tar.stdout.into())));
    while let Some(step) = building.next().await {
        let step = step.unwrap_or_else(|error| panic!("{tag} cannot be built: {error}\n{said}"));
        said.extend(step.stream);
        assert!(step.error_detail.is_none(), "{tag} cannot be built: {:?}\n{said}", step.error_detail);
    }
}
