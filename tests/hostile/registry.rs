//! Registry files that are none, and a disk that has no room: named, kept, and nothing lost.

use std::{
    fs,
    path::{Path, PathBuf},
};

use b24kafka::{
    protocol::types::PortalId,
    registry::{FileRegistry, PortalRecord, RegistryError},
};
use secrecy::ExposeSecret as _;

use crate::child;

fn record(token: &str) -> PortalRecord {
    let endpoint = "https://example.bitrix24.com/rest/".parse().expect("a URL");
    let id = PortalId::new("a").expect("an id");
    PortalRecord { refresh_token: Some(token.into()), ..PortalRecord::new(id, endpoint) }
}

/// Opens a registry and closes it with one record in it.
fn stored(dir: &Path, token: &str) {
    let _guard = child::no_start();
    FileRegistry::open(dir).expect("opened").registry.store(&record(token)).expect("stored");
}

/// A record as it is written.
pub fn good() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    stored(dir.path(), "t0ken");
    fs::read(dir.path().join("a.json")).expect("read")
}

/// A registry with one file, again and again.
pub struct Directory(tempfile::TempDir);

impl Directory {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// Whatever the bytes are, they are one record or one refused file, which stays as it is.
    pub fn check(&self, bytes: &[u8]) {
        let path: PathBuf = self.0.path().join("a.json");
        fs::write(&path, bytes).expect("written");
        let _guard = child::no_start();
        let opened = FileRegistry::open(self.0.path()).expect("opened");
        assert_eq!(opened.records.len() + opened.refused.len(), 1);
        match (&opened.records[..], &opened.refused[..]) {
            ([record], _) => {
                let tree: serde_json::Value = serde_json::from_slice(bytes).expect("what is read is JSON");
                let token = record.refresh_token.as_ref().map(|token| token.expose_secret().to_owned());
                assert_eq!(tree["refresh_token"].as_str(), token.as_deref());
                assert_eq!((&tree["format"], &tree["member_id"]), (&1.into(), &"a".into()));
            }
            (_, [file]) => {
                assert_eq!(file.path, path);
                assert!(!file.wrong.is_empty() && !file.wrong.contains("t0ken"), "{}", file.wrong);
                let stored = opened.registry.store(&record("new"));
                assert!(matches!(stored, Err(RegistryError::Kept { .. })), "{stored:?}");
                assert_eq!(fs::read(&path).expect("kept"), bytes);
            }
            _ => unreachable!("counted above"),
        }
    }
}

/// What a process does whose files may not grow beyond a block.
fn store_without_room(dir: &Path) {
    let opened = FileRegistry::open(dir).expect("opened");
    let error = opened.registry.store(&record(&"x".repeat(8 << 10))).expect_err("no room");
    assert!(matches!(error, RegistryError::Io { doing: "write", .. }), "{error:?}");
    opened.registry.store(&record("t0")).expect("there is room for a small one");
    opened.registry.store(&record(&"x".repeat(8 << 10))).expect_err("no room again");
}

#[test]
fn a_disk_without_room_keeps_the_old_record() {
    if let Some(dir) = child::handed() {
        return store_without_room(Path::new(&dir));
    }
    let root = tempfile::tempdir().expect("a directory");
    stored(root.path(), "old");
    // The limit is the process's own, and only of its regular files: the write ends in the middle, as on a full disk.
    let name = "registry::a_disk_without_room_keeps_the_old_record";
    child::again(name, "trap '' XFSZ; ulimit -f 1;", root.path().as_os_str());
    let _guard = child::no_start();
    let opened = FileRegistry::open(root.path()).expect("opened");
    assert_eq!((opened.records.len(), opened.refused.len()), (1, 0));
    assert_eq!(opened.records[0].refresh_token.as_ref().expect("a token").expose_secret(), "t0");
    let entries = fs::read_dir(root.path()).expect("listed").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.json", "b24kafka.lock"]);
}

#[test]
fn a_pipe_that_nobody_writes_to_is_no_record() {
    let root = tempfile::tempdir().expect("a directory");
    stored(root.path(), "old");
    let pipe = root.path().join("pipe.json");
    child::run(std::process::Command::new("mkfifo").arg(&pipe));
    let _guard = child::no_start();
    let opened = FileRegistry::open(root.path()).expect("opened");
    assert_eq!((opened.records.len(), &opened.refused[0].path), (1, &pipe));
}
