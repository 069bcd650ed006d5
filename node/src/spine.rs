//! The spine as the doors see it: something that puts bytes in a shard's durable order.
//!
//! The doors know the log by these few methods alone, so that everything in front of them can be
//! tested with a spine of one process. An error says exactly what its caller may conclude: only
//! [`SpineError::Unknown`] leaves open whether the payload was applied.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use rotary_log::{OfflineLog, Place};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::SnapshotReader;

use crate::admission::{Budget, Spent};
use crate::blobs::Lack;

/// Puts payloads in order, and knows how each shard is doing.
pub(crate) trait Spine: Send + Sync + 'static {
    /// Proposes a payload, on whatever node leads the shard, and waits for the answer that
    /// applying it gave. A payload that `repeatable` says is recognised when it comes twice is
    /// sent again within `patience`; any other one at most once.
    fn propose(
        &self,
        shard: ShardId,
        payload: Vec<u8>,
        patience: Duration,
        repeatable: bool,
    ) -> BoxFuture<'static, Result<Vec<u8>, SpineError>>;

    /// Waits, for as long as `patience`, until this node has applied everything of a shard that was
    /// acknowledged anywhere before the call.
    fn read_index(
        &self,
        shard: ShardId,
        patience: Duration,
    ) -> BoxFuture<'static, Result<(), SpineError>>;

    /// How a shard is doing, as this node sees it; `None` for a shard it has no replica of.
    fn status(&self, shard: ShardId) -> Option<ShardStatus>;

    /// Who keeps a shard, as far as this node's replica knows.
    fn members(&self, _shard: ShardId) -> ShardMembers {
        ShardMembers::default()
    }

    /// A snapshot of a shard that has everything which was applied here when it was asked for. It
    /// can be read as long as it is held.
    fn snapshot(&self, shard: ShardId) -> BoxFuture<'static, Result<Snapshot, String>> {
        Box::pin(async move { Err(format!("{shard} has no log here")) })
    }

    /// The entries of the shards that this node keeps, as its disk has them; `None` where there is
    /// no log.
    fn entries(&self) -> Option<OfflineLog> {
        None
    }

    /// What is wrong with this node's disk for new work; `None` if there is room.
    fn short_of_space(&self) -> Option<String> {
        None
    }
}

/// Where a snapshot stands, and its chunks.
pub(crate) type Snapshot = (Place, SnapshotReader);

/// Who keeps a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShardMembers {
    /// Who has a vote, as its log says.
    pub(crate) voters: BTreeSet<NodeId>,
    /// Who follows without one.
    pub(crate) learners: BTreeSet<NodeId>,
    /// What keeps them from being those that are wanted, as its leader says.
    pub(crate) waiting: Option<String>,
}

/// How a shard is doing, as one node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardStatus {
    /// Who leads, if anybody is known to.
    pub(crate) leader: Option<NodeId>,
    /// Whether that is this node.
    pub(crate) leads_here: bool,
    /// The term.
    pub(crate) term: u64,
    /// The last index in this node's log.
    pub(crate) last: u64,
    /// The last index this node knows to be committed.
    pub(crate) committed: u64,
    /// The last index applied here.
    pub(crate) applied: u64,
    /// Whether this replica has heard from a leader lately enough to take sessions.
    pub(crate) fresh: bool,
    /// Whether its sessions would be better off on another node.
    pub(crate) behind: bool,
    /// How whole what it keeps on disk is.
    pub(crate) kept: Kept,
    /// Reads that asked this replica for a read index since it was started.
    pub(crate) reads: u64,
    /// Rounds in which it had their indexes confirmed.
    pub(crate) read_rounds: u64,
}

/// How whole what a replica keeps on disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The index of its snapshot, 0 if it has none.
    pub(crate) snapshot: u64,
    /// The index up to which its log is forgotten, 0 if nothing is.
    pub(crate) forgotten: u64,
    /// Whether its log lost its tail, so that it has no vote until it has caught up.
    pub(crate) cut: bool,
    /// An index at which replicas differ and no majority agrees, 0 if there is none.
    pub(crate) doubtful: u64,
}

/// Why a payload has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpineError {
    /// Certainly not applied: nobody leads the shard.
    #[error("no leader for {shard} at present")]
    NoLeader {
        /// Which shard.
        shard: ShardId,
    },
    /// Certainly not applied, for another reason.
    #[error("not done: {0}")]
    NotApplied(String),
    /// Certainly not applied: too much is on its way already.
    #[error("too much is on its way to {shard}")]
    Busy {
        /// Which shard.
        shard: ShardId,
    },
    /// Certainly not applied: a budget of this gateway is spent.
    #[error("{}", told(.0.budget))]
    OverBudget(Spent),
    /// Certainly not applied: the disk has no room for new work.
    #[error("{0}")]
    StorageFull(String),
    /// Certainly not applied: an attached file cannot be named.
    #[error("{0}")]
    Attachment(Lack),
    /// It may have been applied.
    #[error("no answer came: {0}")]
    Unknown(String),
}

/// What a budget that is spent is called to whoever asked.
fn told(budget: Budget) -> &'static str {
    match budget {
        Budget::Shard => "the shard of this site has all the work that it can take up in time",
        Budget::Tenant => {
            "this tenant has its share of the work that the shard can take up in time"
        }
        Budget::Caller => "this credential or session has too many requests without an answer",
    }
}
