//! The durable record of what a replica's groups did, written off the hot path.
//!
//! A group's journal is a chain of append-only segments in a directory of its own
//! (`group-<n>/00000001.journal`, ...). Records belong to *streams*, numbered densely from 1, and
//! remember the log index that made them. The journal is a function of the log, which is what makes
//! it cheap: nothing waits for its sync, and a tail lost with the power is made again when the log
//! is applied again. A caller that applies the log from its start hands in every record again; the
//! journal skips what it holds.
//!
//! [`Journal::durable_index`] is the mark up to which the log could be forgotten.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fatal::{EXIT_STORAGE, Fatal};
use crate::journal_frame::JournalRecord;
use crate::journal_group::{GroupJournal, JournalError, Pending};
use crate::journal_recovery::open_group;

/// How a [`Journal`] is sized and how it ends the process.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// A segment that would exceed this many bytes is closed and another begun; below 4 GiB.
    pub segment_bytes_max: u64,
    /// The newest records of one group that stay in memory, in bytes.
    pub recent_bytes_max: usize,
    /// How long the writer rests between rounds, so that journal syncs leave the disk to the log.
    pub sync_interval: Duration,
    /// What happens when a write or a sync fails.
    pub fatal: Fatal,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 * 1024 * 1024,
            recent_bytes_max: 8 * 1024 * 1024,
            sync_interval: Duration::from_millis(50),
            fatal: Fatal::exit(),
        }
    }
}

/// The journals of all groups of a node.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    options: JournalOptions,
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<u32, GroupJournal>,
    failed: Option<String>,
    closing: bool,
    /// Somebody waits for a flush: the writer does not rest.
    flush: bool,
    syncs: u64,
}

impl Journal {
    /// Opens the journals in that directory, or makes an empty one there. Reads and checks every
    /// segment.
    ///
    /// # Errors
    /// `Io`, and `Damaged` for anything wrong but a torn tail.
    pub fn open(directory: &Path, options: JournalOptions) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: directory.to_owned(), source };
        assert!(options.segment_bytes_max < u64::from(u32::MAX), "offsets are 32 bits");
        std::fs::create_dir_all(directory).map_err(io)?;
        let mut state = State::default();
        for found in std::fs::read_dir(directory).map_err(io)? {
            let found = found.map_err(io)?;
            let name = found.file_name();
            let group = name.to_str().and_then(|name| name.strip_prefix("group-"));
            if let Some(group) = group.and_then(|group| group.parse::<u32>().ok()) {
                state.groups.insert(group, open_group(group, &found.path())?);
            }
        }
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            options,
            state: Mutex::new(state),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let for_writer = shared.clone();
        let writer = std::thread::Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || for_writer.run())
            .map_err(io)?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Takes records in; readers see them at once. Records of one index must come in one call.
    /// Records at or below the index that was on disk at opening are checked and skipped.
    ///
    /// # Errors
    /// `OutOfSequence` where they do not continue their streams, and then none of that index is
    /// taken in; `Failed` after the writer has failed.
    pub fn append(&self, group: u32, records: Vec<JournalRecord>) -> Result<(), JournalError> {
        {
            let mut state = self.shared.lock();
            if let Some(reason) = &state.failed {
                return Err(JournalError::Failed(reason.clone()));
            }
            let journal = self.shared.group(&mut state, group)?;
            journal.append(records, self.shared.options.segment_bytes_max)?;
        }
        self.shared.filled.notify_one();
        Ok(())
    }

    /// Notes that everything up to `index` was applied, whether it made records or not. Nothing is
    /// written.
    ///
    /// # Errors
    /// `Io` if the group is new and its directory cannot be made.
    pub fn advance(&self, group: u32, index: u64) -> Result<(), JournalError> {
        let mut state = self.shared.lock();
        let journal = self.shared.group(&mut state, group)?;
        journal.last_index = journal.last_index.max(index);
        Ok(())
    }

    /// The records of a stream from `from_sequence` on, durable or not: at most `records_max`, and
    /// at most `bytes_max` bytes, but at least one if there is one. Older records are read from
    /// disk, so this may block.
    ///
    /// # Errors
    /// `Io`, and `Damaged` where a checksum does not match.
    pub fn read(
        &self,
        group: u32,
        stream: u64,
        from_sequence: u64,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<JournalRecord>, JournalError> {
        let plan = match self.shared.lock().groups.get(&group) {
            Some(journal) => journal.plan(stream, from_sequence, records_max),
            None => return Ok(Vec::new()),
        };
        plan.run(stream, from_sequence, records_max, bytes_max)
    }

    /// The highest index appended or passed over; after opening, the highest one whose records
    /// are on disk. 0 if there is none.
    pub fn last_index(&self, group: u32) -> u64 {
        self.read_group(group, |journal| journal.last_index)
    }

    /// The last sequence of a stream, 0 if it has none.
    pub fn last_sequence(&self, group: u32, stream: u64) -> u64 {
        self.read_group(group, |journal| journal.last_sequence(stream))
    }

    /// The index up to which every record is durable.
    pub fn durable_index(&self, group: u32) -> u64 {
        self.read_group(group, GroupJournal::durable_index)
    }

    /// Calls of `fdatasync` since the journal was opened.
    pub fn syncs(&self) -> u64 {
        self.shared.lock().syncs
    }

    /// Waits until everything appended so far is durable.
    ///
    /// # Errors
    /// `Failed` if the writer has failed.
    pub fn flush(&self) -> Result<(), JournalError> {
        let mut state = self.shared.lock();
        let wanted: Vec<(u32, u64)> =
            state.groups.values().map(|journal| (journal.group, journal.last_index)).collect();
        loop {
            if let Some(reason) = &state.failed {
                return Err(JournalError::Failed(reason.clone()));
            }
            let durable = |(group, index): &(u32, u64)| {
                state.groups.get(group).is_none_or(|journal| journal.durable_index() >= *index)
            };
            if wanted.iter().all(durable) {
                return Ok(());
            }
            state.flush = true;
            self.shared.filled.notify_one();
            state = self.shared.wait(&self.shared.drained, state);
        }
    }

    fn read_group(&self, group: u32, read: impl FnOnce(&GroupJournal) -> u64) -> u64 {
        self.shared.lock().groups.get(&group).map_or(0, read)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.filled.notify_all();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the journal writer had panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    fn wait<'a>(&self, on: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        on.wait(state).expect("no code panics while it holds this lock")
    }

    fn group<'a>(
        &self,
        state: &'a mut State,
        group: u32,
    ) -> Result<&'a mut GroupJournal, JournalError> {
        use std::collections::btree_map::Entry;
        match state.groups.entry(group) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(free) => {
                let directory = self.directory.join(format!("group-{group}"));
                Ok(free.insert(open_group(group, &directory)?))
            }
        }
    }

    /// The writer: rounds of write and sync until the journal closes.
    fn run(&self) {
        let _guard = self.options.fatal.on_panic("the journal writer");
        while let Some(work) = self.next() {
            for (group, pending) in work {
                if let Err((path, error)) = self.write_group(group, pending) {
                    let reason = format!("journal {}: {error}", path.display());
                    self.lock().failed = Some(reason.clone());
                    self.drained.notify_all();
                    self.options.fatal.end(EXIT_STORAGE, &reason);
                    return;
                }
            }
            self.drained.notify_all();
        }
    }

    /// Waits for work, then rests to let more of it gather; `None` when the journal closes.
    fn next(&self) -> Option<Vec<(u32, Vec<Pending>)>> {
        let mut state = self.lock();
        let has_work = |state: &State| state.groups.values().any(|group| !group.pending.is_empty());
        while !has_work(&state) {
            if state.closing {
                return None;
            }
            state.flush = false;
            self.drained.notify_all();
            state = self.wait(&self.filled, state);
        }
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
        let mut work = Vec::new();
        for journal in state.groups.values_mut() {
            if !journal.pending.is_empty() {
                journal.dirty = true;
                work.push((journal.group, std::mem::take(&mut journal.pending)));
            }
        }
        Some(work)
    }

    fn write_group(&self, group: u32, work: Vec<Pending>) -> Result<(), (PathBuf, io::Error)> {
        for pending in work {
            let (path, known) = {
                let state = self.lock();
                let journal = &state.groups[&group];
                (
                    journal.segment_path(pending.segment),
                    journal.files.get(&pending.segment).cloned(),
                )
            };
            let written = write_segment(&path, known, &pending.bytes);
            let file = written.map_err(|error| (path, error))?;
            let mut state = self.lock();
            state.syncs += 1;
            let journal = state.groups.get_mut(&group).expect("groups are never removed");
            journal.files.insert(pending.segment, file);
            journal.synced = journal.synced.max(pending.index);
            journal.written(pending.records, self.options.recent_bytes_max);
        }
        let mut state = self.lock();
        state.groups.get_mut(&group).expect("groups are never removed").dirty = false;
        Ok(())
    }
}

/// Appends to a segment, making it first if it is new, and syncs it.
fn write_segment(path: &Path, known: Option<Arc<File>>, bytes: &[u8]) -> io::Result<Arc<File>> {
    use std::io::Seek;
    let new = known.is_none();
    let file = match known {
        Some(file) => file,
        None => {
            let mut options = OpenOptions::new();
            Arc::new(options.read(true).write(true).create(true).truncate(false).open(path)?)
        }
    };
    let mut writer = &*file;
    writer.seek(io::SeekFrom::End(0))?;
    writer.write_all(bytes)?;
    file.sync_data()?;
    if new && let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
