//! What attached files may take.

use std::time::Duration;

use rotary_proto::limits::BLOB_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::Keep;

/// Bounds of blobs on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blobs {
    /// Of one file.
    pub(crate) upload_bytes_max: u64,
    /// Of all of them on this node's disk.
    pub(crate) disk_bytes_max: u64,
    /// How long one that no message names is kept.
    pub(crate) unnamed_keep: Keep,
    /// Of one credential.
    pub(crate) uploads_per_minute_max: u32,
    /// Of one credential.
    pub(crate) unnamed_bytes_max: u64,
}

impl Default for Blobs {
    fn default() -> Self {
        Self {
            upload_bytes_max: 16 * 1024 * 1024,
            disk_bytes_max: 64 * 1024 * 1024 * 1024,
            unnamed_keep: Keep(Some(Duration::from_secs(24 * 3_600))),
            uploads_per_minute_max: 60,
            unnamed_bytes_max: 256 * 1024 * 1024,
        }
    }
}

impl Blobs {
    /// How long a blob that no message names is kept.
    pub(crate) fn unnamed_keep(&self) -> Duration {
        self.unnamed_keep.0.unwrap_or(Duration::MAX)
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=BLOB_BYTES_MAX).contains(&self.upload_bytes_max) {
            let bytes = self.upload_bytes_max;
            return Err(format!("blobs.upload_bytes_max is {bytes}; 1 to {BLOB_BYTES_MAX}"));
        }
        if self.uploads_per_minute_max == 0 {
            return Err("blobs.uploads_per_minute_max is 0; at least 1".to_owned());
        }
        if self.unnamed_bytes_max < self.upload_bytes_max {
            let (all, one) = (self.unnamed_bytes_max, self.upload_bytes_max);
            return Err(format!(
                "blobs.unnamed_bytes_max is {all}; at least blobs.upload_bytes_max, which is {one}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_their_bounds_are_named() {
        assert_eq!(Blobs::default().check(), Ok(()));
        let wrong = |change: fn(&mut Blobs)| {
            let mut blobs = Blobs::default();
            change(&mut blobs);
            blobs.check().expect_err("out of bounds")
        };
        assert!(wrong(|it| it.upload_bytes_max = 0).contains("upload_bytes_max is 0"));
        assert!(wrong(|it| it.upload_bytes_max = BLOB_BYTES_MAX + 1).contains("upload_bytes_max"));
        assert!(wrong(|it| it.uploads_per_minute_max = 0).contains("at least 1"));
        assert!(wrong(|it| it.unnamed_bytes_max = 1).contains("unnamed_bytes_max is 1"));
    }
}
