//! A log store that forgets: for tests and as the oracle of the one that does not.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::log_store::{Done, Group, LogEntry, LogStats, LogStore};

/// Keeps everything in memory and calls every write durable at once.
#[derive(Debug, Default)]
pub struct MemoryLog {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    groups: BTreeMap<Group, GroupLog>,
    stats: LogStats,
}

#[derive(Debug, Default)]
struct GroupLog {
    entries: BTreeMap<u64, Arc<[u8]>>,
    vote: Option<Vec<u8>>,
    purged: Option<(u64, Vec<u8>)>,
    saved: BTreeMap<&'static str, Vec<u8>>,
    was_cut: bool,
}

impl MemoryLog {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Behaves from here on as if opening the store had cut the end of that group off.
    pub fn set_cut(&self, group: Group) {
        self.lock().groups.entry(group).or_default().was_cut = true;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds this lock, except on a log hole")
    }

    fn write(&self, group: Group, done: Done, change: impl FnOnce(&mut GroupLog) -> u64) {
        {
            let mut inner = self.lock();
            let entries = change(inner.groups.entry(group).or_default());
            inner.stats.syncs += 1;
            inner.stats.batches += 1;
            inner.stats.operations += 1;
            inner.stats.entries += entries;
        }
        done(Ok(()));
    }

    fn read_group<T: Default>(&self, group: Group, read: impl FnOnce(&GroupLog) -> T) -> T {
        self.lock().groups.get(&group).map(read).unwrap_or_default()
    }
}

impl LogStore for MemoryLog {
    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done) {
        self.write(group, done, |log| {
            let count = entries.len() as u64;
            for entry in entries {
                let last = log.entries.last_key_value().map(|(index, _)| *index);
                assert!(last.is_none_or(|last| last + 1 == entry.index), "a hole in group {group}");
                log.entries.insert(entry.index, entry.bytes);
            }
            count
        });
    }

    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done) {
        self.write(group, done, |log| {
            log.vote = Some(bytes);
            0
        });
    }

    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done) {
        self.write(group, done, |log| {
            log.entries.split_off(&last.map_or(0, |last| last + 1));
            0
        });
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        self.write(group, done, |log| {
            log.entries = log.entries.split_off(&(through + 1));
            log.purged = Some((through, mark));
            0
        });
    }

    fn save_lazily(&self, group: Group, name: &'static str, bytes: Vec<u8>) {
        self.lock().groups.entry(group).or_default().saved.insert(name, bytes);
    }

    fn read(&self, group: Group, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        Ok(self.read_group(group, |log| {
            let mut bytes_read = 0;
            let in_range = log.entries.range(range.start..range.end.max(range.start));
            in_range
                .take_while(|(_, bytes)| {
                    let room = bytes_read == 0 || bytes_read + bytes.len() <= bytes_max;
                    bytes_read += bytes.len().max(1);
                    room
                })
                .map(|(index, bytes)| LogEntry { index: *index, bytes: bytes.clone() })
                .collect()
        }))
    }

    fn last(&self, group: Group) -> io::Result<Option<LogEntry>> {
        Ok(self.read_group(group, |log| {
            let (index, bytes) = log.entries.last_key_value()?;
            Some(LogEntry { index: *index, bytes: bytes.clone() })
        }))
    }

    fn vote(&self, group: Group) -> io::Result<Option<Vec<u8>>> {
        Ok(self.read_group(group, |log| log.vote.clone()))
    }

    fn purged(&self, group: Group) -> io::Result<Option<(u64, Vec<u8>)>> {
        Ok(self.read_group(group, |log| log.purged.clone()))
    }

    fn saved(&self, group: Group, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.read_group(group, |log| log.saved.get(name).cloned()))
    }

    fn was_cut(&self, group: Group) -> io::Result<bool> {
        Ok(self.read_group(group, |log| log.was_cut))
    }

    fn clear_cut(&self, group: Group, done: Done) {
        self.write(group, done, |log| {
            log.was_cut = false;
            0
        });
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn stats(&self) -> LogStats {
        self.lock().stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_contract() {
        crate::contract::check(&MemoryLog::new());
    }

    #[test]
    fn keeps_what_interleaved_operations_come_to() {
        crate::contract::check_interleaving(&MemoryLog::new(), 1);
    }

    #[test]
    fn a_cut_can_be_had_and_cleared() {
        let log = MemoryLog::new();
        log.set_cut(3);
        assert_eq!((log.was_cut(3).ok(), log.was_cut(4).ok()), (Some(true), Some(false)));
        crate::contract::durably(|done| log.clear_cut(3, done));
        assert_eq!(log.was_cut(3).ok(), Some(false));
    }
}
