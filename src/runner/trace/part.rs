//! The file that a trace is written to, and the one before it.
//!
//! A file that exists is gone on with, so that a restart does not destroy what led to it. One that has reached its limit
//! is renamed to `FILE.1`, and whatever had that name is gone: a trace takes twice the limit at most.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::TraceError;

/// A file that is being written.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    limit: u64,
}

impl Part {
    /// Opens `path` behind what it holds already; nobody else may write to it.
    ///
    /// # Errors
    /// Why it cannot be written. What it holds is untouched then.
    pub fn open(path: &Path, limit: u64) -> Result<Self, TraceError> {
        let failed = |source| TraceError::Io { path: path.to_path_buf(), source };
        match fs::metadata(path) {
            // Renaming a device or a pipe would do harm, and there is no way back in it.
            Ok(found) if !found.is_file() => return Err(TraceError::NoFile(path.to_path_buf())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let open = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let mut file = open.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TraceError::Locked(path.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let bytes = whole_lines(&mut file).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::new(file), bytes, limit })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `more` bytes fit. An empty file takes a line of any length.
    pub fn has_room(&self, more: usize) -> bool {
        self.bytes == 0 || self.bytes + more as u64 <= self.limit
    }

    /// Goes on in a new file; the present one is renamed.
    ///
    /// # Errors
    /// Why there is no new file.
    pub fn turn(&mut self) -> Result<(), TraceError> {
        let failed = |source| TraceError::Io { path: self.path.clone(), source };
        self.file.flush().map_err(failed)?;
        fs::rename(&self.path, former(&self.path)).map_err(failed)?;
        *self = Self::open(&self.path, self.limit)?;
        Ok(())
    }

    /// Writes one line, which ends with its line feed.
    ///
    /// # Errors
    /// Why it is not written, or only in part.
    pub fn write(&mut self, line: &[u8]) -> Result<(), TraceError> {
        self.bytes += line.len() as u64;
        self.file.write_all(line).map_err(|source| TraceError::Io { path: self.path.clone(), source })
    }

    /// Hands everything that was written to the system.
    ///
    /// # Errors
    /// Why it is not written, or only in part.
    pub fn flush(&mut self) -> Result<(), TraceError> {
        self.file.flush().map_err(|source| TraceError::Io { path: self.path.clone(), source })
    }
}

/// Where the file before the present one is.
pub fn former(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Ends a line that a killed process has broken off, so that the next one is whole. Returns the length.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(0);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(length);
    }
    file.write_all(b"\n")?;
    Ok(length + 1)
}
