//! The leader's proposer: one task per shard that turns whatever waits into one batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use openraft::errors::ClientWriteError;
use rotary_proto::NodeId;
use rotary_proto::limits::{APPEND_BYTES_MAX, PROPOSAL_BATCH_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::propose::{ProposeError, Proposed};
use crate::shard::Shard;
use crate::types::{Command, Octets};
use crate::wall::WallClock;

pub(crate) type Outcome = Result<Proposed, ProposeError>;

/// A command that waits for the proposer.
pub(crate) struct Proposal {
    pub(crate) payload: Bytes,
    pub(crate) outcome: oneshot::Sender<Outcome>,
}

/// Takes proposals until the shard stops.
pub(crate) async fn run(
    shard: Arc<Shard>,
    mut waiting: mpsc::Receiver<Proposal>,
    batches_in_flight_max: usize,
    wall: WallClock,
) {
    let permits = Arc::new(Semaphore::new(batches_in_flight_max));
    let mut held = None;
    loop {
        // The room first: while there is none, the queue gathers.
        let permit = permits.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let first = match held.take() {
            Some(held) => held,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut bytes = first.payload.len();
        let mut batch = vec![first];
        while batch.len() < PROPOSAL_BATCH_MAX
            && let Ok(next) = waiting.try_recv()
        {
            bytes += next.payload.len();
            if bytes > APPEND_BYTES_MAX {
                held = Some(next);
                break;
            }
            batch.push(next);
        }
        propose(&shard, batch, &wall, permit).await;
    }
}

/// Stamps a batch and hands it to Raft; a task of its own waits for the outcome.
async fn propose(
    shard: &Arc<Shard>,
    batch: Vec<Proposal>,
    wall: &WallClock,
    permit: OwnedSemaphorePermit,
) {
    let (stamp, wall) = (shard.time(Instant::now()), wall.now());
    let (mut commands, mut outcomes) = (Vec::new(), Vec::new());
    for proposal in batch {
        commands.push(Command { stamp, wall, payload: Octets(proposal.payload) });
        outcomes.push(proposal.outcome);
    }
    let counters = &shard.applied.counters;
    counters.batches.fetch_add(1, Ordering::Relaxed);
    counters.proposed.fetch_add(commands.len() as u64, Ordering::Relaxed);
    let mut answers = match shard.raft.client_write_many(commands).await {
        // When Raft ends it says so once, and then says nothing to the rest of the batch.
        Ok(answers) => answers.fuse(),
        Err(_) => {
            // Raft's queue is gone, so nothing was put in it.
            for outcome in outcomes {
                drop(outcome.send(Err(ProposeError::Stopped)));
            }
            return;
        }
    };
    tokio::spawn(async move {
        for outcome in outcomes {
            let answer = match answers.next().await {
                Some(Ok(Ok(done))) => {
                    let answer = Vec::from(done.response.0.0);
                    Ok(Proposed { index: done.log_id.index, answer })
                }
                Some(Ok(Err(ClientWriteError::ForwardToLeader(to)))) => {
                    Err(ProposeError::NotLeader { leader: to.leader_id.map(NodeId) })
                }
                Some(Ok(Err(error))) => Err(ProposeError::Unknown(error.to_string())),
                Some(Err(fatal)) => Err(ProposeError::Unknown(fatal.to_string())),
                None => Err(ProposeError::Unknown("the shard has stopped".to_owned())),
            };
            // A proposer that has given up is not there to be told.
            drop(outcome.send(answer));
        }
        drop(permit);
    });
}
