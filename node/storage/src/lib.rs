//! Bytes on disk survive.
//!
//! Eight things live here, and none of them knows what its bytes mean:
//!
//! * [`Disk`]: the one door to files, [`FileDisk`] on the operating system's, [`SimulatedDisk`] in
//!   memory, where a power cut can be had at any write.
//! * [`LogStore`]: the durable log of a node, shared by all of its groups. [`SegmentLog`] keeps it
//!   in segments of its own on any [`Disk`], [`FjallLog`] in a library's files, [`MemoryLog`] in
//!   memory; all pass the same contract suite ([`contract`]).
//! * [`Journal`]: the record of what happened, per group and stream, read by position. It is
//!   derived from the log, so it is synced off the hot path and may lose its tail, never its
//!   middle. A hash chain says in one number what all of it says. [`Retention`] drops what is old.
//! * [`Snapshots`]: the state of a group at one index, whole or not at all.
//! * [`Notes`]: small facts for the next start.
//! * [`Lookup`]: where in the journal what is about what is, derived and made again at will.
//! * [`Blobs`]: content too large for the log, one file each, named by what it is.
//! * [`DataDir`]: the directory they live in, which one process of one node of one cluster owns.
//!
//! The rules:
//!
//! * A write is acknowledged by a callback, and only after `fdatasync` has returned.
//! * One `fdatasync` serves everything that was queued while the one before it ran. There are no
//!   timers: the running sync is the batching window.
//! * A failed sync ends the process at once ([`Fatal`]): nothing may be acknowledged on top of a
//!   disk whose state is unknown, and retrying a failed sync reports success without writing.
//! * A torn tail is cut, and the log says so until its owner has made sure that nothing is missing.
//!   Damage anywhere else is an error with a name, never a guess.
//! * A disk that fills up is told before it is full; what was accepted by then has room in reserve.
//!
//! What is deliberately absent: Raft, conversations, async. Writers are plain threads.

mod backup_file;
mod blob_error;
mod blob_file;
mod blob_used;
mod blobs;
pub mod contract;
mod data_dir;
mod dice;
mod disk;
mod drive;
#[cfg(feature = "failpoints")]
mod failpoints;
mod fatal;
mod fjall_log;
mod fjall_writer;
mod journal;
mod journal_chain;
mod journal_check;
mod journal_error;
mod journal_frame;
mod journal_group;
mod journal_heads;
mod journal_read;
mod journal_recovery;
mod journal_segment;
mod journal_transfer;
mod journal_upkeep;
mod journal_writer;
mod log_store;
mod lookup;
mod memory_log;
mod notes;
mod reserve;
mod retention;
mod segment_error;
mod segment_format;
mod segment_head;
mod segment_index;
mod segment_log;
mod segment_options;
mod segment_reader;
mod segment_recovery;
mod segment_scan;
mod segment_state;
mod segment_writer;
mod simulated_disk;
mod snapshots;
mod tail;

pub use backup_file::{
    BACKUP_END, BACKUP_PAYLOAD_BYTES_MAX, BACKUP_VERSION, BackupFileError, BackupFrames,
    backup_frame, backup_preamble,
};
pub use blob_error::BlobError;
pub use blob_file::{BlobDigest, BlobName, blob_digest};
pub use blobs::{BlobCheck, BlobReader, BlobRoom, BlobUse, BlobWriter, Blobs};
pub use data_dir::{DataDir, DataDirError, Identity};
pub use disk::{Disk, DiskFile, FileDisk, read_up_to};
pub use drive::Drive;
#[cfg(feature = "failpoints")]
pub use failpoints::{
    FailingDisk, FailpointError, Failpoints, TEXT_BYTES_MAX as FAILPOINTS_BYTES_MAX,
};
pub use fatal::{EXIT_BUILD, EXIT_DIVERGED, EXIT_PANIC, EXIT_STORAGE, Fatal};
pub use fjall_log::{FjallLog, FjallLogOptions};
pub use journal::{Journal, JournalOptions, JournalSegment};
pub use journal_chain::{ChainHash, JournalHead};
pub use journal_check::JournalCheck;
pub use journal_error::JournalError;
pub use journal_frame::JournalRecord;
pub use journal_read::JournalPage;
pub use journal_transfer::{CHUNK_BYTES_MAX, JournalBase, JournalChunk, Missing};
pub use log_store::{Done, Group, LogEntry, LogStats, LogStore, Space};
pub use lookup::{
    Earlier, Found, KeyList, Keys, LOOKUP_KEY_BYTES_MAX, Lookup, LookupError, LookupPosition,
    Progress, read_records,
};
pub use memory_log::MemoryLog;
pub use notes::{NOTE_BYTES_MAX, Notes};
pub use retention::{Bounds, Retention, Swept};
pub use segment_error::SegmentLogError;
pub use segment_log::SegmentLog;
pub use segment_options::SegmentLogOptions;
pub use simulated_disk::SimulatedDisk;
pub use snapshots::{
    FinishedSnapshot, SNAPSHOT_CHUNK_BYTES_MAX, SnapshotError, SnapshotId, SnapshotReader,
    SnapshotWriter, Snapshots,
};

#[cfg(test)]
#[path = "golden_tests.rs"]
mod golden;
