//! A node's disk, and the log that it keeps there: the seam to the production engine.
//!
//! [`PlainLog`] keeps everything in memory and every change in one file of checksummed batches.
//! It writes nothing by itself: the node pumps it, which is one batch and one sync, so that the
//! world decides when a disk is fast. What a process finds when it opens the log may be in the page
//! cache alone, which a failed sync leaves clean: the last batch is therefore written again.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rotary_proto::codec::{self, Limit};
use rotary_storage::{
    Disk, DiskFile, Done, EXIT_STORAGE, Fatal, Group, LogEntry, LogStats, LogStore, MemoryLog,
    SimulatedDisk, read_up_to,
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::bugs::{Bug, PlantedDisk, PlantedStore};

/// Where the log is.
pub(crate) const DIRECTORY: &str = "/node";
/// Its one file.
pub(crate) const FILE: &str = "/node/log";
/// Length, checksum, number.
const HEADER_BYTES: usize = 4 + 8 + 8;
/// Records that go into one batch.
const BATCH_RECORDS_MAX: usize = 256;

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Record {
    Append(Group, Vec<(u64, Vec<u8>)>),
    Vote(Group, Vec<u8>),
    Truncate(Group, Option<u64>),
    Purge(Group, u64, Vec<u8>),
    Saved(Group, bool, Vec<u8>),
}

/// The log of a node on its disk.
pub(crate) struct PlainLog {
    memory: MemoryLog,
    state: Mutex<State>,
    fatal: Fatal,
}

struct State {
    file: Arc<dyn DiskFile>,
    end: u64,
    batches: u64,
    queue: Vec<(Record, Option<Done>)>,
    failed: bool,
}

impl PlainLog {
    /// Opens the log, or makes it. A torn last batch is cut.
    ///
    /// # Errors
    /// `InvalidData` for damage before the last batch, and what the disk says.
    pub(crate) fn open(disk: &dyn Disk, fatal: Fatal) -> io::Result<Self> {
        let (directory, path) = (Path::new(DIRECTORY), Path::new(FILE));
        let file = match disk.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.make_directory(directory)?;
                let file = disk.create(path)?;
                disk.sync_directory(directory)?;
                file
            }
            Err(error) => return Err(error),
        };
        let bytes = read_up_to(&*file, 0, usize::MAX)?;
        let memory = MemoryLog::new();
        let (mut end, mut batches, mut last) = (0, 0, 0);
        while let Some((payload, length)) = batch_at(&bytes[end..], batches) {
            let records: Vec<Record> = codec::decode(payload, Limit::Wire)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            records.into_iter().for_each(|record| replay(&memory, record));
            (last, end, batches) = (end, end + length, batches + 1);
        }
        let rest = &bytes[end..];
        if let Some(at) = (1..rest.len()).find(|at| any_batch_at(&rest[*at..], batches)) {
            let what = format!("damage at {end}: a whole batch follows at {}", end + at);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        file.set_len(end as u64)?;
        file.write_at(last as u64, &bytes[last..end])?;
        file.sync()?;
        let state = State { file, end: end as u64, batches, queue: Vec::new(), failed: false };
        Ok(Self { memory, state: Mutex::new(state), fatal })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// Whether something waits to be written for somebody.
    pub(crate) fn has_work(&self) -> bool {
        self.lock().queue.iter().any(|(_, done)| done.is_some())
    }

    /// Writes one batch of what waits, syncs it and says so. A failure ends the process.
    pub(crate) fn pump(&self) {
        let (batch, written) = {
            let mut state = self.lock();
            let count = state.queue.len().min(BATCH_RECORDS_MAX);
            let batch: Vec<_> = state.queue.drain(..count).collect();
            if batch.is_empty() {
                return;
            }
            let written = state.write(batch.iter().map(|(record, _)| record.clone()).collect());
            state.failed |= written.is_err();
            (batch, written)
        };
        if let Err(error) = &written {
            self.fatal.end(EXIT_STORAGE, &error.to_string());
        }
        for done in batch.into_iter().filter_map(|(_, done)| done) {
            done(match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
    }

    fn queue(&self, record: Record, done: Option<Done>) {
        replay(&self.memory, record.clone());
        self.lock().queue.push((record, done));
    }
}

impl State {
    fn write(&mut self, records: Vec<Record>) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write failed"));
        }
        let payload = codec::encode(&records, Limit::Wire).map_err(io::Error::other)?;
        let length = u32::try_from(payload.len()).expect("the codec has a limit");
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&xxh3_64_with_seed(&payload, self.batches).to_le_bytes());
        bytes.extend_from_slice(&self.batches.to_le_bytes());
        bytes.extend_from_slice(&payload);
        self.file.write_at(self.end, &bytes)?;
        self.file.sync()?;
        self.end += bytes.len() as u64;
        self.batches += 1;
        Ok(())
    }
}

/// The batch of that number at the beginning of `bytes`, and how long it is.
fn batch_at(bytes: &[u8], number: u64) -> Option<(&[u8], usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let (found, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let payload = rest.get(..length)?;
    let right = u64::from_le_bytes(*found) == number
        && xxh3_64_with_seed(payload, number) == u64::from_le_bytes(*sum);
    right.then_some((payload, HEADER_BYTES + length))
}

/// Whether a batch of that number or a later one begins there.
fn any_batch_at(bytes: &[u8], number: u64) -> bool {
    let Some(found) = bytes.get(12..HEADER_BYTES) else { return false };
    let found = u64::from_le_bytes(found.try_into().expect("eight bytes"));
    found >= number && found < number + 1_000_000 && batch_at(bytes, found).is_some()
}

fn replay(memory: &MemoryLog, record: Record) {
    let done: Done = Box::new(|_| ());
    match record {
        Record::Append(group, entries) => {
            let entry = |(index, bytes): (u64, Vec<u8>)| LogEntry { index, bytes: bytes.into() };
            memory.append(group, entries.into_iter().map(entry).collect(), done);
        }
        Record::Vote(group, bytes) => memory.save_vote(group, bytes, done),
        Record::Truncate(group, last) => memory.truncate_after(group, last, done),
        Record::Purge(group, through, mark) => memory.purge(group, through, mark, done),
        Record::Saved(group, _, bytes) => memory.save_lazily(group, COMMITTED, bytes),
    }
}

/// The one name that is saved lazily.
const COMMITTED: &str = "committed";

impl LogStore for PlainLog {
    fn append(&self, group: Group, entries: Vec<LogEntry>, done: Done) {
        let entries = entries.into_iter().map(|entry| (entry.index, entry.bytes.to_vec()));
        self.queue(Record::Append(group, entries.collect()), Some(done));
    }

    fn save_vote(&self, group: Group, bytes: Vec<u8>, done: Done) {
        self.queue(Record::Vote(group, bytes), Some(done));
    }

    fn truncate_after(&self, group: Group, last: Option<u64>, done: Done) {
        self.queue(Record::Truncate(group, last), Some(done));
    }

    fn purge(&self, group: Group, through: u64, mark: Vec<u8>, done: Done) {
        self.queue(Record::Purge(group, through, mark), Some(done));
    }

    fn save_lazily(&self, group: Group, name: &'static str, bytes: Vec<u8>) {
        assert_eq!(name, COMMITTED, "the log saves one name lazily");
        self.queue(Record::Saved(group, true, bytes), None);
    }

    fn read(&self, group: Group, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        self.memory.read(group, range, bytes_max)
    }

    fn last(&self, group: Group) -> io::Result<Option<LogEntry>> {
        self.memory.last(group)
    }

    fn vote(&self, group: Group) -> io::Result<Option<Vec<u8>>> {
        self.memory.vote(group)
    }

    fn purged(&self, group: Group) -> io::Result<Option<(u64, Vec<u8>)>> {
        self.memory.purged(group)
    }

    fn saved(&self, group: Group, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        self.memory.saved(group, name)
    }

    fn flush(&self) -> io::Result<()> {
        self.pump();
        if self.lock().failed { Err(io::Error::other("a write failed")) } else { Ok(()) }
    }

    fn stats(&self) -> LogStats {
        self.memory.stats()
    }
}

/// A node's disk, with what is planted between it and the log.
pub(crate) struct NodeDisk {
    pub(crate) disk: SimulatedDisk,
    bug: Option<Bug>,
    opened: bool,
    /// Files and how long they were before the last batch.
    cold: Vec<(PathBuf, u64)>,
}

impl NodeDisk {
    pub(crate) fn new(disk: SimulatedDisk, bug: Option<Bug>) -> Self {
        Self { disk, bug, opened: false, cold: Vec::new() }
    }

    /// Opens the node's log for a process that starts.
    ///
    /// # Errors
    /// What the log finds wrong.
    pub(crate) fn open(&mut self, fatal: Fatal) -> io::Result<(Arc<PlainLog>, Arc<dyn LogStore>)> {
        let disk = PlantedDisk { disk: self.disk.process(), bug: self.bug };
        if self.bug == Some(Bug::TailLost) && self.opened {
            let file = disk.open(Path::new(FILE))?;
            file.set_len(file.len()?.saturating_sub(1))?;
        }
        self.opened = true;
        let plain = match PlainLog::open(&disk, fatal.clone()) {
            Err(_) if self.bug == Some(Bug::DamageBegunAnew) => {
                disk.remove(Path::new(FILE))?;
                PlainLog::open(&disk, fatal)?
            }
            opened => opened?,
        };
        let plain = Arc::new(plain);
        let store = PlantedStore { store: plain.clone(), bug: self.bug };
        Ok((plain, Arc::new(store)))
    }

    /// A batch is about to be written: all that is there by now is old.
    pub(crate) fn note_cold(&mut self) {
        self.cold = self.disk.files();
    }

    /// How many bytes there are that no later write can have torn.
    pub(crate) fn cold_bytes(&self) -> u64 {
        self.cold.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Turns a bit of old data over.
    ///
    /// # Panics
    /// If there are fewer bits.
    pub(crate) fn flip(&self, mut bit: u64) {
        for (path, bytes) in &self.cold {
            if bit < bytes * 8 {
                return self.disk.flip_bit(path, bit);
            }
            bit -= bytes * 8;
        }
        panic!("a bit is flipped in what there is");
    }
}
