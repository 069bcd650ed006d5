//! Versions of the logic: which behaviour a replica applies entries by.
//!
//! A shard acts by one version from one entry to another, whichever builds its replicas run; an
//! entry of its own log raises it. A build can apply a range of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version that every shard begins with.
pub const FIRST_LOGIC: u32 = 1;

/// Which versions of the logic a build can apply, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogicVersions {
    /// The oldest; at least 1.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
}

impl LogicVersions {
    /// Whether what acts by that version can be applied.
    pub const fn include(self, version: u32) -> bool {
        self.oldest <= version && version <= self.newest
    }

    /// Whether there is any, and they are in order.
    pub const fn is_valid(self) -> bool {
        FIRST_LOGIC <= self.oldest && self.oldest <= self.newest
    }
}

impl fmt::Display for LogicVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { oldest, newest } = self;
        if oldest == newest { write!(f, "{oldest}") } else { write!(f, "{oldest} to {newest}") }
    }
}

/// Something acts by a version that a build cannot apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it acts by version {version} of the logic, and this build can apply {can}: {}",
    self.cure()
)]
pub struct UnfitBuild {
    /// The version that must be applied.
    pub version: u32,
    /// What the build can apply.
    pub can: LogicVersions,
}

impl UnfitBuild {
    const fn cure(self) -> &'static str {
        if self.version > self.can.newest {
            "a newer build is needed"
        } else {
            "an older build is needed"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_includes_both_its_ends() {
        let can = LogicVersions { oldest: 2, newest: 3 };
        assert_eq!([1, 2, 3, 4].map(|version| can.include(version)), [false, true, true, false]);
        assert_eq!(can.to_string(), "2 to 3");
        assert_eq!(LogicVersions { oldest: 1, newest: 1 }.to_string(), "1");
        assert!(can.is_valid() && !LogicVersions { oldest: 0, newest: 1 }.is_valid());
        assert!(!LogicVersions { oldest: 3, newest: 2 }.is_valid());
    }

    #[test]
    fn an_unfit_build_says_which_way_to_go() {
        let told = |version| {
            let can = LogicVersions { oldest: 2, newest: 2 };
            UnfitBuild { version, can }.to_string()
        };
        let newer = "it acts by version 3 of the logic, and this build can apply 2: a newer build \
                     is needed";
        assert_eq!(told(3), newer);
        assert!(told(1).ends_with("an older build is needed"), "{}", told(1));
    }
}
