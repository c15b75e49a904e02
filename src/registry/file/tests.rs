//! The registry on a real directory, with crashes at every step of a write.

use std::os::unix::fs::PermissionsExt as _;

use secrecy::ExposeSecret as _;
use url::Url;

use super::*;

fn id(name: &str) -> PortalId {
    PortalId::new(name).expect("an id")
}

fn record(name: &str, token: &str) -> PortalRecord {
    let endpoint = Url::parse("https://example.bitrix24.com/rest/").expect("a URL");
    PortalRecord { refresh_token: Some(token.into()), ..PortalRecord::new(id(name), endpoint) }
}

fn open(dir: &Path) -> Opened {
    FileRegistry::open(dir).expect("opened")
}

/// What is in the directory, as `member_id=refresh token`.
fn stored(dir: &Path) -> Vec<String> {
    let opened = open(dir);
    assert_eq!(opened.refused, []);
    let token = |record: &PortalRecord| record.refresh_token.clone().map(|token| token.expose_secret().to_owned());
    opened.records.iter().map(|record| format!("{}={}", record.member_id, token(record).unwrap_or_default())).collect()
}

#[test]
fn records_are_there_after_a_restart_and_gone_after_a_removal() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("a/b");
    let registry = open(&dir).registry;
    for (name, token) in [("b", "1"), ("a", "2"), ("b", "3")] {
        registry.store(&record(name, token)).expect("stored");
    }
    drop(registry);
    assert_eq!(stored(&dir), ["a=2", "b=3"]);
    let registry = open(&dir).registry;
    registry.remove(&id("a")).expect("removed");
    registry.remove(&id("unknown")).expect("nothing to do");
    drop(registry);
    assert_eq!(stored(&dir), ["b=3"]);
}

#[test]
fn only_this_user_may_look() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("data");
    open(&dir).registry.store(&record("a", "1")).expect("stored");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("a.json")), 0o600);
    assert_eq!(mode(&dir.join(LOCK_FILE)), 0o600);
}

#[test]
fn a_crash_at_any_step_leaves_the_old_record_or_the_new_one() {
    for step in [Step::Create, Step::Write, Step::SyncFile, Step::Rename, Step::SyncDirectory] {
        let root = tempfile::tempdir().expect("a directory");
        let mut registry = open(root.path()).registry;
        registry.store(&record("a", "old")).expect("stored");
        registry.cut = Some(step);
        assert!(registry.store(&record("a", "new")).is_err(), "{step:?}");
        assert!(registry.store(&record("b", "new")).is_err(), "{step:?}");
        drop(registry);
        let expected: &[&str] = if step == Step::SyncDirectory { &["a=new", "b=new"] } else { &["a=old"] };
        assert_eq!(stored(root.path()), expected, "{step:?}");
        let left = fs::read_dir(root.path()).expect("listed").filter_map(Result::ok);
        let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().ends_with(".tmp")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_disk_that_fails_is_named_and_keeps_the_old_record() {
    let root = tempfile::tempdir().expect("a directory");
    let registry = open(root.path()).registry;
    registry.store(&record("a", "old")).expect("stored");
    // A directory in the place of the temporary file: creating it fails, whoever the user is.
    fs::create_dir(root.path().join(".a.json.tmp")).expect("created");
    let error = registry.store(&record("a", "new")).expect_err("no file");
    assert!(error.to_string().contains(".a.json.tmp"), "{error}");
    fs::remove_dir(root.path().join(".a.json.tmp")).expect("removed");
    drop(registry);
    assert_eq!(stored(root.path()), ["a=old"]);
    let file = root.path().join("file");
    fs::write(&file, "").expect("written");
    let error = FileRegistry::open(&file.join("data")).expect_err("a file is no directory");
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[test]
fn what_cannot_be_read_is_named_kept_and_never_written_over() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path();
    open(dir).registry.store(&record("good", "1")).expect("stored");
    fs::write(dir.join("torn.json"), "{\"format\": 1, \"memb").expect("written");
    fs::write(dir.join("empty.json"), "").expect("written");
    fs::write(dir.join("newer.json"), "{\"format\": 2}").expect("written");
    fs::copy(dir.join("good.json"), dir.join("moved.json")).expect("copied");
    fs::create_dir(dir.join("folder.json")).expect("created");
    fs::write(dir.join("README"), "not ours").expect("written");
    let opened = open(dir);
    assert_eq!(opened.records.len(), 1);
    let named: Vec<String> = opened.refused.iter().map(|file| file.path.display().to_string()).collect();
    let names = ["empty", "folder", "moved", "newer", "torn"].map(|name| dir.join(format!("{name}.json")));
    assert_eq!(named, names.map(|path| path.display().to_string()));
    assert_eq!(opened.refused[2].wrong, "holds the portal good instead");
    for name in ["torn", "newer"] {
        assert!(matches!(opened.registry.store(&record(name, "2")), Err(RegistryError::Kept { .. })));
        assert!(matches!(opened.registry.remove(&id(name)), Err(RegistryError::Kept { .. })));
    }
    assert_eq!(fs::read(dir.join("newer.json")).expect("kept"), b"{\"format\": 2}");
}

#[test]
fn a_second_holder_is_told_who_the_first_is() {
    let root = tempfile::tempdir().expect("a directory");
    let first = open(root.path());
    let error = FileRegistry::open(root.path()).expect_err("locked");
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("registry.path"), "{text}");
    drop(first);
    open(root.path());
}

#[tokio::test]
async fn tasks_use_it_without_blocking() {
    let root = tempfile::tempdir().expect("a directory");
    let (registry, records, refused) = super::super::Registry::open(root.path()).await.expect("opened");
    assert!(records.is_empty() && refused.is_empty());
    registry.store(record("a", "1")).await.expect("stored");
    registry.store(record("b", "1")).await.expect("stored");
    registry.clone().remove(id("b")).await.expect("removed");
    drop(registry);
    assert_eq!(stored(root.path()), ["a=1"]);
}
