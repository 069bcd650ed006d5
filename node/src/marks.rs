//! Logs how far this node's journals are on its disk, for the other replicas.

use std::time::Duration;

use rotary_log::Marks;
use rotary_proto::outcome::Answer;
use rotary_proto::{Outcome, ShardCommand, ShardId};

use crate::gateway::doors::Doors;

/// How long a mark waits for its commit. One that does not come is tried again at the next round.
const PATIENCE: Duration = Duration::from_secs(2);

/// Logs marks, as long as the node runs.
pub(crate) async fn keep_logged(doors: Doors) {
    let replica = doors.replica.clone();
    let shards = Box::new(move || replica.shard_ids());
    let marks = Marks { journal: doors.replica.journal().clone(), shards };
    let marked = |id| doors.replica.shard(id)?.read().journal_marks().get(&doors.node).copied();
    marks.keep_logged(marked, |shard, index| log(&doors, shard, index)).await;
}

/// Logs one mark; whether it was.
async fn log(doors: &Doors, shard: ShardId, index: u64) -> bool {
    let node = doors.node;
    let command = ShardCommand::JournalMark { node, index };
    let logged: Result<Answer, _> = doors.propose(shard, &command, PATIENCE).await;
    match logged.map(|answer| answer.outcome) {
        Ok(Outcome::Done(_)) => return true,
        Ok(Outcome::Refused(refusal)) => tracing::warn!(%shard, %node, %refusal, "no mark"),
        Err(error) => tracing::debug!(%shard, %error, "the mark is logged later"),
    }
    false
}
