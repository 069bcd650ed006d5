//! The newest entries of one group in memory, so that replication does not read the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::log_store::LogEntry;

/// A dense run of entries that ends with the group's last one.
///
/// Each entry carries the ticket of the write that brought it. Entries whose ticket is not durable
/// stay whatever their size, because nothing else has them; older ones leave from the front when
/// the run exceeds its bytes.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<(u64, LogEntry)>,
    bytes: usize,
}

impl Tail {
    /// The first index held, if any.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(_, entry)| entry.index)
    }

    /// The last entry, if any is held.
    pub(crate) fn last(&self) -> Option<&LogEntry> {
        self.entries.back().map(|(_, entry)| entry)
    }

    pub(crate) fn push(&mut self, ticket: u64, entry: LogEntry) {
        debug_assert!(self.last().is_none_or(|last| last.index + 1 == entry.index));
        self.bytes += entry.bytes.len();
        self.entries.push_back((ticket, entry));
    }

    /// Drops everything after `last`.
    pub(crate) fn truncate_after(&mut self, last: Option<u64>) {
        let stays = |entry: &LogEntry| last.is_some_and(|last| entry.index <= last);
        while self.entries.back().is_some_and(|(_, entry)| !stays(entry)) {
            let (_, entry) = self.entries.pop_back().expect("the back was just seen");
            self.bytes -= entry.bytes.len();
        }
    }

    /// Drops everything up to and including `through`.
    pub(crate) fn purge(&mut self, through: u64) {
        while self.entries.front().is_some_and(|(_, entry)| entry.index <= through) {
            self.pop_front();
        }
    }

    /// Drops durable entries from the front until at most `bytes_max` remain.
    pub(crate) fn evict(&mut self, durable: u64, bytes_max: usize) {
        while self.bytes > bytes_max
            && self.entries.front().is_some_and(|(ticket, _)| *ticket <= durable)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some((_, entry)) = self.entries.pop_front() {
            self.bytes -= entry.bytes.len();
        }
    }

    /// The entries from `start` (which must not be before [`Tail::first`]) to before `end`.
    pub(crate) fn range(&self, start: u64, end: u64) -> impl Iterator<Item = &LogEntry> {
        let first = self.first().unwrap_or(start);
        let skip = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let entries = self.entries.iter().skip(skip).map(|(_, entry)| entry);
        entries.take_while(move |entry| entry.index < end)
    }
}

/// Collects entries until their bytes reach a bound, always taking the first.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) entries: Vec<LogEntry>,
    bytes: usize,
    bytes_max: usize,
}

impl Collector {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: Vec::new(), bytes: 0, bytes_max }
    }

    /// Takes the entry, or says that there is no room for it.
    pub(crate) fn take(&mut self, index: u64, bytes: Arc<[u8]>) -> bool {
        if !self.entries.is_empty() && self.bytes + bytes.len() > self.bytes_max {
            return false;
        }
        self.bytes += bytes.len();
        self.entries.push(LogEntry { index, bytes });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail() -> Tail {
        let mut tail = Tail::default();
        for index in 5..10 {
            tail.push(index, LogEntry { index, bytes: Arc::from([0u8; 10]) });
        }
        tail
    }

    fn held(tail: &Tail) -> Vec<u64> {
        tail.range(0, u64::MAX).map(|entry| entry.index).collect()
    }

    #[test]
    fn what_is_not_durable_is_not_evicted() {
        let mut tail = tail();
        tail.evict(6, 0);
        assert_eq!(held(&tail), [7, 8, 9]);
        tail.evict(9, 20);
        assert_eq!(held(&tail), [8, 9]);
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut tail = tail();
        tail.truncate_after(Some(8));
        tail.purge(6);
        assert_eq!(held(&tail), [7, 8]);
        assert_eq!(tail.bytes, 20);
        tail.truncate_after(None);
        assert_eq!((held(&tail), tail.bytes), (vec![], 0));
    }

    #[test]
    fn a_range_starts_inside() {
        let tail = tail();
        let indexes: Vec<u64> = tail.range(7, 9).map(|entry| entry.index).collect();
        assert_eq!(indexes, [7, 8]);
    }
}
