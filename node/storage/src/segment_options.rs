//! How a segment log is sized, who drives it, and how it ends the process.

use std::fmt;
use std::sync::Arc;

use crate::fatal::Fatal;
use crate::segment_error::SegmentLogError;
use crate::segment_log::CALL_BYTES_MAX;

/// The longest segment: offsets in it have 32 bits, one batch beyond it included.
const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The longest step of zeros, in bytes.
const STEP_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How a [`crate::SegmentLog`] is sized, who drives it, and how it ends the process.
#[derive(Debug, Clone)]
pub struct SegmentLogOptions {
    /// Whose log it is: another one's is not opened. Unique to the node and not to be guessed.
    pub log_id: u128,
    /// A segment is closed before it grows beyond this, in bytes; at most 1 GiB.
    pub segment_bytes: u64,
    /// Zeros are written this far ahead of the log, in bytes.
    pub step_bytes: u64,
    /// A batch takes no further call once it has this many bytes.
    pub batch_bytes_max: usize,
    /// Durable entries that stay in memory, in bytes, shared evenly by the groups.
    pub tail_bytes_max: usize,
    /// Bytes queued for the writer before a write call blocks.
    pub queue_bytes_max: usize,
    /// Bytes kept aside for when the disk is full; 0 for none.
    pub reserve_bytes: u64,
    /// Bytes that have to be free on the disk for new work to be welcome.
    pub free_bytes_min: u64,
    /// What happens when a write or a sync fails.
    pub fatal: Fatal,
    /// Who writes.
    pub drive: Drive,
}

impl Default for SegmentLogOptions {
    fn default() -> Self {
        Self {
            log_id: 0,
            segment_bytes: 64 * 1024 * 1024,
            step_bytes: 1024 * 1024,
            batch_bytes_max: 4 * 1024 * 1024,
            tail_bytes_max: 64 * 1024 * 1024,
            queue_bytes_max: 64 * 1024 * 1024,
            reserve_bytes: 16 * 1024 * 1024,
            free_bytes_min: 256 * 1024 * 1024,
            fatal: Fatal::exit(),
            drive: Drive::Thread,
        }
    }
}

/// Who does the writer's work.
#[derive(Clone, Default)]
pub enum Drive {
    /// A thread of the log's own.
    #[default]
    Thread,
    /// Whoever calls [`crate::SegmentLog::pump`]. The callback says that there is something to do; it is
    /// called with no lock held, and must not pump by itself. Nothing blocks: a call that finds
    /// the queue full pumps.
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

/// Whether the sizes go together.
pub(crate) fn check(options: &SegmentLogOptions) -> Result<(), SegmentLogError> {
    let wrong = |what| Err(SegmentLogError::Options(what));
    if !(4096..=SEGMENT_BYTES_MAX).contains(&options.segment_bytes) {
        return wrong("segment_bytes is not between 4 KiB and 1 GiB");
    }
    if !(512..=STEP_BYTES_MAX).contains(&options.step_bytes) {
        return wrong("step_bytes is not between 512 bytes and 64 MiB");
    }
    if options.batch_bytes_max > CALL_BYTES_MAX {
        return wrong("batch_bytes_max is more than 256 MiB");
    }
    Ok(())
}
