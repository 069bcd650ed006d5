//! Why a backup cannot be made or read.

use std::path::{Path, PathBuf};

use crate::backup::store::StoreError;

/// Why there are no backups, or nothing can be made of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupFailure {
    #[error("{path}: {what}")]
    File { path: PathBuf, what: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Wrong(String),
}

pub(crate) fn of_file(path: &Path, what: impl std::fmt::Display) -> BackupFailure {
    BackupFailure::File { path: path.to_owned(), what: what.to_string() }
}
