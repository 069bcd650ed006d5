//! Where backups go, how often, and how a store of them is reached.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Keep;

/// Runs that may be kept.
const KEEP_MAX: usize = 10_000;
/// The slowest that a backup may be read, in bytes a second.
const PACE_MIN: u64 = 64 * 1024;

/// The store of backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    /// The store that nodes make backups in by themselves; none, if empty.
    pub(crate) to: String,
    /// Between the beginnings of two runs.
    pub(crate) every: Keep,
    /// Finished runs.
    pub(crate) keep: usize,
    /// As fast as it goes, if 0.
    pub(crate) bytes_per_second: u64,
    /// The base of an S3-compatible store; AWS's, if empty.
    pub(crate) endpoint: String,
    /// `us-east-1`, if empty.
    pub(crate) region: String,
    pub(crate) style: BucketStyle,
    /// The environment's keys alone, if empty.
    pub(crate) credentials_file: PathBuf,
    /// What the machine believes, if empty.
    pub(crate) ca_file: PathBuf,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            to: String::new(),
            every: Keep(Some(Duration::from_secs(24 * 3_600))),
            keep: 7,
            bytes_per_second: 16 * 1024 * 1024,
            endpoint: String::new(),
            region: String::new(),
            style: BucketStyle::Auto,
            credentials_file: PathBuf::new(),
            ca_file: PathBuf::new(),
        }
    }
}

impl Backup {
    /// How much time is between two runs.
    pub(crate) fn every(&self) -> Option<Duration> {
        self.every.0
    }

    /// Whether the store is a folder.
    pub(super) fn is_in_folder(&self) -> bool {
        !self.to.is_empty() && !self.to.contains("://")
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.to.contains("://") && !self.to.starts_with("s3://") {
            let to = &self.to;
            return Err(format!("backup.to is `{to}`; a folder, or s3://BUCKET/PREFIX"));
        }
        if self.every.0.is_none() {
            return Err("backup.every is no time; to make no backups leave backup.to empty".into());
        }
        if !(1..=KEEP_MAX).contains(&self.keep) {
            return Err(format!("backup.keep is {}; 1 to {KEEP_MAX}", self.keep));
        }
        if (1..PACE_MIN).contains(&self.bytes_per_second) {
            let pace = self.bytes_per_second;
            return Err(format!("backup.bytes_per_second is {pace}; at least {PACE_MIN}, or 0"));
        }
        Ok(())
    }
}

/// Where a bucket's name stands in the addresses of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BucketStyle {
    /// In the path, where an endpoint is named; else in the host.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the host.
    Host,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_their_bounds_are_named() {
        assert_eq!(Backup::default().check(), Ok(()));
        let wrong = |change: fn(&mut Backup)| {
            let mut backup = Backup::default();
            change(&mut backup);
            backup.check().expect_err("out of bounds")
        };
        assert!(wrong(|it| it.to = "http://x".to_owned()).contains("s3://BUCKET/PREFIX"));
        assert!(wrong(|it| it.every = Keep(None)).contains("leave backup.to empty"));
        assert!(wrong(|it| it.keep = 0).contains("backup.keep is 0"));
        assert!(wrong(|it| it.bytes_per_second = 1).contains("at least 65536, or 0"));
    }
}
