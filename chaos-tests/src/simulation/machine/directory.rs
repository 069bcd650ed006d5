//! The machine of one replica of the directory, and a word to the observer about every entry.

use rotary_directory::{Directory, DirectoryAnswer, DirectoryEntry, Restore};
use rotary_log::{Chunks, Frozen, Machine};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{Stamp, Wall};

use crate::simulation::bugs::PlantedMachine;
use crate::simulation::observer::{DirectoryApplication, Observer};

/// Applies the log of the directory on one node.
pub(crate) struct DirectoryMachine {
    shard: u32,
    directory: Directory,
    observer: Observer,
    planted: PlantedMachine,
}

impl DirectoryMachine {
    pub(crate) fn new(shard: u32, observer: Observer, planted: PlantedMachine) -> Self {
        Self { shard, directory: Directory::new(), observer, planted }
    }
}

/// The entry in a payload.
pub(crate) fn decode(payload: &[u8]) -> Option<DirectoryEntry> {
    codec::decode(payload, Limit::Entry).ok()
}

fn encode(answer: &DirectoryAnswer) -> Vec<u8> {
    codec::encode(answer, Limit::Entry).expect("an answer fits an entry")
}

impl Machine for DirectoryMachine {
    fn apply(&mut self, index: u64, stamp: Stamp, _wall: Wall, payload: &[u8]) -> Vec<u8> {
        let entry = decode(payload);
        let applied = match entry.clone() {
            Some(entry) => self.directory.apply(index, stamp, self.planted.entry(index, entry)),
            None => self.directory.refuse_malformed(index, stamp),
        };
        self.observer.applied_directory(&DirectoryApplication {
            node: self.planted.node,
            shard: self.shard,
            index,
            stamp: self.directory.last_stamp(),
            payload,
            entry: entry.as_ref(),
            answer: &applied.answer,
            digest: self.directory.digest(),
        });
        encode(&applied.answer)
    }

    fn next_deadline(&self) -> Option<Stamp> {
        None
    }

    fn tick(&self) -> Vec<u8> {
        Vec::new()
    }

    fn last_stamp(&self) -> Stamp {
        self.directory.last_stamp()
    }

    fn refuse_poisoned(&mut self, index: u64, stamp: Stamp, _payload: &[u8]) -> Vec<u8> {
        encode(&self.directory.refuse_malformed(index, stamp).answer)
    }

    fn digest(&self) -> u64 {
        self.directory.digest() as u64
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        Box::new(FrozenDirectory(self.directory.freeze()))
    }

    fn install(&mut self, index: u64, chunks: &mut Chunks<'_>) -> Result<(), String> {
        let mut restore = Restore::new();
        for chunk in chunks {
            let chunk = chunk.map_err(|error| error.to_string())?;
            restore = restore.chunk(&chunk).map_err(|error| error.to_string())?;
        }
        self.directory = restore.finish().map_err(|error| error.to_string())?;
        let digest = self.directory.digest();
        self.observer.installed(self.planted.node, self.shard, index, digest);
        Ok(())
    }
}

/// The directory on its way into a snapshot.
struct FrozenDirectory(rotary_directory::Frozen);

impl Frozen for FrozenDirectory {
    fn chunks(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(self.0.chunks())
    }
}
