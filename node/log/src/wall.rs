//! The time of day: an annotation on every command, which no decision reads.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rotary_proto::Wall;

/// Says what time of day it is. It may be wrong and may jump.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Wall + Send + Sync>);

impl WallClock {
    /// The clock of the operating system; before 1970 it reads 0.
    pub fn system() -> Self {
        Self::with(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// A clock that reads what `read` says.
    pub fn with(read: impl Fn() -> Wall + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What it reads at this moment.
    pub fn now(&self) -> Wall {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}
