//! The build stage of the Dockerfile, as far as it can be looked at without a build: an optimised one takes minutes.
//!
//! What comes of the stage is put into an image and run by `tests/container`, around a program that was built elsewhere. So
//! this looks at what such a program does not show: that the builder can build it, that what the build reads is sent to the
//! builder, and that what the build makes is what the image takes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::SystemTime,
};

/// The names of Debian's releases, as images are called by the one or by the other.
const DEBIAN: [(&str, &str); 2] = [("bookworm", "12"), ("trixie", "13")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The instructions of each stage, the lines before the first one included.
fn stages(dockerfile: &str) -> Vec<Vec<(&str, &str)>> {
    let mut stages = vec![Vec::new()];
    let lines = dockerfile.lines().filter(|line| !line.starts_with('#') && !line.starts_with(' '));
    for (instruction, rest) in lines.filter_map(|line| line.split_once(' ')) {
        if instruction == "FROM" {
            stages.push(Vec::new());
        }
        stages.last_mut().expect("a stage").push((instruction, rest));
    }
    stages
}

/// What follows an instruction that is there once.
fn only<'a>(stage: &[(&str, &'a str)], instruction: &str) -> &'a str {
    let found: Vec<&str> = stage.iter().filter(|(known, _)| *known == instruction).map(|(_, rest)| *rest).collect();
    assert_eq!(found.len(), 1, "{instruction} in {stage:?}");
    found[0]
}

/// The default of a build argument.
fn argument<'a>(stage: &[(&str, &'a str)], name: &str) -> &'a str {
    let mut all = stage.iter().filter(|(known, _)| *known == "ARG").filter_map(|(_, rest)| rest.split_once('='));
    all.find(|(known, _)| *known == name).map(|(_, value)| value).expect("a default")
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().expect("a number"));
    (parts.next().expect("a version"), parts.next().expect("a minor version"))
}

/// What is sent to the builder: the files that `.dockerignore` lets through, below `to`.
fn send(ignore: &str, to: &Path) {
    let mut names: Vec<String> = Vec::new();
    let mut rules = ignore.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "everything is sent, the caches and secrets of whoever builds included");
    for line in rules {
        match line.strip_prefix('!') {
            Some(name) if !name.contains(['*', '?', '/']) => names.push(name.to_owned()),
            _ => panic!("this test does not know what {line:?} means"),
        }
    }
    for name in names {
        let done = Command::new("cp").arg("-r").arg(root().join(&name)).arg(to).status();
        assert!(done.is_ok_and(|status| status.success()), "{name} cannot be sent");
    }
}

/// Whether cargo could begin to build the package in a directory, with what is on this machine: its manifest is whole, and
/// its lock is the one that it asks for.
fn begins(dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["fetch", "--locked", "--offline", "--target", &host()])
        .arg("--manifest-path")
        .arg(dir.join("Cargo.toml"));
    command.output().expect("cargo runs")
}

fn host() -> String {
    let said = Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let said = String::from_utf8(said).expect("text");
    said.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned()
}

/// The files of this repository that the library and the program were built from, as the compiler has last noted them.
fn sources() -> BTreeSet<PathBuf> {
    let notes = Path::new(env!("CARGO_BIN_EXE_b24kafka")).parent().expect("a directory").join("deps");
    let notes = fs::read_dir(&notes).expect("notes").map(|entry| entry.expect("an entry").path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("b24kafka-") && name.ends_with(".d")
    };
    let mut notes: Vec<(SystemTime, String)> = notes
        .filter(ours)
        .map(|path| {
            (path.metadata().and_then(|m| m.modified()).expect("a time"), fs::read_to_string(path).expect("text"))
        })
        .collect();
    notes.sort();
    let mut sources = BTreeSet::new();
    // A library that is linked, not one with its unit tests, which read more.
    for (root_file, made) in [("src/lib.rs", ".rlib: "), ("src/main.rs", "b24kafka-")] {
        let of = |note: &str| -> Vec<PathBuf> {
            let (_, files) = note.split_once(": ").unwrap_or_default();
            let files = files.lines().next().unwrap_or_default().split(' ').map(Path::new);
            files.map(|file| file.strip_prefix(root()).unwrap_or(file).to_owned()).collect()
        };
        let so_made = notes.iter().rev().filter(|(_, note)| note.contains(made)).map(|(_, note)| of(note));
        let newest = so_made.into_iter().find(|files| files.contains(&root_file.into()));
        sources.extend(newest.unwrap_or_else(|| panic!("nothing was noted of {root_file}")));
    }
    assert!(sources.len() > 100 && sources.iter().all(|file| file.is_relative()), "{sources:?}");
    sources
}

#[test]
fn the_builder_can_build_it_and_the_runtime_can_run_what_it_builds() {
    let dockerfile = text("Dockerfile");
    let stages = stages(&dockerfile);
    let (builder, runtime) = (argument(&stages[0], "BUILDER"), argument(&stages[0], "RUNTIME"));
    let (name, tag) = builder.rsplit_once(':').expect("a tag");
    let (rust, debian) = tag.split_once('-').expect("a version of Rust, and one of Debian");
    assert!(name.ends_with("/rust"), "{builder}");
    // The slim ones have neither make nor perl, which librdkafka and OpenSSL are built with.
    let (_, number) = DEBIAN.iter().find(|(known, _)| *known == debian).expect("a whole Debian that this test knows");
    let manifest = text("Cargo.toml");
    let asked = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a rust-version");
    assert!(version(rust) >= version(asked.trim_matches('"')), "Rust {rust} does not build what asks for {asked}");
    // glibc is compatible forwards only.
    let (_, runs) = runtime.split_once("/cc-debian").expect("distroless with glibc and libgcc");
    let (runs, user) = runs.split_once(':').expect("a tag");
    assert!(runs.parse::<u32>().expect("a number") >= number.parse().expect("a number"), "{runtime} after {builder}");
    assert_eq!(user, "nonroot");
}

#[test]
fn what_the_build_reads_is_sent_to_the_builder_and_nothing_else() {
    let ignore = text(".dockerignore");
    let sent = tempfile::tempdir().expect("a directory");
    send(&ignore, sent.path());
    let said = begins(sent.path());
    assert!(said.status.success(), "cargo build --locked would fail: {}", String::from_utf8_lossy(&said.stderr));
    let sources = sources();
    let missing: Vec<_> = sources.iter().filter(|source| !sent.path().join(source).is_file()).collect();
    assert!(missing.is_empty(), "the build reads what is not sent: {missing:?}");
    for unwanted in ["target", ".git", "secrets", "data", "tests"] {
        assert!(!sent.path().join(unwanted).exists(), "{unwanted} is sent");
    }
}

#[test]
fn what_is_not_sent_would_be_missed() {
    let ignore = text(".dockerignore");
    for needed in ignore.lines().filter(|line| line.starts_with('!')) {
        let sent = tempfile::tempdir().expect("a directory");
        send(&ignore.replace(&format!("{needed}\n"), ""), sent.path());
        let all_there = sources().iter().all(|source| sent.path().join(source).is_file());
        assert!(!all_there || !begins(sent.path()).status.success(), "{needed} is sent for nothing");
    }
}

#[test]
fn what_the_build_makes_is_what_the_image_takes() {
    let dockerfile = text("Dockerfile");
    let stages = stages(&dockerfile);
    let [_, runtime, prebuilt, build, last] = stages.as_slice() else { panic!("other stages: {stages:?}") };
    let program = env!("CARGO_BIN_EXE_b24kafka").rsplit('/').next().expect("a name");

    assert_eq!((only(build, "FROM"), only(build, "COPY")), ("${BUILDER} AS build", ". ."));
    let dir = only(build, "WORKDIR");
    let words: Vec<&str> = only(build, "RUN").split(' ').collect();
    let at = words.iter().position(|word| *word == "cargo").expect("a build");
    let (variables, command) = words.split_at(at);
    assert_eq!(command, ["cargo", "build", "--release", "--locked", "--bin", program]);
    // The program reads this one, and of the other cargo knows these words.
    assert!(text("src/metrics.rs").contains("option_env!(\"B24KAFKA_REVISION\")"));
    assert_eq!(variables, ["B24KAFKA_REVISION=\"${REVISION}\"", "CARGO_PROFILE_RELEASE_STRIP=debuginfo"]);
    assert!(build.contains(&("ARG", "REVISION=unknown")), "an argument is known to its own stage only");

    // The two ways to the image differ in where the program is from, and in nothing else.
    let installed = format!("/usr/bin/{program}");
    assert_eq!(prebuilt.as_slice(), [("FROM", "runtime AS prebuilt"), ("COPY", &*format!("{program} {installed}"))]);
    let taken = format!("--from=build {dir}/target/release/{program} {installed}");
    assert_eq!(last.as_slice(), [("FROM", "runtime"), ("COPY", &*taken)]);
    assert_eq!(only(runtime, "ENTRYPOINT"), format!("[\"{installed}\"]"));
}
