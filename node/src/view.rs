//! Keeps each shard's view: which replicas live and have caught up, as its leader sees them.
//!
//! The view is replicated state that changes by an entry only, because whoever performs an effect
//! is computed from it on every node alike. A replica that is silent for a second leaves it; one
//! that answers and is not far behind comes back. One that drains is not in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rotary_log::{Follower, Log};
use rotary_proto::outcome::Answer;
use rotary_proto::{NodeId, ShardCommand, ShardId};

use crate::gateway::doors::Doors;
use crate::nodes::drain::is_to_be_left;

/// How often the followers are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// A replica that did not answer for so long is not in the view.
const SILENT_MAX: Duration = Duration::from_secs(1);
/// One that is to come back must have answered within this time.
const SILENT_RETURN_MAX: Duration = Duration::from_millis(300);
/// Entries that a replica may lack, and that one which comes back may.
const BEHIND_MAX: u64 = 10_000;
const BEHIND_RETURN_MAX: u64 = 1_000;
/// How long a view waits for its commit.
const PATIENCE: Duration = Duration::from_secs(1);

/// Logs the views of the shards that this node leads, as long as it runs.
pub(crate) async fn keep_logged(doors: Doors, log: Arc<Log>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let due: Vec<(ShardId, Vec<NodeId>)> =
            doors.replica.shard_ids().into_iter().filter_map(|id| due(&doors, &log, id)).collect();
        let told = due.into_iter().map(|(shard, replicas)| tell(&doors, shard, replicas));
        futures::future::join_all(told).await;
    }
}

fn due(doors: &Doors, log: &Log, id: ShardId) -> Option<(ShardId, Vec<NodeId>)> {
    let (mut followers, last) = (log.followers(id)?, log.status(id)?.last_index);
    let voters = log.members(id)?.voters;
    followers.retain(|follower| voters.contains(&follower.node));
    let shard = doors.replica.shard(id)?;
    let before = shard.read().view().replicas.clone();
    let mut replicas = replicas(doors.node, &followers, last, &before);
    keep_off(&mut replicas, |node| is_to_be_left(&doors.replica, node));
    (replicas != before).then_some((id, replicas))
}

/// Who is in the view next.
fn replicas(node: NodeId, followers: &[Follower], last: u64, before: &[NodeId]) -> Vec<NodeId> {
    let lives = |follower: &&Follower| {
        let (silent, behind) = match before.contains(&follower.node) {
            true => (SILENT_MAX, BEHIND_MAX),
            false => (SILENT_RETURN_MAX, BEHIND_RETURN_MAX),
        };
        follower.is_caught_up(last, silent, behind)
    };
    let live = followers.iter().filter(lives).map(|follower| follower.node);
    live.chain([node]).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Nodes that are to be left perform nothing, as long as another one can.
fn keep_off(replicas: &mut Vec<NodeId>, avoided: impl Fn(NodeId) -> bool) {
    if replicas.iter().any(|node| !avoided(*node)) {
        replicas.retain(|node| !avoided(*node));
    }
}

async fn tell(doors: &Doors, shard: ShardId, replicas: Vec<NodeId>) {
    tracing::info!(%shard, ?replicas, "these replicas live");
    let command = ShardCommand::SetView { replicas };
    let told: Result<Answer, _> = doors.propose(shard, &command, PATIENCE).await;
    if let Err(error) = told {
        tracing::debug!(%shard, %error, "the view is told later");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u64 = 50_000;

    fn follower(node: u64, behind: u64, silent_ms: u64) -> Follower {
        let silent = Some(Duration::from_millis(silent_ms));
        Follower { node: NodeId(node), matched: LAST - behind, silent }
    }

    fn after(before: &[u64], followers: &[Follower]) -> Vec<u64> {
        let before: Vec<NodeId> = before.iter().copied().map(NodeId).collect();
        let live = replicas(NodeId(2), followers, LAST, &before);
        live.into_iter().map(|node| node.0).collect()
    }

    #[test]
    fn who_drains_is_in_no_view_but_the_last() {
        let kept = |drains: &[u64]| {
            let mut nodes: Vec<NodeId> = [1, 2, 3].map(NodeId).to_vec();
            keep_off(&mut nodes, |node| drains.contains(&node.0));
            nodes.into_iter().map(|node| node.0).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[]), [1, 2, 3]);
        assert_eq!(kept(&[2]), [1, 3]);
        assert_eq!(kept(&[1, 2, 3]), [1, 2, 3], "nobody else is there");
    }

    #[test]
    fn who_is_silent_or_far_behind_leaves_and_comes_back_later() {
        assert_eq!(after(&[1, 2, 3], &[follower(1, 9, 20), follower(3, 9, 900)]), [1, 2, 3]);
        assert_eq!(after(&[1, 2, 3], &[follower(1, 9, 20), follower(3, 9, 1_001)]), [1, 2]);
        assert_eq!(after(&[1, 2], &[follower(1, 9, 20), follower(3, 9, 900)]), [1, 2]);
        assert_eq!(after(&[1, 2], &[follower(1, 10_001, 20), follower(3, 9, 20)]), [2, 3]);
        assert_eq!(after(&[2, 3], &[follower(1, 1_001, 20), follower(3, 9, 20)]), [2, 3]);
        let never = Follower { silent: None, ..follower(1, 0, 0) };
        assert_eq!(after(&[], &[never]), [2]);
    }
}
