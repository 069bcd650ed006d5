//! A log store that breaks its contract.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use rotary_storage::{Done, Group, LogEntry, LogStats, LogStore, Space};

use super::Bug;

/// A store, with a bug that concerns stores or with another one, which then does nothing here.
pub(crate) struct PlantedStore {
    pub(crate) store: Arc<dyn LogStore>,
    pub(crate) bug: Option<Bug>,
}

impl LogStore for PlantedStore {
    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done) {
        if self.bug == Some(Bug::AckBeforeSync) {
            done(Ok(()));
            return self.store.append(group, entries, Box::new(|_| ()));
        }
        self.store.append(group, entries, done);
    }

    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done) {
        if self.bug == Some(Bug::VoteForgotten) {
            return done(Ok(()));
        }
        self.store.save_vote(group, bytes, done);
    }

    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done) {
        let more = u64::from(self.bug == Some(Bug::TruncateTooMuch));
        self.store.truncate_after(group, last.map(|last| last.saturating_sub(more)), done);
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        self.store.purge(group, through, mark, done);
    }

    fn save_lazily(&self, group: Group, name: &'static str, bytes: Vec<u8>) {
        self.store.save_lazily(group, name, bytes);
    }

    fn read(&self, group: Group, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        self.store.read(group, range, bytes_max)
    }

    fn last(&self, group: Group) -> io::Result<Option<LogEntry>> {
        self.store.last(group)
    }

    fn vote(&self, group: Group) -> io::Result<Option<Vec<u8>>> {
        self.store.vote(group)
    }

    fn purged(&self, group: Group) -> io::Result<Option<(u64, Vec<u8>)>> {
        self.store.purged(group)
    }

    fn saved(&self, group: Group, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        self.store.saved(group, name)
    }

    fn was_cut(&self, group: Group) -> io::Result<bool> {
        self.store.was_cut(group)
    }

    fn clear_cut(&self, group: Group, done: Done) {
        self.store.clear_cut(group, done);
    }

    fn space(&self) -> Space {
        self.store.space()
    }

    fn flush(&self) -> io::Result<()> {
        self.store.flush()
    }

    fn stats(&self) -> LogStats {
        self.store.stats()
    }
}
