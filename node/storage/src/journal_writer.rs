//! The journal's writer: takes what is pending, writes it, syncs it, and says so.
//!
//! One piece at a time: a piece is written only after the one before it is durable, which is what
//! the frames in it say of themselves ([`crate::journal_frame`]). A thread does it in rounds with
//! rests between them, or whoever drives the journal by hand.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::drive::Drive;
use crate::fatal::EXIT_STORAGE;
use crate::journal::{Shared, State};
use crate::journal_error::JournalError;
use crate::journal_group::Pending;
use crate::journal_segment;

impl Shared {
    /// Waits until little of a group is pending.
    pub(crate) fn make_room(&self, group: u32) -> Result<(), JournalError> {
        let mut state = self.lock();
        loop {
            if let Some(reason) = &state.failed {
                return Err(JournalError::Failed(reason.clone()));
            }
            let pending = state.groups.get(&group).map_or(0, |journal| journal.pending_bytes);
            if pending <= self.options.pending_bytes_max {
                return Ok(());
            }
            if matches!(self.options.drive, Drive::Manual(_)) {
                let work = self.take_work(&mut state);
                drop(state);
                self.write(work);
                state = self.lock();
                continue;
            }
            state.flush = true;
            self.filled.notify_one();
            state = self.wait(&self.drained, state);
        }
    }

    /// The writer: rounds of write and sync until the journal closes.
    pub(crate) fn run(&self) {
        let _guard = self.options.fatal.on_panic("the journal writer");
        while let Some(work) = self.next() {
            self.write(work);
            if self.lock().failed.is_some() {
                return;
            }
        }
    }

    /// Waits for work, then rests to let more of it gather; `None` when the journal closes.
    fn next(&self) -> Option<Vec<(u32, Pending)>> {
        let mut state = self.lock();
        let has_work = |state: &State| state.groups.values().any(|group| !group.pending.is_empty());
        while !has_work(&state) {
            if state.closing {
                return None;
            }
            state.flush = false;
            state.idle = true;
            self.drained.notify_all();
            state = self.wait(&self.filled, state);
        }
        state.idle = false;
        let rest = std::time::Instant::now() + self.options.sync_interval;
        while !state.flush && !state.closing {
            let left = rest.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.filled.wait_timeout(state, left);
            state = waited.expect("no code panics while it holds this lock").0;
        }
        state.flush = false;
        Some(self.take_work(&mut state))
    }

    /// Takes what is pending, with a mark for what was passed over since.
    pub(crate) fn take_work(&self, state: &mut State) -> Vec<(u32, Pending)> {
        let mut work = Vec::new();
        for journal in state.groups.values_mut().filter(|journal| !journal.pending.is_empty()) {
            journal.mark();
            let pending = std::mem::take(&mut journal.pending);
            work.extend(pending.into_iter().map(|pending| (journal.group, pending)));
        }
        work
    }

    pub(crate) fn write(&self, work: Vec<(u32, Pending)>) {
        for (group, pending) in work {
            let (directory, known) = {
                let state = self.lock();
                let journal = &state.groups[&group];
                let known = journal.file.clone().filter(|(number, _)| *number == pending.segment);
                (journal.directory.clone(), known.map(|(_, file)| file))
            };
            let Ok(file) = self.write_pending(&directory, &pending, known) else { return };
            let mut state = self.lock();
            state.syncs += 1;
            let journal = state.groups.get_mut(&group).expect("a group with work is not removed");
            journal.file = (!pending.closes).then_some((pending.segment, file));
            journal.written(&pending, self.options.recent_bytes_max);
        }
        self.drained.notify_all();
    }

    /// Writes and syncs frames that are not the writer's.
    pub(crate) fn write_now(&self, directory: &Path, work: &Pending) -> Result<(), JournalError> {
        self.write_pending(directory, work, None).map(|_| ())
    }

    /// Adds frames to a segment, making it first if it is new, and syncs it. A failure ends the
    /// process.
    fn write_pending(
        &self,
        directory: &Path,
        work: &Pending,
        known: Option<Arc<dyn DiskFile>>,
    ) -> Result<Arc<dyn DiskFile>, JournalError> {
        let path = journal_segment::path(directory, work.segment);
        let write = || -> io::Result<_> {
            let file = match known {
                Some(file) => file,
                None if work.offset == 0 => self.disk.create(&path)?,
                None => self.disk.open(&path)?,
            };
            file.write_at(work.offset, &work.bytes)?;
            file.sync()?;
            if work.offset == 0 {
                self.disk.sync_directory(directory)?;
            }
            Ok(file)
        };
        write().map_err(|source| {
            let reason = JournalError::io(&path, source).to_string();
            self.lock().failed = Some(reason.clone());
            self.drained.notify_all();
            self.options.fatal.end(EXIT_STORAGE, &reason);
            JournalError::Failed(reason)
        })
    }
}
