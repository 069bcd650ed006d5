//! Why a segment log cannot be opened, and how to mend it.

use std::io;
use std::path::{Path, PathBuf};

use crate::segment_format::FORMAT;

/// Why a [`crate::SegmentLog`] cannot be opened. Nothing has been changed on the disk then.
#[derive(Debug, thiserror::Error)]
pub enum SegmentLogError {
    /// The disk refused something.
    #[error("{path}: {source}")]
    Disk {
        /// What was being used.
        path: PathBuf,
        /// What the disk says.
        source: io::Error,
    },
    /// Bytes are not what was written, and it is not the end of a write that was interrupted.
    #[error(
        "{path} is damaged at byte {offset}: {what}. Set the data directory aside and let this \
         node be rebuilt from its peers"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A segment is not there, or everything but the segments is.
    #[error(
        "{path} is missing, and the log needs it. Put it back, or set the data directory aside and \
         let this node be rebuilt from its peers"
    )]
    Missing {
        /// The segment.
        path: PathBuf,
    },
    /// The log of another node or cluster.
    #[error(
        "{path} belongs to log {found:032x}, this node's is {expected:032x}: correct data_dir, and \
         never copy a log between nodes"
    )]
    OtherLog {
        /// The segment.
        path: PathBuf,
        /// Whose it is.
        found: u128,
        /// Whose was asked for.
        expected: u128,
    },
    /// A later release wrote it.
    #[error(
        "{path} has log format {found}, this build reads {FORMAT}: run the release that wrote it"
    )]
    UnknownFormat {
        /// The segment.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The directory holds something, and no log.
    #[error("{path} is no log and not empty (it holds {found}): point data_dir elsewhere")]
    NotALog {
        /// The directory.
        path: PathBuf,
        /// One thing found there.
        found: String,
    },
    /// Sizes that do not go together.
    #[error("the log's options are wrong: {0}")]
    Options(&'static str),
}

impl SegmentLogError {
    pub(crate) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), offset, what: what.into() }
    }

    /// Names the path that a disk error is about.
    pub(crate) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| Self::Disk { path, source }
    }
}

impl From<SegmentLogError> for io::Error {
    fn from(error: SegmentLogError) -> Self {
        let kind = match &error {
            SegmentLogError::Disk { source, .. } => source.kind(),
            SegmentLogError::Options(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
