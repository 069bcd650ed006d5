//! The leader's proposer: one task per shard that turns whatever waits into one batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::raft::WriteResponse;
use rotary_proto::NodeId;
use rotary_proto::limits::{APPEND_BYTES_MAX, PROPOSAL_BATCH_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::propose::{ProposeError, Proposed};
use crate::shard::Shard;
use crate::types::{Command, Octets, Types};
use crate::wall::WallClock;

pub(crate) type Outcome = Result<Proposed, ProposeError>;

/// Commands that wait for the proposer, and are answered together. Never none, and no more than a
/// batch may have.
pub(crate) struct Proposal {
    pub(crate) payloads: Vec<Bytes>,
    pub(crate) outcomes: oneshot::Sender<Vec<Outcome>>,
}

impl Proposal {
    fn bytes(&self) -> usize {
        self.payloads.iter().map(Bytes::len).sum()
    }

    fn answer(self, error: ProposeError) {
        let count = self.payloads.len();
        // A proposer that has given up is not there to be told.
        drop(self.outcomes.send(vec![Err(error); count]));
    }
}

/// Takes what waits, as far as it fits a batch; what does not is `held` for the next one. `None`
/// once nothing can come any more.
pub(crate) async fn gather(
    waiting: &mut mpsc::Receiver<Proposal>,
    held: &mut Option<Proposal>,
) -> Option<Vec<Proposal>> {
    let first = match held.take() {
        Some(held) => held,
        None => waiting.recv().await?,
    };
    let (mut bytes, mut count) = (first.bytes(), first.payloads.len());
    let mut batch = vec![first];
    while count < PROPOSAL_BATCH_MAX
        && let Ok(next) = waiting.try_recv()
    {
        bytes += next.bytes();
        count += next.payloads.len();
        if bytes > APPEND_BYTES_MAX || count > PROPOSAL_BATCH_MAX {
            *held = Some(next);
            break;
        }
        batch.push(next);
    }
    Some(batch)
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
        let Some(batch) = gather(&mut waiting, &mut held).await else { return };
        propose(&shard, batch, &wall, permit).await;
    }
}

/// Stamps a batch and hands it to Raft; a task of its own waits for the outcome.
async fn propose(
    shard: &Arc<Shard>,
    mut batch: Vec<Proposal>,
    wall: &WallClock,
    permit: OwnedSemaphorePermit,
) {
    let (stamp, wall) = (shard.time(Instant::now()), wall.now());
    let mut commands = Vec::new();
    for payload in batch.iter_mut().flat_map(|proposal| &mut proposal.payloads) {
        // The place stays, so that each proposal knows how many answers are its own.
        let payload = Octets(std::mem::take(payload));
        commands.push(Command { stamp, wall, payload });
    }
    let counters = &shard.applied.counters;
    counters.batches.fetch_add(1, Ordering::Relaxed);
    counters.proposed.fetch_add(commands.len() as u64, Ordering::Relaxed);
    let mut answers = match shard.raft.client_write_many(commands).await {
        // When Raft ends it says so once, and then says nothing to the rest of the batch.
        Ok(answers) => answers.fuse(),
        Err(_) => {
            // Raft's queue is gone, so nothing was put in it.
            batch.into_iter().for_each(|proposal| proposal.answer(ProposeError::Stopped));
            return;
        }
    };
    tokio::spawn(async move {
        for proposal in batch {
            let mut outcomes = Vec::with_capacity(proposal.payloads.len());
            for _ in &proposal.payloads {
                outcomes.push(outcome(answers.next().await));
            }
            drop(proposal.outcomes.send(outcomes));
        }
        drop(permit);
    });
}

type Written = Result<Result<WriteResponse<Types>, ClientWriteError<Types>>, Fatal<Types>>;

fn outcome(answer: Option<Written>) -> Outcome {
    match answer {
        Some(Ok(Ok(done))) => {
            Ok(Proposed { index: done.log_id.index, answer: Vec::from(done.response.0.0) })
        }
        Some(Ok(Err(ClientWriteError::ForwardToLeader(to)))) => {
            Err(ProposeError::NotLeader { leader: to.leader_id.map(NodeId) })
        }
        Some(Ok(Err(error))) => Err(ProposeError::Unknown(error.to_string())),
        Some(Err(fatal)) => Err(ProposeError::Unknown(fatal.to_string())),
        None => Err(ProposeError::Unknown("the shard has stopped".to_owned())),
    }
}
