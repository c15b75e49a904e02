//! The targets of the hostile tier, for libFuzzer.
//!
//! What is called and what has to hold is written in `tests/hostile`; here it gets a fuzzer that sees which code its bytes
//! have reached. It begins with good answers, which `begin_with` puts into the directory that the environment names.

#![allow(dead_code, reason = "of the hostile tier only the targets are used")]

#[path = "../../tests/hostile/answers.rs"]
pub mod answers;
#[path = "../../tests/hostile/child.rs"]
pub mod child;
#[path = "../../tests/hostile/configuration.rs"]
pub mod configuration;
#[path = "../../tests/hostile/mutate.rs"]
pub mod mutate;
#[path = "../../tests/hostile/registry.rs"]
pub mod registry;
#[path = "../../tests/hostile/stand.rs"]
pub mod stand;
#[path = "../../tests/hostile/targets.rs"]
pub mod targets;
#[path = "../../tests/hostile/truth.rs"]
pub mod truth;
#[path = "../../tests/hostile/wire.rs"]
pub mod wire;

/// Where good bytes are to be put, if anywhere.
const CORPUS: &str = "B24KAFKA_FUZZ_CORPUS";

thread_local! {
    static STAND: stand::Stand = stand::Stand::new();
    static DIRECTORY: registry::Directory = registry::Directory::new();
}

/// Puts good bytes where the fuzzer looks for its first ones.
pub fn begin_with(goods: &[Vec<u8>]) {
    let Some(dir) = std::env::var_os(CORPUS).map(std::path::PathBuf::from) else { return };
    std::fs::create_dir_all(&dir).expect("a directory");
    for (number, good) in goods.iter().enumerate() {
        std::fs::write(dir.join(format!("good-{number}")), good).expect("written");
    }
}

/// Runs a check with the client and the server that answers it.
pub fn with_stand(check: impl FnOnce(&stand::Stand)) {
    STAND.with(check);
}

/// Runs a check with a registry.
pub fn with_registry(check: impl FnOnce(&registry::Directory)) {
    DIRECTORY.with(check);
}
