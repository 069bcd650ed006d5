//! Raft's log on the node's log store.
//!
//! An append is reported as flushed by the store's own callback, after its sync; a vote is waited
//! for. The committed id is written lazily, with whatever is synced next: losing it costs a
//! restarted replica a moment until its leader tells it again, never an entry.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::Stream;
use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use rotary_proto::limits::{APPEND_BYTES_MAX, APPEND_ENTRIES_MAX};
use rotary_storage::{Done, Group, LogEntry, LogStore};
use tokio::sync::oneshot;

use crate::recent::Recent;
use crate::types::{Entry, LogId, Types, Vote, decode, encode, encode_after};

const COMMITTED: &str = "committed";

/// One group's log.
#[derive(Clone)]
pub(crate) struct RaftLog {
    group: Group,
    store: Arc<dyn LogStore>,
    recent: Arc<Mutex<Recent>>,
}

impl RaftLog {
    pub(crate) fn new(group: Group, store: Arc<dyn LogStore>) -> Self {
        Self { group, store, recent: Arc::default() }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().expect("no code panics while it holds this lock")
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if let Some(entries) = self.recent().read(&range, bytes_max) {
            return Ok(entries);
        }
        let entries = self.store.read(self.group, range, bytes_max)?;
        entries.iter().map(|entry| decode(&entry.bytes).map_err(io::Error::other)).collect()
    }

    /// The last entry, or what was forgotten last.
    pub(crate) fn last_log_id(&self) -> io::Result<Option<LogId>> {
        match self.store.last(self.group)? {
            Some(entry) => {
                let entry = decode::<Entry>(&entry.bytes).map_err(io::Error::other)?;
                Ok(Some(entry.log_id()))
            }
            None => self.purged(),
        }
    }

    /// The entry at an index; `None` if it is not there, and for an index that is forgotten.
    pub(crate) fn log_id(&self, index: u64) -> io::Result<Option<LogId>> {
        let read = self.store.read(self.group, index..index + 1, APPEND_BYTES_MAX)?;
        let Some(entry) = read.first() else { return Ok(None) };
        let entry = decode::<Entry>(&entry.bytes).map_err(io::Error::other)?;
        Ok(Some(entry.log_id()))
    }

    fn purged(&self) -> io::Result<Option<LogId>> {
        let mark = self.store.purged(self.group)?;
        mark.map(|(_, mark)| decode(&mark).map_err(io::Error::other)).transpose()
    }

    /// The last entry known to be committed when that was last saved.
    pub(crate) fn committed(&self) -> io::Result<Option<LogId>> {
        let bytes = self.store.saved(self.group, COMMITTED)?;
        bytes.map(|bytes| decode(&bytes).map_err(io::Error::other)).transpose()
    }

    /// See [`LogStore::was_cut`].
    pub(crate) fn was_cut(&self) -> io::Result<bool> {
        self.store.was_cut(self.group)
    }

    /// See [`LogStore::clear_cut`].
    pub(crate) fn clear_cut(&self, done: Done) {
        self.store.clear_cut(self.group, done);
    }

    /// Appends an entry, and waits until it is on disk.
    pub(crate) async fn append_durably(&self, entry: LogEntry) -> io::Result<()> {
        self.durably(|store, done| store.append(self.group, vec![entry], done)).await
    }

    /// See [`LogStore::clear_cut`]; waits until it is on disk.
    pub(crate) async fn forget_cut(&self) -> io::Result<()> {
        self.durably(|store, done| store.clear_cut(self.group, done)).await
    }

    /// Removes every entry from an index on.
    pub(crate) async fn drop_from(&self, index: u64) -> io::Result<()> {
        let last = index.checked_sub(1);
        self.durably(|store, done| store.truncate_after(self.group, last, done)).await
    }

    /// Hands a write to the store and waits until it is durable.
    async fn durably(&self, write: impl FnOnce(&dyn LogStore, Done)) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        write(&*self.store, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log store has closed")))
    }
}

fn bounds(range: impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Types> for RaftLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(bounds(range), usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, APPEND_BYTES_MAX)
    }

    /// Reads piece by piece: a replica that restarts applies its whole log through this.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (log, range) = (self.clone(), bounds(range));
        let pieces = Pieces { log, range, read: Vec::new().into_iter() };
        Box::pin(futures::stream::unfold(pieces, |mut pieces| async move {
            let next = pieces.next()?;
            Some((next, pieces))
        }))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let bytes = self.store.vote(self.group)?;
        bytes.map(|bytes| decode(&bytes).map_err(io::Error::other)).transpose()
    }
}

/// A range being read.
struct Pieces {
    log: RaftLog,
    range: Range<u64>,
    read: std::vec::IntoIter<Entry>,
}

impl Pieces {
    fn next(&mut self) -> Option<io::Result<Entry>> {
        if let Some(entry) = self.read.next() {
            return Some(Ok(entry));
        }
        if self.range.is_empty() {
            return None;
        }
        let end = self.range.end.min(self.range.start + APPEND_ENTRIES_MAX as u64);
        let read = match self.log.read(self.range.start..end, APPEND_BYTES_MAX) {
            Ok(read) => read,
            Err(error) => {
                self.range.start = self.range.end;
                return Some(Err(error));
            }
        };
        self.range.start = read.last().map_or(self.range.end, |last| last.index() + 1);
        self.read = read.into_iter();
        self.read.next().map(Ok)
    }
}

impl RaftLogStorage<Types> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let (purged, last) = (self.purged()?, self.last_log_id()?);
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = encode(vote).map_err(io::Error::other)?;
        self.durably(|store, done| store.save_vote(self.group, bytes, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            let bytes = encode(&committed).map_err(io::Error::other)?;
            self.store.save_lazily(self.group, COMMITTED, bytes);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.committed()
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut encoded, mut scratch) = (Vec::new(), Vec::new());
        {
            let mut recent = self.recent();
            for entry in entries {
                scratch.clear();
                encode_after(&entry, &mut scratch).map_err(io::Error::other)?;
                encoded.push(LogEntry { index: entry.index(), bytes: scratch.as_slice().into() });
                recent.push(entry);
            }
        }
        let done: Done = Box::new(move |result| callback.io_completed(result));
        self.store.append(self.group, encoded, done);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let last = last.map(|last| last.index);
        self.recent().truncate_after(last);
        self.durably(|store, done| store.truncate_after(self.group, last, done)).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), io::Error> {
        let mark = encode(&through).map_err(io::Error::other)?;
        self.recent().purge(through.index);
        let purge = |store: &dyn LogStore, done| {
            store.purge(self.group, through.index, mark, done);
        };
        self.durably(purge).await
    }
}
