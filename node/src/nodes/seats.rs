//! Brings the members of the shards that this node leads to where the directory wants them.
//!
//! Nobody else has to remember anything: what is wanted is an entry of the directory's log, what is
//! so is an entry of the shard's own, and whoever leads the shard takes the next step from the one
//! to the other. A leader that dies on the way is followed by one that goes on.
//!
//! A node that is to vote has caught up first, with the journal before its snapshot too, so that
//! the one that it replaces is not missed. A leader that is to have no vote hands the shard on
//! first, so that nobody waits for an election; so does one that drains. What a shard waits for is
//! told to every node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rotary_directory::Seats;
use rotary_log::{Change, ChangeError, Follower, Log, Members, next_change};
use rotary_proto::{NodeId, ShardId};

use crate::hint::Freshness;
use crate::nodes::drain::is_to_be_left;
use crate::replica::Replica;

/// How often the shards are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A follower that is to vote answered within this time, and lacks at most so many entries.
const SILENT_MAX: Duration = Duration::from_millis(500);
const BEHIND_MAX: u64 = 1_000;

/// Takes steps as long as the node runs.
pub(crate) async fn keep(
    node: NodeId,
    replica: Arc<Replica>,
    log: Arc<Log>,
    freshness: Arc<Freshness>,
) {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut waiting = BTreeMap::new();
        for shard in log.shards() {
            let Some(look) = Look::at(node, &replica, &log, &freshness, shard) else { continue };
            match (look.hands_to(), look.next()) {
                (Some(to), _) => hand_on(&log, shard, to).await,
                (None, Some(change)) => take(&log, shard, change).await,
                (None, None) => {}
            }
            waiting.extend(look.waits_for().map(|why| (shard, why)));
        }
        freshness.wait(waiting);
    }
}

async fn take(log: &Log, shard: ShardId, change: Change) {
    tracing::info!(%shard, %change, "the members of a shard change");
    match log.change_members(shard, change).await {
        Ok(()) => {}
        Err(error @ ChangeError::Unknown(_)) => {
            tracing::warn!(code = "members-unsettled", %shard, %error, "it is looked at again");
        }
        Err(error) => tracing::debug!(%shard, %error, "it is tried again"),
    }
}

async fn hand_on(log: &Log, shard: ShardId, to: NodeId) {
    tracing::info!(%shard, %to, "this node is to lead no shards: another is to lead this one");
    if let Err(error) = log.transfer(shard, to).await {
        tracing::debug!(%shard, %error, "it is tried again");
    }
}

/// A shard that this node leads, at a moment.
struct Look {
    node: NodeId,
    wanted: Seats,
    actual: Members,
    followers: Vec<Follower>,
    /// The last entry of its log.
    last: u64,
    /// Those that have all of its journal.
    whole: Vec<NodeId>,
    /// Those that drain.
    draining: BTreeSet<NodeId>,
    /// How many shards each node leads.
    leads: BTreeMap<NodeId, usize>,
}

impl Look {
    fn at(
        node: NodeId,
        replica: &Replica,
        log: &Log,
        freshness: &Freshness,
        shard: ShardId,
    ) -> Option<Self> {
        let followers = log.followers(shard)?;
        let wanted = replica.directory().seats(shard)?;
        let (actual, last) = (log.members(shard)?, log.status(shard)?.last_index);
        let now = Instant::now();
        let is_whole = |node: &NodeId| freshness.is_whole(*node, shard, now);
        let whole = wanted.voters.iter().copied().filter(is_whole).collect();
        let is_draining = |node: &NodeId| is_to_be_left(replica, *node);
        let draining = wanted.voters.iter().copied().filter(is_draining).collect();
        let mut leads = BTreeMap::new();
        for leader in log.shards().into_iter().filter_map(|shard| log.status(shard)?.leader) {
            *leads.entry(leader).or_default() += 1;
        }
        Some(Self { node, wanted, actual, followers, last, whole, draining, leads })
    }

    fn next(&self) -> Option<Change> {
        let ready = |node| self.unready(node).is_none();
        let next = next_change(&self.actual, &self.wanted.voters, &self.wanted.learners, ready);
        // A leader never takes its own vote: it hands on first, to one that keeps its.
        next.filter(|change| !change.takes_vote_of(self.node))
    }

    /// Who is to lead instead, if this node is to have no vote, or drains: of those that have one
    /// and keep it, and do not drain, the one that leads the fewest shards.
    fn hands_to(&self) -> Option<NodeId> {
        let Self { wanted, actual, draining, .. } = self;
        let stays = wanted.voters.contains(&self.node) && !draining.contains(&self.node);
        if wanted.voters.is_empty() || stays {
            return None;
        }
        let keep = wanted.voters.intersection(&actual.voters).copied();
        let mut may: Vec<NodeId> = keep.filter(|node| self.unready(*node).is_none()).collect();
        // Who loses its vote cannot wait for one that does not drain.
        if wanted.voters.contains(&self.node) || may.iter().any(|node| !draining.contains(node)) {
            may.retain(|node| !draining.contains(node));
        }
        may.into_iter().min_by_key(|node| (self.leads.get(node).copied(), *node))
    }

    /// What a node lacks that is to vote, if it lacks anything.
    fn unready(&self, node: NodeId) -> Option<String> {
        if node == self.node {
            return None;
        }
        let follower = self.followers.iter().find(|follower| follower.node == node);
        let Some(follower) = follower else { return Some(format!("{node} does not follow yet")) };
        if !follower.is_caught_up(self.last, SILENT_MAX, BEHIND_MAX) {
            let answers = follower.is_caught_up(self.last, SILENT_MAX, u64::MAX);
            return Some(match follower.behind(self.last) {
                behind if answers => format!("{node} lacks {behind} entries"),
                _ => format!("{node} does not answer"),
            });
        }
        let is_whole = self.whole.contains(&node);
        (!is_whole).then(|| format!("{node} fetches the journal before its snapshot"))
    }

    /// Why the members are not those that are wanted, if they are not.
    fn waits_for(&self) -> Option<String> {
        let Self { wanted, actual, .. } = self;
        let settled = !actual.changing
            && actual.voters == wanted.voters
            && actual.learners == wanted.learners;
        if settled {
            return None;
        }
        let new = wanted.voters.difference(&actual.voters);
        let mut lacks: Vec<String> = new.filter_map(|node| self.unready(*node)).collect();
        if !wanted.voters.contains(&self.node) && self.hands_to().is_none() {
            lacks.push(format!("nobody can lead it instead of {} yet", self.node));
        }
        Some(if lacks.is_empty() { "its members change".to_owned() } else { lacks.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(numbers: &[u64]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    /// A shard of nodes 1 to 3, led by 1, in which 4 is to take the place of 3.
    fn look(learners: &[u64], followers: Vec<Follower>, whole: &[u64]) -> Look {
        let actual =
            Members { voters: nodes(&[1, 2, 3]), learners: nodes(learners), ..Members::default() };
        Look {
            node: NodeId(1),
            wanted: Seats { voters: nodes(&[1, 2, 4]), learners: BTreeSet::new() },
            actual,
            followers,
            last: 5_000,
            whole: whole.iter().copied().map(NodeId).collect(),
            draining: BTreeSet::new(),
            leads: BTreeMap::new(),
        }
    }

    fn follower(matched: u64, silent_ms: Option<u64>) -> Vec<Follower> {
        let silent = silent_ms.map(Duration::from_millis);
        vec![Follower { node: NodeId(4), matched, silent }]
    }

    #[test]
    fn a_node_that_is_to_vote_says_what_it_lacks_until_it_lacks_nothing() {
        let told = |look: &Look| (look.next(), look.waits_for().unwrap_or_default());
        let absent = look(&[], Vec::new(), &[]);
        let admit = Some(Change::Admit(nodes(&[4])));
        assert_eq!(told(&absent), (admit, "nd_4 does not follow yet".to_owned()));
        let not_yet = |look: &Look, why: &str| assert_eq!(told(look), (None, why.to_owned()));
        not_yet(&look(&[4], follower(5_000, None), &[4]), "nd_4 does not answer");
        not_yet(&look(&[4], follower(5_000, Some(501)), &[4]), "nd_4 does not answer");
        not_yet(&look(&[4], follower(3_999, Some(9)), &[4]), "nd_4 lacks 1001 entries");
        let fetches = "nd_4 fetches the journal before its snapshot";
        not_yet(&look(&[4], follower(4_000, Some(9)), &[]), fetches);
        let ready = look(&[4], follower(4_000, Some(9)), &[4]);
        let exchange = Some(Change::Voters(nodes(&[1, 2, 4])));
        assert_eq!(told(&ready), (exchange, "its members change".to_owned()));
    }

    #[test]
    fn a_leader_that_is_to_have_no_vote_hands_on_to_one_that_keeps_its() {
        let leaves = |node, followers, whole: &[u64]| {
            let look = look(&[4], followers, whole);
            Look { node: NodeId(node), ..look }
        };
        let of = |node, matched| {
            let silent = Some(Duration::from_millis(9));
            Follower { node: NodeId(node), matched, silent }
        };
        let all = || vec![of(1, 3_000), of(2, 5_000), of(4, 5_000)];
        assert_eq!(leaves(3, all(), &[1, 2, 4]).hands_to(), Some(NodeId(2)), "1 is behind");
        assert_eq!(leaves(3, all(), &[1, 4]).hands_to(), None, "4 has no vote yet");
        assert_eq!(leaves(1, all(), &[1, 2, 4]).hands_to(), None, "it keeps its vote");
        let alone = leaves(3, vec![of(4, 5_000)], &[4]);
        assert_eq!((alone.hands_to(), alone.next()), (None, None), "it keeps its vote until then");
        let why = alone.waits_for().unwrap_or_default();
        assert!(why.ends_with("nobody can lead it instead of nd_3 yet"), "{why}");
    }

    #[test]
    fn a_leader_that_drains_hands_on_to_the_one_that_leads_fewest() {
        let of = |node| {
            let silent = Some(Duration::from_millis(9));
            Follower { node: NodeId(node), matched: 5_000, silent }
        };
        let hands_to = |wanted: &[u64], draining: &[u64]| {
            let look = Look {
                wanted: Seats { voters: nodes(wanted), learners: BTreeSet::new() },
                draining: nodes(draining),
                leads: BTreeMap::from([(NodeId(2), 3), (NodeId(3), 1)]),
                ..look(&[], vec![of(2), of(3)], &[1, 2, 3])
            };
            look.hands_to().map(|node| node.0)
        };
        assert_eq!(hands_to(&[1, 2, 3], &[]), None);
        assert_eq!(hands_to(&[1, 2, 3], &[1]), Some(3));
        assert_eq!(hands_to(&[1, 2, 3], &[1, 3]), Some(2));
        assert_eq!(hands_to(&[1, 2, 3], &[1, 2, 3]), None, "nobody is better");
        assert_eq!(hands_to(&[2, 3], &[2, 3]), Some(3), "it cannot stay");
    }

    #[test]
    fn who_is_where_it_is_wanted_waits_for_nothing() {
        let mut done = look(&[], Vec::new(), &[]);
        done.actual.voters = nodes(&[1, 2, 4]);
        assert_eq!((done.next(), done.waits_for()), (None, None));
        done.actual.learners = nodes(&[3]);
        assert_eq!(done.next(), Some(Change::Dismiss(nodes(&[3]))));
        assert_eq!(done.waits_for().as_deref(), Some("its members change"));
    }
}
