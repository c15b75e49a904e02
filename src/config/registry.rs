//! `[registry]`: where portals and their tokens are kept.

use std::path::PathBuf;

/// `[registry]`
#[derive(Clone, Debug)]
pub enum Registry {
    /// `kind = "file"`: one process, a directory, one file per portal.
    File {
        /// The directory; created if it is missing.
        path: PathBuf,
    },
}
