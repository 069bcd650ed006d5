//! The spine of a cluster's node: the replicated log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use rotary_log::{Log, Members, OfflineLog, ProposeError, ReadError};
use rotary_proto::limits::PROPOSALS_IN_FLIGHT_MAX;
use rotary_proto::{NodeId, ShardId};
use rotary_storage::Space;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::hint::Freshness;
use crate::spine::{Kept, ShardMembers, ShardStatus, Snapshot, Spine, SpineError};

/// Proposes to shards, no more at once than each may have on its way.
pub(crate) struct LogSpine {
    log: Arc<Log>,
    node: NodeId,
    freshness: Arc<Freshness>,
    admission: Mutex<BTreeMap<ShardId, Arc<Semaphore>>>,
}

impl LogSpine {
    /// On that log.
    pub(crate) fn new(log: Arc<Log>, node: NodeId, freshness: Arc<Freshness>) -> Self {
        Self { log, node, freshness, admission: Mutex::default() }
    }

    /// A place among what is on its way to a shard, unless there is none; `None` if the shard has
    /// no replica here.
    fn permit(&self, shard: ShardId) -> Option<Result<OwnedSemaphorePermit, TryAcquireError>> {
        let mut all = self.admission.lock().expect("no code panics while it holds this lock");
        let new = || Arc::new(Semaphore::new(PROPOSALS_IN_FLIGHT_MAX));
        let places = match all.get(&shard) {
            Some(places) => places.clone(),
            None => {
                self.log.status(shard)?;
                all.entry(shard).or_insert_with(new).clone()
            }
        };
        Some(places.try_acquire_owned())
    }
}

fn spine_error(shard: ShardId, error: ProposeError) -> SpineError {
    match error {
        ProposeError::NotLeader { .. } | ProposeError::Unreachable { .. } => {
            SpineError::NoLeader { shard }
        }
        ProposeError::Busy => SpineError::Busy { shard },
        ProposeError::Unknown(detail) => SpineError::Unknown(detail),
        other => SpineError::NotApplied(other.to_string()),
    }
}

fn read_error(shard: ShardId, error: ReadError) -> SpineError {
    match error {
        ReadError::NotLeader { .. } | ReadError::Unreachable { .. } => {
            SpineError::NoLeader { shard }
        }
        ReadError::Busy => SpineError::Busy { shard },
        error => SpineError::NotApplied(error.to_string()),
    }
}

impl Spine for LogSpine {
    fn propose(
        &self,
        shard: ShardId,
        payload: Vec<u8>,
        patience: Duration,
        repeatable: bool,
    ) -> BoxFuture<'static, Result<Vec<u8>, SpineError>> {
        let permit = self.permit(shard);
        let log = self.log.clone();
        async move {
            let _permit = match permit {
                Some(Ok(permit)) => permit,
                Some(Err(_)) => return Err(SpineError::Busy { shard }),
                None => {
                    let detail = format!("{shard} has no replica on this node");
                    return Err(SpineError::NotApplied(detail));
                }
            };
            let deadline = Instant::now() + patience;
            let proposed = log.propose_with_retry(shard, payload, deadline, repeatable).await;
            proposed.map(|proposed| proposed.answer).map_err(|error| spine_error(shard, error))
        }
        .boxed()
    }

    fn read_index(
        &self,
        shard: ShardId,
        patience: Duration,
    ) -> BoxFuture<'static, Result<(), SpineError>> {
        let log = self.log.clone();
        async move {
            let index = log.read_index_with_retry(shard, Instant::now() + patience).await;
            index.map(|_| ()).map_err(|error| read_error(shard, error))
        }
        .boxed()
    }

    fn status(&self, shard: ShardId) -> Option<ShardStatus> {
        let (status, counters) = (self.log.status(shard)?, self.log.counters(shard)?);
        let kept = Kept {
            snapshot: counters.snapshot_index,
            forgotten: status.forgotten_index,
            cut: status.cut,
            doubtful: counters.doubtful_index,
        };
        Some(ShardStatus {
            leader: status.leader,
            leads_here: status.leader == Some(self.node),
            term: status.term,
            last: status.last_index,
            committed: self.freshness.applied(shard),
            applied: status.applied_index,
            fresh: self.freshness.is_fresh(shard, Instant::now()),
            behind: self.freshness.is_behind(shard, Instant::now()),
            kept,
            reads: counters.reads,
            read_rounds: counters.read_rounds,
        })
    }

    fn members(&self, shard: ShardId) -> ShardMembers {
        let Members { voters, learners, .. } = self.log.members(shard).unwrap_or_default();
        let waiting = self.freshness.waiting(shard, Instant::now());
        ShardMembers { voters, learners, waiting }
    }

    fn snapshot(&self, shard: ShardId) -> BoxFuture<'static, Result<Snapshot, String>> {
        let log = self.log.clone();
        async move { log.snapshot(shard).await.map_err(|error| error.to_string()) }.boxed()
    }

    fn entries(&self) -> Option<OfflineLog> {
        Some(self.log.stored())
    }

    fn short_of_space(&self) -> Option<String> {
        let Space::Low { free, wanted } = self.log.space() else { return None };
        Some(format!(
            "this node's disk has {free} bytes free and takes no new work below {wanted}: make \
             room, or lower log.free_bytes_min"
        ))
    }
}
