//! Replicates commands it cannot read.
//!
//! Every *shard* of a node is a Raft group of its own: a sequence of entries that a quorum of its
//! replicas keeps on disk, applied by every replica, in that order, to a [`Machine`]. A node's
//! shards share one log store (one sync serves them all) and one connection per peer.
//!
//! The life of a command:
//!
//! 1. [`Log::propose`] on any node. A node that does not lead the shard hands it to the one that
//!    does, once.
//! 2. The leader's proposer takes everything that waits, stamps each command with shard time and
//!    wall time, and gives the batch to Raft in one call. There are no timers: while batches are
//!    being committed the next one gathers.
//! 3. Leader and followers write it, in one sync with whatever else is being written; a quorum of
//!    syncs commits it.
//! 4. Every replica applies it. The leader's answer goes back to whoever proposed it.
//!
//! **Shard time** is the stamp of the last applied entry plus, on the leader, the monotonic time
//! that it has led the shard *with a quorum behind it*. It stands still otherwise, so neither a
//! failover nor a restart nor a lost quorum ends a deadline early. When it reaches
//! [`Machine::next_deadline`], the leader proposes [`Machine::tick`].
//!
//! **Honest answers.** A [`ProposeError`] is either *definite* (the command is not in the log and
//! never will be) or *unknown*. [`Log::propose_with_retry`] repeats the former freely and the
//! latter only where the caller says that repeating is safe.
//!
//! **Reads.** A machine may be read at any time, and may be behind. Whoever must see everything
//! that was acknowledged before asks for [`Log::read_index`] first, on any node.
//!
//! **Restart.** Machines are not persistent: they start from the newest snapshot, or empty, and the
//! log is applied to them from there. A snapshot is frozen between two entries and written beside
//! the shard ([`Machine::freeze`]); entries that it stands for are forgotten, but for a few that a
//! slow replica may want. A replica that is further behind gets the snapshot, in chunks, on the
//! bulk lane, and then what its journal lacks below it ([`History`]).
//!
//! A panic while applying ends the process ([`Fatal`]): a replica that skipped an entry must not
//! go on.

mod alone;
mod backup;
mod clock;
mod config;
mod digests;
mod door;
mod forward;
mod founding;
mod history;
mod inbound;
mod log;
mod machine;
mod marks;
mod members;
mod network;
mod offline;
mod poison;
mod propose;
mod proposer;
mod read;
mod rebuild;
mod recent;
#[cfg(feature = "seeded")]
mod restless;
mod shard;
mod snapshot;
mod state_machine;
mod store;
mod tail;
mod ticker;
mod transfer;
mod types;
mod wall;

pub use alone::{Reach, leave_alone, reach};
pub use backup::{Place, plant};
pub use config::{Blocking, LogConfig, LogError};
pub use digests::SERVICE_DIGEST;
pub use door::Door;
pub use history::{
    History, MembersOf, SERVICE_HISTORY, ShardsOf, answer_history, decode_base, encode_base,
};
pub use inbound::{SERVICE_PROPOSE, SERVICE_RAFT};
pub use log::Log;
pub use machine::{Chunks, Frozen, JournalRecords, Machine, Records};
pub use marks::Marks;
pub use members::{Change, ChangeError, Members, next as next_change};
pub use offline::{OfflineEntry, OfflineLog, OfflinePayload};
pub use propose::{ProposeError, Proposed};
pub use read::{ReadError, SERVICE_READ};
pub use rotary_storage::Fatal;
pub use shard::{Follower, LeaderView, LogStores, Role, ShardCounters, ShardStatus};
pub use tail::{SERVICE_TAIL, doubt_note};
pub use transfer::SERVICE_SNAPSHOT;
pub use wall::WallClock;

#[cfg(test)]
#[path = "golden_tests.rs"]
mod golden;
