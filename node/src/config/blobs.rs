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
    /// What of that may be one tenant's, in percent.
    pub(crate) tenant_disk_percent_max: u8,
    /// How long one that no message names is kept.
    pub(crate) unnamed_keep: Keep,
    /// At which they are read again to find damage; not at all, if 0.
    pub(crate) scrub_bytes_per_second: u64,
    /// Of one credential.
    pub(crate) uploads_per_minute_max: u32,
    /// Of one credential.
    pub(crate) unnamed_bytes_max: u64,
    /// Of one site.
    pub(crate) site_unnamed_bytes_max: u64,
}

impl Default for Blobs {
    fn default() -> Self {
        Self {
            upload_bytes_max: 16 * 1024 * 1024,
            disk_bytes_max: 64 * 1024 * 1024 * 1024,
            tenant_disk_percent_max: 50,
            unnamed_keep: Keep(Some(Duration::from_secs(24 * 3_600))),
            scrub_bytes_per_second: 4 * 1024 * 1024,
            uploads_per_minute_max: 60,
            unnamed_bytes_max: 256 * 1024 * 1024,
            site_unnamed_bytes_max: 4 * 1024 * 1024 * 1024,
        }
    }
}

impl Blobs {
    /// How long a blob that no message names is kept.
    pub(crate) fn unnamed_keep(&self) -> Duration {
        self.unnamed_keep.0.unwrap_or(Duration::MAX)
    }

    /// Bytes of one tenant on this node's disk.
    pub(crate) fn tenant_disk_bytes_max(&self) -> u64 {
        let bytes = u128::from(self.disk_bytes_max) * u128::from(self.tenant_disk_percent_max);
        u64::try_from(bytes / 100).unwrap_or(u64::MAX)
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
        if !(1..=100).contains(&self.tenant_disk_percent_max) {
            let percent = self.tenant_disk_percent_max;
            return Err(format!("blobs.tenant_disk_percent_max is {percent}; 1 to 100"));
        }
        if self.unnamed_bytes_max < self.upload_bytes_max {
            let (all, one) = (self.unnamed_bytes_max, self.upload_bytes_max);
            return Err(format!(
                "blobs.unnamed_bytes_max is {all}; at least blobs.upload_bytes_max, which is {one}"
            ));
        }
        if self.site_unnamed_bytes_max < self.unnamed_bytes_max {
            let (all, one) = (self.site_unnamed_bytes_max, self.unnamed_bytes_max);
            return Err(format!(
                "blobs.site_unnamed_bytes_max is {all}; at least blobs.unnamed_bytes_max, which \
                 is {one}"
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
        assert!(wrong(|it| it.site_unnamed_bytes_max = 1).contains("site_unnamed_bytes_max is 1"));
        for percent in [0, 101] {
            let blobs = Blobs { tenant_disk_percent_max: percent, ..Blobs::default() };
            assert!(blobs.check().is_err_and(|text| text.contains("disk_percent_max")));
        }
    }

    #[test]
    fn a_tenant_has_its_part_of_any_disk() {
        let part = |disk_bytes_max, tenant_disk_percent_max| {
            let blobs = Blobs { disk_bytes_max, tenant_disk_percent_max, ..Blobs::default() };
            blobs.tenant_disk_bytes_max()
        };
        assert_eq!((part(1_000, 25), part(u64::MAX, 100)), (250, u64::MAX));
    }
}
