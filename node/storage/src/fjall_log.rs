//! The durable log of a node on fjall: all groups in one keyspace, one writer, one sync per batch.
//!
//! Keys order as (group, kind, index), all big endian, so that a group's entries are one range:
//!
//! ```text
//! group(4) 0 index(8)   an entry
//! group(4) 1            the vote
//! group(4) 2            the purge mark: index(8), bytes
//! group(4) 3 name       a value saved lazily
//! ```
//!
//! A call changes the state in memory and queues its operations under one lock, so reads see it at
//! once and the queue keeps the order of calls. The writer thread takes the whole queue, writes it
//! as one fjall batch, syncs once, and calls back ([`crate::fjall_writer`]).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::fatal::Fatal;
use crate::fjall_writer;
use crate::log_store::{Done, Group, LogEntry, LogStats, LogStore};
use crate::tail::{Collector, Tail};

/// How a [`FjallLog`] is sized and how it ends the process.
#[derive(Debug, Clone)]
pub struct FjallLogOptions {
    /// Durable entries of one group that stay in memory, in bytes.
    pub tail_bytes_max: usize,
    /// Bytes queued for the writer before a write call blocks.
    pub queue_bytes_max: usize,
    /// What happens when a write or a sync fails.
    pub fatal: Fatal,
}

impl Default for FjallLogOptions {
    fn default() -> Self {
        Self {
            tail_bytes_max: 8 * 1024 * 1024,
            queue_bytes_max: 64 * 1024 * 1024,
            fatal: Fatal::exit(),
        }
    }
}

/// A [`LogStore`] on disk.
#[derive(Debug)]
pub struct FjallLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// What callers and the writer thread share.
pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) keyspace: Keyspace,
    pub(crate) options: FjallLogOptions,
    pub(crate) state: Mutex<State>,
    /// The queue has something, or the store closes: wakes the writer.
    pub(crate) filled: Condvar,
    /// A batch is done: wakes callers that wait for room or for a flush.
    pub(crate) drained: Condvar,
    disk_reads: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) groups: BTreeMap<Group, GroupState>,
    pub(crate) queue: Vec<Queued>,
    pub(crate) queue_bytes: usize,
    /// Values to go with the next batch.
    pub(crate) lazy: Lazy,
    /// The number of the last write queued.
    pub(crate) ticket: u64,
    /// The number of the last write that is durable.
    pub(crate) durable: u64,
    pub(crate) stats: LogStats,
    pub(crate) failed: Option<String>,
    pub(crate) closing: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(crate) struct GroupState {
    pub(crate) tail: Tail,
    /// First and last index that exist, durable or not.
    bounds: Option<(u64, u64)>,
    vote: Option<Vec<u8>>,
    purged: Option<(u64, Vec<u8>)>,
    saved: BTreeMap<&'static str, Vec<u8>>,
}

/// Values, by key, that wait for a batch to go with.
pub(crate) type Lazy = BTreeMap<Vec<u8>, Vec<u8>>;

/// One call on its way to the disk.
pub(crate) struct Queued {
    pub(crate) ticket: u64,
    pub(crate) entries: u64,
    pub(crate) operations: Vec<Operation>,
    pub(crate) done: Done,
}

pub(crate) enum Operation {
    Put(Vec<u8>, Arc<[u8]>),
    /// Removes the entries of a range of one group.
    RemoveEntries(Group, Range<u64>),
}

const KIND_ENTRY: u8 = 0;
const KIND_VOTE: u8 = 1;
const KIND_PURGED: u8 = 2;
const KIND_SAVED: u8 = 3;

pub(crate) fn entry_key(group: Group, index: u64) -> Vec<u8> {
    [group.to_be_bytes().as_slice(), &[KIND_ENTRY], &index.to_be_bytes()].concat()
}

fn key(group: Group, kind: u8, name: &str) -> Vec<u8> {
    [group.to_be_bytes().as_slice(), &[kind], name.as_bytes()].concat()
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    let bytes = key.last_chunk::<8>().filter(|_| key.len() == 13);
    let bytes =
        bytes.ok_or_else(|| io::Error::other(format!("log key {key:02x?} is malformed")))?;
    Ok(u64::from_be_bytes(*bytes))
}

pub(crate) fn io_error(error: fjall::Error) -> io::Error {
    match error {
        fjall::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

impl FjallLog {
    /// Opens the log in that directory, or makes an empty one there.
    ///
    /// # Errors
    /// What fjall says: a damaged or locked directory, or one that cannot be written.
    pub fn open(path: &Path, options: FjallLogOptions) -> io::Result<Self> {
        let database = Database::builder(path)
            .manual_journal_persist(true)
            .worker_threads(1)
            .open()
            .map_err(io_error)?;
        let keyspace =
            database.keyspace("log", KeyspaceCreateOptions::default).map_err(io_error)?;
        let shared = Arc::new(Shared {
            database,
            keyspace,
            options,
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            disk_reads: AtomicU64::new(0),
        });
        let for_writer = shared.clone();
        let writer = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || fjall_writer::run(&for_writer))?;
        Ok(Self { shared, writer: Some(writer) })
    }
}

impl Drop for FjallLog {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.filled.notify_all();
        self.shared.drained.notify_all();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(code = "thread-panicked", "the log writer had panicked");
        }
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic under this lock ends the process")
    }

    /// Queues what `change` asks for, once there is room, and wakes the writer.
    fn write(
        &self,
        group: Group,
        done: Done,
        change: impl FnOnce(&mut GroupState, u64) -> Vec<Operation>,
    ) {
        let mut state = match self.with_group(group) {
            Ok(state) => state,
            Err(error) => return done(Err(error)),
        };
        while state.queue_bytes > self.options.queue_bytes_max
            && state.failed.is_none()
            && !state.closing
        {
            state = self.drained.wait(state).expect("a panic under this lock ends the process");
        }
        if let Some(reason) = &state.failed {
            let error = io::Error::other(reason.clone());
            drop(state);
            return done(Err(error));
        }
        state.ticket += 1;
        let ticket = state.ticket;
        let operations = change(state.groups.entry(group).or_default(), ticket);
        let puts = operations.iter().filter_map(|operation| match operation {
            Operation::Put(key, value) => Some(key.len() + value.len()),
            Operation::RemoveEntries(..) => None,
        });
        state.queue_bytes += puts.sum::<usize>();
        let is_entry = |key: &[u8]| key.get(4) == Some(&KIND_ENTRY);
        let entries = operations.iter().filter(|operation| match operation {
            Operation::Put(key, _) => is_entry(key),
            Operation::RemoveEntries(..) => false,
        });
        let entries = entries.count() as u64;
        state.queue.push(Queued { ticket, entries, operations, done });
        drop(state);
        self.filled.notify_one();
    }

    /// The lock, with that group's state loaded from disk.
    fn with_group(&self, group: Group) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if let Entry::Vacant(free) = state.groups.entry(group) {
            free.insert(self.load(group)?);
        }
        Ok(state)
    }

    fn load(&self, group: Group) -> io::Result<GroupState> {
        let range = entry_key(group, 0)..=entry_key(group, u64::MAX);
        let first = self.keyspace.range(range.clone()).next();
        let last = self.keyspace.range(range).next_back();
        let bounds = match (first, last) {
            (Some(first), Some(last)) => {
                let first = index_of(&first.key().map_err(io_error)?)?;
                Some((first, index_of(&last.key().map_err(io_error)?)?))
            }
            _ => None,
        };
        let purged = match self.get(&key(group, KIND_PURGED, ""))? {
            Some(value) => {
                let (index, mark) = value
                    .split_first_chunk::<8>()
                    .ok_or_else(|| io::Error::other("the purge mark is malformed"))?;
                Some((u64::from_be_bytes(*index), mark.to_vec()))
            }
            None => None,
        };
        let vote = self.get(&key(group, KIND_VOTE, ""))?;
        Ok(GroupState { bounds, purged, vote, ..GroupState::default() })
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.keyspace.get(key).map_err(io_error)?.map(|value| value.to_vec()))
    }

    /// Entries that the tail does not have.
    fn read_disk(&self, group: Group, range: Range<u64>, into: &mut Collector) -> io::Result<bool> {
        for guard in self.keyspace.range(entry_key(group, range.start)..entry_key(group, range.end))
        {
            let (key, value) = guard.into_inner().map_err(io_error)?;
            self.disk_reads.fetch_add(1, Ordering::Relaxed);
            if !into.take(index_of(&key)?, Arc::from(&*value)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl LogStore for FjallLog {
    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done) {
        self.shared.write(group, done, |state, ticket| {
            let mut operations = Vec::with_capacity(entries.len());
            for entry in entries {
                let follows = state.bounds.is_none_or(|(_, last)| last + 1 == entry.index);
                assert!(follows, "entry {} leaves a hole in group {group}", entry.index);
                let first = state.bounds.map_or(entry.index, |(first, _)| first);
                state.bounds = Some((first, entry.index));
                operations.push(Operation::Put(entry_key(group, entry.index), entry.bytes.clone()));
                state.tail.push(ticket, entry);
            }
            operations
        });
    }

    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done) {
        self.shared.write(group, done, |state, _| {
            state.vote = Some(bytes.clone());
            vec![Operation::Put(key(group, KIND_VOTE, ""), bytes.into())]
        });
    }

    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done) {
        self.shared.write(group, done, |state, _| {
            let Some((first, end)) = state.bounds else { return Vec::new() };
            state.tail.truncate_after(last);
            let start = last.map_or(0, |last| last + 1).max(first);
            state.bounds = (start > first).then(|| (first, end.min(start - 1)));
            if start > end {
                return Vec::new();
            }
            vec![Operation::RemoveEntries(group, start..end + 1)]
        });
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        self.shared.write(group, done, |state, _| {
            let mut operations = Vec::new();
            if let Some((first, end)) = state.bounds {
                state.tail.purge(through);
                let last = through.min(end);
                if first <= last {
                    operations.push(Operation::RemoveEntries(group, first..last + 1));
                    state.bounds = (last < end).then_some((last + 1, end));
                }
            }
            let value = [through.to_be_bytes().as_slice(), &mark].concat();
            operations.push(Operation::Put(key(group, KIND_PURGED, ""), value.into()));
            state.purged = Some((through, mark));
            operations
        });
    }

    fn save_lazily(&self, group: Group, name: &'static str, bytes: Vec<u8>) {
        let mut state = match self.shared.with_group(group) {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(group, name, %error, "a value was not saved");
                return;
            }
        };
        state.lazy.insert(key(group, KIND_SAVED, name), bytes.clone());
        state.groups.entry(group).or_default().saved.insert(name, bytes);
    }

    fn read(&self, group: Group, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let mut collector = Collector::new(bytes_max);
        let mut start = range.start;
        loop {
            let in_memory = {
                let state = self.shared.with_group(group)?;
                let log = &state.groups[&group];
                let Some((first, last)) = log.bounds else { return Ok(collector.entries) };
                start = start.max(first);
                let end = range.end.min(last + 1);
                if start >= end {
                    return Ok(collector.entries);
                }
                let in_memory = log.tail.first().unwrap_or(last + 1);
                if start >= in_memory {
                    for entry in log.tail.range(start, end) {
                        if !collector.take(entry.index, entry.bytes.clone()) {
                            break;
                        }
                    }
                    return Ok(collector.entries);
                }
                in_memory.min(end)
            };
            if !self.shared.read_disk(group, start..in_memory, &mut collector)? {
                return Ok(collector.entries);
            }
            start = in_memory;
        }
    }

    fn last(&self, group: Group) -> io::Result<Option<LogEntry>> {
        let last = {
            let state = self.shared.with_group(group)?;
            let log = &state.groups[&group];
            if let Some(entry) = log.tail.last() {
                return Ok(Some(entry.clone()));
            }
            log.bounds.map(|(_, last)| last)
        };
        let Some(last) = last else { return Ok(None) };
        Ok(self.read(group, last..last + 1, usize::MAX)?.pop())
    }

    fn vote(&self, group: Group) -> io::Result<Option<Vec<u8>>> {
        Ok(self.shared.with_group(group)?.groups[&group].vote.clone())
    }

    fn purged(&self, group: Group) -> io::Result<Option<(u64, Vec<u8>)>> {
        Ok(self.shared.with_group(group)?.groups[&group].purged.clone())
    }

    fn saved(&self, group: Group, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        if let Some(bytes) = self.shared.with_group(group)?.groups[&group].saved.get(name) {
            return Ok(Some(bytes.clone()));
        }
        self.shared.get(&key(group, KIND_SAVED, name))
    }

    /// fjall cuts a torn end off without saying so.
    fn was_cut(&self, _group: Group) -> io::Result<bool> {
        Ok(false)
    }

    fn clear_cut(&self, group: Group, done: Done) {
        self.shared.write(group, done, |_, _| Vec::new());
    }

    fn flush(&self) -> io::Result<()> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let done: Done = Box::new(move |result| drop(sender.send(result)));
        {
            let mut state = self.shared.lock();
            if let Some(reason) = &state.failed {
                return Err(io::Error::other(reason.clone()));
            }
            state.ticket += 1;
            let ticket = state.ticket;
            state.queue.push(Queued { ticket, entries: 0, operations: Vec::new(), done });
        }
        self.shared.filled.notify_one();
        receiver.recv().unwrap_or_else(|_| Err(io::Error::other("the log store has closed")))
    }

    fn stats(&self) -> LogStats {
        let disk_reads = self.shared.disk_reads.load(Ordering::Relaxed);
        LogStats { disk_reads, ..self.shared.lock().stats }
    }
}

#[cfg(test)]
#[path = "fjall_log_tests.rs"]
mod tests;
