//! Taking a shard's snapshot, and taking one in.
//!
//! Freezing happens between two entries and is the machine's affair; everything after it happens
//! beside the shard: the frozen state is written out chunk by chunk, synced, and becomes current
//! once the machine says that its records reach as far ([`crate::Machine::recorded`]). Raft then
//! forgets the entries that the snapshot stands for, but for some that a slow replica may still
//! want.
//!
//! When: as soon as the entries applied since the last one have as many bytes as it has, and 8 MiB
//! at least. So the disk writes each byte at most twice, however large the state, and a restarted
//! replica applies no more than it reads.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::storage::RaftSnapshotBuilder;
use rotary_storage::{FinishedSnapshot, SnapshotError, SnapshotReader, SnapshotWriter, Snapshots};
use serde::{Deserialize, Serialize};

use crate::config::Blocking;
use crate::machine::Frozen;
use crate::shard::Raft;
use crate::state_machine::Applied;
use crate::types::{LogId, Snapshot, SnapshotMeta, StoredMembership, decode, encode};

/// How often it is asked whether the machine's records have caught up.
const RECORDED_POLL: Duration = Duration::from_millis(20);

/// The pause before a snapshot that is due is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The content of a snapshot, as Raft passes it around.
#[derive(Debug)]
pub(crate) enum SnapshotFile {
    /// This node's own.
    Current(SnapshotReader),
    /// One that came from the leader and waits to be installed.
    Received(Box<FinishedSnapshot>),
}

/// What a snapshot's header says for Raft.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) last_log_id: Option<LogId>,
    pub(crate) last_membership: StoredMembership,
}

impl Meta {
    pub(crate) fn of(meta: &SnapshotMeta) -> Self {
        let last_membership = meta.last_membership.clone();
        Self { last_log_id: meta.last_log_id, last_membership }
    }

    pub(crate) fn raft(self) -> SnapshotMeta {
        let Self { last_log_id, last_membership } = self;
        SnapshotMeta { last_log_id, last_membership }
    }
}

pub(crate) fn failed(error: SnapshotError) -> io::Error {
    match error {
        SnapshotError::Io { ref source, .. } => io::Error::new(source.kind(), error.to_string()),
        SnapshotError::Damaged { .. } => {
            io::Error::new(io::ErrorKind::InvalidData, error.to_string())
        }
    }
}

/// A shard's place for snapshots.
#[derive(Clone)]
pub(crate) struct SnapshotStore {
    pub(crate) group: u32,
    pub(crate) snapshots: Snapshots,
    pub(crate) blocking: Blocking,
}

impl SnapshotStore {
    /// The current snapshot.
    pub(crate) fn current(&self) -> io::Result<Option<Snapshot>> {
        let Some(reader) = self.snapshots.current(self.group).map_err(failed)? else {
            return Ok(None);
        };
        let meta: Meta = decode(reader.meta()).map_err(io::Error::other)?;
        Ok(Some(Snapshot { meta: meta.raft(), snapshot: SnapshotFile::Current(reader) }))
    }

    /// The index of the current snapshot, after all of it was read.
    pub(crate) fn check(&self) -> Result<Option<u64>, SnapshotError> {
        let Some(reader) = self.snapshots.current(self.group)? else { return Ok(None) };
        for chunk in reader.chunks() {
            chunk?;
        }
        Ok(Some(reader.id().index))
    }

    pub(crate) fn begin(&self, meta: &Meta) -> io::Result<SnapshotWriter> {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let bytes = encode(meta).map_err(io::Error::other)?;
        self.snapshots.begin(self.group, index, bytes).map_err(failed)
    }
}

/// Writes out what was frozen.
pub(crate) struct Builder {
    pub(crate) store: SnapshotStore,
    pub(crate) shared: Arc<Applied>,
    pub(crate) meta: Meta,
    /// Taken by the first build.
    pub(crate) frozen: Mutex<Option<Box<dyn Frozen>>>,
}

impl Drop for Builder {
    fn drop(&mut self) {
        self.shared.building.store(false, Ordering::Release);
    }
}

impl Builder {
    async fn write(&mut self) -> io::Result<SnapshotReader> {
        let frozen = self.frozen.get_mut().expect("no code panics while it holds this lock");
        let frozen = frozen.take().ok_or_else(|| io::Error::other("built before"))?;
        let mut writer = self.store.begin(&self.meta)?;
        let write = move || {
            for chunk in frozen.chunks() {
                writer.append(&chunk).map_err(failed)?;
            }
            // What was held against later entries is let go before the long wait.
            drop(frozen);
            writer.finish().map_err(failed)
        };
        let finished = self.store.blocking.run(write).await?;
        let index = finished.id().index;
        while self.shared.recorded() < index {
            tokio::time::sleep(RECORDED_POLL).await;
        }
        self.store.blocking.run(move || finished.publish().map_err(failed)).await
    }
}

impl RaftSnapshotBuilder<crate::types::Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let began = tokio::time::Instant::now();
        let reader = self.write().await?;
        let (index, bytes) = (reader.id().index, reader.bytes());
        self.shared.snapshot_taken(index, bytes);
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(shard = %self.shared.shard, index, bytes, ms, "a snapshot is current");
        let meta = self.meta.clone().raft();
        Ok(Snapshot { meta, snapshot: SnapshotFile::Current(reader) })
    }
}

/// Asks Raft for a snapshot whenever enough has been applied, until one is begun: what is asked for
/// while another is being written is not remembered.
pub(crate) async fn trigger(raft: Raft, applied: Arc<Applied>) {
    loop {
        applied.snapshot_wanted.notified().await;
        while applied.snapshot_due() {
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}
