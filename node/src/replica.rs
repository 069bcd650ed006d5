//! What this node knows: its replica of every shard, for all who read.
//!
//! The machines write here, from the log's apply path; doors and feeds read. A reader takes a
//! lock only for as long as it copies a view out, and never across an await.

pub(crate) mod stays;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rotary_directory::Directory;
use rotary_distributor::Shard;
use rotary_proto::codec::{self, Limit};
use rotary_proto::{EventRecord, ShardId, SiteId};
use rotary_storage::{Journal, JournalError, JournalRecord, Lookup, LookupError};
use tokio::sync::{Notify, watch};

use crate::blobs::Named;

/// The shard of the directory.
pub(crate) const DIRECTORY: ShardId = ShardId(0);
/// Bytes that one read of a journal may return.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// How often it is looked whether a replica is there that a node is about to start.
const LOOK: Duration = Duration::from_millis(10);
/// Why a lock is never poisoned.
const LOCK: &str = "no code panics while it holds this lock";

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
    shards: RwLock<BTreeMap<ShardId, Arc<ShardReplica>>>,
    journal: Arc<Journal>,
    lookup: Lookup,
    named: Named,
    /// Rung when a step of a site's move was applied, or a snapshot that may have some.
    moved: Notify,
}

/// This node's replica of one data shard.
pub(crate) struct ShardReplica {
    pub(crate) id: ShardId,
    shard: RwLock<Shard>,
    applied: watch::Sender<u64>,
    /// Of which attempt to pass a site on to this shard all has been put together that can be.
    assembled: watch::Sender<u64>,
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
    /// What happened to the site in a shard where it lived before is not all here yet.
    #[error("this node does not have all of {site} from when it lived in {shard}")]
    Behind { site: SiteId, shard: ShardId },
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
    /// Empty replicas of the directory and of those data shards.
    pub(crate) fn new(
        shards: impl IntoIterator<Item = ShardId>,
        journal: Arc<Journal>,
        lookup: Lookup,
    ) -> Self {
        let shards = shards.into_iter();
        Self {
            directory: RwLock::new(Directory::new()),
            directory_applied: watch::Sender::new(0),
            shards: RwLock::new(shards.map(|id| (id, Arc::new(ShardReplica::new(id)))).collect()),
            journal,
            lookup,
            named: Named::default(),
            moved: Notify::new(),
        }
    }

    /// Notes that sites on their way may have come farther.
    pub(crate) fn note_moved(&self) {
        self.moved.notify_one();
    }

    /// Waits for that, for the one who does it.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
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
    pub(crate) fn shard(&self, id: ShardId) -> Option<Arc<ShardReplica>> {
        self.shards.read().expect(LOCK).get(&id).cloned()
    }

    /// An empty replica of one more data shard; the one that there is, if there is one.
    pub(crate) fn add(&self, id: ShardId) -> Arc<ShardReplica> {
        let mut shards = self.shards.write().expect(LOCK);
        shards.entry(id).or_insert_with(|| Arc::new(ShardReplica::new(id))).clone()
    }

    /// Whether the journal of a shard has everything before its snapshot.
    pub(crate) fn is_whole(&self, shard: ShardId) -> bool {
        self.journal.missing(shard.0).is_none()
    }

    /// Every data shard of which there is a replica here at the moment, in order of their ids.
    pub(crate) fn shards(&self) -> Vec<Arc<ShardReplica>> {
        self.shards.read().expect(LOCK).values().cloned().collect()
    }

    /// Their ids.
    pub(crate) fn shard_ids(&self) -> Vec<ShardId> {
        self.shards.read().expect(LOCK).keys().copied().collect()
    }

    /// Notes that a shard was applied up to there.
    pub(crate) fn note_applied(&self, shard: ShardId, index: u64) {
        let note = |applied: &watch::Sender<u64>| {
            applied.send_if_modified(|last| {
                let more = index > *last;
                *last = index.max(*last);
                more
            });
        };
        match shard {
            DIRECTORY => note(&self.directory_applied),
            shard => self.shard(shard).iter().for_each(|shard| note(&shard.applied)),
        }
    }

    /// Waits until `index` is applied here, and says whether it was within `patience`.
    pub(crate) async fn reach(&self, shard: ShardId, index: u64, patience: Duration) -> bool {
        let Some(mut applied) = self.applied_of(shard) else { return false };
        let reached = applied.wait_for(|last| *last >= index);
        tokio::time::timeout(patience, reached).await.is_ok()
    }

    /// Waits, not for long, until this node knows a site that another node may just have made. One
    /// that the directory knows is there: where it lives in a shard that is new to this node, this
    /// waits for the replica that the node is about to start, or ends without.
    pub(crate) async fn find_site(
        &self,
        site: SiteId,
        patience: Duration,
    ) -> Option<Arc<ShardReplica>> {
        self.find(patience, |directory| directory.shard_of(site)).await?;
        loop {
            // Where it lives is known to the shards before it is known to the directory.
            if let Some(replica) = self.shard_of(site) {
                return Some(replica);
            }
            tokio::time::sleep(LOOK).await;
        }
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
        shard == DIRECTORY || self.shards.read().expect(LOCK).contains_key(&shard)
    }

    /// Sees how far a shard is applied.
    fn applied_of(&self, shard: ShardId) -> Option<watch::Receiver<u64>> {
        match shard {
            DIRECTORY => Some(self.directory_applied.subscribe()),
            shard => Some(self.shard(shard)?.applied.subscribe()),
        }
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
        let (applied, assembled) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { id, shard: RwLock::new(Shard::new(id)), applied, assembled }
    }

    /// Notes that the site of an attempt is put together, or cannot be.
    pub(crate) fn note_assembled(&self, attempt: u64) {
        self.assembled.send_replace(attempt);
    }

    /// Waits for that, not longer than `patience`.
    pub(crate) async fn assembled(&self, attempt: u64, patience: Duration) {
        let mut assembled = self.assembled.subscribe();
        let done = assembled.wait_for(|done| *done >= attempt);
        let _ = tokio::time::timeout(patience, done).await;
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
