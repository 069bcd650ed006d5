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
//! **Restart.** Machines are not persistent: they start empty, and the log is applied to them from
//! its first entry. There are no snapshots, nothing is purged, and what asks for a snapshot gets an
//! error that says so.
//!
//! A panic while applying ends the process ([`Fatal`]): a replica that skipped an entry must not
//! go on.

mod clock;
mod config;
mod inbound;
mod log;
mod machine;
mod network;
mod propose;
mod proposer;
mod shard;
mod state_machine;
mod store;
mod ticker;
mod types;
mod wall;

pub use config::{LogConfig, LogError};
pub use inbound::{SERVICE_PROPOSE, SERVICE_RAFT};
pub use log::Log;
pub use machine::Machine;
pub use propose::{ProposeError, Proposed};
pub use rotary_storage::Fatal;
pub use shard::{LeaderView, Role, ShardCounters, ShardStatus};
pub use wall::WallClock;
