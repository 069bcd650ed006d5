//! Why a blob cannot be written or read.

use std::io;
use std::path::{Path, PathBuf};

/// Why a blob cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no room for it; nothing else is harmed.
    #[error("no room for the blob: {0}")]
    Full(String),
    /// Whoever it is of has what one may have; others have room.
    #[error("no room for the blob: its owner's take {used} of {owner_bytes_max} bytes")]
    OwnerFull {
        /// Bytes that they take.
        used: u64,
        /// Bytes that they may take.
        owner_bytes_max: u64,
    },
    /// The disk failed.
    #[error("blob {path}: {source}")]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A newer build wrote it: it is whole, and nothing is done to it.
    #[error("blob {path}: {what}; run a build that is no older than the one that wrote it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// What this build does not know.
        what: String,
    },
    /// Bytes that were durable are damaged. Another replica has them.
    #[error("blob {path} is damaged at byte {offset}: {what}; it is fetched from another replica")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage starts.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

impl BlobError {
    pub(crate) fn damaged(offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { path: PathBuf::new(), offset, what: what.into() }
    }

    /// The same, of the file that it is about.
    pub(crate) fn at(self, file: &Path) -> Self {
        match self {
            Self::Damaged { offset, what, .. } => {
                Self::Damaged { path: file.to_owned(), offset, what }
            }
            other => other,
        }
    }

    /// What the disk said about a file: that it is full, or anything else.
    pub(crate) fn of(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full(format!("{}: {source}", path.display()))
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}
