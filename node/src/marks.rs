//! Tells the other replicas how far this node's journals are on its disk.
//!
//! A mark is an entry of the shard's log. It is logged when something was recorded since the last
//! one, so that an idle shard, in which marks and leases are all that happens, becomes quiet. A
//! replica that lacks history from before a snapshot logs none: what a quorum has marked must be
//! found on a quorum's disks.

use std::collections::BTreeMap;
use std::time::Duration;

use rotary_proto::outcome::Answer;
use rotary_proto::{NodeId, Outcome, ShardCommand, ShardId, limits};
use rotary_storage::{ChainHash, JournalHead};

use crate::gateway::doors::Doors;

/// How long a mark waits for its commit. One that does not come is tried again at the next round.
const PATIENCE: Duration = Duration::from_secs(2);

/// What this node has told of each of its shards.
#[derive(Debug, Default)]
struct Told(BTreeMap<ShardId, ChainHash>);

impl Told {
    /// Whether a journal whose durable head that is has something new; `marked` is what the state
    /// has of this node, `None` if the node is no member.
    fn is_due(&self, shard: ShardId, head: JournalHead, marked: Option<u64>) -> bool {
        let told = self.0.get(&shard).copied().unwrap_or_default();
        head.hash != told && marked.is_some_and(|marked| marked < head.index)
    }
}

/// Logs marks, as long as the node runs.
pub(crate) async fn keep_logged(doors: Doors) {
    let mut told = Told::default();
    loop {
        tokio::time::sleep(Duration::from_millis(limits::JOURNAL_MARK_MS)).await;
        let due: Vec<(ShardId, JournalHead)> = due(&doors, &told).collect();
        let logged = due.into_iter().map(|(shard, head)| log(&doors, shard, head));
        let logged = futures::future::join_all(logged).await;
        told.0.extend(logged.into_iter().flatten());
    }
}

fn due<'a>(doors: &'a Doors, told: &'a Told) -> impl Iterator<Item = (ShardId, JournalHead)> + 'a {
    doors.replica.shards().filter_map(|shard| {
        let head = doors.replica.journal().durable_head(shard.id.0);
        let marked = shard.read().journal_marks().get(&doors.node).copied();
        let due = doors.replica.is_whole(shard.id) && told.is_due(shard.id, head, marked);
        due.then_some((shard.id, head))
    })
}

/// Logs one mark; gives what is then told, if it was.
async fn log(doors: &Doors, shard: ShardId, head: JournalHead) -> Option<(ShardId, ChainHash)> {
    let command = ShardCommand::JournalMark { node: doors.node, index: head.index };
    let logged: Result<Answer, _> = doors.propose(shard, &command, PATIENCE).await;
    let node: NodeId = doors.node;
    match logged.map(|answer| answer.outcome) {
        Ok(Outcome::Done(_)) => return Some((shard, head.hash)),
        Ok(Outcome::Refused(refusal)) => tracing::warn!(%shard, %node, %refusal, "no mark"),
        Err(error) => tracing::debug!(%shard, %error, "the mark is logged later"),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(1);

    fn head(index: u64, story: u8) -> JournalHead {
        JournalHead { index, hash: ChainHash([story; 32]) }
    }

    #[test]
    fn what_is_new_is_told_once() {
        let mut told = Told::default();
        assert!(told.is_due(SHARD, head(10, 1), Some(0)));
        told.0.insert(SHARD, head(10, 1).hash);
        assert!(!told.is_due(SHARD, head(12, 1), Some(10)), "two entries, and nothing recorded");
        assert!(told.is_due(SHARD, head(13, 2), Some(10)));
        assert!(told.is_due(ShardId(2), head(13, 1), Some(10)), "another shard");
    }

    #[test]
    fn nothing_is_told_of_an_empty_journal_or_by_a_stranger() {
        let told = Told::default();
        assert!(!told.is_due(SHARD, head(10, 0), Some(0)), "nothing was recorded");
        assert!(!told.is_due(SHARD, head(10, 1), None), "no member");
        assert!(!told.is_due(SHARD, head(10, 1), Some(10)), "told before a restart");
    }
}
