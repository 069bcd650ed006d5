//! Which build this is, and what builds for harnesses do on purpose.
//!
//! A build with the feature `chaos` plants a bug that `ROTARY_PLANTED` names
//! ([`rotary_proto::planted`]), lets the disk fail where `ROTARY_FAILPOINTS` says
//! (`rotary_storage::Failpoints`), and can apply the versions of the logic that `ROTARY_LOGIC`
//! says, as `OLDEST-NEWEST`: so one binary is two builds, between which upgrades are rehearsed. One
//! with the feature `simulated` can be a node in a simulated world. No build that serves has
//! either; one that does says so in its version and in its log. A build of the whole workspace has
//! both, since the harness asks for them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rotary_distributor::LOGIC_VERSIONS;
use rotary_proto::LogicVersions;
use rotary_storage::{Disk, FileDisk};

use crate::config::ConfigError;

/// Its version, and what it must not be used for.
#[cfg(not(any(feature = "chaos", feature = "simulated")))]
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Its version, and what it must not be used for.
#[cfg(feature = "chaos")]
pub(crate) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (chaos build: plants bugs on purpose, never serve with it)"
);
/// Its version, and what it must not be used for.
#[cfg(all(feature = "simulated", not(feature = "chaos")))]
pub(crate) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (simulated build: its clocks and secrets can be set, never serve with it)"
);

/// What nodes and clients know this build by.
pub(crate) fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| match logic() {
        LOGIC_VERSIONS => env!("CARGO_PKG_VERSION").to_owned(),
        LogicVersions { oldest, newest } => {
            format!("{}-logic.{oldest}.{newest}", env!("CARGO_PKG_VERSION"))
        }
    })
}

/// The versions of the logic that it can apply.
pub(crate) fn logic() -> LogicVersions {
    #[cfg(feature = "chaos")]
    return chaos::logic().unwrap_or(LOGIC_VERSIONS);
    #[cfg(not(feature = "chaos"))]
    LOGIC_VERSIONS
}

/// Says in the log which build this is, if it is none that serves, and begins to do what it is for.
///
/// # Errors
/// [`ConfigError`] for a bug that there is not.
pub(crate) fn begin() -> Result<(), ConfigError> {
    if VERSION != env!("CARGO_PKG_VERSION") {
        tracing::warn!(version = VERSION, "this build is for harnesses: do not serve with it");
    }
    #[cfg(feature = "chaos")]
    chaos::plant()?;
    Ok(())
}

/// The disk that the data directory is on.
///
/// # Errors
/// [`ConfigError`] for failures that there are not.
pub(crate) fn disk(data: &Path) -> Result<Arc<dyn Disk>, ConfigError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk);
    #[cfg(feature = "chaos")]
    return chaos::failing(disk, data);
    #[cfg(not(feature = "chaos"))]
    {
        let _only_harnesses_ask = data;
        Ok(disk)
    }
}

#[cfg(feature = "chaos")]
mod chaos {
    use std::path::Path;
    use std::sync::Arc;

    use rotary_distributor::{LOGIC_VERSIONS, REHEARSED_LOGIC};
    use rotary_proto::LogicVersions;
    use rotary_proto::planted::{self, Planted};
    use rotary_storage::{Disk, FailingDisk, Failpoints};

    use crate::config::ConfigError;

    /// Names the bug that this process has.
    const PLANTED: &str = "ROTARY_PLANTED";
    /// Says where the disk fails.
    const FAILPOINTS: &str = "ROTARY_FAILPOINTS";
    /// Says which versions of the logic can be applied.
    const LOGIC: &str = "ROTARY_LOGIC";

    /// The oldest and the newest version, as the environment has them.
    struct Logic(LogicVersions);

    impl std::str::FromStr for Logic {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let read = |text: &str| text.parse::<u32>().ok();
            let range = text.split_once('-').and_then(|(oldest, newest)| {
                Some(LogicVersions { oldest: read(oldest)?, newest: read(newest)? })
            });
            let known = |range: &LogicVersions| range.newest <= REHEARSED_LOGIC;
            let range = range.filter(|range| range.is_valid()).filter(known);
            range.map(Self).ok_or_else(|| {
                let text: String = text.chars().take(64).collect();
                format!("{text:?} are no versions; from 1-1 to {REHEARSED_LOGIC}-{REHEARSED_LOGIC}")
            })
        }
    }

    /// The versions of the logic that the environment names.
    pub(super) fn logic() -> Result<LogicVersions, ConfigError> {
        Ok(read::<Logic>(LOGIC)?.map_or(LOGIC_VERSIONS, |Logic(range)| range))
    }

    /// Plants what the environment names.
    pub(super) fn plant() -> Result<(), ConfigError> {
        let can = logic()?;
        if can != LOGIC_VERSIONS {
            tracing::warn!(%can, "versions of the logic are rehearsed");
        }
        if let Some(bug) = read::<Planted>(PLANTED)? {
            tracing::warn!(bug = bug.name(), "a bug is planted");
            planted::plant(bug);
        }
        Ok(())
    }

    /// The disk, failing where the environment says.
    pub(super) fn failing(disk: Arc<dyn Disk>, data: &Path) -> Result<Arc<dyn Disk>, ConfigError> {
        let Some(points) = read::<Failpoints>(FAILPOINTS)? else { return Ok(disk) };
        tracing::warn!(?points, "the disk fails on purpose");
        Ok(Arc::new(FailingDisk::new(disk, data.to_owned(), points)))
    }

    /// A variable of the environment; nothing if it is absent or empty.
    fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
        name: &str,
    ) -> Result<Option<T>, ConfigError> {
        let wrong = |what: &dyn std::fmt::Display| ConfigError::Value(format!("{name}: {what}"));
        let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let text = text.to_str().ok_or_else(|| wrong(&"it is not UTF-8"))?;
        text.parse().map(Some).map_err(|error| wrong(&error))
    }
}
