//! Feeds committed entries to a [`Machine`], and answers to those who proposed them.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use rotary_proto::{ShardId, Stamp};
use rotary_storage::Fatal;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::ShardClock;
use crate::machine::Machine;
use crate::shard::Counters;
use crate::types::{
    Answer, LogId, NO_SNAPSHOTS, NoSnapshot, Octets, Snapshot, SnapshotMeta, StoredMembership,
    Types,
};

/// Entries applied under one lock of the machine, and before [`Machine::applied`] is called.
const RUN_ENTRIES_MAX: usize = 256;

/// What a shard's tasks share about its machine.
pub(crate) struct Applied {
    shard: ShardId,
    machine: Mutex<Box<dyn Machine>>,
    /// The machine's next deadline, for the ticker.
    pub(crate) deadline: watch::Sender<Option<Stamp>>,
    pub(crate) clock: ShardClock,
    pub(crate) counters: Counters,
    fatal: Fatal,
}

impl Applied {
    pub(crate) fn new(
        shard: ShardId,
        machine: Box<dyn Machine>,
        clock: ShardClock,
        fatal: Fatal,
    ) -> Self {
        let deadline = watch::Sender::new(machine.next_deadline());
        let counters = Counters::default();
        Self { shard, machine: Mutex::new(machine), deadline, clock, counters, fatal }
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
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl StateMachine {
    pub(crate) fn new(shared: Arc<Applied>) -> Self {
        Self { shared, applied: None, membership: StoredMembership::default() }
    }

    /// Applies a run of entries, then answers their proposers.
    fn apply_run(&mut self, run: Vec<EntryResponder<Types>>) {
        let shared = self.shared.clone();
        let mut answers = Vec::with_capacity(run.len());
        let mut machine = shared.lock();
        let mut last = machine.last_stamp();
        for (entry, responder) in run {
            let id = entry.log_id();
            let answer = match &entry.payload {
                EntryPayload::Normal(command) => {
                    last = command.stamp.after(last);
                    let payload = &command.payload.0;
                    machine.apply(id.index, last, command.wall, payload)
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(id), membership.clone());
                    Vec::new()
                }
                EntryPayload::Blank => Vec::new(),
            };
            self.applied = Some(id);
            answers.extend(responder.map(|responder| (responder, answer)));
            shared.counters.applied.fetch_add(1, Ordering::Relaxed);
        }
        machine.applied(self.applied.map_or(0, |id| id.index));
        let deadline = machine.next_deadline();
        drop(machine);
        shared.clock.applied(last, Instant::now());
        shared.deadline.send_if_modified(|known| std::mem::replace(known, deadline) != deadline);
        for (responder, answer) in answers {
            responder.send(Answer(Octets(Bytes::from(answer))));
        }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = NoSnapshot;
    type SnapshotBuilder = NoBuilder;

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
            self.apply_run(run);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> NoBuilder {
        NoBuilder
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, _: NoSnapshot) -> Result<(), io::Error> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NO_SNAPSHOTS))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(None)
    }
}

/// Says that there are no snapshots.
pub(crate) struct NoBuilder;

impl RaftSnapshotBuilder<Types> for NoBuilder {
    type SnapshotData = NoSnapshot;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NO_SNAPSHOTS))
    }
}
