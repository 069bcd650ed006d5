//! Finding records of the journal by what they are about, in a derived index on fjall.
//!
//! The caller says under which keys a record is to be found ([`Keys`]); the lookup reads the
//! journal in order and keeps (group, key) -> position, with a mark of how far it has come, in the
//! same atomic batch. Nothing here is a promise: a lookup that is missing, damaged, or ahead of a
//! journal that lost its tail is made again from the journal, which is a function of the log, so
//! what is made again is what was there.
//!
//! ```text
//! group(4) length(1) key index(8) ordinal(4) -> stream(8) sequence(8)
//! ```
//!
//! Keys order as bytes, and the records of one key in the order of the log.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::fjall_log::io_error;
use crate::journal::Journal;
use crate::journal_chain::{ChainHash, JournalHead};
use crate::journal_error::JournalError;
use crate::journal_frame::JournalRecord;

/// Bytes that one key may have.
pub const LOOKUP_KEY_BYTES_MAX: usize = 64;
/// Records that go into one batch.
const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;
/// Why a lock cannot be poisoned.
const UNPANICKED: &str = "no code panics while it holds this lock";
/// What fjall may keep in memory.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Where a record is: by log order, and in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupPosition {
    /// The log index that made it.
    pub index: u64,
    /// Its place among the records of that index.
    pub ordinal: u32,
    /// Its stream.
    pub stream: u64,
    /// Its place in the stream.
    pub sequence: u64,
}

/// What a lookup found: a key and one record under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The key.
    pub key: Vec<u8>,
    /// The record.
    pub at: LookupPosition,
}

/// Under which keys a record is found. A function of the journal alone.
pub trait Keys: Send + Sync {
    /// The keys of a record, each at most [`LOOKUP_KEY_BYTES_MAX`] long; longer ones are left out.
    /// `earlier` gives the records that came before it under a key.
    ///
    /// # Errors
    /// What `earlier` says; `Later` if the keys depend on what is not known yet.
    fn keys(&self, record: &JournalRecord, earlier: &Earlier<'_>) -> Result<KeyList, LookupError>;
}

/// Keys of one record.
pub type KeyList = Vec<Vec<u8>>;

/// Gives the records under a key, oldest first, that came before the one that is being indexed.
pub type Earlier<'a> = dyn Fn(&[u8]) -> Result<Vec<JournalRecord>, LookupError> + 'a;

/// Why a lookup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The index cannot be read or written.
    #[error("the lookup index: {0}; stop the node and remove its directory, it is made again")]
    Index(#[from] io::Error),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The keys of a record are not known yet: it is indexed later.
    #[error("{0}; it is indexed later")]
    Later(String),
}

/// How far an index has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records at or below this index are found.
    pub through: u64,
    /// The last index of the journal when it was looked at.
    pub last: u64,
}

impl Progress {
    /// Whether everything is found.
    pub fn is_done(self) -> bool {
        self.through >= self.last
    }
}

/// A derived index of a node's journals.
pub struct Lookup {
    store: Store,
    /// How far each group has come. A group's is held while it is indexed: one does it at a time.
    marks: Mutex<BTreeMap<u32, Arc<Mutex<Mark>>>>,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

/// How far a group has come, and a head that the journal must have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    /// Everything after this index and not after `through` was indexed.
    from: u64,
    through: u64,
    anchor: JournalHead,
}

impl Mark {
    fn encode(self) -> Vec<u8> {
        let numbers = [self.from, self.through, self.anchor.index].map(u64::to_be_bytes);
        [numbers.concat().as_slice(), &self.anchor.hash.0].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (from, rest) = bytes.split_first_chunk::<8>()?;
        let (through, rest) = rest.split_first_chunk::<8>()?;
        let (index, hash) = rest.split_first_chunk::<8>()?;
        let index = u64::from_be_bytes(*index);
        let anchor = JournalHead { index, hash: ChainHash(hash.try_into().ok()?) };
        let (from, through) = (u64::from_be_bytes(*from), u64::from_be_bytes(*through));
        Some(Self { from, through, anchor })
    }

    /// Begins where a journal begins: later if it has forgotten, again if it got its past back.
    fn begin(&mut self, first: u64) {
        if first < self.from || self.through < first {
            (self.from, self.through) = (first, first);
        }
    }
}

type Row = (Vec<u8>, Vec<u8>);
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

enum Store {
    Fjall { database: Database, rows: Keyspace, marks: Keyspace },
    Memory { rows: Mutex<Rows> },
}

impl Lookup {
    /// An index in memory, for tests and simulation: it is made again with each process.
    pub fn in_memory() -> Self {
        let store = Store::Memory { rows: Mutex::default() };
        Self { store, marks: Mutex::default() }
    }

    /// Opens the index in that directory. One that cannot be opened, or does not fit the journal,
    /// is removed and begun anew.
    ///
    /// # Errors
    /// `Index` if the directory cannot be written; `Journal` if the journal cannot be read.
    pub fn open(path: &Path, journal: &Journal) -> Result<Self, LookupError> {
        // Damage that the index's own checks miss makes it panic, which is as good an answer.
        let opening = || Self::open_store(path).and_then(|it| it.fits(journal).map(|_| it));
        let fits = catch_unwind(AssertUnwindSafe(opening))
            .unwrap_or_else(|_| Err(io::Error::other("the index panicked").into()));
        match fits {
            Ok(lookup) => return Ok(lookup),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "the lookup index is made again from the journal");
            }
        }
        if path.exists() {
            std::fs::remove_dir_all(path)?;
        }
        Self::open_store(path)
    }

    fn open_store(path: &Path) -> Result<Self, LookupError> {
        std::fs::create_dir_all(path)?;
        let open = || -> Result<_, fjall::Error> {
            let database = Database::builder(path)
                .manual_journal_persist(true)
                .worker_threads(1)
                .cache_size(CACHE_BYTES)
                .open()?;
            let rows = database.keyspace("rows", KeyspaceCreateOptions::default)?;
            let marks = database.keyspace("marks", KeyspaceCreateOptions::default)?;
            Ok((database, rows, marks))
        };
        let (database, rows, marks) = open().map_err(io_error)?;
        let mut kept = BTreeMap::new();
        for guard in marks.iter() {
            let (key, value) = guard.into_inner().map_err(io_error)?;
            let group = key.first_chunk().map(|key| u32::from_be_bytes(*key));
            let (Some(group), Some(mark)) = (group, Mark::decode(&value)) else {
                return Err(io::Error::other("a mark of it is malformed").into());
            };
            kept.insert(group, Arc::new(Mutex::new(mark)));
        }
        Ok(Self { store: Store::Fjall { database, rows, marks }, marks: Mutex::new(kept) })
    }

    /// Makes sure that each mark speaks of this journal, and takes back what the journal lost.
    fn fits(&self, journal: &Journal) -> Result<(), LookupError> {
        for (group, mark) in self.marks.lock().expect(UNPANICKED).iter() {
            let mut mark = mark.lock().expect(UNPANICKED);
            let last = journal.last_index(*group);
            // The rows above come again, the same, when the log is applied again.
            mark.through = mark.through.min(last);
            let found = match journal.head_at(*group, mark.anchor.index) {
                Err(JournalError::IndexForgotten { .. }) => continue,
                found => found?,
            };
            if found != mark.anchor || mark.anchor.index > last {
                let what = format!("group {group} was indexed of another journal");
                return Err(io::Error::other(what).into());
            }
        }
        Ok(())
    }

    fn mark(&self, group: u32) -> Arc<Mutex<Mark>> {
        self.marks.lock().expect(UNPANICKED).entry(group).or_default().clone()
    }

    /// The index up to which a group's records are found.
    pub fn through(&self, group: u32) -> u64 {
        self.mark(group).lock().expect(UNPANICKED).through
    }

    /// The same, unless the group is being indexed at this moment: for who is indexing another.
    pub fn through_if_idle(&self, group: u32) -> Option<u64> {
        self.mark(group).try_lock().ok().map(|mark| mark.through)
    }

    /// Indexes what the journal holds and the lookup does not, at most about `records_max`
    /// records, and up to the first that is for later. Blocks on the disk.
    ///
    /// # Errors
    /// [`LookupError`]; what was indexed before then is kept.
    pub fn catch_up(
        &self,
        journal: &Journal,
        group: u32,
        keys: &dyn Keys,
        records_max: usize,
    ) -> Result<Progress, LookupError> {
        let mark = self.mark(group);
        let mut mark = mark.lock().expect(UNPANICKED);
        let last = journal.last_index(group);
        let mut left = records_max;
        mark.begin(journal.first_index(group));
        while mark.through < last && left > 0 {
            let after = mark.through;
            let page = journal.read_index(group, after, BATCH_RECORDS.min(left), BATCH_BYTES)?;
            let (mut batch, mut through) = (Rows::new(), page.through.max(after));
            for record in &page.records {
                match self.put(journal, group, record, keys, &mut batch) {
                    Err(LookupError::Later(_)) => {
                        // What was put of that index already is put again.
                        through = record.index - 1;
                        break;
                    }
                    put => put?,
                }
            }
            let durable = journal.durable_head(group);
            let anchor = if durable.index <= through { durable } else { mark.anchor };
            let next = Mark { through, anchor, ..*mark };
            if !page.records.is_empty() {
                self.write(group, batch, next)?;
            }
            *mark = next;
            if through < page.through {
                break;
            }
            left = left.saturating_sub(page.records.len().max(1));
        }
        Ok(Progress { through: mark.through, last })
    }

    fn put(
        &self,
        journal: &Journal,
        group: u32,
        record: &JournalRecord,
        keys: &dyn Keys,
        batch: &mut Rows,
    ) -> Result<(), LookupError> {
        let at = LookupPosition {
            index: record.index,
            ordinal: record.ordinal,
            stream: record.stream,
            sequence: record.sequence,
        };
        let found = {
            let batch = &*batch;
            let earlier = |key: &[u8]| {
                let (from, to) = (row(group, key, 0, 0), row(group, key, u64::MAX, u32::MAX));
                // What was taken back may be in both.
                let mut found: Rows = self.rows(&from, &to, usize::MAX)?.into_iter().collect();
                found.extend(batch.range(from..=to).map(|(k, v)| (k.clone(), v.clone())));
                let found = found.iter().filter_map(|(key, value)| read_row(key, value));
                let found = found.filter(|found| found.at < at);
                read_records(journal, group, found.map(|found| found.at))
            };
            keys.keys(record, &earlier)?
        };
        for key in found {
            if key.len() > LOOKUP_KEY_BYTES_MAX {
                tracing::warn!(group, bytes = key.len(), "a lookup key is too long, left out");
                continue;
            }
            let place = [record.stream.to_be_bytes(), record.sequence.to_be_bytes()].concat();
            batch.insert(row(group, &key, record.index, record.ordinal), place);
        }
        Ok(())
    }

    fn write(&self, group: u32, batch: Rows, mark: Mark) -> Result<(), LookupError> {
        match &self.store {
            Store::Memory { rows } => {
                rows.lock().expect(UNPANICKED).extend(batch);
            }
            Store::Fjall { database, rows, marks } => {
                let mut write = database.batch();
                for (key, value) in batch {
                    write.insert(rows, key, value);
                }
                write.insert(marks, group.to_be_bytes(), mark.encode());
                write.commit().map_err(io_error)?;
            }
        }
        Ok(())
    }

    /// Makes what was indexed survive a loss of power; without it some is indexed again.
    ///
    /// # Errors
    /// `Index`.
    pub fn persist(&self) -> Result<(), LookupError> {
        if let Store::Fjall { database, .. } = &self.store {
            database.persist(PersistMode::SyncData).map_err(io_error)?;
        }
        Ok(())
    }

    /// What is found under the keys from `from` to `to`, both included and of the same length, at
    /// most `limit` of it, by key and then in the order of the log; `after` is the last thing found
    /// before.
    ///
    /// # Errors
    /// `Index`.
    pub fn find(
        &self,
        group: u32,
        from: &[u8],
        to: &[u8],
        after: Option<&Found>,
        limit: usize,
    ) -> Result<Vec<Found>, LookupError> {
        assert_eq!(from.len(), to.len(), "keys order as bytes if they are equally long");
        if from > to || from.len() > LOOKUP_KEY_BYTES_MAX {
            return Ok(Vec::new());
        }
        let mut low = row(group, from, 0, 0);
        if let Some(after) = after {
            let mut next = row(group, &after.key, after.at.index, after.at.ordinal);
            next.push(0);
            low = low.max(next);
        }
        let rows = self.rows(&low, &row(group, to, u64::MAX, u32::MAX), limit)?;
        Ok(rows.iter().filter_map(|(key, value)| read_row(key, value)).collect())
    }

    fn rows(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, LookupError> {
        if from > to {
            return Ok(Vec::new());
        }
        let bounds = (Bound::Included(from.to_vec()), Bound::Included(to.to_vec()));
        match &self.store {
            Store::Memory { rows } => {
                let rows = rows.lock().expect(UNPANICKED);
                let found = rows.range(bounds).take(limit);
                Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            Store::Fjall { rows, .. } => {
                let mut found = Vec::new();
                for guard in rows.range(bounds).take(limit) {
                    let (key, value) = guard.into_inner().map_err(io_error)?;
                    found.push((key.to_vec(), value.to_vec()));
                }
                Ok(found)
            }
        }
    }

    /// Forgets all of a group, which is indexed anew from where its journal begins.
    ///
    /// # Errors
    /// `Index`.
    pub fn forget(&self, group: u32) -> Result<(), LookupError> {
        let mark = self.mark(group);
        let mut mark = mark.lock().expect(UNPANICKED);
        self.prune(group, u64::MAX)?;
        self.write(group, Rows::new(), Mark::default())?;
        *mark = Mark::default();
        Ok(())
    }

    /// Forgets what a journal that begins after an index does not hold any more; reads all rows of
    /// the group. Returns how many went.
    ///
    /// # Errors
    /// `Index`.
    pub fn prune(&self, group: u32, through: u64) -> Result<usize, LookupError> {
        let (mut low, end) = (group.to_be_bytes().to_vec(), row(group, &[255; 255], u64::MAX, 0));
        let mut count = 0;
        loop {
            let page = self.rows(&low, &end, 4_096)?;
            let Some((last, _)) = page.last() else { return Ok(count) };
            low = [last.as_slice(), &[0]].concat();
            let old = |(key, value): &Row| {
                read_row(key, value).is_none_or(|found| found.at.index <= through)
            };
            let old: Vec<Vec<u8>> = page.into_iter().filter(old).map(|(key, _)| key).collect();
            count += old.len();
            self.remove(old)?;
        }
    }

    fn remove(&self, keys: Vec<Vec<u8>>) -> Result<(), LookupError> {
        match &self.store {
            Store::Memory { rows } => {
                let mut rows = rows.lock().expect(UNPANICKED);
                for key in keys {
                    rows.remove(&key);
                }
            }
            Store::Fjall { database, rows, .. } => {
                let mut write = database.batch();
                for key in keys {
                    write.remove(rows, key);
                }
                write.commit().map_err(io_error)?;
            }
        }
        Ok(())
    }
}

/// Reads records by their positions; those that are forgotten are left out.
///
/// # Errors
/// What the journal says.
pub fn read_records(
    journal: &Journal,
    group: u32,
    positions: impl IntoIterator<Item = LookupPosition>,
) -> Result<Vec<JournalRecord>, LookupError> {
    let mut records = Vec::new();
    for LookupPosition { stream, sequence, .. } in positions {
        match journal.read(group, stream, sequence, 1, 0) {
            Err(JournalError::Forgotten { .. }) => {}
            read => records.extend(read?.into_iter().filter(|r| r.sequence == sequence)),
        }
    }
    Ok(records)
}

fn row(group: u32, key: &[u8], index: u64, ordinal: u32) -> Vec<u8> {
    let (group, length) = (group.to_be_bytes(), [key.len() as u8]);
    let (index, ordinal) = (index.to_be_bytes(), ordinal.to_be_bytes());
    [group.as_slice(), &length, key, &index, &ordinal].concat()
}

fn read_row(key: &[u8], value: &[u8]) -> Option<Found> {
    let (length, rest) = key.get(4..)?.split_first()?;
    let (key, place) = rest.split_at_checked(usize::from(*length))?;
    let (index, ordinal) = place.split_first_chunk::<8>()?;
    let (stream, sequence) = value.split_first_chunk::<8>()?;
    let at = LookupPosition {
        index: u64::from_be_bytes(*index),
        ordinal: u32::from_be_bytes(ordinal.try_into().ok()?),
        stream: u64::from_be_bytes(*stream),
        sequence: u64::from_be_bytes(sequence.try_into().ok()?),
    };
    Some(Found { key: key.to_vec(), at })
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
