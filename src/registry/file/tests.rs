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

/// Every place at which a write of `bytes` bytes can be cut off.
fn cuts(bytes: usize) -> impl Iterator<Item = Cut> {
    let steps = [Step::Create, Step::Write, Step::Rename, Step::SyncDirectory];
    let whole = steps.into_iter().map(move |step| Cut { step, bytes });
    whole.chain((0..=bytes).map(|bytes| Cut { step: Step::SyncFile, bytes }))
}

/// The names in the directory, without the lock.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = entries.filter_map(|name| name.into_string().ok()).filter(|n| n != LOCK_FILE).collect();
    names.sort();
    names
}

#[test]
fn a_crash_at_any_point_of_a_write_leaves_the_old_record_or_the_new_one() {
    let whole = record("a", "new").to_json().expect("JSON").len();
    let mut died = 0;
    for cut in cuts(whole) {
        let root = tempfile::tempdir().expect("a directory");
        let mut registry = open(root.path()).registry;
        registry.store(&record("a", "old")).expect("stored");
        registry.cut = Some(cut);
        assert!(registry.store(&record("a", "new")).is_err(), "{cut:?}");
        assert!(registry.store(&record("b", "new")).is_err(), "{cut:?}");
        drop(registry);
        let half_written = names(root.path()).iter().filter(|name| name.ends_with(TEMPORARY)).count();
        assert_eq!(half_written, if matches!(cut.step, Step::Create | Step::SyncDirectory) { 0 } else { 2 }, "{cut:?}");
        // Before the rename it is the old one for certain; after it the new one, if the directory reached the disk.
        let expected: &[&str] = if cut.step == Step::SyncDirectory { &["a=new", "b=new"] } else { &["a=old"] };
        assert_eq!(stored(root.path()), expected, "{cut:?}");
        assert!(!names(root.path()).iter().any(|name| name.ends_with(TEMPORARY)), "{cut:?}");
        // And the portal can be stored again.
        open(root.path()).registry.store(&record("a", "newer")).expect("stored");
        assert_eq!(stored(root.path())[0], "a=newer", "{cut:?}");
        died += 1;
    }
    assert!(died > whole && whole > 100, "every byte was a place to die: {died}");
}

#[test]
fn a_rename_that_the_disk_forgot_leaves_the_old_record() {
    let root = tempfile::tempdir().expect("a directory");
    let mut registry = open(root.path()).registry;
    registry.store(&record("a", "old")).expect("stored");
    let old = fs::read(root.path().join("a.json")).expect("read");
    registry.cut = Some(Cut { step: Step::SyncDirectory, bytes: 0 });
    registry.store(&record("a", "new")).expect_err("the process died");
    drop(registry);
    // What a power failure can leave of a directory that was never synced: the old name, and the temporary one with
    // all of its bytes, since the file was synced before.
    fs::rename(root.path().join("a.json"), root.path().join(".a.json.tmp")).expect("renamed");
    fs::write(root.path().join("a.json"), old).expect("written");
    assert_eq!(stored(root.path()), ["a=old"]);
    assert_eq!(names(root.path()), ["a.json"]);
}

#[test]
fn a_crash_in_a_removal_leaves_the_record_or_none() {
    let root = tempfile::tempdir().expect("a directory");
    let mut registry = open(root.path()).registry;
    registry.store(&record("a", "1")).expect("stored");
    registry.store(&record("b", "1")).expect("stored");
    registry.cut = Some(Cut { step: Step::SyncDirectory, bytes: 0 });
    assert!(registry.remove(&id("a")).is_err(), "it is not known to be gone");
    drop(registry);
    assert_eq!(stored(root.path()), ["b=1"]);
}

#[test]
fn a_full_disk_keeps_the_old_record_and_gets_its_room_back() {
    let root = tempfile::tempdir().expect("a directory");
    let registry = open(root.path()).registry;
    registry.store(&record("a", "old")).expect("stored");
    // A device that is always full, in the place of the temporary file.
    std::os::unix::fs::symlink("/dev/full", root.path().join(".a.json.tmp")).expect("linked");
    let error = registry.store(&record("a", "new")).expect_err("no room");
    let RegistryError::Io { doing: "write", path, source } = &error else { panic!("{error:?}") };
    assert_eq!((path, source.kind()), (&root.path().join(".a.json.tmp"), io::ErrorKind::StorageFull));
    assert_eq!(names(root.path()), ["a.json"]);
    registry.store(&record("b", "there is room again")).expect("stored");
    drop(registry);
    assert_eq!(stored(root.path()), ["a=old", "b=there is room again"]);
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

/// Every kind of file that is no record of this version, with the beginning of what is said of it.
fn foreign(good: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let with = |from: &str, to: &str| good.replace(from, to).into_bytes();
    vec![
        ("binary", vec![0xff, 0xfe, 0x00, 0x80], "is no portal record"),
        ("deep", "[".repeat(100_000).into_bytes(), "is no portal record"),
        ("deeper", with("\"scope\": null", &format!("\"scope\": {}", "[".repeat(9000))), "is no portal record"),
        ("empty", Vec::new(), "is empty"),
        ("extra", with("\"scope\"", "\"more\": 1,\n  \"scope\""), "is no portal record"),
        ("foreign", br#"{"name": "another program's"}"#.to_vec(), "is no portal record"),
        ("huge", with("\"format\": 1", "\"format\": 1e400"), "is no portal record"),
        ("large", vec![b' '; 300 << 10], "is larger than 256 KiB"),
        ("later", with("\"format\": 1", "\"format\": 18446744073709551615"), "has format 18446744073709551615"),
        ("moved", good.as_bytes().to_vec(), "holds the portal good instead"),
        ("newer", b"{\"format\": 3, \"sealed\": \"...\"}".to_vec(), "has format 3; this version reads 2"),
        ("older", with("\"format\": 1", "\"format\": 0"), "has the unknown format 0"),
        ("spaces", b" \n\n".to_vec(), "is empty"),
        ("tail", [good.as_bytes(), b"}"].concat(), "is no portal record"),
        ("torn", good.as_bytes()[..good.len() / 2].to_vec(), "ends too early"),
        ("twice", with("\"format\": 1", "\"format\": 1, \"format\": 1"), "is no portal record"),
        ("type", with("\"format\": 1", "\"format\": \"1\""), "is no portal record"),
        ("zeros", vec![0; 512], "is no portal record"),
    ]
}

#[test]
fn what_cannot_be_read_is_named_kept_and_never_written_over() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path();
    open(dir).registry.store(&record("good", "s3cr3t")).expect("stored");
    let files = foreign(&fs::read_to_string(dir.join("good.json")).expect("read"));
    for (name, bytes, _) in &files {
        fs::write(dir.join(format!("{name}.json")), bytes).expect("written");
    }
    fs::write(dir.join("README"), "not ours").expect("written");
    let Opened { registry, records, refused } = open(dir);
    assert_eq!(records.len(), 1);
    assert_eq!(refused.len(), files.len());
    for ((name, bytes, wrong), file) in files.iter().zip(&refused) {
        let path = dir.join(format!("{name}.json"));
        assert_eq!(file.path, path);
        assert!(file.wrong.starts_with(wrong) && !file.wrong.contains("s3cr3t"), "{name}: {}", file.wrong);
        assert!(matches!(registry.store(&record(name, "2")), Err(RegistryError::Kept { .. })), "{name}");
        assert!(matches!(registry.remove(&id(name)), Err(RegistryError::Kept { .. })), "{name}");
        assert_eq!(fs::read(path).expect("kept"), *bytes, "{name}");
    }
    registry.store(&record("good", "2")).expect("the others go on");
}

#[test]
fn what_is_no_file_is_named_and_hinders_nobody_else() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path();
    open(dir).registry.store(&record("good", "1")).expect("stored");
    fs::create_dir(dir.join("folder.json")).expect("created");
    fs::create_dir(dir.join(".a.json.tmp")).expect("created");
    std::os::unix::fs::symlink("loop.json", dir.join("loop.json")).expect("linked");
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket.json")).expect("bound");
    let opened = open(dir);
    let refused: Vec<_> = opened.refused.iter().filter_map(|file| file.path.file_name()?.to_str()).collect();
    assert_eq!(refused, [".a.json.tmp", "folder.json", "loop.json", "socket.json"]);
    assert!(matches!(opened.registry.store(&record("socket", "2")), Err(RegistryError::Kept { .. })));
    assert!(matches!(opened.registry.store(&record("a", "2")), Err(RegistryError::Io { .. })));
    opened.registry.store(&record("good", "2")).expect("the others go on");
    assert_eq!(opened.records.len(), 1);
}

#[test]
fn a_lock_file_with_anything_in_it_is_taken() {
    let root = tempfile::tempdir().expect("a directory");
    for left in [&b""[..], b"\xff\xfe", b"999999999999999999999999", &[b'7'; 100_000]] {
        fs::write(root.path().join(LOCK_FILE), left).expect("written");
        drop(open(root.path()));
        assert_eq!(fs::read_to_string(root.path().join(LOCK_FILE)).expect("read"), format!("{}\n", std::process::id()));
    }
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
