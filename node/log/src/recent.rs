//! The newest entries of a group as Raft gave them, so that what is sent to followers and applied
//! is not decoded from the store's bytes each time.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::entry::RaftEntry;

use crate::types::{Entry, entry_bytes};

/// Bytes kept for a group, beyond its newest entry.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// A dense run of entries that ends with the last one appended, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Recent {
    /// Takes the next entry. One that does not follow the last begins the run anew.
    pub(crate) fn push(&mut self, entry: Entry) {
        let follows = |last: &Entry| last.index().checked_add(1) == Some(entry.index());
        if !self.entries.back().is_none_or(follows) {
            *self = Self::default();
        }
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
        while self.bytes > BYTES_MAX && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry_bytes(&entry);
        }
    }

    /// Forgets every entry after `last`.
    pub(crate) fn truncate_after(&mut self, last: Option<u64>) {
        let goes = |entry: &Entry| last.is_none_or(|last| entry.index() > last);
        while let Some(entry) = self.entries.pop_back_if(|entry| goes(entry)) {
            self.bytes -= entry_bytes(&entry);
        }
    }

    /// Forgets every entry up to and including `through`.
    pub(crate) fn purge(&mut self, through: u64) {
        while self.entries.front().is_some_and(|entry| entry.index() <= through) {
            self.pop_front();
        }
    }

    /// The entries from the start of the range on, at least one and as many more as the bytes
    /// allow. `None` if the run does not hold the first of them.
    pub(crate) fn read(&self, range: &Range<u64>, bytes_max: usize) -> Option<Vec<Entry>> {
        let (first, last) = (self.entries.front()?.index(), self.entries.back()?.index());
        if !(first..=last).contains(&range.start) || range.is_empty() {
            return None;
        }
        let start = (range.start - first) as usize;
        let wanted = (range.end.min(last + 1) - first) as usize;
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let before = bytes;
            bytes += entry_bytes(entry);
            before == 0 || bytes <= bytes_max
        };
        Some(self.entries.range(start..wanted).take_while(fits).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::EntryPayload;
    use openraft::vote::RaftLeaderId;
    use rotary_proto::{Stamp, Wall};

    use super::*;
    use crate::types::{Command, ENTRY_BYTES, LogId, Octets};

    fn entry(index: u64, bytes: usize) -> Entry {
        let id = LogId::new(openraft::impls::leader_id_adv::LeaderId::new(1, 1), index);
        let payload = Octets(Bytes::from(vec![0; bytes]));
        let command = Command { stamp: Stamp(index), wall: Wall(0), payload };
        Entry { log_id: id, payload: EntryPayload::Normal(command) }
    }

    fn recent(indexes: Range<u64>) -> Recent {
        let mut recent = Recent::default();
        indexes.for_each(|index| recent.push(entry(index, 10)));
        recent
    }

    fn read(recent: &Recent, range: Range<u64>, bytes_max: usize) -> Option<Vec<u64>> {
        let read = recent.read(&range, bytes_max)?;
        Some(read.iter().map(RaftEntry::index).collect())
    }

    #[test]
    fn a_range_is_read_where_it_begins_inside() {
        let recent = recent(5..10);
        assert_eq!(read(&recent, 5..8, usize::MAX), Some(vec![5, 6, 7]));
        assert_eq!(read(&recent, 9..50, usize::MAX), Some(vec![9]));
        assert_eq!(read(&recent, 4..8, usize::MAX), None);
        assert_eq!(read(&recent, 10..12, usize::MAX), None);
        assert_eq!(read(&recent, 7..7, usize::MAX), None);
        assert_eq!(read(&Recent::default(), 0..8, usize::MAX), None);
    }

    #[test]
    fn bytes_bound_a_read_but_one_entry_is_always_read() {
        let recent = recent(5..10);
        assert_eq!(read(&recent, 5..10, 2 * (ENTRY_BYTES + 10)), Some(vec![5, 6]));
        assert_eq!(read(&recent, 5..10, 0), Some(vec![5]));
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut recent = recent(5..10);
        recent.truncate_after(Some(8));
        recent.purge(5);
        assert_eq!(read(&recent, 6..20, usize::MAX), Some(vec![6, 7, 8]));
        recent.truncate_after(None);
        assert_eq!((recent.entries.len(), recent.bytes), (0, 0));
    }

    #[test]
    fn what_does_not_follow_begins_anew() {
        let mut recent = recent(5..10);
        recent.push(entry(20, 1));
        assert_eq!(read(&recent, 20..21, usize::MAX), Some(vec![20]));
        assert_eq!(read(&recent, 9..21, usize::MAX), None);
    }

    #[test]
    fn the_oldest_leave_when_it_grows() {
        let mut recent = Recent::default();
        (1..=100).for_each(|index| recent.push(entry(index, BYTES_MAX / 10)));
        assert!(recent.bytes <= BYTES_MAX && read(&recent, 100..101, 0).is_some());
        recent.push(entry(101, 2 * BYTES_MAX));
        assert_eq!(recent.entries.len(), 1);
    }
}
