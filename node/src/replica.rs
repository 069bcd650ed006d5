//! What this node knows: its replica of every shard, for all who read.
//!
//! The machines write here, from the log's apply path; doors and feeds read. A reader takes a
//! lock only for as long as it copies a view out, and never across an await.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rotary_directory::Directory;
use rotary_distributor::Shard;
use rotary_proto::codec::{self, Limit};
use rotary_proto::{EventRecord, ShardId, SiteId};
use rotary_storage::{Journal, JournalError, JournalRecord, Lookup, LookupError};
use tokio::sync::watch;

use crate::blobs::Named;

/// The shard of the directory.
pub(crate) const DIRECTORY: ShardId = ShardId(0);
/// Bytes that one read of a journal may return.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// A look at the directory.
pub(crate) struct Reading<'a>(RwLockReadGuard<'a, Directory>);

#[cfg(debug_assertions)]
thread_local! {
    /// Whether this thread looks at the directory already.
    static READS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl<'a> Reading<'a> {
    fn begin(take: impl FnOnce() -> RwLockReadGuard<'a, Directory>) -> Self {
        #[cfg(debug_assertions)]
        assert!(!READS.replace(true), "who reads the directory must not ask for it again");
        Self(take())
    }
}

impl std::ops::Deref for Reading<'_> {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.0
    }
}

#[cfg(debug_assertions)]
impl Drop for Reading<'_> {
    fn drop(&mut self) {
        READS.set(false);
    }
}

/// This node's replicas of all shards, and its journal.
pub(crate) struct Replica {
    directory: RwLock<Directory>,
    directory_applied: watch::Sender<u64>,
    shards: BTreeMap<ShardId, Arc<ShardReplica>>,
    journal: Arc<Journal>,
    lookup: Lookup,
    named: Named,
}

/// This node's replica of one data shard.
pub(crate) struct ShardReplica {
    pub(crate) id: ShardId,
    shard: RwLock<Shard>,
    applied: watch::Sender<u64>,
}

/// Why events cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The lookup cannot be read.
    #[error(transparent)]
    Lookup(LookupError),
    /// The lookup is being made and has not come far enough.
    #[error("the archive is being indexed: {through} of {last} log entries")]
    Indexing { through: u64, last: u64 },
    /// A record is not an event of this build.
    #[error("record {sequence} of {site} cannot be read: {why}")]
    Record { site: SiteId, sequence: u64, why: String },
}

impl From<LookupError> for ReadError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Journal(error) => Self::Journal(error),
            error => Self::Lookup(error),
        }
    }
}

impl ReadError {
    /// Whether what was asked for was there and has been dropped by retention.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(self, Self::Journal(JournalError::Forgotten { .. }))
    }
}

impl Replica {
    /// Empty replicas of the directory and of data shards 1 to `shards`.
    pub(crate) fn new(shards: u32, journal: Arc<Journal>, lookup: Lookup) -> Self {
        let shards = (1..=shards).map(ShardId);
        Self {
            directory: RwLock::new(Directory::new()),
            directory_applied: watch::Sender::new(0),
            shards: shards.map(|id| (id, Arc::new(ShardReplica::new(id)))).collect(),
            journal,
            lookup,
            named: Named::default(),
        }
    }

    /// The journal of this node.
    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Where in the journal what is.
    pub(crate) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Sees the directory change.
    pub(crate) fn directory_changes(&self) -> watch::Receiver<u64> {
        self.directory_applied.subscribe()
    }

    /// Which blobs records name that have just been indexed.
    pub(crate) fn named(&self) -> &Named {
        &self.named
    }

    /// The directory, for as long as the guard is held. Who holds it must not ask for it again: the
    /// machine may be waiting in between, and then both wait for ever. Builds for tests panic.
    pub(crate) fn directory(&self) -> Reading<'_> {
        Reading::begin(|| self.directory.read().expect("apply does not panic and go on"))
    }

    /// The directory, to be changed by its machine.
    pub(crate) fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().expect("apply does not panic and go on")
    }

    /// One data shard.
    pub(crate) fn shard(&self, id: ShardId) -> Option<&Arc<ShardReplica>> {
        self.shards.get(&id)
    }

    /// Whether the journal of a shard has everything before its snapshot.
    pub(crate) fn is_whole(&self, shard: ShardId) -> bool {
        self.journal.missing(shard.0).is_none()
    }

    /// Every data shard, in order of their ids.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Arc<ShardReplica>> {
        self.shards.values()
    }

    /// The data shard that a site lives in, if this node knows the site.
    pub(crate) fn shard_of(&self, site: SiteId) -> Option<&Arc<ShardReplica>> {
        let shard = self.directory().shard_of(site)?;
        self.shards.get(&shard)
    }

    /// Notes that a shard was applied up to there.
    pub(crate) fn note_applied(&self, shard: ShardId, index: u64) {
        if let Some(applied) = self.applied_of(shard) {
            applied.send_if_modified(|last| {
                let more = index > *last;
                *last = index.max(*last);
                more
            });
        }
    }

    /// Waits until `index` is applied here, and says whether it was within `patience`.
    pub(crate) async fn reach(&self, shard: ShardId, index: u64, patience: Duration) -> bool {
        let Some(applied) = self.applied_of(shard) else { return false };
        let mut applied = applied.subscribe();
        let reached = applied.wait_for(|last| *last >= index);
        tokio::time::timeout(patience, reached).await.is_ok()
    }

    /// Waits, not for long, until this node knows a site that another node may just have made.
    pub(crate) async fn find_site(
        &self,
        site: SiteId,
        patience: Duration,
    ) -> Option<&Arc<ShardReplica>> {
        let mut applied = self.directory_applied.subscribe();
        let known = applied.wait_for(|_| self.directory().shard_of(site).is_some());
        let _ = tokio::time::timeout(patience, known).await;
        self.shard_of(site)
    }

    /// Waits, not for long, until this node's directory has something that another node may just
    /// have made.
    pub(crate) async fn find<T>(
        &self,
        patience: Duration,
        look: impl Fn(&Directory) -> Option<T>,
    ) -> Option<T> {
        let mut applied = self.directory_applied.subscribe();
        let mut found = None;
        let known = applied.wait_for(|_| {
            found = look(&self.directory());
            found.is_some()
        });
        let _ = tokio::time::timeout(patience, known).await;
        found
    }

    /// Whether this node has a replica of that shard.
    pub(crate) fn has(&self, shard: ShardId) -> bool {
        self.applied_of(shard).is_some()
    }

    fn applied_of(&self, shard: ShardId) -> Option<&watch::Sender<u64>> {
        if shard == DIRECTORY {
            return Some(&self.directory_applied);
        }
        self.shards.get(&shard).map(|shard| &shard.applied)
    }

    /// The events of a site after a sequence, at most `limit` of them, from this node's journal.
    /// May read the disk, and so blocks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn events(
        &self,
        shard: ShardId,
        site: SiteId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EventRecord>, ReadError> {
        let from = after.saturating_add(1);
        let records = self.journal.read(shard.0, site.key(), from, limit, PAGE_BYTES_MAX)?;
        records.iter().map(|record| decode(site, record)).collect()
    }
}

/// The event in a record.
pub(crate) fn decode(site: SiteId, record: &JournalRecord) -> Result<EventRecord, ReadError> {
    codec::decode(&record.bytes, Limit::Entry).map_err(|error| ReadError::Record {
        site,
        sequence: record.sequence,
        why: error.to_string(),
    })
}

impl ShardReplica {
    fn new(id: ShardId) -> Self {
        Self { id, shard: RwLock::new(Shard::new(id)), applied: watch::Sender::new(0) }
    }

    /// Sees the index rise up to which the state is applied.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The state, for as long as the guard is held.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Shard> {
        self.shard.read().expect("apply does not panic and go on")
    }

    /// The state, to be changed by its machine.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Shard> {
        self.shard.write().expect("apply does not panic and go on")
    }
}
