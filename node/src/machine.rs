//! The two machines that the log replicates for, as it sees them: bytes in, bytes out.
//!
//! [`site::SiteMachine`] runs a data shard's distributor, [`directory::DirectoryMachine`] the
//! directory. Both start empty and are given their whole log again after a restart; the journal
//! skips what it has. They run on the log's own tasks, so they do not block: what is to be written
//! goes to the journal's writer, what is to be shown goes to the dispatcher. What this build cannot
//! apply it does not apply ([`fence`]).

pub(crate) mod directory;
pub(crate) mod fence;
pub(crate) mod site;

use rotary_distributor::Shard;
use rotary_proto::outcome::Answer;
use rotary_proto::{EventRecord, ShardId, Stamp};

/// Sees what the machines of a node do, entry by entry. A node that serves has none; a simulation
/// compares what the replicas' witnesses say.
#[cfg_attr(
    not(feature = "simulated"),
    expect(unreachable_pub, reason = "simulations implement it")
)]
pub trait Witness: Send + Sync {
    /// A data shard applied an entry.
    fn applied(&self, done: &Application<'_>);

    /// The directory applied an entry: its answer as the proposer gets it, and the digest after it.
    fn decided(&self, index: u64, stamp: Stamp, payload: &[u8], answer: &[u8], digest: u128);

    /// A shard took a snapshot's state, which has that digest.
    fn installed(&self, shard: ShardId, index: u64, digest: u128);
}

/// What a data shard did with an entry.
#[cfg_attr(
    not(feature = "simulated"),
    expect(unreachable_pub, dead_code, reason = "simulations read it")
)]
pub struct Application<'a> {
    /// The entry's index.
    pub index: u64,
    /// What the log holds.
    pub payload: &'a [u8],
    /// What the proposer is told.
    pub answer: &'a Answer,
    /// What became true.
    pub events: &'a [EventRecord],
    /// The state after it.
    pub state: &'a Shard,
}
