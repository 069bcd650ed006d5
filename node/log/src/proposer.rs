//! The leader's proposer: one task per shard that turns whatever waits into one batch.
//!
//! What waits has its place in a [`Room`] from the moment it comes until it is answered, so that
//! neither its number nor its bytes grow with what is asked. What nobody waits for any more is not
//! proposed: when time is short, it would be taken from those who still do.

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
    /// Its place, given back with it.
    pub(crate) _place: Option<Place>,
}

/// How much may wait at once: commands, and their bytes.
pub(crate) struct Room {
    commands: Arc<Semaphore>,
    kibibytes: Arc<Semaphore>,
}

/// A place in a [`Room`].
pub(crate) struct Place {
    _commands: OwnedSemaphorePermit,
    _kibibytes: OwnedSemaphorePermit,
}

impl Room {
    /// For `commands` of `bytes` together.
    pub(crate) fn new(commands: usize, bytes: usize) -> Self {
        let of = |permits| Arc::new(Semaphore::new(permits));
        Self { commands: of(commands), kibibytes: of(bytes / 1024) }
    }

    /// A place for those, if there is one.
    pub(crate) fn take(&self, payloads: &[Bytes]) -> Option<Place> {
        let take = |room: &Arc<Semaphore>, permits: usize| {
            room.clone().try_acquire_many_owned(u32::try_from(permits).ok()?).ok()
        };
        let bytes: usize = payloads.iter().map(Bytes::len).sum();
        let _commands = take(&self.commands, payloads.len())?;
        let _kibibytes = take(&self.kibibytes, bytes.div_ceil(1024))?;
        Some(Place { _commands, _kibibytes })
    }
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

/// Takes what waits, as far as it fits a batch; what does not is `held` for the next one, and what
/// nobody waits for any more is dropped. `None` once nothing can come any more.
pub(crate) async fn gather(
    waiting: &mut mpsc::Receiver<Proposal>,
    held: &mut Option<Proposal>,
) -> Option<Vec<Proposal>> {
    let first = loop {
        let first = match held.take() {
            Some(held) => held,
            None => waiting.recv().await?,
        };
        if !first.outcomes.is_closed() {
            break first;
        }
    };
    let (mut bytes, mut count) = (first.bytes(), first.payloads.len());
    let mut batch = vec![first];
    while count < PROPOSAL_BATCH_MAX
        && let Ok(next) = waiting.try_recv()
    {
        if next.outcomes.is_closed() {
            continue;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(bytes: usize) -> (Proposal, oneshot::Receiver<Vec<Outcome>>) {
        let (outcomes, hears) = oneshot::channel();
        (Proposal { payloads: vec![Bytes::from(vec![0; bytes])], outcomes, _place: None }, hears)
    }

    #[test]
    fn a_room_is_full_of_commands_or_of_bytes_and_empties() {
        let room = Room::new(3, 10 * 1024);
        let payloads = |bytes: &[usize]| -> Vec<Bytes> {
            bytes.iter().map(|bytes| Bytes::from(vec![0; *bytes])).collect()
        };
        let two = room.take(&payloads(&[1, 1])).expect("room");
        assert!(room.take(&payloads(&[1, 1])).is_none(), "a fourth command");
        assert!(room.take(&payloads(&[9 * 1024 + 1])).is_none(), "an eleventh kibibyte");
        let third = room.take(&payloads(&[9 * 1024])).expect("just enough");
        drop((two, third));
        assert!(room.take(&payloads(&[1, 1, 1])).is_some(), "what is answered is given back");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_proposed() {
        let (queue, mut waiting) = mpsc::channel(8);
        let mut hears = Vec::new();
        for bytes in 1..=4 {
            let (proposal, hear) = proposal(bytes);
            queue.try_send(proposal).expect("room");
            hears.push(hear);
        }
        hears.remove(2);
        hears.remove(0);
        let batch = gather(&mut waiting, &mut None).await.expect("two wait");
        assert_eq!(batch.iter().map(Proposal::bytes).collect::<Vec<_>>(), [2, 4]);
        drop(queue);
        assert!(gather(&mut waiting, &mut None).await.is_none());
    }
}
