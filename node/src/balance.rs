//! Spreads the leaders of shards over the nodes.
//!
//! Elections do not care who leads, so a node that comes back leads nothing, and the one that was
//! there all along leads everything. Every few seconds the node that leads the most shards hands
//! one of them to the replica whose node leads the fewest, as long as that evens them out: one
//! mover at a time, one shard at a time, and only while every shard has a leader. A hand-over takes
//! as long as a message or two, and whoever proposes meanwhile is sent on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rotary_log::{Follower, Log};
use rotary_proto::{NodeId, ShardId};

use crate::nodes::roster::Roster;
use crate::telemetry::names;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(2);
/// A replica that is to lead answered within this time, and lacks at most so many entries.
const SILENT_MAX: Duration = Duration::from_millis(300);
const BEHIND_MAX: u64 = 1_000;

/// A shard, and who is to lead it.
type Move = (ShardId, NodeId);

/// Hands shards over that others should lead, as long as the node runs.
///
/// Who is `avoided` is handed nothing; what such a node leads it hands on by itself
/// ([`crate::nodes::seats`]), and nobody moves anything meanwhile.
pub(crate) async fn keep(
    log: Arc<Log>,
    node: NodeId,
    roster: Arc<Roster>,
    avoided: impl Fn(NodeId) -> bool,
) {
    let mut before = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let leaders: BTreeMap<ShardId, Option<NodeId>> =
            log.shards().map(|id| (id, log.status(id).and_then(|status| status.leader))).collect();
        let nodes: Vec<NodeId> =
            roster.nodes().into_iter().filter(|node| !avoided(*node)).collect();
        let next = next(node, &nodes, &leaders, |shard| ready(&log, shard));
        // What is true twice in a row is not the middle of an election.
        if let Some((shard, to)) = next.filter(|_| next == before) {
            tracing::info!(%shard, %to, "another node is to lead this shard");
            counter!(names::LEADERS_MOVED).increment(1);
            if let Err(error) = log.transfer(shard, to).await {
                tracing::debug!(%shard, %error, "it was not handed over");
            }
        }
        before = next;
    }
}

/// Replicas of a shard of this node that could lead it.
fn ready(log: &Log, shard: ShardId) -> Vec<NodeId> {
    let last = log.status(shard).map_or(0, |status| status.last_index);
    let could = |follower: &Follower| {
        follower.silent.is_some_and(|silent| silent <= SILENT_MAX)
            && last.saturating_sub(follower.matched) <= BEHIND_MAX
    };
    let voters = log.members(shard).unwrap_or_default().voters;
    let followers = log.followers(shard).unwrap_or_default().into_iter();
    let followers = followers.filter(|follower| voters.contains(&follower.node));
    followers.filter(could).map(|follower| follower.node).collect()
}

/// What this node should hand over next, if it is its turn.
fn next(
    node: NodeId,
    members: &[NodeId],
    leaders: &BTreeMap<ShardId, Option<NodeId>>,
    ready: impl Fn(ShardId) -> Vec<NodeId>,
) -> Option<Move> {
    let mut counts: BTreeMap<NodeId, usize> = members.iter().map(|member| (*member, 0)).collect();
    for leader in leaders.values() {
        *counts.get_mut(&(*leader)?)? += 1;
    }
    let most = counts.values().copied().max()?;
    let mover = counts.iter().find(|(_, count)| **count == most).map(|(node, _)| *node);
    if mover != Some(node) {
        return None;
    }
    // The directory comes first in the order of shards, and moves last.
    let mine = leaders.iter().rev().filter(|(_, leader)| **leader == Some(node));
    let moves = mine.flat_map(|(shard, _)| ready(*shard).into_iter().map(|to| (*shard, to)));
    let even = moves.filter(|(_, to)| counts.get(to).is_some_and(|count| count + 2 <= most));
    even.min_by_key(|(shard, to)| (counts[to], *to, std::cmp::Reverse(*shard)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    fn led(by: &[u64]) -> BTreeMap<ShardId, Option<NodeId>> {
        let leader = |node: &u64| (*node > 0).then_some(NodeId(*node));
        (0..).map(ShardId).zip(by.iter().map(leader)).collect()
    }

    fn moves(node: u64, by: &[u64], ready: &[u64]) -> Option<(u32, u64)> {
        let ready: Vec<NodeId> = ready.iter().copied().map(NodeId).collect();
        let next = next(NodeId(node), &members(3), &led(by), |_| ready.clone());
        next.map(|(shard, to)| (shard.0, to.0))
    }

    #[test]
    fn the_one_that_leads_most_hands_one_to_the_one_that_leads_fewest() {
        assert_eq!(moves(1, &[1, 1, 1, 2, 1], &[2, 3]), Some((4, 3)));
        assert_eq!(moves(1, &[1, 1, 1, 2, 1], &[2]), Some((4, 2)), "node 3 could not lead");
        assert_eq!(moves(2, &[1, 1, 1, 2, 1], &[1, 3]), None, "it is not its turn");
        assert_eq!(moves(1, &[1, 2, 3, 1], &[2, 3]), None, "even enough");
        assert_eq!(moves(1, &[1, 1, 1, 0], &[2, 3]), None, "a shard has no leader");
        assert_eq!(moves(1, &[1, 1, 1, 9], &[2, 3]), None, "a leader is no member");
        assert_eq!(moves(2, &[2, 1, 1, 2], &[1, 3]), None, "of two that lead most the first moves");
        assert_eq!(moves(1, &[2, 1, 1, 2], &[2, 3]), Some((2, 3)));
        assert_eq!(moves(1, &[1, 1, 1], &[]), None, "nobody could lead");
    }

    proptest! {
        /// However it begins, so many moves as there are shards make it even, and then it stays.
        #[test]
        fn it_becomes_even_and_stays(by in proptest::collection::vec(1u64..=5, 1..40)) {
            let (members, mut leaders) = (members(5), led(&by));
            let others = |shard: &NodeId| members.iter().copied().filter(|n| n != shard).collect();
            let step = |leaders: &BTreeMap<_, _>| members.iter().find_map(|node| {
                next(*node, &members, leaders, |_| others(node))
            });
            for _ in 0..by.len() {
                if let Some((shard, to)) = step(&leaders) {
                    leaders.insert(shard, Some(to));
                }
            }
            prop_assert_eq!(step(&leaders), None);
            let counts = members.iter().map(|node| {
                leaders.values().filter(|leader| **leader == Some(*node)).count()
            });
            let counts: Vec<usize> = counts.collect();
            let (low, high) = (counts.iter().min(), counts.iter().max());
            prop_assert!(high.zip(low).is_some_and(|(high, low)| high - low <= 1), "{:?}", counts);
        }
    }
}
