//! What a shard replicates for.

use std::io;
use std::sync::Arc;

use rotary_proto::{NodeId, Stamp, Wall};
use rotary_storage::Journal;

/// A deterministic state machine. Two replicas that apply the same entries must reach the same
/// state and give the same answers.
///
/// It starts empty, or from a snapshot that another machine or an earlier life of itself gave, and
/// is then given every later entry of the shard's log, again after each restart. It runs on Raft's
/// own tasks: except where said it must not block, and what it wants written it hands to somebody
/// who writes.
pub trait Machine: Send + 'static {
    /// Applies one committed entry; returns the answer for the proposer. Stamps are strictly
    /// rising: what the leader wrote has been raised to just above the last applied one if need
    /// be. A panic here ends the process; after its restart the entry is given to
    /// [`Machine::refuse_poisoned`] instead.
    fn apply(&mut self, index: u64, stamp: Stamp, wall: Wall, payload: &[u8]) -> Vec<u8>;

    /// Takes note of an entry that made [`Machine::apply`] panic on this replica, without carrying
    /// it out, and keeps what it concerns from going on; returns the answer for the proposer. It
    /// must be as deterministic as `apply`.
    fn refuse_poisoned(&mut self, index: u64, stamp: Stamp, payload: &[u8]) -> Vec<u8>;

    /// Why this build must not go on with the log. Asked after each entry, and after a snapshot
    /// that was not taken: once it says so, the last of them was not carried out, the state is what
    /// it was before, and the process ends with [`rotary_storage::EXIT_BUILD`].
    fn unfit(&self) -> Option<String> {
        None
    }

    /// Everything up to that index has been applied, entries of Raft's own included. Called after
    /// each run of entries, and before their proposers get their answers.
    fn applied(&mut self, through: u64) {
        let _ = through;
    }

    /// The members that vote in this shard, from this entry on. It is the log that says so, in
    /// entries of Raft's own, so it comes at the same place on every replica.
    fn set_members(&mut self, members: &[NodeId]) {
        let _ = members;
    }

    /// When the machine next needs a tick, in shard time; a time that has passed asks for one at
    /// once.
    fn next_deadline(&self) -> Option<Stamp>;

    /// The payload of a tick.
    fn tick(&self) -> Vec<u8>;

    /// The stamp of the last applied entry, [`Stamp::ZERO`] before the first.
    fn last_stamp(&self) -> Stamp;

    /// A number that differs, but for a coincidence, where two states do.
    fn digest(&self) -> u64;

    /// The index up to which everything this machine has handed to somebody who writes is durable.
    /// A snapshot becomes current, and entries are forgotten, only up to here.
    fn recorded(&self) -> u64 {
        u64::MAX
    }

    /// Replicas will compare digests at this index, which is that of the last entry applied:
    /// whatever else [`Records::digest_at`] needs to answer for it is to be kept from here on.
    fn note_checkpoint(&mut self, index: u64) {
        let _ = index;
    }

    /// What was handed to somebody who writes, as replicas compare it; asked for once.
    fn records(&self) -> Arc<dyn Records> {
        Arc::new(NoRecords)
    }

    /// The replica begins again with an empty state, since what it had was wrong, and gets every
    /// entry of the log from the first: what was handed to somebody who writes is made again, too.
    /// It may block.
    ///
    /// # Errors
    /// What the disk says.
    fn begin_again(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The state as it is, held against later entries. It must be cheap: applying waits for it.
    fn freeze(&mut self) -> Box<dyn Frozen>;

    /// Replaces the state by that of a snapshot. It may block. On an error the state is unchanged.
    ///
    /// # Errors
    /// A text that says what is wrong with the chunks.
    fn install(&mut self, index: u64, chunks: &mut Chunks<'_>) -> Result<(), String>;
}

/// What a machine has handed to somebody who writes.
pub trait Records: Send + Sync {
    /// A number that differs, but for a coincidence, where what was handed over up to a noted index
    /// does; `None` while it is not known, and where it is no longer. It may block.
    fn digest_at(&self, index: u64) -> Option<u64>;
}

/// What a machine has handed to a journal: the hash chain of one group.
#[derive(Debug)]
pub struct JournalRecords {
    /// The journal.
    pub journal: Arc<Journal>,
    /// The group.
    pub group: u32,
}

impl Records for JournalRecords {
    fn digest_at(&self, index: u64) -> Option<u64> {
        let head = self.journal.head_at(self.group, index).ok()?;
        let [first, ..] = head.hash.0.as_chunks::<8>().0 else { return None };
        Some(u64::from_le_bytes(*first))
    }
}

/// Nothing is handed to anybody.
struct NoRecords;

impl Records for NoRecords {
    fn digest_at(&self, _index: u64) -> Option<u64> {
        Some(0)
    }
}

/// The chunks of a snapshot in order; an error says that one cannot be read.
pub type Chunks<'a> = dyn Iterator<Item = io::Result<Vec<u8>>> + 'a;

/// A state that stands still, on its way into a snapshot.
pub trait Frozen: Send {
    /// The pieces in order, of 1 byte to 1 MiB each. They may take their time.
    fn chunks(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_>;
}
