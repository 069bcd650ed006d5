//! The read index: reading what is certainly not out of date.
//!
//! Any replica may be behind without knowing it, a leader too, once the others have elected
//! another. Whoever must see everything that was acknowledged before the question asks for a *read
//! index*: the leader notes how far it has committed, asks a quorum whether it still leads, and
//! gives that index; the reader waits until its own machine has applied it. No clock is trusted,
//! and nothing is written.
//!
//! The readers of one replica share rounds. One round is on its way at a time; who asks meanwhile
//! waits for the next one, because the present one may have begun before a command that they must
//! see was acknowledged. A replica that does not lead asks the one that does, once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::metrics::WaitError;
use rotary_proto::codec::{self, Limit};
use rotary_proto::limits::READS_IN_FLIGHT_MAX;
use rotary_proto::{NodeId, ShardId};
use rotary_transport::{CallError, Lane, Transport};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::door::about;
use crate::shard::Shard;

/// The transport service that answers with a leader's read index.
pub const SERVICE_READ: u8 = 9;

/// Why there is no read index. All of them are definite: nothing was read, and nothing is changed
/// by asking again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ReadError {
    /// The node asked does not lead the shard.
    #[error("not the leader; {}", leader.map_or("none is known".to_owned(), |l| format!("{l} is")))]
    NotLeader {
        /// Who leads it, as far as the node asked knows.
        leader: Option<NodeId>,
    },
    /// The leader is known and cannot be reached.
    #[error("the leader {leader} cannot be reached: {reason}")]
    Unreachable {
        /// Who leads the shard, as far as this node knows.
        leader: NodeId,
        /// What the transport said.
        reason: String,
    },
    /// It took too long: a quorum to answer the leader, the leader to answer this node, or this
    /// node to apply what it must.
    #[error("late: {0}")]
    Late(String),
    /// Too many reads wait already.
    #[error("too many reads wait already")]
    Busy,
    /// The shard has no replica on the node asked.
    #[error("{0} has no replica there")]
    NoShard(ShardId),
    /// The shard has stopped on the node asked.
    #[error("the shard has stopped")]
    Stopped,
}

impl ReadError {
    /// Whether asking again could succeed.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self, Self::NoShard(_))
    }
}

/// Somebody who waits for a round.
pub(crate) type Reader = oneshot::Sender<Result<u64, ReadError>>;

/// Waits for a round that begins from here on, then until this replica has applied its index.
pub(crate) async fn index(shard: &Shard) -> Result<u64, ReadError> {
    let (timeout, began) = (shard.read_timeout, Instant::now());
    let late = |what: &str| ReadError::Late(format!("{what} within {} ms", timeout.as_millis()));
    shard.applied.counters.reads.fetch_add(1, Ordering::Relaxed);
    let (reader, answered) = oneshot::channel();
    shard.reads.try_send(reader).map_err(|error| match error {
        TrySendError::Full(_) => ReadError::Busy,
        TrySendError::Closed(_) => ReadError::Stopped,
    })?;
    let answer = tokio::time::timeout(timeout, answered).await;
    let answer = answer.map_err(|_| late("no leader was confirmed"))?;
    let index = answer.map_err(|_| ReadError::Stopped)??;
    let left = timeout.saturating_sub(began.elapsed());
    let applied = shard.raft.wait(Some(left)).applied_index_at_least(Some(index), "a read").await;
    match applied {
        Ok(_) => Ok(index),
        Err(WaitError::Timeout(..)) => Err(late(&format!("index {index} was not applied here"))),
        Err(WaitError::ShuttingDown) => Err(ReadError::Stopped),
    }
}

/// Makes rounds for this replica's readers until the shard stops.
pub(crate) async fn run(
    shard: Arc<Shard>,
    transport: Arc<Transport>,
    mut waiting: mpsc::Receiver<Reader>,
) {
    let mut readers = Vec::new();
    while waiting.recv_many(&mut readers, READS_IN_FLIGHT_MAX).await > 0 {
        readers.retain(|reader| !reader.is_closed());
        if readers.is_empty() {
            continue;
        }
        shard.applied.counters.read_rounds.fetch_add(1, Ordering::Relaxed);
        let found = tokio::time::timeout(shard.read_timeout, round(&shard, &transport)).await;
        let late = |_| Err(ReadError::Late("the leader did not answer".to_owned()));
        let found = found.unwrap_or_else(late);
        for reader in readers.drain(..) {
            // A reader that has given up is not there to be told.
            drop(reader.send(found.clone()));
        }
    }
}

async fn round(shard: &Shard, transport: &Transport) -> Result<u64, ReadError> {
    let view = *shard.view.borrow();
    match view.leader {
        None => Err(ReadError::NotLeader { leader: None }),
        Some(_) if view.is_self => confirm(shard).await,
        Some(leader) => ask(shard, transport, leader).await,
    }
}

/// The index up to which this node had committed when it was asked, if it leads the shard, and a
/// quorum has said so since.
pub(crate) async fn confirm(shard: &Shard) -> Result<u64, ReadError> {
    match shard.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(confirmed) => Ok(confirmed.read_log_id().index()),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
            Err(ReadError::NotLeader { leader: to.leader_id.map(NodeId) })
        }
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
            Err(ReadError::Late("no quorum confirmed the leader".to_owned()))
        }
        Err(RaftError::Fatal(_)) => Err(ReadError::Stopped),
    }
}

/// Asks the node that leads, as far as this one knows, for no longer than that is so.
async fn ask(shard: &Shard, transport: &Transport, leader: NodeId) -> Result<u64, ReadError> {
    let group = about(shard.id);
    let answer = transport.call(leader, Lane::Live, SERVICE_READ, group, shard.read_timeout);
    let mut view = shard.view.subscribe();
    let term = view.borrow().term;
    tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(answer) => codec::decode(&answer, Limit::Wire).unwrap_or_else(|error| {
                Err(ReadError::Unreachable { leader, reason: error.to_string() })
            }),
            Err(error) => Err(not_answered(leader, error)),
        },
        newer = view.wait_for(|view| view.term > term) => {
            let newer = newer.map_err(|_| ReadError::Stopped)?;
            Err(ReadError::NotLeader { leader: newer.leader })
        }
    }
}

fn not_answered(leader: NodeId, error: CallError) -> ReadError {
    match error {
        CallError::Busy => ReadError::Busy,
        CallError::Unknown(reason) => ReadError::Late(format!("{leader}: {reason}")),
        error => ReadError::Unreachable { leader, reason: error.to_string() },
    }
}
