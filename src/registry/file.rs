//! The registry in a directory: one file per portal, replaced atomically, for one process.
//!
//! A record is written to a temporary file in the same directory, synced, renamed over the old one, and the directory
//! is synced. A crash at any point leaves the old record or the new one, never a torn file.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{error::RegistryError, record::PortalRecord};
use crate::protocol::types::PortalId;

/// Held as long as the registry is open; it stays behind and holds the last process's number.
const LOCK_FILE: &str = "b24kafka.lock";
const SUFFIX: &str = ".json";
/// How the name of a file that is being written ends; it begins with a dot.
const TEMPORARY: &str = ".json.tmp";
/// A record is about a kilobyte; whatever is larger is none.
const FILE_LIMIT: u64 = 256 << 10;

/// The registry of this process. Its calls block on the disk.
#[derive(Debug)]
pub struct FileRegistry {
    dir: PathBuf,
    /// Names that were refused at the start and must not be written over.
    refused: BTreeSet<PathBuf>,
    /// One write at a time: two of one portal must not overtake each other.
    writing: Mutex<()>,
    _lock: File,
    #[cfg(test)]
    cut: Option<Cut>,
}

/// An opened registry and what was in it.
#[derive(Debug)]
pub struct Opened {
    /// The registry.
    pub registry: FileRegistry,
    /// Every record that could be read, by `member_id`.
    pub records: Vec<PortalRecord>,
    /// Every file that could not: it is kept, and its portal cannot be stored.
    pub refused: Vec<RefusedFile>,
}

/// A file that is no record of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, to be read behind the path; it holds nothing of the file.
    pub wrong: String,
}

impl RefusedFile {
    /// Whose record it should be, if its name is that of a record.
    pub fn portal(&self) -> Option<PortalId> {
        PortalId::new(self.path.file_name()?.to_str()?.strip_suffix(SUFFIX)?)
    }
}

/// Where a test lets the process die.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Before this step.
    step: Step,
    /// With so many bytes in the temporary file, if it comes to that.
    bytes: usize,
}

/// The steps of a write, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Write,
    SyncFile,
    Rename,
    SyncDirectory,
}

impl FileRegistry {
    /// Opens the directory, which is created for this user alone if it is missing; takes the lock, removes what a
    /// crash has left half written, and reads every record.
    ///
    /// # Errors
    /// [`RegistryError::Locked`] if another process has it; [`RegistryError::Io`] if the disk or a right fails. A file
    /// that is no record is no error: it is named in [`Opened::refused`].
    pub fn open(dir: &Path) -> Result<Opened, RegistryError> {
        create(dir)?;
        let lock = lock(dir)?;
        let mut records = Vec::new();
        let mut refused = Vec::new();
        let list = |source| io_error("read the directory", dir, source);
        for entry in fs::read_dir(dir).map_err(list)? {
            let path = entry.map_err(list)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') && name.ends_with(TEMPORARY) {
                // Not ours, but no reason to leave every portal alone: it is in the way of one at most.
                if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                    refused.push(RefusedFile { path, wrong: "is no file".into() });
                    continue;
                }
                fs::remove_file(&path).map_err(|source| io_error("remove", &path, source))?;
            } else if let Some(stem) = name.strip_suffix(SUFFIX) {
                match read(&path, stem) {
                    Ok(record) => records.push(record),
                    Err(wrong) => refused.push(RefusedFile { path, wrong }),
                }
            }
        }
        records.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        refused.sort_by(|a, b| a.path.cmp(&b.path));
        let registry = Self {
            dir: dir.to_path_buf(),
            refused: refused.iter().map(|file| file.path.clone()).collect(),
            writing: Mutex::new(()),
            _lock: lock,
            #[cfg(test)]
            cut: None,
        };
        Ok(Opened { registry, records, refused })
    }

    /// Stores a record so that it survives a crash from here on.
    ///
    /// # Errors
    /// [`RegistryError::Io`] with the path. The old record or the new one is on the disk then, and only the old one
    /// may be relied on. [`RegistryError::Kept`] if the portal's file was refused at the start.
    pub fn store(&self, record: &PortalRecord) -> Result<(), RegistryError> {
        let json = record
            .to_json()
            .map_err(|source| RegistryError::Unwritable { member_id: record.member_id.to_string(), source })?;
        let path = self.path(&record.member_id)?;
        let temporary = self.dir.join(format!(".{}{TEMPORARY}", record.member_id));
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.write(&temporary, &json).and_then(|()| {
            self.reach(Step::Rename, &path)?;
            fs::rename(&temporary, &path).map_err(|source| io_error("rename a file to", &path, source))
        });
        if let Err(error) = written {
            // A disk that is full should get its room back; if that fails too, the next start removes the file.
            if !self.is_cut() {
                fs::remove_file(&temporary).ok();
            }
            return Err(error);
        }
        self.sync_directory()
    }

    /// The record as it is stored now, if there is one.
    ///
    /// # Errors
    /// [`RegistryError::Kept`] if the file was refused at the start, or is no record any more.
    pub fn load(&self, member_id: &PortalId) -> Result<Option<PortalRecord>, RegistryError> {
        let path = self.path(member_id)?;
        let _not_while_it_is_written = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !path.exists() {
            return Ok(None);
        }
        read(&path, member_id.as_str()).map(Some).map_err(|_| RegistryError::Kept { path })
    }

    /// Forgets a portal, durably. Forgetting an unknown one is no error.
    ///
    /// # Errors
    /// [`RegistryError::Io`] with the path; [`RegistryError::Kept`] if the portal's file was refused at the start.
    pub fn remove(&self, member_id: &PortalId) -> Result<(), RegistryError> {
        let path = self.path(member_id)?;
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::remove_file(&path) {
            Ok(()) => self.sync_directory(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(io_error("remove", &path, source)),
        }
    }

    /// The portal's file. A `member_id` holds letters and digits only, so it leads nowhere else.
    fn path(&self, member_id: &PortalId) -> Result<PathBuf, RegistryError> {
        let path = self.dir.join(format!("{member_id}{SUFFIX}"));
        if self.refused.contains(&path) { Err(RegistryError::Kept { path }) } else { Ok(path) }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
        self.reach(Step::Create, path)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| io_error("create", path, source))?;
        let failed = |source| io_error("write", path, source);
        self.reach(Step::Write, path)?;
        file.write_all(self.written(bytes)).map_err(failed)?;
        self.reach(Step::SyncFile, path)?;
        file.sync_all().map_err(|source| io_error("sync", path, source))
    }

    fn sync_directory(&self) -> Result<(), RegistryError> {
        self.reach(Step::SyncDirectory, &self.dir)?;
        sync_directory(&self.dir)
    }

    /// Ends a write where a test wants the process to die: the error stands for the death.
    #[cfg(test)]
    fn reach(&self, step: Step, path: &Path) -> Result<(), RegistryError> {
        let dies = self.cut.is_some_and(|cut| cut.step == step);
        if dies { Err(io_error("survive at", path, io::Error::other("cut"))) } else { Ok(()) }
    }

    /// What of the record reaches the file before the process dies.
    #[cfg(test)]
    fn written<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let cut = self.cut.filter(|cut| cut.step == Step::SyncFile);
        bytes.get(..cut.map_or(bytes.len(), |cut| cut.bytes)).unwrap_or(bytes)
    }

    #[cfg(not(test))]
    fn written<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes
    }

    #[cfg(not(test))]
    fn reach(&self, _step: Step, _path: &Path) -> Result<(), RegistryError> {
        Ok(())
    }

    fn is_cut(&self) -> bool {
        #[cfg(test)]
        return self.cut.is_some();
        #[cfg(not(test))]
        return false;
    }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> RegistryError {
    RegistryError::Io { doing, path: path.to_path_buf(), source }
}

fn create(dir: &Path) -> Result<(), RegistryError> {
    if dir.is_dir() {
        return Ok(());
    }
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|source| io_error("create the directory", dir, source))?;
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

fn sync_directory(dir: &Path) -> Result<(), RegistryError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error("sync the directory", dir, source))
}

/// Takes the lock; it falls with the process, however that ends.
fn lock(dir: &Path) -> Result<File, RegistryError> {
    let path = dir.join(LOCK_FILE);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.map_err(|source| io_error("open", &path, source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message: the lock itself has decided.
            file.take(20).read_to_string(&mut pid).ok();
            return Err(RegistryError::Locked { dir: dir.to_path_buf(), pid: pid.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &path, source)),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|source| io_error("write", &path, source))?;
    Ok(file)
}

fn read(path: &Path, stem: &str) -> Result<PortalRecord, String> {
    let unreadable = |error: io::Error| format!("cannot be read ({error})");
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is no file".into());
    }
    let mut json = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut json)).map_err(unreadable)?;
    if json.len() as u64 > FILE_LIMIT {
        return Err(format!("is larger than {} KiB", FILE_LIMIT >> 10));
    }
    let record = PortalRecord::from_json(&json)?;
    if record.member_id.as_str() == stem {
        Ok(record)
    } else {
        Err(format!("holds the portal {} instead", record.member_id))
    }
}

#[cfg(test)]
mod tests;
