//! A log store over another: everything goes through, but for what the layer does itself.

use std::io;
use std::ops::Range;

use rotary_storage::{Done, Group, LogEntry, LogStats, LogStore, Space};

/// What a layer may do otherwise than the store beneath it. What it leaves out goes through.
pub(crate) trait Layer: Send + Sync + 'static {
    /// The store beneath.
    fn beneath(&self) -> &dyn LogStore;

    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done) {
        self.beneath().append(group, entries, done);
    }

    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done) {
        self.beneath().save_vote(group, bytes, done);
    }

    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done) {
        self.beneath().truncate_after(group, last, done);
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        self.beneath().purge(group, through, mark, done);
    }

    fn read(&self, group: Group, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        self.beneath().read(group, range, bytes_max)
    }
}

/// A layer as the log store that it is.
pub(crate) struct Layered<L>(pub(crate) L);

impl<L: Layer> LogStore for Layered<L> {
    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done) {
        self.0.append(group, entries, done);
    }

    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done) {
        self.0.save_vote(group, bytes, done);
    }

    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done) {
        self.0.truncate_after(group, last, done);
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        self.0.purge(group, through, mark, done);
    }

    fn save_lazily(&self, group: Group, name: &'static str, bytes: Vec<u8>) {
        self.0.beneath().save_lazily(group, name, bytes);
    }

    fn read(&self, group: Group, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        self.0.read(group, range, bytes_max)
    }

    fn last(&self, group: Group) -> io::Result<Option<LogEntry>> {
        self.0.beneath().last(group)
    }

    fn vote(&self, group: Group) -> io::Result<Option<Vec<u8>>> {
        self.0.beneath().vote(group)
    }

    fn purged(&self, group: Group) -> io::Result<Option<(u64, Vec<u8>)>> {
        self.0.beneath().purged(group)
    }

    fn saved(&self, group: Group, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        self.0.beneath().saved(group, name)
    }

    fn was_cut(&self, group: Group) -> io::Result<bool> {
        self.0.beneath().was_cut(group)
    }

    fn clear_cut(&self, group: Group, done: Done) {
        self.0.beneath().clear_cut(group, done);
    }

    fn space(&self) -> Space {
        self.0.beneath().space()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.beneath().flush()
    }

    fn stats(&self) -> LogStats {
        self.0.beneath().stats()
    }
}
