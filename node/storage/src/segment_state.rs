//! What the callers of a segment log and its writer share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::disk::DiskFile;
use crate::log_store::{Done, Group, LogEntry, LogStats, Space};
use crate::segment_format::ENTRY_HEADER_BYTES;
use crate::segment_head::{Head, Home};
use crate::segment_index::{Cut, Index, Values};
use crate::segment_options::{Drive, SegmentLogOptions};
use crate::segment_recovery::Recovered;
use crate::tail::Tail;

/// Bytes of the tail that a group has at least, however many share the memory.
const TAIL_BYTES_MIN: usize = 64 * 1024;

/// What callers and the writer share.
pub(crate) struct Shared {
    pub(crate) home: Home,
    pub(crate) options: SegmentLogOptions,
    pub(crate) state: Mutex<State>,
    /// The queue has something, or the store closes: wakes the writer.
    pub(crate) filled: Condvar,
    /// A batch is done: wakes callers that wait for room.
    pub(crate) drained: Condvar,
    pub(crate) disk_reads: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    /// What callers see.
    pub(crate) groups: BTreeMap<Group, GroupState>,
    pub(crate) cut: Cut,
    /// What is durable.
    pub(crate) index: Index,
    pub(crate) files: BTreeMap<u32, Arc<dyn DiskFile>>,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) queue_bytes: usize,
    /// Values to go with the next batch.
    pub(crate) lazy: BTreeMap<(Group, &'static str), Vec<u8>>,
    pub(crate) lazy_bytes: usize,
    /// The number of the last write queued.
    pub(crate) ticket: u64,
    pub(crate) stats: LogStats,
    pub(crate) space: Option<Space>,
    /// Space has returned: the writer is to look.
    pub(crate) look_at_space: bool,
    pub(crate) failed: Option<String>,
    pub(crate) closing: bool,
}

#[derive(Debug, Default)]
pub(crate) struct GroupState {
    pub(crate) tail: Tail,
    /// First and last index that exist, durable or not.
    pub(crate) bounds: Option<(u64, u64)>,
    pub(crate) values: Values,
}

/// One call on its way to the disk.
pub(crate) struct Queued {
    pub(crate) ticket: u64,
    pub(crate) group: Group,
    pub(crate) operations: Vec<Operation>,
    pub(crate) bytes: usize,
    pub(crate) done: Done,
}

pub(crate) enum Operation {
    Append(LogEntry),
    Vote(Vec<u8>),
    Truncate(u64),
    Purge(u64, Vec<u8>),
    ClearCut,
}

impl Operation {
    /// At least what its record takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        ENTRY_HEADER_BYTES
            + match self {
                Self::Append(entry) => entry.bytes.len(),
                Self::Vote(bytes) | Self::Purge(_, bytes) => bytes.len(),
                Self::Truncate(_) | Self::ClearCut => 0,
            }
    }
}

impl State {
    /// What callers see of a log that was opened, and where it goes on.
    pub(crate) fn of(recovered: Recovered) -> (Self, Head) {
        let Recovered { head, index, files } = recovered;
        let mut state = Self { cut: index.cut.clone(), files, ..Self::default() };
        for (group, bounds, values) in index.groups() {
            let values = values.clone();
            state.groups.insert(group, GroupState { tail: Tail::default(), bounds, values });
        }
        state.index = index;
        (state, head)
    }

    /// Bytes of the tail that each group may have.
    pub(crate) fn tail_bytes_max(&self, options: &SegmentLogOptions) -> usize {
        let share = options.tail_bytes_max / self.groups.len().max(1);
        share.max(TAIL_BYTES_MIN.min(options.tail_bytes_max))
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic under this lock ends the process")
    }

    pub(crate) fn wake(&self) {
        match &self.options.drive {
            Drive::Thread => self.filled.notify_one(),
            Drive::Manual(wake) => wake(),
        }
    }
}
