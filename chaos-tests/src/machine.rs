//! The machine of one replica: the distributor, and a word to the observer about every entry.

use rotary_distributor::{Applied, Restore, Shard, invariants};
use rotary_log::{Chunks, Frozen, Machine};
use rotary_proto::codec::{self, Limit};
use rotary_proto::outcome::Answer;
use rotary_proto::{Outcome, Refusal, ShardCommand, ShardId, Stamp, Wall};

use crate::bugs::PlantedMachine;
use crate::observer::{Application, Observer};

/// The distributor's own invariants walk everything, so they are checked at every so many entries.
const CHECK_EVERY: u64 = 16;

/// Applies the log of one shard on one node.
pub(crate) struct ShardMachine {
    node: usize,
    shard: Shard,
    observer: Observer,
    planted: PlantedMachine,
}

/// The command in an entry.
pub(crate) fn decode(payload: &[u8]) -> Option<ShardCommand> {
    codec::decode(payload, Limit::Entry).ok()
}

impl ShardMachine {
    pub(crate) fn new(shard: u32, observer: Observer, planted: PlantedMachine) -> Self {
        Self { node: planted.node, shard: Shard::new(ShardId(shard)), observer, planted }
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
            digest: self.shard.digest(),
        });
        self.check(index);
        encode(&answer)
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
        self.shard.digest() as u64
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        Box::new(FrozenShard(self.shard.freeze()))
    }

    fn install(&mut self, index: u64, chunks: &mut Chunks<'_>) -> Result<(), String> {
        let mut restore = Restore::new(self.shard.id());
        for chunk in chunks {
            let chunk = chunk.map_err(|error| error.to_string())?;
            restore = restore.chunk(&chunk).map_err(|error| error.to_string())?;
        }
        self.shard = restore.finish().map_err(|error| error.to_string())?;
        let (node, shard, digest) = (self.node, self.shard.id().0, self.shard.digest());
        self.observer.installed(node, shard, index, digest);
        Ok(())
    }
}

/// A shard's state on its way into a snapshot.
struct FrozenShard(rotary_distributor::Frozen);

impl Frozen for FrozenShard {
    fn chunks(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(self.0.chunks())
    }
}

fn encode(answer: &Answer) -> Vec<u8> {
    codec::encode(answer, Limit::Entry).expect("an answer fits an entry")
}
