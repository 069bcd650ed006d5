//! Heads that somebody will ask for: of a few indexes, told beforehand.
//!
//! A head at an index of the past is worked out from the segments, which means the disk. Whoever
//! knows that one will be asked for says so when its index is the last, and then it is remembered.

use std::collections::VecDeque;

use crate::journal_chain::JournalHead;

/// Heads that one group remembers; the oldest is forgotten first.
pub(crate) const HEADS_NOTED: usize = 64;

/// A group's heads at indexes that were noted, rising.
#[derive(Debug, Default)]
pub(crate) struct Heads(VecDeque<JournalHead>);

impl Heads {
    /// Remembers a head; one of an index at or below the last one that was noted is passed over.
    pub(crate) fn note(&mut self, head: JournalHead) {
        if self.0.back().is_some_and(|last| last.index >= head.index) {
            return;
        }
        if self.0.len() == HEADS_NOTED {
            self.0.pop_front();
        }
        self.0.push_back(head);
    }

    /// The head at an index, if it was noted and is still remembered.
    pub(crate) fn at(&self, index: u64) -> Option<JournalHead> {
        let place = self.0.binary_search_by_key(&index, |head| head.index).ok()?;
        Some(self.0[place])
    }

    /// Another history has taken the place of the one that these are of.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal_chain::ChainHash;

    #[test]
    fn the_newest_are_remembered_and_found_by_their_index() {
        let mut heads = Heads::default();
        let head = |index| JournalHead { index, hash: ChainHash([index as u8; 32]) };
        for index in 1..=HEADS_NOTED as u64 + 2 {
            heads.note(head(index * 2));
        }
        heads.note(JournalHead { index: 6, hash: ChainHash([9; 32]) });
        assert_eq!((heads.at(2), heads.at(4), heads.at(7)), (None, None, None));
        assert_eq!(heads.at(6), Some(head(6)));
        assert_eq!(heads.0.len(), HEADS_NOTED);
        heads.clear();
        assert_eq!(heads.at(6), None);
    }
}
