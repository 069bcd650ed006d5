//! Feeds committed entries to a [`Machine`], and answers to those who proposed them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use rotary_proto::{NodeId, ShardId, Stamp};
use rotary_storage::{Fatal, Notes, SnapshotReader};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::ShardClock;
use crate::config::LogConfig;
use crate::digests::{Digests, rebuild_note};
use crate::machine::{Machine, Records};
use crate::poison::Poison;
use crate::shard::Counters;
use crate::snapshot::{Builder, Meta, SnapshotFile, SnapshotStore, failed};
use crate::tail::doubt_note;
use crate::types::{
    Answer, Command, LogId, Octets, Snapshot, SnapshotMeta, StoredMembership, Types,
};

/// Entries applied under one lock of the machine, and before [`Machine::applied`] is called.
const RUN_ENTRIES_MAX: usize = 256;
/// What an entry without a payload counts for when bytes since a snapshot are counted.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// What a shard's tasks share about its machine.
pub(crate) struct Applied {
    pub(crate) shard: ShardId,
    machine: Mutex<Box<dyn Machine>>,
    /// The machine's next deadline, for the ticker.
    pub(crate) deadline: watch::Sender<Option<Stamp>>,
    pub(crate) clock: ShardClock,
    pub(crate) counters: Counters,
    /// A snapshot is being written.
    pub(crate) building: AtomicBool,
    /// Enough has been applied for a snapshot.
    pub(crate) snapshot_wanted: Notify,
    bytes_since_snapshot: AtomicU64,
    /// Bytes that make the next snapshot due.
    snapshot_due_bytes: AtomicU64,
    snapshot_bytes_min: u64,
    digests: Mutex<Digests>,
    /// Entries from one digest to the next.
    digest_entries: u64,
    /// What the machine records, as replicas compare it.
    pub(crate) records: Arc<dyn Records>,
    poison: Poison,
    notes: Notes,
    fatal: Fatal,
}

impl Applied {
    pub(crate) fn new(
        shard: ShardId,
        machine: Box<dyn Machine>,
        clock: ShardClock,
        config: &LogConfig,
        notes: Notes,
    ) -> io::Result<Self> {
        let snapshot_bytes_min = config.snapshot_bytes_min;
        let deadline = watch::Sender::new(machine.next_deadline());
        let records = machine.records();
        Ok(Self {
            shard,
            machine: Mutex::new(machine),
            deadline,
            clock,
            counters: Counters::default(),
            building: AtomicBool::new(false),
            snapshot_wanted: Notify::new(),
            bytes_since_snapshot: AtomicU64::new(0),
            snapshot_due_bytes: AtomicU64::new(snapshot_bytes_min),
            snapshot_bytes_min,
            digests: Mutex::default(),
            digest_entries: config.digest_entries,
            records,
            poison: Poison::open(shard.0, notes.clone())?,
            notes,
            fatal: config.fatal.clone(),
        })
    }

    pub(crate) fn lock_digests(&self) -> MutexGuard<'_, Digests> {
        self.digests.lock().expect("no code panics while it holds this lock")
    }

    /// See [`Machine::begin_again`].
    pub(crate) fn begin_again(&self) -> io::Result<()> {
        self.lock().begin_again()
    }

    /// Ends the process, and has the replica rebuilt at the next start.
    pub(crate) fn end_for_rebuild(&self, code: i32, reason: &str) {
        if let Err(error) = self.notes.put(&rebuild_note(self.shard.0), reason) {
            tracing::error!(code = "rebuild-unnoted", %error, "the rebuild could not be noted");
        }
        self.fatal.end(code, reason);
    }

    /// Nothing can be missing from the log any more.
    pub(crate) fn forget_doubt(&self) -> io::Result<()> {
        self.notes.remove(&doubt_note(self.shard))
    }

    /// Applies a command, unless it made this replica panic before. A panic is noted, then the
    /// process ends.
    fn apply(
        &self,
        machine: &mut dyn Machine,
        index: u64,
        stamp: Stamp,
        given: &Command,
    ) -> Vec<u8> {
        let payload = &given.payload.0;
        if self.poison.holds(index) {
            return machine.refuse_poisoned(index, stamp, payload);
        }
        let applied = AssertUnwindSafe(|| machine.apply(index, stamp, given.wall, payload));
        catch_unwind(applied).unwrap_or_else(|panic| {
            self.poison.note(index, &*panic, payload);
            let reason = format!("the machine of {} panicked at index {index}", self.shard);
            self.fatal.end(rotary_storage::EXIT_PANIC, &reason);
            resume_unwind(panic)
        })
    }

    /// Ends the process if its build must not go on.
    fn expect_fit(&self, machine: &dyn Machine) -> io::Result<()> {
        let Some(why) = machine.unfit() else { return Ok(()) };
        let reason = format!("{} cannot go on with this build: {why}", self.shard);
        self.fatal.end(rotary_storage::EXIT_BUILD, &reason);
        Err(io::Error::other(reason))
    }

    /// See [`Machine::recorded`].
    pub(crate) fn recorded(&self) -> u64 {
        self.lock().recorded()
    }

    /// A snapshot of that many bytes has become current.
    pub(crate) fn snapshot_taken(&self, index: u64, bytes: u64) {
        self.counters.snapshot_index.fetch_max(index, Ordering::Relaxed);
        self.snapshot_due_bytes.store(bytes.max(self.snapshot_bytes_min), Ordering::Relaxed);
    }

    /// Counts applied bytes, and asks for a snapshot when they are enough.
    fn count_bytes(&self, bytes: u64) {
        self.bytes_since_snapshot.fetch_add(bytes, Ordering::Relaxed);
        if self.snapshot_due() {
            self.snapshot_wanted.notify_one();
        }
    }

    /// Whether enough has been applied since the last snapshot was begun.
    pub(crate) fn snapshot_due(&self) -> bool {
        let since = self.bytes_since_snapshot.load(Ordering::Relaxed);
        since >= self.snapshot_due_bytes.load(Ordering::Relaxed)
    }

    /// The machine's deadline and stamp after its state was replaced.
    fn replaced(&self, machine: &dyn Machine) {
        let (deadline, stamp) = (machine.next_deadline(), machine.last_stamp());
        self.clock.applied(stamp, Instant::now());
        self.deadline.send_replace(deadline);
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Machine>> {
        self.machine.lock().unwrap_or_else(|poisoned| {
            self.fatal.end(rotary_storage::EXIT_PANIC, "a machine is used after it panicked");
            poisoned.into_inner()
        })
    }

    /// Raft has ended without being asked to: a panic in it, or a storage error.
    pub(crate) fn raft_ended(&self, error: &openraft::errors::Fatal<Types>) {
        let code = match error {
            openraft::errors::Fatal::StorageError(_) => rotary_storage::EXIT_STORAGE,
            _ => rotary_storage::EXIT_PANIC,
        };
        self.fatal.end(code, &format!("raft of {} has ended: {error}", self.shard));
    }

    /// The payload of a tick.
    pub(crate) fn tick(&self) -> Vec<u8> {
        self.lock().tick()
    }
}

/// The side of a shard that Raft drives.
pub(crate) struct StateMachine {
    shared: Arc<Applied>,
    store: SnapshotStore,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl StateMachine {
    /// Starts from the current snapshot, or empty if there is none.
    pub(crate) async fn open(shared: Arc<Applied>, store: SnapshotStore) -> io::Result<Self> {
        let membership = StoredMembership::default();
        let current = store.current()?;
        let mut machine = Self { shared, store, applied: None, membership };
        if let Some(Snapshot { meta, snapshot: SnapshotFile::Current(reader) }) = current {
            machine.replace(&meta, reader).await?;
        }
        Ok(machine)
    }

    /// Replaces the machine's state by a snapshot's.
    async fn replace(&mut self, meta: &SnapshotMeta, reader: SnapshotReader) -> io::Result<()> {
        let shared = self.shared.clone();
        let (index, bytes) = (reader.id().index, reader.bytes());
        let install = move || {
            let mut machine = shared.lock();
            let mut chunks = reader.chunks().map(|chunk| chunk.map_err(failed));
            let installed = machine.install(index, &mut chunks);
            shared.expect_fit(&**machine)?;
            installed.map_err(|what| {
                let path = reader.path().display();
                io::Error::other(format!("snapshot {path} cannot be installed: {what}"))
            })?;
            shared.lock_digests().clear();
            shared.replaced(&**machine);
            Ok::<_, io::Error>(())
        };
        self.store.blocking.run(install).await?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.shared.bytes_since_snapshot.store(0, Ordering::Relaxed);
        self.shared.snapshot_taken(index, bytes);
        Ok(())
    }

    /// Applies a run of entries, then answers their proposers.
    fn apply_run(&mut self, run: Vec<EntryResponder<Types>>) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut answers = Vec::with_capacity(run.len());
        let mut machine = shared.lock();
        let mut last = machine.last_stamp();
        let mut bytes = 0;
        for (entry, responder) in run {
            let id = entry.log_id();
            let answer = match &entry.payload {
                EntryPayload::Normal(command) => {
                    last = command.stamp.after(last);
                    bytes += command.payload.0.len() as u64;
                    let answer = shared.apply(&mut **machine, id.index, last, command);
                    shared.expect_fit(&**machine)?;
                    answer
                }
                EntryPayload::Membership(membership) => {
                    let members: Vec<NodeId> = membership.voter_ids().map(NodeId).collect();
                    machine.set_members(&members);
                    self.membership = StoredMembership::new(Some(id), membership.clone());
                    Vec::new()
                }
                EntryPayload::Blank => Vec::new(),
            };
            bytes += ENTRY_OVERHEAD_BYTES;
            self.applied = Some(id);
            if id.index.is_multiple_of(shared.digest_entries) {
                shared.lock_digests().push(id.index, machine.digest());
                machine.note_checkpoint(id.index);
            }
            answers.extend(responder.map(|responder| (responder, answer)));
            shared.counters.applied.fetch_add(1, Ordering::Relaxed);
        }
        machine.applied(self.applied.map_or(0, |id| id.index));
        let deadline = machine.next_deadline();
        drop(machine);
        shared.count_bytes(bytes);
        shared.clock.applied(last, Instant::now());
        shared.deadline.send_if_modified(|known| std::mem::replace(known, deadline) != deadline);
        for (responder, answer) in answers {
            responder.send(Answer(Octets(Bytes::from(answer))));
        }
        Ok(())
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let place = format!("the state machine of {}", self.shared.shard);
        let _guard = self.shared.fatal.on_panic(place);
        let mut entries = entries.fuse();
        while let Some(first) = entries.try_next().await? {
            let mut run = vec![first];
            while run.len() < RUN_ENTRIES_MAX
                && let Some(Some(next)) = entries.try_next().now_or_never().transpose()?
            {
                run.push(next);
            }
            self.apply_run(run)?;
        }
        Ok(())
    }

    /// Freezes the state, unless a snapshot is being written or there is nothing to hold.
    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        if self.applied.is_none() || self.shared.building.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let began = std::time::Instant::now();
        let frozen = self.shared.lock().freeze();
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.counters.freeze_micros_max.fetch_max(micros, Ordering::Relaxed);
        self.shared.bytes_since_snapshot.store(0, Ordering::Relaxed);
        let (last_log_id, last_membership) = (self.applied, self.membership.clone());
        let meta = Meta { last_log_id, last_membership };
        let (store, shared) = (self.store.clone(), self.shared.clone());
        Builder { store, shared, meta, frozen: Mutex::new(Some(frozen)) }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let SnapshotFile::Received(received) = snapshot else {
            return Err(io::Error::other("this node's own snapshot is not installed again"));
        };
        let reader = received.reader().map_err(failed)?;
        self.replace(meta, reader).await?;
        self.store.blocking.run(move || received.publish().map_err(failed)).await?;
        self.shared.counters.snapshots_installed.fetch_add(1, Ordering::Relaxed);
        let index = meta.last_log_id.map_or(0, |id| id.index);
        tracing::info!(shard = %self.shared.shard, index, "installed a snapshot");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.store.current()
    }
}
