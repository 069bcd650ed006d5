//! Spreads the leaders of shards over the nodes, by what they have to do.
//!
//! Elections do not care who leads, so a node that comes back leads nothing, and the one that was
//! there all along leads everything. What a shard asks of its leader is taken to be the entries
//! that it gets a second, and something for being there at all. Every few seconds the node that has
//! the most to do hands one shard to another, as long as that evens things out by more than they
//! waver: one mover at a time, one shard at a time, and only while every shard that has begun has a
//! leader. A shard goes to one of its voters that is heard of. A hand-over takes as long as a
//! message or two, and whoever proposes meanwhile is sent on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rotary_log::{Follower, Log};
use rotary_proto::{NodeId, ShardId};

use crate::gateway::doors::Doors;
use crate::nodes::drain::is_to_be_left;
use crate::telemetry::names;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(2);
/// A replica that is to lead answered within this time, and lacks at most so many entries.
const SILENT_MAX: Duration = Duration::from_millis(300);
const BEHIND_MAX: u64 = 1_000;
/// What leading a shard that gets nothing costs, in entries a second.
const AT_REST: u64 = 50;
/// Of what a node has to do beyond that, a move must even out at least this part.
const WAVERS: u64 = 8;
/// A new look counts for this part of what a shard is taken to get.
const NEW_PART: u64 = 8;

/// A shard, and who is to lead it.
type Move = (ShardId, NodeId);

/// A shard's leader, and what it has to do for it, in entries a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Led {
    by: Option<NodeId>,
    weight: u64,
}

/// How much each shard gets, in parts of an entry a second.
#[derive(Default)]
struct Rates(BTreeMap<ShardId, (u64, u64)>);

impl Rates {
    /// What a shard weighs whose last entry has that index now, [`LOOK`] after the look before.
    fn look(&mut self, shard: ShardId, last: u64) -> u64 {
        let (before, rate) = self.0.get(&shard).copied().unwrap_or((last, 0));
        let new = last.saturating_sub(before) / LOOK.as_secs();
        // Kept in parts, so that what is little does not stay for ever.
        let rate = rate - rate / NEW_PART + new;
        self.0.insert(shard, (last, rate));
        AT_REST + rate / NEW_PART
    }
}

/// Hands shards over that others should lead, as long as the node runs.
///
/// Who is to be left is handed nothing; what such a node leads it hands on by itself
/// ([`crate::nodes::seats`]), and nobody moves anything meanwhile.
pub(crate) async fn keep(doors: Doors, log: Arc<Log>) {
    let node = doors.node;
    let (mut before, mut rates) = (None, Rates::default());
    loop {
        tokio::time::sleep(LOOK).await;
        let begins: BTreeSet<ShardId> = {
            let directory = doors.replica.directory();
            directory.founding().map(|(shard, _)| shard).collect()
        };
        let mut led = |shard| {
            let status = log.status(shard);
            let weight = rates.look(shard, status.as_ref().map_or(0, |status| status.last_index));
            (shard, Led { by: status.and_then(|status| status.leader), weight })
        };
        let begun = log.shards().into_iter().filter(|shard| !begins.contains(shard));
        let leaders: BTreeMap<ShardId, Led> = begun.map(&mut led).collect();
        let stays = |node: &NodeId| !is_to_be_left(&doors.replica, *node);
        let nodes: Vec<NodeId> = doors.roster.nodes().into_iter().filter(stays).collect();
        let heard: BTreeSet<NodeId> = nodes
            .iter()
            .copied()
            .filter(|other| *other == node || doors.hints.hears(*other))
            .collect();
        let could = |shard| voters(&log, shard).intersection(&heard).copied().collect();
        let next = next(node, &nodes, &leaders, could, |shard| ready(&log, shard));
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

fn voters(log: &Log, shard: ShardId) -> BTreeSet<NodeId> {
    log.members(shard).unwrap_or_default().voters
}

/// Replicas of a shard of this node that could lead it.
fn ready(log: &Log, shard: ShardId) -> Vec<NodeId> {
    let last = log.status(shard).map_or(0, |status| status.last_index);
    let could = |follower: &Follower| follower.is_caught_up(last, SILENT_MAX, BEHIND_MAX);
    let voters = voters(log, shard);
    let followers = log.followers(shard).unwrap_or_default().into_iter();
    let followers = followers.filter(|follower| voters.contains(&follower.node));
    followers.filter(could).map(|follower| follower.node).collect()
}

/// What this node should hand over next, if it is its turn: it is the first, of those that have the
/// most to do, that something can be taken from with profit, as far as can be told from here: who
/// `could` lead a shard is what any node sees, who is `ready` to what its leader alone does.
fn next(
    node: NodeId,
    members: &[NodeId],
    leaders: &BTreeMap<ShardId, Led>,
    could: impl Fn(ShardId) -> Vec<NodeId>,
    ready: impl Fn(ShardId) -> Vec<NodeId>,
) -> Option<Move> {
    let mut loads: BTreeMap<NodeId, Load> =
        members.iter().map(|member| (*member, Load::default())).collect();
    for led in leaders.values() {
        let load = loads.get_mut(&led.by?)?;
        load.all += led.weight;
        load.at_rest += AT_REST;
    }
    let mut turns: Vec<NodeId> = members.to_vec();
    turns.sort_by_key(|member| (Reverse(loads[member].all), *member));
    let has_turn = |from: &NodeId| best(*from, &loads, leaders, &could).is_some();
    if turns.iter().find(|member| has_turn(member)) != Some(&node) {
        return None;
    }
    best(node, &loads, leaders, ready)
}

/// What a node has to do.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    all: u64,
    /// Of that, what its shards would cost if they got nothing.
    at_rest: u64,
}

/// The move from a node that evens out most; the directory comes first in the order of shards, and
/// moves last.
fn best(
    from: NodeId,
    loads: &BTreeMap<NodeId, Load>,
    leaders: &BTreeMap<ShardId, Led>,
    ready: impl Fn(ShardId) -> Vec<NodeId>,
) -> Option<Move> {
    let Load { all, at_rest } = *loads.get(&from)?;
    let profit = AT_REST + all.saturating_sub(at_rest) / WAVERS;
    let mine = leaders.iter().filter(|(_, led)| led.by == Some(from));
    let moves = mine.flat_map(|(shard, led)| {
        ready(*shard).into_iter().filter(|to| *to != from).map(|to| (*shard, led.weight, to))
    });
    let moves = moves.filter_map(|(shard, weight, to)| {
        let then = loads.get(&to)?.all + weight;
        (then + profit <= all).then_some((then.max(all - weight), then, to, Reverse(shard)))
    });
    moves.min().map(|(_, _, to, Reverse(shard))| (shard, to))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    fn led(by: &[u64]) -> BTreeMap<ShardId, Led> {
        let by: Vec<(u64, u64)> = by.iter().map(|node| (*node, 0)).collect();
        busy(&by)
    }

    /// Shards by who leads them, and how many entries they get a second.
    fn busy(by: &[(u64, u64)]) -> BTreeMap<ShardId, Led> {
        let led = |(node, rate): &(u64, u64)| {
            let by = (*node > 0).then_some(NodeId(*node));
            Led { by, weight: AT_REST + rate }
        };
        (0..).map(ShardId).zip(by.iter().map(led)).collect()
    }

    fn moves(node: u64, by: &[u64], ready: &[u64]) -> Option<(u32, u64)> {
        moves_of(node, &led(by), ready)
    }

    fn moves_of(node: u64, led: &BTreeMap<ShardId, Led>, ready: &[u64]) -> Option<(u32, u64)> {
        let ready: Vec<NodeId> = ready.iter().copied().map(NodeId).collect();
        let next = next(NodeId(node), &members(3), led, |_| members(3), |_| ready.clone());
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

    #[test]
    fn nobody_waits_for_a_move_to_a_node_that_cannot_lead() {
        // Node 4 has no vote, or is not heard of: node 1 has nobody to give anything to, as 2 has
        // as much to do, and node 2 moves to 3 what only those two have votes in.
        let led = led(&[1, 1, 1, 2, 2, 2]);
        let votes = |shard: ShardId| if shard.0 < 3 { members(2) } else { members(3) };
        let of = |node: u64| {
            let moved = next(NodeId(node), &members(4), &led, votes, votes);
            moved.map(|(shard, to)| (shard.0, to.0))
        };
        assert_eq!((of(1), of(2)), (None, Some((5, 3))));
        let all = |_| members(4);
        let blocked = next(NodeId(2), &members(4), &led, all, votes);
        assert_eq!(blocked, None, "where node 4 could lead, it is the first node's turn");
    }

    #[test]
    fn what_a_shard_gets_counts_more_than_how_many_there_are() {
        let of = |by: &[(u64, u64)]| {
            (1..=3).find_map(|node| Some((node, moves_of(node, &busy(by), &[1, 2, 3])?)))
        };
        let even = [(1, 900), (2, 300), (2, 300), (2, 300), (3, 800)];
        assert_eq!(of(&even), None, "three that get as much as one");
        let hot = [(1, 900), (1, 900), (2, 0), (2, 0), (3, 0)];
        assert_eq!(of(&hot), Some((1, (1, 3))), "to the one that has the least to do");
        assert_eq!(of(&[(1, 900), (2, 0), (3, 0)]), None, "one shard cannot be halved");
        let both = [(1, 9_000), (2, 0), (2, 0), (2, 0)];
        assert_eq!(of(&both), Some((2, (3, 3))), "nothing helps the first, so the next moves");
        let wavers = [(1, 500), (1, 60), (2, 520), (3, 500)];
        assert_eq!(of(&wavers), None, "not worth it");
    }

    #[test]
    fn a_rate_follows_what_is_seen_and_falls_to_nothing() {
        let (mut rates, shard) = (Rates::default(), ShardId(1));
        assert_eq!(rates.look(shard, 5_000), AT_REST, "nobody knows since when");
        let mut last = 5_000;
        for _ in 0..50 {
            last += 400;
            rates.look(shard, last);
        }
        let busy = rates.look(shard, last + 400);
        assert!((AT_REST + 190..=AT_REST + 200).contains(&busy), "{busy}");
        let idle: Vec<u64> = (0..60).map(|_| rates.look(shard, last + 400)).collect();
        assert_eq!(idle.last(), Some(&AT_REST));
        assert_eq!(rates.look(shard, 3), AT_REST, "a log that lost its end");
    }

    proptest! {
        /// However it begins, so many moves as there are shards make it even, and then it stays.
        #[test]
        fn it_becomes_even_and_stays(by in proptest::collection::vec(1u64..=5, 1..40)) {
            let (members, mut leaders) = (members(5), led(&by));
            let others = |shard: &NodeId| members.iter().copied().filter(|n| n != shard).collect();
            let step = |leaders: &BTreeMap<_, _>| members.iter().find_map(|node| {
                next(*node, &members, leaders, |_| members.clone(), |_| others(node))
            });
            for _ in 0..by.len() {
                if let Some((shard, to)) = step(&leaders) {
                    leaders.get_mut(&shard).expect("it is there").by = Some(to);
                }
            }
            prop_assert_eq!(step(&leaders), None);
            let counts = members.iter().map(|node| {
                leaders.values().filter(|led| led.by == Some(*node)).count()
            });
            let counts: Vec<usize> = counts.collect();
            let (low, high) = (counts.iter().min(), counts.iter().max());
            prop_assert!(high.zip(low).is_some_and(|(high, low)| high - low <= 1), "{:?}", counts);
        }

        /// Whatever shards get, moves end, and no node could be helped much any more.
        #[test]
        fn whatever_shards_get_it_comes_to_rest(
            by in proptest::collection::vec((1u64..=5, 0u64..5_000), 1..40),
        ) {
            let (members, mut leaders) = (members(5), busy(&by));
            let step = |leaders: &BTreeMap<_, _>| members.iter().find_map(|node| {
                next(*node, &members, leaders, |_| members.clone(), |_| members.clone())
            });
            let mut moved = 0;
            while let Some((shard, to)) = step(&leaders) {
                leaders.get_mut(&shard).expect("it is there").by = Some(to);
                moved += 1;
                prop_assert!(moved <= 10 * by.len(), "it goes on and on");
            }
        }
    }
}
