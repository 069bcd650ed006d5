//! A journal that is only looked at: whether its pieces lead from where it begins to where it is
//! said to end, by way of the records that they hold.

use crate::journal_chain::JournalHead;
use crate::journal_group::Open;
use crate::journal_segment::Origin;
use crate::journal_transfer::{ImportRun, JournalBase, JournalChunk};

/// Follows a journal piece by piece. Nothing is kept of it.
pub struct JournalCheck {
    group: u32,
    run: ImportRun,
    through: JournalHead,
    records: u64,
}

impl std::fmt::Debug for JournalCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalCheck").field("group", &self.group).finish_non_exhaustive()
    }
}

impl JournalCheck {
    /// Of a group's journal, from where it begins to a head that it must lead to.
    pub fn new(group: u32, base: JournalBase, through: JournalHead) -> Self {
        let JournalBase { head, streams } = base;
        let run = ImportRun::new(Open::new(1, Origin::Grown, head), streams, head);
        Self { group, run, through, records: 0 }
    }

    /// Follows the next piece.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, chunk: &JournalChunk) -> Result<(), String> {
        self.records += self.run.follow(self.group, chunk, self.through)?;
        Ok(())
    }

    /// How many records there were, if they led to where they must.
    ///
    /// # Errors
    /// Where they led instead.
    pub fn finish(self) -> Result<u64, String> {
        let (found, expected) = (self.run.head(), self.through);
        let is_there = found.index <= expected.index && found.hash == expected.hash;
        if is_there && self.run.is_whole() {
            return Ok(self.records);
        }
        Err(format!("it leads to {found:?}, and should to {expected:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::{GROUP, filled};
    use crate::simulated_disk::SimulatedDisk;

    #[test]
    fn pieces_must_lead_to_the_head_that_is_promised() {
        let journal = filled(&SimulatedDisk::new(1), 1..=40);
        let through = journal.head(GROUP);
        let check = || JournalCheck::new(GROUP, journal.base(GROUP), through);
        let pieces = || {
            let (mut pieces, mut after, mut skip) = (Vec::new(), 0, 0);
            while after < through.index {
                let piece = journal.export(GROUP, after, skip, through.index, 100).expect("here");
                (after, skip) = match piece.end.index > after {
                    true => (piece.end.index, 0),
                    false => (after, skip + piece.bytes.len()),
                };
                pieces.push(piece);
            }
            pieces
        };
        let whole = pieces();
        assert!(whole.len() > 5, "in pieces");
        let mut good = check();
        whole.iter().for_each(|piece| good.take(piece).expect("it goes on"));
        assert_eq!(good.finish(), Ok(80), "two of each index");
        let mut short = check();
        whole[..3].iter().for_each(|piece| short.take(piece).expect("it goes on"));
        assert!(short.finish().is_err());
        let mut gap = check();
        gap.take(&whole[0]).expect("it goes on");
        assert!(gap.take(&whole[2]).is_err());
        let mut turned = whole[0].clone();
        turned.bytes[40] ^= 1;
        assert!(check().take(&turned).is_err());
    }
}
