//! What those who keep a journal in order ask of it, besides those who write and read.

use crate::journal::Journal;
use crate::journal_error::JournalError;
use crate::journal_group::GroupJournal;
use crate::journal_transfer::{JournalBase, Lower};

impl Journal {
    /// Has the head at an index remembered, so that [`Journal::head_at`] knows it without reading:
    /// to be called when everything up to that index was appended, and nothing beyond. Of each
    /// group the newest 64 are remembered.
    ///
    /// # Errors
    /// `Io` if the group is new and its directory cannot be made; `Failed` after the writer has
    /// failed.
    pub fn mark_head(&self, group: u32, index: u64) -> Result<(), JournalError> {
        self.shared.change(group, |journal| {
            journal.note_head(index);
            Ok(())
        })
    }

    /// Has how far a group has come written down, also where nothing was recorded on the way, and
    /// waits until that is durable.
    ///
    /// # Errors
    /// `Io`; `Failed` if the writer has failed.
    pub fn settle(&self, group: u32) -> Result<(), JournalError> {
        self.shared.change(group, |journal| {
            journal.mark();
            Ok(())
        })?;
        self.flush()
    }

    /// Ends the segment that grows, if it holds anything, so that retention can drop it when its
    /// time comes.
    ///
    /// # Errors
    /// `Failed` after the writer has failed.
    pub fn roll(&self, group: u32) -> Result<(), JournalError> {
        let is_empty = |journal: &GroupJournal| journal.open.table.checkpoints.is_empty();
        if self.shared.read_group(group, is_empty).unwrap_or(true) {
            return Ok(());
        }
        self.shared.change(group, |journal| {
            journal.mark();
            journal.close_segment();
            // So that it can be dropped even if nothing is ever appended again.
            journal.begin_segment();
            Ok(())
        })
    }

    /// Forgets all of a group, which begins again at index 0: what it held was found to be wrong.
    /// Nothing may be appended to the group meanwhile. Blocks on the disk.
    ///
    /// # Errors
    /// `Io`; `Failed` if the writer has failed.
    pub fn discard(&self, group: u32) -> Result<(), JournalError> {
        self.flush()?;
        let Some(journal) = self.shared.lock().groups.remove(&group) else { return Ok(()) };
        self.shared.tables.forget(group);
        let directory = journal.directory;
        let io = |source| JournalError::io(&directory, source);
        let mut names = self.shared.disk.list(&directory).map_err(io)?;
        names.sort_unstable();
        for name in names {
            self.shared.disk.remove(&directory.join(name)).map_err(io)?;
        }
        self.shared.disk.sync_directory(&directory).map_err(io)
    }

    /// Gives up what is here below a gap that nobody can fill any more, because those who could
    /// have forgotten it: the import begins anew where a peer's journal begins, or, if that is
    /// above the gap, the journal begins above it. Does nothing without a gap. Blocks on the disk.
    ///
    /// # Errors
    /// `Io`; `Failed` if the writer has failed.
    pub fn begin_at(&self, group: u32, base: JournalBase) -> Result<(), JournalError> {
        let (dropped, directory) = self.shared.change(group, |journal| {
            let dropped = journal.drop_lower();
            let above = |lower: &Lower| base.head.index >= lower.through.index;
            if journal.lower.as_ref().is_some_and(above) {
                journal.lower = None;
            }
            Ok((dropped, journal.directory.clone()))
        })?;
        self.shared.tables.forget(group);
        self.shared.remove(&directory, dropped)?;
        if self.missing(group).is_some() { self.import_base(group, base) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "journal_upkeep_tests.rs"]
mod tests;
