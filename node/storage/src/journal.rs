//! The durable record of what a replica's groups did, written off the hot path.
//!
//! A group's journal is a chain of append-only segments in a directory of its own
//! (`group-<n>/00000001.journal`, ...). Records belong to *streams*, numbered densely from 1, and
//! remember the log index that made them. The journal is a function of the log, which is what makes
//! it cheap: nothing waits for its sync, and a tail lost with the power is made again when the log
//! is applied again. A caller that applies the log from its start hands in every record again; the
//! journal skips what it holds.
//!
//! [`Journal::durable_index`] is the mark up to which the log could be forgotten: a reopening finds
//! at least that. [`Journal::head`] is one hash over everything recorded. [`Journal::retain`] drops
//! whole segments from the front; what a replica never had comes from a peer
//! ([`Journal::import`]).
//!
//! Memory does not grow with history: the newest records, the table of the segment that grows, and
//! a few words for each closed one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::disk::Disk;
use crate::drive::Drive;
use crate::fatal::Fatal;
use crate::journal_chain::JournalHead;
use crate::journal_error::JournalError;
use crate::journal_frame::{self, JournalRecord};
use crate::journal_group::GroupJournal;
use crate::journal_read::{Budget, JournalPage, Tables};
use crate::journal_recovery::{self, open_group};
use crate::journal_segment::{self, SegmentFile};

/// How a [`Journal`] is sized, driven, and how it ends the process.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// A segment that would exceed this many bytes is closed and another begun; below 2 GiB.
    pub segment_bytes_max: u64,
    /// The newest records of one group that stay in memory, in bytes.
    pub recent_bytes_max: usize,
    /// Bytes of one group that wait for the writer before an append waits for it, too.
    pub pending_bytes_max: usize,
    /// How long the writer rests between rounds, so that journal syncs leave the disk to the log.
    pub sync_interval: Duration,
    /// Indexes without records that pass before one is written down. Smaller makes a restart know
    /// better where it was, larger spares syncs of an idle group.
    pub mark_interval: u64,
    /// Who writes.
    pub drive: Drive,
    /// What happens when a write or a sync fails.
    pub fatal: Fatal,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 * 1024 * 1024,
            recent_bytes_max: 8 * 1024 * 1024,
            pending_bytes_max: 64 * 1024 * 1024,
            sync_interval: Duration::from_millis(50),
            mark_interval: 4_096,
            drive: Drive::Thread,
            fatal: Fatal::exit(),
        }
    }
}

/// A part of a group's journal that retention drops as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSegment {
    /// Its records are of higher indexes than this.
    pub after: u64,
    /// The highest index it covers.
    pub through: u64,
    /// Its length.
    pub bytes: u64,
}

/// The journals of all groups of a node.
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    directory: PathBuf,
    pub(crate) options: JournalOptions,
    pub(crate) tables: Tables,
    state: Mutex<State>,
    pub(crate) filled: Condvar,
    pub(crate) drained: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) groups: BTreeMap<u32, GroupJournal>,
    pub(crate) failed: Option<String>,
    pub(crate) closing: bool,
    /// Somebody waits for a flush: the writer does not rest.
    pub(crate) flush: bool,
    /// The writer waits for work. While it writes or rests it need not be told of more.
    pub(crate) idle: bool,
    pub(crate) syncs: u64,
}

impl Journal {
    /// Opens the journals in that directory, or makes an empty one there. Reads the ends of closed
    /// segments, and all of the open ones.
    ///
    /// # Errors
    /// `Io`, and `Damaged` for anything wrong but a torn tail.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: JournalOptions,
    ) -> Result<Self, JournalError> {
        let io = |source| JournalError::io(directory, source);
        assert!(options.segment_bytes_max < 1 << 31, "offsets are 32 bits");
        disk.make_directory(directory).map_err(io)?;
        let mut state = State::default();
        for name in disk.list(directory).map_err(io)? {
            let group = name.strip_prefix("group-").and_then(|group| group.parse::<u32>().ok());
            if let Some(group) = group {
                let path = directory.join(&name);
                let journal = open_group(&*disk, group, &path, options.segment_bytes_max)?;
                state.groups.insert(group, journal);
            }
        }
        let shared = Arc::new(Shared {
            disk,
            directory: directory.to_owned(),
            options,
            tables: Tables::default(),
            state: Mutex::new(state),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let writer = match shared.options.drive {
            Drive::Manual(_) => None,
            Drive::Thread => {
                let for_writer = shared.clone();
                let name = "journal-writer".to_owned();
                let thread = std::thread::Builder::new().name(name);
                Some(thread.spawn(move || for_writer.run()).map_err(io)?)
            }
        };
        Ok(Self { shared, writer })
    }

    /// Takes records in; readers see them at once. Records of one index must come in one call.
    /// Records at or below the index that was on disk at opening are checked and skipped. Waits
    /// for the writer where too much is pending.
    ///
    /// # Errors
    /// `OutOfSequence` or `NotRising` where they do not continue what is there, and then none of
    /// that index is taken in; `Failed` after the writer has failed.
    pub fn append(&self, group: u32, records: Vec<JournalRecord>) -> Result<(), JournalError> {
        let pending = self.shared.change(group, |journal| {
            journal.append(records, self.shared.options.segment_bytes_max)?;
            Ok(journal.pending_bytes)
        })?;
        if pending > self.shared.options.pending_bytes_max {
            return self.shared.make_room(group);
        }
        Ok(())
    }

    /// Notes that everything up to `index` was applied, whether it made records or not. It is
    /// written down with the next records, with a flush, or after
    /// [`JournalOptions::mark_interval`] of them.
    ///
    /// # Errors
    /// `Io` if the group is new and its directory cannot be made; `Failed` after the writer has
    /// failed.
    pub fn advance(&self, group: u32, index: u64) -> Result<(), JournalError> {
        self.shared.change(group, |journal| {
            journal.last_index = journal.last_index.max(index);
            if !journal.pending.is_empty()
                || journal.unmarked() >= self.shared.options.mark_interval
            {
                journal.mark();
            }
            Ok(())
        })
    }

    /// The records of a stream from `from_sequence` on, durable or not: at most `records_max`, and
    /// at most `bytes_max` bytes, but at least one if there is one. Older records are read from
    /// disk, so this may block.
    ///
    /// # Errors
    /// `Forgotten` if they are not here; `Io`, and `Damaged` where a checksum does not match.
    pub fn read(
        &self,
        group: u32,
        stream: u64,
        from_sequence: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<JournalRecord>, JournalError> {
        let budget = Budget { records_max, bytes_max };
        self.shared.reading(
            group,
            |shared, journal| {
                let Some(journal) = journal else { return Ok(None) };
                let plan = journal.plan_stream(stream, from_sequence, budget)?;
                Ok(plan.map(|plan| (plan, shared.files(group, journal.directory.clone()))))
            },
            |plan| plan.map_or(Ok(Vec::new()), |(plan, files)| plan.run(&files)),
        )
    }

    /// What a group recorded after an index, all streams in the order of the log: at most
    /// `records_max`, and at most `bytes_max` bytes, but at least one index if there is one. Older
    /// records are read from disk, so this may block.
    ///
    /// # Errors
    /// `IndexForgotten` if they are not here; `Io`, and `Damaged`.
    pub fn read_index(
        &self,
        group: u32,
        after: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<JournalPage, JournalError> {
        let budget = Budget { records_max, bytes_max };
        self.shared.read_index(group, after, u64::MAX, budget)
    }

    /// The highest index appended or passed over; after opening, the highest one that was written
    /// down, which is at least what was durable. 0 if there is none.
    pub fn last_index(&self, group: u32) -> u64 {
        self.shared.read_group(group, |journal| journal.last_index).unwrap_or(0)
    }

    /// The last sequence of a stream, 0 if it has none.
    pub fn last_sequence(&self, group: u32, stream: u64) -> u64 {
        self.shared.read_group(group, |journal| journal.last_sequence(stream)).unwrap_or(0)
    }

    /// The first sequence of a stream that can be read, 1 if nothing is missing.
    pub fn first_sequence(&self, group: u32, stream: u64) -> u64 {
        self.shared.read_group(group, |journal| journal.first_sequence(stream)).unwrap_or(1)
    }

    /// The index after which records can be read, 0 if nothing is missing.
    pub fn first_index(&self, group: u32) -> u64 {
        self.shared.read_group(group, |journal| journal.base.head.index).unwrap_or(0)
    }

    /// The index up to which every record is durable, as a reopening is sure to find.
    pub fn durable_index(&self, group: u32) -> u64 {
        self.durable_head(group).index
    }

    /// The chain's head at [`Journal::durable_index`].
    pub fn durable_head(&self, group: u32) -> JournalHead {
        self.shared.read_group(group, |journal| journal.synced).unwrap_or_default()
    }

    /// The chain's head at [`Journal::last_index`].
    pub fn head(&self, group: u32) -> JournalHead {
        let head = self
            .shared
            .read_group(group, |journal| JournalHead { index: journal.last_index, ..journal.head });
        head.unwrap_or_default()
    }

    /// The chain's head at an index that was passed. May read the disk, and so blocks, unless it
    /// was marked ([`Journal::mark_head`]).
    ///
    /// # Errors
    /// `IndexForgotten` if it lies before what is here; `Io`, `Damaged`.
    pub fn head_at(&self, group: u32, index: u64) -> Result<JournalHead, JournalError> {
        let noted = self.shared.read_group(group, |journal| journal.heads.at(index));
        if let Some(head) = noted.flatten() {
            return Ok(head);
        }
        let mut head = self.shared.reading(
            group,
            |shared, journal| {
                let Some(journal) = journal else { return Ok(Ok(JournalHead::default())) };
                let first = journal.base.head.index;
                match journal.checkpoint(index) {
                    Ok(head) => Ok(Ok(head)),
                    Err(None) => Err(JournalError::IndexForgotten { group, first }),
                    Err(Some(closed)) => {
                        Ok(Err((closed, shared.files(group, journal.directory.clone()))))
                    }
                }
            },
            |found| match found {
                Ok(head) => Ok(head),
                Err((closed, files)) => {
                    let table = files.table(closed.number)?;
                    Ok(table.checkpoint(index).map_or(closed.begin, |point| point.head))
                }
            },
        )?;
        let budget = Budget { records_max: 1_024, bytes_max: 1 << 20 };
        while head.index < index {
            let page = self.shared.read_index(group, head.index, index, budget)?;
            for records in page.records.chunk_by(|a, b| a.index == b.index) {
                head = head.after(records[0].index, &journal_frame::chained(group, records));
            }
            head.index = head.index.max(page.through);
            if page.records.is_empty() {
                break;
            }
        }
        Ok(JournalHead { index, ..head })
    }

    /// The groups that have a journal.
    pub fn groups(&self) -> Vec<u32> {
        self.shared.lock().groups.keys().copied().collect()
    }

    /// What retention could drop of a group, oldest first; the segment that grows is not among it.
    pub fn segments(&self, group: u32) -> Vec<JournalSegment> {
        let segments = self.shared.read_group(group, |journal| {
            let closed = journal.closed.iter();
            let segment = |closed: &journal_segment::Closed| JournalSegment {
                after: closed.begin.index,
                through: closed.end.index,
                bytes: closed.bytes,
            };
            closed.map(segment).collect()
        });
        segments.unwrap_or_default()
    }

    /// Drops whole segments that hold nothing at or above an index; returns how many. Readers of
    /// what was dropped get `Forgotten`. Blocks on the disk.
    ///
    /// # Errors
    /// `Io`, `Damaged`: what was not dropped then can be dropped again.
    pub fn retain(&self, group: u32, before_index: u64) -> Result<usize, JournalError> {
        let shared = &self.shared;
        let plan = shared.read_group(group, |journal| {
            (journal.droppable(before_index), journal.closed.clone(), journal.directory.clone())
        });
        let Some((count @ 1.., closed, directory)) = plan else { return Ok(0) };
        let base = match closed.get(count) {
            Some(next) => {
                let file = SegmentFile::open(&*shared.disk, group, &directory, next.number)?;
                Some(file.begin()?.0)
            }
            None => None,
        };
        let dropped = shared.change(group, |journal| {
            // Without a next segment, one may have closed meanwhile: then the next call does it.
            let same = base.is_some() || journal.closed.len() == count;
            Ok(if same { journal.drop_front(count, base) } else { Vec::new() })
        })?;
        shared.tables.forget(group);
        shared.remove(&directory, dropped.iter().map(|closed| closed.number))?;
        Ok(dropped.len())
    }

    /// Reads and checks every closed segment of a group: all its frames, its table, its chain.
    /// Blocks on the disk for as long as that takes.
    ///
    /// # Errors
    /// `Damaged` with the first damage, `Io`.
    pub fn scrub(&self, group: u32) -> Result<(), JournalError> {
        let plan = self
            .shared
            .read_group(group, |journal| (journal.closed.clone(), journal.directory.clone()));
        let Some((closed, directory)) = plan else { return Ok(()) };
        for segment in closed.iter() {
            let checked = journal_recovery::scrub(&*self.shared.disk, group, &directory, *segment);
            match checked {
                // Retention may have dropped it meanwhile.
                Err(error) if error.is_not_found() && !self.holds(group, segment.number) => {}
                checked => checked?,
            }
        }
        Ok(())
    }

    fn holds(&self, group: u32, number: u32) -> bool {
        let holds = |journal: &GroupJournal| journal.closed.iter().any(|c| c.number == number);
        self.shared.read_group(group, holds).unwrap_or(false)
    }

    /// Calls of `fdatasync` since the journal was opened.
    pub fn syncs(&self) -> u64 {
        self.shared.lock().syncs
    }

    /// Writes what is pending, without a thread of the journal's own; says whether there was
    /// anything.
    ///
    /// # Errors
    /// `Failed` if the disk failed, now or before.
    pub fn pump(&self) -> Result<bool, JournalError> {
        let work = self.shared.take_work(&mut self.shared.lock());
        let some = !work.is_empty();
        self.shared.write(work);
        match &self.shared.lock().failed {
            Some(reason) => Err(JournalError::Failed(reason.clone())),
            None => Ok(some),
        }
    }

    /// Waits until everything appended or passed over so far is durable; with a manual drive,
    /// makes it so.
    ///
    /// # Errors
    /// `Failed` if the writer has failed.
    pub fn flush(&self) -> Result<(), JournalError> {
        let mut state = self.shared.lock();
        state.groups.values_mut().for_each(GroupJournal::mark);
        let wanted: Vec<(u32, u64)> =
            state.groups.values().map(|journal| (journal.group, journal.last_index)).collect();
        loop {
            if let Some(reason) = &state.failed {
                return Err(JournalError::Failed(reason.clone()));
            }
            let durable = |(group, index): &(u32, u64)| {
                let journal = state.groups.get(group);
                journal.is_none_or(|j| j.synced.index >= *index && j.pending_bytes == 0)
            };
            if wanted.iter().all(durable) {
                return Ok(());
            }
            if self.writer.is_none() {
                drop(state);
                self.pump()?;
                state = self.shared.lock();
                continue;
            }
            state.flush = true;
            self.shared.filled.notify_one();
            state = self.shared.wait(&self.shared.drained, state);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.filled.notify_all();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(code = "thread-panicked", "the journal writer had panicked");
        }
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    pub(crate) fn wait<'a>(
        &self,
        on: &Condvar,
        state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        on.wait(state).expect("no code panics while it holds this lock")
    }

    pub(crate) fn read_group<T>(
        &self,
        group: u32,
        read: impl FnOnce(&GroupJournal) -> T,
    ) -> Option<T> {
        self.lock().groups.get(&group).map(read)
    }

    /// Changes a group, which may have to be made first, and wakes the writer if that gives it
    /// work.
    pub(crate) fn change<T>(
        &self,
        group: u32,
        change: impl FnOnce(&mut GroupJournal) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        use std::collections::btree_map::Entry;
        let mut state = self.lock();
        if let Some(reason) = &state.failed {
            return Err(JournalError::Failed(reason.clone()));
        }
        let journal = match state.groups.entry(group) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(free) => {
                let directory = self.directory.join(format!("group-{group}"));
                let bytes_max = self.options.segment_bytes_max;
                free.insert(open_group(&*self.disk, group, &directory, bytes_max)?)
            }
        };
        let before = journal.pending_bytes;
        let changed = change(journal);
        if journal.pending_bytes > before {
            match &self.options.drive {
                Drive::Thread if std::mem::take(&mut state.idle) => self.filled.notify_one(),
                Drive::Thread => {}
                Drive::Manual(wake) => wake(),
            }
        }
        changed
    }

    /// Plans a read under the lock and does it without; once more if segments went meanwhile.
    fn reading<'a, P, T>(
        &'a self,
        group: u32,
        plan: impl Fn(&'a Self, Option<&GroupJournal>) -> Result<P, JournalError>,
        run: impl Fn(P) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let planned = |state: &State| plan(self, state.groups.get(&group));
        let first = planned(&self.lock())?;
        match run(first) {
            Err(error) if error.is_not_found() => {
                let second = planned(&self.lock())?;
                run(second)
            }
            done => done,
        }
    }

    pub(crate) fn read_index(
        &self,
        group: u32,
        after: u64,
        through: u64,
        budget: Budget,
    ) -> Result<JournalPage, JournalError> {
        self.reading(
            group,
            |shared, journal| {
                let Some(journal) = journal else { return Ok(None) };
                let plan = journal.plan_index(after, through, budget)?;
                Ok(Some((plan, shared.files(group, journal.directory.clone()))))
            },
            |plan| match plan {
                Some((plan, files)) => plan.run(&files),
                None => Ok(JournalPage { records: Vec::new(), through: after }),
            },
        )
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "journal_fault_tests.rs"]
mod fault_tests;
