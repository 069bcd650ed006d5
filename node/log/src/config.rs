//! How a log is started, and why it cannot be.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use rotary_proto::limits::APPEND_ENTRIES_MAX;
use rotary_proto::{NodeId, ShardId};
use rotary_storage::Fatal;
use tokio::runtime::Handle;

use crate::wall::WallClock;

/// How the shards of a node elect, propose and fail.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// This node.
    pub node: NodeId,
    /// The voters that an empty shard begins with. A node that is not among them founds none, and
    /// waits until it is admitted. From then on the log says who its members are.
    pub founders: BTreeSet<NodeId>,
    /// Milliseconds between two heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Shortest time without a heartbeat, after the lease of the leader has ended, that makes a
    /// follower a candidate. Milliseconds; more than two heartbeats.
    pub election_min_ms: u64,
    /// Longest such time; it is also the lease of a leader. Milliseconds.
    pub election_max_ms: u64,
    /// How long a proposal waits for its commit before its outcome is called unknown.
    pub propose_timeout: Duration,
    /// How long a read waits for its index to be confirmed and applied before it is called late.
    pub read_timeout: Duration,
    /// Batches that one shard's proposer has on their way at once. Fewer make larger batches.
    pub batches_in_flight_max: usize,
    /// Bytes of entries applied that make a snapshot due, if the last snapshot is not longer.
    pub snapshot_bytes_min: u64,
    /// Entries kept behind a snapshot, for replicas that are a little late.
    pub snapshot_entries_kept: u64,
    /// How fast a snapshot is sent to a replica that needs it.
    pub snapshot_bytes_per_second: u64,
    /// How often replicas compare digests of their state.
    pub digest_interval: Duration,
    /// Entries from one digest that is kept for that to the next, above 0; the same on every
    /// member, or they find none to compare.
    pub digest_entries: u64,
    /// The runtimes that the shards' own tasks run on, in turn by shard; none means the caller's.
    /// A runtime of one thread for each spares what threads lose on waking each other.
    pub runtimes: Vec<Handle>,
    /// Where work that blocks is done.
    pub blocking: Blocking,
    /// How the process ends when applying panics.
    pub fatal: Fatal,
    /// What says the time of day, which is written beside each command for people.
    pub wall: WallClock,
    /// What Raft's random numbers come from in a simulation; without one, and in builds without
    /// the feature `seeded`, they come from the operating system.
    pub seed: Option<u64>,
}

/// Where work that blocks is done: reading and writing snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// On tokio's threads for such work.
    Threads,
    /// On the task that wants it, for runtimes of one thread whose runs must repeat.
    Inline,
}

impl Blocking {
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Threads => {
                let done = tokio::task::spawn_blocking(work).await;
                done.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Self::Inline => {
                tokio::task::yield_now().await;
                work()
            }
        }
    }
}

impl LogConfig {
    /// The defaults: heartbeats every 100 ms, elections after 200 to 400 ms.
    pub fn new(node: NodeId, founders: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            node,
            founders: founders.into_iter().collect(),
            heartbeat_ms: 100,
            election_min_ms: 200,
            election_max_ms: 400,
            propose_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(1),
            batches_in_flight_max: 4,
            snapshot_bytes_min: 8 * 1024 * 1024,
            snapshot_entries_kept: 10_000,
            snapshot_bytes_per_second: 64 * 1024 * 1024,
            digest_interval: Duration::from_secs(5),
            digest_entries: 1_024,
            runtimes: Vec::new(),
            blocking: Blocking::Threads,
            fatal: Fatal::exit(),
            wall: WallClock::system(),
            seed: None,
        }
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }

    /// The Raft configuration, of a replica that stands for election or does not; openraft refuses
    /// one whose times do not fit together.
    pub(crate) fn raft(&self, stands: bool) -> Result<Arc<Config>, LogError> {
        let config = Config {
            cluster_name: "rotary".to_owned(),
            heartbeat_interval: self.heartbeat_ms,
            heartbeat_min_interval: Some(self.heartbeat_ms / 2),
            election_timeout_min: self.election_min_ms,
            election_timeout_max: self.election_max_ms,
            enable_elect: stands,
            enable_pre_vote: Some(true),
            // A leader without a quorum falls silent, so that the others may elect another.
            quorum_loss_probe_interval: Some(2 * self.election_max_ms),
            max_payload_entries: APPEND_ENTRIES_MAX as u64,
            max_append_entries: Some(4096),
            // This crate asks for snapshots itself, by bytes.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.snapshot_entries_kept,
            purge_batch_size: 256,
            replication_lag_threshold: u64::MAX,
            // A follower whose log lost its tail is sent it again. That it is safe is this crate's
            // affair (`tail`): until then it has no vote.
            allow_log_reversion: Some(true),
            // The machine is in memory, so a restarted leader must be elected again.
            enable_leader_restore: Some(false),
            backoff: "20ms 50ms 100ms ...500ms".to_owned(),
            ..Config::default()
        };
        config.validate().map(Arc::new).map_err(|error| LogError::Config(error.to_string()))
    }
}

/// Why a log cannot be started, or a call on it fails.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The configuration does not fit together.
    #[error("the log's configuration is wrong: {0}")]
    Config(String),
    /// There is no such shard on this node.
    #[error("{0} has no replica on this node")]
    NoShard(ShardId),
    /// The log store failed.
    #[error("the log store failed: {0}")]
    Storage(#[from] std::io::Error),
    /// A shard's Raft has stopped, or could not start.
    #[error("{shard} has stopped: {reason}")]
    Raft {
        /// The shard.
        shard: ShardId,
        /// What Raft said.
        reason: String,
    },
    /// A shard may have begun already, so it is not begun here.
    #[error("{shard} is not begun here: {reason}")]
    Unsure {
        /// The shard.
        shard: ShardId,
        /// What speaks for that.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        let members = [NodeId(1), NodeId(2), NodeId(3)];
        LogConfig::new(NodeId(1), members).raft(true).expect("valid");
        LogConfig::new(NodeId(4), members).raft(true).expect("it waits to be admitted");
        let wrong = LogConfig { election_min_ms: 50, ..LogConfig::new(NodeId(1), members) };
        assert!(matches!(wrong.raft(true), Err(LogError::Config(_))));
    }
}
