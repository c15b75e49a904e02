//! `[registry]`: where portals and their tokens are kept.

use std::path::PathBuf;

use super::{
    form::{Choice, Text},
    reader::{Named, Section},
};

/// `[registry]`
#[derive(Clone, Debug)]
pub enum Registry {
    /// `kind = "file"`: one process, a directory, one file per portal.
    File {
        /// The directory; created if it is missing.
        path: PathBuf,
    },
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Kafka,
}

impl Registry {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let kind = section.or(
            Named("kind", "Where portals and their tokens are kept: in files of this one process. This version does not offer kafka."),
            "\"file\"",
            &Choice(&[("file", Kind::File), ("kafka", Kind::Kafka)]),
        );
        let path = section.or(
            Named(
                "path",
                "The directory, relative to the working directory; it is created, and one process alone may use it.",
            ),
            "\"data\"",
            &Text,
        );
        if matches!(kind, Some(Kind::Kafka)) {
            section.fault(
                "kind",
                "is \"kafka\", which this version does not offer",
                "give \"file\" and run one replica",
            );
            // Its keys are not unknown; they just have no use yet.
            section.abandon();
            return None;
        }
        kind?;
        Some(Self::File { path: PathBuf::from(path?) })
    }
}
