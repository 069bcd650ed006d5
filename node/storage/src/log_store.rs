//! The contract of a node's log: what its implementations promise.

use std::io;
use std::ops::Range;
use std::sync::Arc;

/// One of the logs that share a store; the number is the caller's.
pub type Group = u32;

/// Called once when a write is durable, or has failed. It runs on the writer's thread, so it must
/// be short and must not call back into the store.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place; dense within a group.
    pub index: u64,
    /// What the caller stores there.
    pub bytes: Arc<[u8]>,
}

/// What a store has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Calls of `fdatasync` (or what stands for it).
    pub syncs: u64,
    /// Batches written; each has one sync.
    pub batches: u64,
    /// Operations carried by those batches.
    pub operations: u64,
    /// Entries carried by those batches.
    pub entries: u64,
    /// Entries read from disk because the tail in memory did not have them.
    pub disk_reads: u64,
}

/// Whether there is room for new work on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// There is.
    Ok,
    /// Refuse new work: what is left is for votes and for what was accepted already.
    Low {
        /// Bytes that may still be written.
        free: u64,
        /// Bytes that must be free before new work is welcome again.
        wanted: u64,
    },
}

/// A durable log per group, all in one store with one writer.
///
/// Writes of one group take effect in the order of their calls. They are visible to reads when the
/// call returns, and durable when `done` is called with `Ok`. A write call may block while the
/// queue is full. Dropping the store loses what was queued and never acknowledged, as a crash
/// does; [`LogStore::flush`] first avoids that.
pub trait LogStore: Send + Sync + 'static {
    /// Appends entries whose indexes follow the last one of the group (or, in an empty group,
    /// start anywhere).
    ///
    /// # Panics
    /// Where the indexes leave a hole or overlap: that is a bug of the caller, and a log with a
    /// hole must not reach a disk.
    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done);

    /// Replaces the group's vote.
    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done);

    /// Removes every entry after `last`, or every entry if it is `None`.
    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done);

    /// Removes every entry up to and including `through`, and remembers `mark` as the bytes that
    /// describe it.
    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done);

    /// Writes a small named value with the group's next durable write. It costs no sync of its
    /// own, so it may be lost with everything that followed it.
    fn save_lazily(&self, group: Group, name: &'static str, bytes: Vec<u8>);

    /// The entries of `range` that exist, in order, at least one if the first exists, and no more
    /// than about `bytes_max` bytes of them.
    ///
    /// # Errors
    /// What the disk says.
    fn read(&self, group: Group, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>>;

    /// The last entry of the group.
    ///
    /// # Errors
    /// What the disk says.
    fn last(&self, group: Group) -> io::Result<Option<LogEntry>>;

    /// The group's vote.
    ///
    /// # Errors
    /// What the disk says.
    fn vote(&self, group: Group) -> io::Result<Option<Vec<u8>>>;

    /// The index and bytes given to the last [`LogStore::purge`] of the group.
    ///
    /// # Errors
    /// What the disk says.
    fn purged(&self, group: Group) -> io::Result<Option<(u64, Vec<u8>)>>;

    /// A value saved by [`LogStore::save_lazily`], durable or not.
    ///
    /// # Errors
    /// What the disk says.
    fn saved(&self, group: Group, name: &'static str) -> io::Result<Option<Vec<u8>>>;

    /// Whether opening the store cut a damaged end off, so that writes of this group that were
    /// acknowledged once may be missing. It stays so, over restarts, until
    /// [`LogStore::clear_cut`]. A store that cannot tell says `false`.
    ///
    /// # Errors
    /// What the disk says.
    fn was_cut(&self, group: Group) -> io::Result<bool>;

    /// Forgets that the group was cut: its owner has made sure that nothing is missing.
    fn clear_cut(&self, group: Group, done: Done);

    /// Whether the disk has room for new work; cheap enough to ask before each piece of it.
    fn space(&self) -> Space {
        Space::Ok
    }

    /// Has the store look at the disk, so that [`LogStore::space`] is true a moment later even
    /// while nothing is written. Does not wait.
    fn look_at_space(&self) {}

    /// Waits until everything queued so far, lazy values included, is durable.
    ///
    /// # Errors
    /// If the store has failed.
    fn flush(&self) -> io::Result<()>;

    /// What the store has done since it was opened.
    fn stats(&self) -> LogStats;
}
