//! The machine of one replica: the distributor, its journal, and a word to the observer about
//! every entry.

pub(crate) mod directory;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rotary_distributor::{Applied, Restore, Shard, invariants};
use rotary_log::{
    Chunks, Fatal, Frozen, JournalRecords, Machine, Records, decode_base, encode_base,
};
use rotary_proto::codec::{self, Limit};
use rotary_proto::outcome::Answer;
use rotary_proto::{EventRecord, NodeId, Outcome, Refusal, ShardCommand, ShardId, Stamp, Wall};
use rotary_storage::{EXIT_STORAGE, Journal, JournalBase, JournalError, JournalRecord};

use crate::simulation::bugs::PlantedMachine;
use crate::simulation::node::id_of;
use crate::simulation::observer::{Application, Observer};
use crate::simulation::upkeep::Marked;

/// The distributor's own invariants walk everything, so they are checked at every so many entries.
const CHECK_EVERY: u64 = 16;
/// The journal's hash chain is compared at every so many entries.
const HEAD_EVERY: u64 = 8;

/// Applies the log of one shard on one node.
pub(crate) struct ShardMachine {
    node: usize,
    shard: Shard,
    ground: Ground,
    observer: Observer,
    planted: PlantedMachine,
}

/// What a machine has of its node.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) journal: Arc<Journal>,
    pub(crate) fatal: Fatal,
    /// The node's memory is such that digests come out wrong.
    pub(crate) astray: Arc<AtomicBool>,
    /// What the states have of the node's own marks.
    pub(crate) marked: Marked,
}

/// The command in an entry.
pub(crate) fn decode(payload: &[u8]) -> Option<ShardCommand> {
    codec::decode(payload, Limit::Entry).ok()
}

impl ShardMachine {
    pub(crate) fn new(
        shard: u32,
        ground: Ground,
        observer: Observer,
        planted: PlantedMachine,
    ) -> Self {
        Self { node: planted.node, shard: Shard::new(ShardId(shard)), ground, observer, planted }
    }

    /// Writes what became true to the journal.
    fn record(&self, index: u64, events: &[EventRecord]) {
        let (group, journal) = (self.shard.id().0, &self.ground.journal);
        let records = (0u32..).zip(events).map(|(ordinal, record)| JournalRecord {
            stream: record.site.key(),
            sequence: record.sequence,
            index: record.index,
            ordinal,
            bytes: codec::encode(record, Limit::Entry).expect("an event fits an entry"),
        });
        let records = self.planted.records(index, records.collect());
        if let Err(error) = journal.append(group, records) {
            self.ground.fatal.end(EXIT_STORAGE, &format!("journal of {group}: {error}"));
            // A real process would not be here any more.
            return;
        }
        if index.is_multiple_of(HEAD_EVERY) && journal.last_index(group) <= index {
            self.observer.chained(self.node, group, index, journal.head(group).hash);
        }
    }

    fn decide(&mut self, index: u64, stamp: Stamp, wall: Wall, payload: &[u8]) -> Applied {
        let stamp = self.planted.stamp(index, stamp, wall);
        let Some(command) = decode(payload) else {
            return self.shard.refuse_malformed(index, stamp);
        };
        let command = self.planted.command(index, command);
        let applied = self.shard.apply(index, stamp, wall, command.clone());
        self.planted.outcome(&command, applied)
    }

    /// Says what the state has of this node's own marks.
    fn note_marked(&self) {
        let marked = self.shard.journal_marks().get(&id_of(self.node)).copied();
        self.ground.marked.note(self.shard.id().0, marked);
    }

    /// Forgets a journal that tells another story than a snapshot does.
    fn agree(&self, base: &JournalBase) -> Result<(), JournalError> {
        let (journal, group) = (&self.ground.journal, self.shard.id().0);
        if journal.last_index(group) < base.head.index {
            return Ok(());
        }
        match journal.head_at(group, base.head.index) {
            Ok(head) if head != base.head => journal.discard(group),
            Ok(_) | Err(JournalError::IndexForgotten { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn check(&self, index: u64) {
        if !index.is_multiple_of(CHECK_EVERY) {
            return;
        }
        for wrong in invariants::check(&self.shard) {
            let place = format!("node {} index {index}", self.node + 1);
            let detail = format!("{place}: {} says {}", wrong.site, wrong.detail);
            self.observer.lock().findings.breach(wrong.promise, detail);
        }
    }
}

impl Machine for ShardMachine {
    fn apply(&mut self, index: u64, stamp: Stamp, wall: Wall, payload: &[u8]) -> Vec<u8> {
        if self.planted.skips(index) {
            let outcome = Outcome::Refused(Refusal::Malformed);
            return encode(&Answer { outcome, repeated: false, sequence: 0, index });
        }
        let Applied { answer, events } = self.decide(index, stamp, wall, payload);
        self.observer.applied(&Application {
            node: self.node,
            shard: self.shard.id().0,
            index,
            stamp: self.shard.last_stamp(),
            payload,
            command: decode(payload).as_ref(),
            answer: &answer,
            events: &events,
            state: &self.shard,
            digest: self.shard.digest(),
        });
        self.record(index, &events);
        self.note_marked();
        self.check(index);
        encode(&answer)
    }

    fn applied(&mut self, through: u64) {
        let group = self.shard.id().0;
        if let Err(error) = self.ground.journal.advance(group, through) {
            self.ground.fatal.end(EXIT_STORAGE, &format!("journal of {group}: {error}"));
        }
    }

    fn set_members(&mut self, members: &[NodeId]) {
        if self.planted.tells_members() {
            self.shard.set_members(members.iter().copied());
            self.note_marked();
        }
    }

    fn note_checkpoint(&mut self, index: u64) {
        let group = self.shard.id().0;
        if let Err(error) = self.ground.journal.mark_head(group, index) {
            self.ground.fatal.end(EXIT_STORAGE, &format!("journal of {group}: {error}"));
        }
    }

    fn records(&self) -> Arc<dyn Records> {
        let (journal, group) = (self.ground.journal.clone(), self.shard.id().0);
        Arc::new(JournalRecords { journal, group })
    }

    fn begin_again(&mut self) -> io::Result<()> {
        self.ground.journal.discard(self.shard.id().0).map_err(io::Error::other)
    }

    fn recorded(&self) -> u64 {
        self.planted.recorded(self.ground.journal.durable_index(self.shard.id().0))
    }

    fn next_deadline(&self) -> Option<Stamp> {
        self.shard.next_deadline()
    }

    fn tick(&self) -> Vec<u8> {
        codec::encode(&ShardCommand::Tick, Limit::Entry).expect("a tick fits an entry")
    }

    fn last_stamp(&self) -> Stamp {
        self.shard.last_stamp()
    }

    fn refuse_poisoned(&mut self, index: u64, stamp: Stamp, payload: &[u8]) -> Vec<u8> {
        encode(&self.shard.refuse_poisoned(index, stamp, decode(payload).as_ref()).answer)
    }

    fn digest(&self) -> u64 {
        let astray = u64::from(self.ground.astray.load(Ordering::Relaxed));
        self.shard.digest() as u64 ^ astray
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        let base = encode_base(self.ground.journal.tip(self.shard.id().0));
        Box::new(FrozenShard { base, shard: self.shard.freeze() })
    }

    fn install(&mut self, index: u64, chunks: &mut Chunks<'_>) -> Result<(), String> {
        let base = chunks.next().ok_or_else(|| "it has no chunks".to_owned())?;
        let base = decode_base(&base.map_err(|error| error.to_string())?)?;
        let mut restore = Restore::new(self.shard.id());
        for chunk in chunks {
            let chunk = chunk.map_err(|error| error.to_string())?;
            restore = restore.chunk(&chunk).map_err(|error| error.to_string())?;
        }
        let restored = restore.finish().map_err(|error| error.to_string())?;
        self.agree(&base).map_err(|error| error.to_string())?;
        let rebased = self.ground.journal.rebase(self.shard.id().0, base);
        rebased.map_err(|error| error.to_string())?;
        self.shard = restored;
        self.note_marked();
        self.applied(index);
        let (node, shard, digest) = (self.node, self.shard.id().0, self.shard.digest());
        self.observer.installed(node, shard, index, digest);
        Ok(())
    }
}

/// A shard's state on its way into a snapshot, behind where its journal stands.
struct FrozenShard {
    base: Vec<u8>,
    shard: rotary_distributor::Frozen,
}

impl Frozen for FrozenShard {
    fn chunks(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(std::iter::once(self.base.clone()).chain(self.shard.chunks()))
    }
}

fn encode(answer: &Answer) -> Vec<u8> {
    codec::encode(answer, Limit::Entry).expect("an answer fits an entry")
}
