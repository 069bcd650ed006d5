//! Who does a writer's work.

use std::fmt;
use std::sync::Arc;

/// Who does the work of a log's or a journal's writer.
#[derive(Clone, Default)]
pub enum Drive {
    /// A thread of its own.
    #[default]
    Thread,
    /// Whoever calls [`crate::SegmentLog::pump`] or [`crate::Journal::pump`]. The callback says
    /// that there is something to do; it may be called under a lock, and must call nothing back.
    /// Nothing blocks: a call that finds the queue full pumps.
    Manual(Arc<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread => "Thread",
            Self::Manual(_) => "Manual",
        })
    }
}
