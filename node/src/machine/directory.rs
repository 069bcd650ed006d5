//! The directory's machine: decodes its entries, and changes this node's copy of it.

use std::sync::Arc;

use rotary_directory::{DirectoryEntry, Restore, RestoreError};
use rotary_log::{Chunks, Frozen, Machine};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{Stamp, Wall};

use crate::machine::Witness;
use crate::machine::fence::Fence;
use crate::machine::site::fold;
use crate::replica::{DIRECTORY, Replica};

/// Applies the log of shard 0.
pub(crate) struct DirectoryMachine {
    replica: Arc<Replica>,
    fence: Fence,
    witness: Option<Arc<dyn Witness>>,
}

impl DirectoryMachine {
    /// A machine that changes the directory of `replica`, and perhaps somebody who sees it.
    pub(crate) fn new(
        replica: Arc<Replica>,
        fence: Fence,
        witness: Option<Arc<dyn Witness>>,
    ) -> Self {
        Self { replica, fence, witness }
    }
}

impl Machine for DirectoryMachine {
    fn apply(&mut self, index: u64, stamp: Stamp, _wall: Wall, payload: &[u8]) -> Vec<u8> {
        let entry = codec::decode::<DirectoryEntry>(payload, Limit::Entry);
        let mut directory = self.replica.directory_mut();
        let command = entry.as_ref().ok().map(|entry| &entry.command);
        if let Err(error) = directory.fits(command, self.fence.can) {
            self.fence.stop(error);
            return Vec::new();
        }
        let applied = match entry {
            Ok(entry) => directory.apply(index, stamp, entry),
            Err(error) => {
                tracing::warn!(
                    code = "entry-unreadable",
                    index, %error,
                    "a directory entry could not be read"
                );
                directory.refuse_malformed(index, stamp)
            }
        };
        let digest = self.witness.is_some().then(|| directory.digest());
        drop(directory);
        for event in &applied.events {
            tracing::debug!(index, ?event, "directory");
        }
        let answer = codec::encode(&applied.answer, Limit::Entry).expect("an answer fits an entry");
        if let (Some(witness), Some(digest)) = (&self.witness, digest) {
            witness.decided(index, stamp, payload, &answer, digest);
        }
        answer
    }

    fn unfit(&self) -> Option<String> {
        self.fence.unfit()
    }

    fn applied(&mut self, through: u64) {
        self.replica.note_applied(DIRECTORY, through);
    }

    fn next_deadline(&self) -> Option<Stamp> {
        None
    }

    fn tick(&self) -> Vec<u8> {
        Vec::new()
    }

    fn last_stamp(&self) -> Stamp {
        self.replica.directory().last_stamp()
    }

    fn refuse_poisoned(&mut self, index: u64, stamp: Stamp, _payload: &[u8]) -> Vec<u8> {
        tracing::error!(code = "entry-poisoned", index, "a poisoned directory entry is refused");
        let applied = self.replica.directory_mut().refuse_malformed(index, stamp);
        codec::encode(&applied.answer, Limit::Entry).expect("an answer fits an entry")
    }

    fn digest(&self) -> u64 {
        fold(self.replica.directory().digest())
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        Box::new(FrozenDirectory(self.replica.directory().freeze()))
    }

    fn install(&mut self, index: u64, chunks: &mut Chunks<'_>) -> Result<(), String> {
        let mut restore = Restore::fitting(self.fence.can);
        for chunk in chunks {
            let chunk = chunk.map_err(|error| error.to_string())?;
            restore = restore.chunk(&chunk).map_err(|error| {
                if let RestoreError::Unfit(error) = error {
                    self.fence.stop(error);
                }
                error.to_string()
            })?;
        }
        let directory = restore.finish().map_err(|error| error.to_string())?;
        if let Some(witness) = &self.witness {
            witness.installed(DIRECTORY, index, directory.digest());
        }
        *self.replica.directory_mut() = directory;
        self.applied(index);
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
