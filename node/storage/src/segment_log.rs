//! The durable log of a node in segments of its own: all groups in one stream, one writer, one
//! batch in flight, one sync per batch.
//!
//! A call changes the state in memory and queues its operations under one lock, so reads see it at
//! once and the queue keeps the order of calls, votes among them. The writer
//! ([`crate::segment_writer`]) takes what is queued, writes it as one batch at the head
//! ([`crate::segment_head`]), syncs, feeds the batch's own bytes to the index
//! ([`crate::segment_index`]), and calls back. What is read comes from the tail in memory, or from
//! disk through the index, its checksum verified.
//!
//! A segment is dropped when no entry in it is needed. Votes, marks and saved values never hold one
//! back, because every segment begins with all of them; entries of an idle group would, so when the
//! log is much longer than what it holds, they are copied to the head, a little with each batch.
//!
//! Opening reads all of it ([`crate::segment_recovery`]).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::disk::{Disk, DiskFile};
use crate::drive::Drive;
use crate::log_store::{Done, Group, LogEntry, LogStats, LogStore, Space};
use crate::segment_error::SegmentLogError;
use crate::segment_format::{ENTRY_HEADER_BYTES, RECORD_HEADER_BYTES};
use crate::segment_head::Home;
use crate::segment_options::{SegmentLogOptions, check};
use crate::segment_reader::{Piece, read_pieces};
use crate::segment_recovery::recover;
use crate::segment_state::{GroupState, Operation, Queued, Shared, State};
use crate::segment_writer::{self, Writer};
use crate::tail::Collector;

/// Bytes of one call; one that carries more is refused.
pub(crate) const CALL_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of a vote, a mark or a saved value: every segment begins with all of them.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// A [`LogStore`] in segments on a [`Disk`].
pub struct SegmentLog {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for SegmentLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentLog").field("directory", &self.shared.home.directory).finish()
    }
}

impl SegmentLog {
    /// Opens the log in that directory, or makes an empty one there; reads all of it.
    ///
    /// # Errors
    /// See [`SegmentLogError`]: damage that is more than an interrupted last write, another's log,
    /// a disk that cannot be read or written.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: impl Into<PathBuf>,
        options: SegmentLogOptions,
    ) -> Result<Self, SegmentLogError> {
        check(&options)?;
        let home = Home {
            disk,
            directory: directory.into(),
            log_id: options.log_id,
            segment_bytes: options.segment_bytes,
            step_bytes: options.step_bytes,
        };
        let recovered = recover(home.clone(), options.reserve_bytes)?;
        let path = home.directory.clone();
        let (state, head) = State::of(recovered);
        let shared = Arc::new(Shared {
            home,
            options,
            state: Mutex::new(state),
            filled: Condvar::new(),
            drained: Condvar::new(),
            disk_reads: AtomicU64::new(0),
        });
        let mut writer = Writer::new(head);
        writer.look_at_space(&shared).map_err(SegmentLogError::disk(&path))?;
        let mut log = Self { shared, writer: Arc::new(Mutex::new(writer)), thread: None };
        if matches!(log.shared.options.drive, Drive::Thread) {
            let (shared, writer) = (log.shared.clone(), log.writer.clone());
            let run = move || segment_writer::run(&shared, &writer);
            let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn(run);
            log.thread = Some(thread.map_err(SegmentLogError::disk(&path))?);
        }
        Ok(log)
    }

    /// Does one round of the writer's work: one batch, one sync, its callbacks. Says whether there
    /// was anything to do.
    pub fn pump(&self) -> bool {
        let _guard = self.shared.options.fatal.on_panic("the log writer");
        let mut writer = self.writer.lock().expect("a panic under this lock ends the process");
        segment_writer::round(&self.shared, &mut writer)
    }

    /// Queues what `change` asks for, once there is room, and wakes the writer.
    fn write(
        &self,
        group: Group,
        done: Done,
        change: impl FnOnce(&mut GroupState, u64) -> Vec<Operation>,
    ) {
        let mut state = self.with_room();
        if let Some(reason) = &state.failed {
            let error = io::Error::other(reason.clone());
            drop(state);
            return done(Err(error));
        }
        state.ticket += 1;
        let ticket = state.ticket;
        let operations = change(state.groups.entry(group).or_default(), ticket);
        let bytes = operations.iter().map(Operation::bytes).sum();
        state.queue_bytes += bytes;
        state.queue.push_back(Queued { ticket, group, operations, bytes, done });
        drop(state);
        self.shared.wake();
    }

    /// The lock, when the queue has room, or the store is at its end.
    fn with_room(&self) -> MutexGuard<'_, State> {
        let shared = &self.shared;
        let mut state = shared.lock();
        while state.queue_bytes > shared.options.queue_bytes_max
            && state.failed.is_none()
            && !state.closing
        {
            if self.thread.is_some() {
                state =
                    shared.drained.wait(state).expect("a panic under this lock ends the process");
            } else {
                drop(state);
                self.pump();
                state = shared.lock();
            }
        }
        state
    }

    /// The places of entries on disk, as many as the bytes allow, and the files they are in.
    /// Whoever has a file open can read it, also when the writer has copied what was needed of it
    /// and has dropped it.
    fn pieces(state: &State, group: Group, range: Range<u64>, bytes_max: usize) -> OnDisk {
        let mut pieces = Vec::new();
        let mut bytes = 0;
        for (index, location) in state.index.range(group, range) {
            bytes += location.bytes as usize;
            if bytes > bytes_max && !pieces.is_empty() {
                break;
            }
            pieces.push(Piece { index, location });
        }
        let mut files = BTreeMap::new();
        for piece in &pieces {
            let segment = piece.location.segment;
            if let Some(file) = state.files.get(&segment) {
                files.entry(segment).or_insert_with(|| file.clone());
            }
        }
        OnDisk { pieces, files }
    }

    fn read_disk(&self, group: Group, on_disk: &OnDisk, into: &mut Collector) -> io::Result<()> {
        let OnDisk { pieces, files } = on_disk;
        self.shared.disk_reads.fetch_add(pieces.len() as u64, Ordering::Relaxed);
        read_pieces(&self.shared.home, files, group, pieces, |index, bytes| {
            into.take(index, Arc::from(bytes));
        })
    }
}

/// Entries to be read, and the files they are in.
struct OnDisk {
    pieces: Vec<Piece>,
    files: BTreeMap<u32, Arc<dyn DiskFile>>,
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.lock().closing = true;
        self.shared.filled.notify_all();
        self.shared.drained.notify_all();
        if thread.join().is_err() {
            tracing::error!(code = "thread-panicked", "the log writer had panicked");
        }
    }
}

/// The first entry that does not follow the one before it.
fn hole_in(mut last: Option<u64>, entries: &[LogEntry]) -> Option<u64> {
    for entry in entries {
        let follows = last.is_none_or(|last| last.checked_add(1) == Some(entry.index));
        if !follows || entry.index == u64::MAX {
            return Some(entry.index);
        }
        last = Some(entry.index);
    }
    None
}

/// Refuses what is larger than any caller has reason to write.
fn refuse(done: Done, what: &str, bytes: usize, bytes_max: usize) {
    let reason = format!("{what} of {bytes} bytes is longer than {bytes_max}: split or shorten it");
    done(Err(io::Error::new(io::ErrorKind::InvalidInput, reason)));
}

impl LogStore for SegmentLog {
    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done) {
        let bytes = entries.iter().map(|entry| entry.bytes.len() + ENTRY_HEADER_BYTES).sum();
        if bytes > CALL_BYTES_MAX {
            return refuse(done, "an append", bytes, CALL_BYTES_MAX);
        }
        let mut hole = None;
        self.write(group, done, |state, ticket| {
            hole = hole_in(state.bounds.map(|(_, last)| last), &entries);
            if hole.is_some() {
                return Vec::new();
            }
            let mut operations = Vec::with_capacity(entries.len());
            for entry in entries {
                let first = state.bounds.map_or(entry.index, |(first, _)| first);
                state.bounds = Some((first, entry.index));
                operations.push(Operation::Append(entry.clone()));
                state.tail.push(ticket, entry);
            }
            operations
        });
        // Not under the lock, which others need when this thread unwinds.
        assert!(hole.is_none(), "entry {hole:?} leaves a hole in group {group}");
    }

    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done) {
        if bytes.len() > VALUE_BYTES_MAX {
            return refuse(done, "a vote", bytes.len(), VALUE_BYTES_MAX);
        }
        self.write(group, done, |state, _| {
            state.values.vote = Some(bytes.clone());
            vec![Operation::Vote(bytes)]
        });
    }

    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done) {
        self.write(group, done, |state, _| {
            let from = last.map_or(0, |last| last.saturating_add(1));
            let Some((first, end)) = state.bounds.filter(|(_, end)| *end >= from) else {
                return Vec::new();
            };
            state.tail.truncate_after(last);
            state.bounds = (from > first).then(|| (first, end.min(from - 1)));
            vec![Operation::Truncate(from)]
        });
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        if mark.len() > VALUE_BYTES_MAX {
            return refuse(done, "a purge mark", mark.len(), VALUE_BYTES_MAX);
        }
        self.write(group, done, |state, _| {
            state.tail.purge(through);
            state.bounds = state
                .bounds
                .filter(|(_, end)| *end > through)
                .map(|(first, end)| (first.max(through + 1), end));
            state.values.purged = Some((through, mark.clone()));
            vec![Operation::Purge(through, mark)]
        });
    }

    fn save_lazily(&self, group: Group, name: &'static str, bytes: Vec<u8>) {
        if bytes.len() > VALUE_BYTES_MAX || name.len() > usize::from(u8::MAX) {
            tracing::warn!(group, name, bytes = bytes.len(), "a value is too long and not saved");
            return;
        }
        let mut state = self.shared.lock();
        let values = &mut state.groups.entry(group).or_default().values;
        values.saved.insert(name.to_owned(), bytes.clone());
        let added = RECORD_HEADER_BYTES + 1 + name.len() + bytes.len();
        let before = state.lazy.insert((group, name), bytes);
        let before = before.map_or(0, |bytes| RECORD_HEADER_BYTES + 1 + name.len() + bytes.len());
        state.lazy_bytes = state.lazy_bytes + added - before;
    }

    fn read(&self, group: Group, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let mut collector = Collector::new(bytes_max);
        let mut start = range.start;
        loop {
            let (on_disk, in_memory) = {
                let state = self.shared.lock();
                let Some(log) = state.groups.get(&group) else { return Ok(collector.entries) };
                let Some((first, last)) = log.bounds else { return Ok(collector.entries) };
                start = start.max(first);
                let end = range.end.min(last.saturating_add(1));
                if start >= end {
                    return Ok(collector.entries);
                }
                let in_memory = log.tail.first().unwrap_or(end);
                if start >= in_memory {
                    for entry in log.tail.range(start, end) {
                        if !collector.take(entry.index, entry.bytes.clone()) {
                            break;
                        }
                    }
                    return Ok(collector.entries);
                }
                let end = in_memory.min(end);
                (Self::pieces(&state, group, start..end, bytes_max), end)
            };
            self.read_disk(group, &on_disk, &mut collector)?;
            if on_disk.pieces.last().is_none_or(|piece| piece.index + 1 < in_memory) {
                return Ok(collector.entries);
            }
            start = in_memory;
        }
    }

    fn last(&self, group: Group) -> io::Result<Option<LogEntry>> {
        let last = {
            let state = self.shared.lock();
            let Some(log) = state.groups.get(&group) else { return Ok(None) };
            if let Some(entry) = log.tail.last() {
                return Ok(Some(entry.clone()));
            }
            log.bounds.map(|(_, last)| last)
        };
        let Some(last) = last else { return Ok(None) };
        Ok(self.read(group, last..last + 1, usize::MAX)?.pop())
    }

    fn vote(&self, group: Group) -> io::Result<Option<Vec<u8>>> {
        let state = self.shared.lock();
        Ok(state.groups.get(&group).and_then(|log| log.values.vote.clone()))
    }

    fn purged(&self, group: Group) -> io::Result<Option<(u64, Vec<u8>)>> {
        let state = self.shared.lock();
        Ok(state.groups.get(&group).and_then(|log| log.values.purged.clone()))
    }

    fn saved(&self, group: Group, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        let state = self.shared.lock();
        Ok(state.groups.get(&group).and_then(|log| log.values.saved.get(name).cloned()))
    }

    fn was_cut(&self, group: Group) -> io::Result<bool> {
        Ok(self.shared.lock().cut.concerns(group))
    }

    fn clear_cut(&self, group: Group, done: Done) {
        let concerned = {
            let mut state = self.shared.lock();
            let concerned = state.cut.concerns(group);
            if concerned {
                state.cut.cleared.insert(group);
            }
            concerned
        };
        self.write(
            group,
            done,
            |_, _| {
                if concerned { vec![Operation::ClearCut] } else { Vec::new() }
            },
        );
    }

    fn space(&self) -> Space {
        let space = self.shared.lock().space.unwrap_or(Space::Ok);
        let Space::Low { wanted, .. } = space else { return Space::Ok };
        // The writer has nothing to do while the door is shut, so whoever asks looks.
        let home = &self.shared.home;
        let Ok(free) = home.disk.free_bytes(&home.directory) else { return space };
        if free >= wanted {
            self.look_at_space();
        }
        Space::Low { free, wanted }
    }

    fn look_at_space(&self) {
        self.shared.lock().look_at_space = true;
        self.shared.wake();
    }

    fn flush(&self) -> io::Result<()> {
        let (sender, receiver) = channel();
        self.write(0, Box::new(move |result| drop(sender.send(result))), |_, _| Vec::new());
        let closed = || io::Error::other("the log store has closed");
        if self.thread.is_some() {
            return receiver.recv().unwrap_or_else(|_| Err(closed()));
        }
        loop {
            match receiver.try_recv() {
                Ok(result) => return result,
                Err(TryRecvError::Disconnected) => return Err(closed()),
                Err(TryRecvError::Empty) => drop(self.pump()),
            }
        }
    }

    fn stats(&self) -> LogStats {
        let disk_reads = self.shared.disk_reads.load(Ordering::Relaxed);
        LogStats { disk_reads, ..self.shared.lock().stats }
    }
}

#[cfg(test)]
#[path = "segment_crash_tests.rs"]
mod crash_tests;
#[cfg(test)]
#[path = "segment_damage_tests.rs"]
mod damage_tests;
#[cfg(test)]
#[path = "segment_space_tests.rs"]
mod space_tests;
#[cfg(test)]
#[path = "segment_log_tests.rs"]
mod tests;
