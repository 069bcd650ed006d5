//! Votes over zones: what fails together should not hold a majority of them.
//!
//! A node's *zone* is what it says fails together with it. One that says none is taken for a zone
//! of its own. Votes go to as many zones as there are, evenly, and stay where they are as long as
//! that is as even.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rotary_proto::limits::VOTERS_MAX;
use rotary_proto::{Name, NodeId};

use crate::command::{DirectoryDone, DirectoryEvent, DirectoryRefusal};
use crate::nodes::bad;
use crate::state::Directory;

type Done = Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal>;

/// What fails together: a zone that has a name, or a node that named none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate<'a> {
    Zone(&'a Name),
    Alone(NodeId),
}

/// Who would have a vote, were the votes spread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread {
    /// All who would.
    pub voters: BTreeSet<NodeId>,
    /// Those of them who have none.
    pub gain: BTreeSet<NodeId>,
    /// Those who have one and would not.
    pub lose: BTreeSet<NodeId>,
}

/// The votes of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneVotes {
    /// Which; absent for the nodes that named none.
    pub zone: Option<Name>,
    /// Its core nodes.
    pub nodes: BTreeSet<NodeId>,
    /// Those of them that are to have a vote.
    pub voters: BTreeSet<NodeId>,
}

impl Directory {
    /// The zone that a node named, if it named one.
    pub fn zone(&self, node: NodeId) -> Option<&Name> {
        self.node(node)?.zone.as_ref()
    }

    /// The core nodes and their votes by zone, in order of the zones' names; those that named none
    /// come first, together.
    pub fn zones(&self) -> Vec<ZoneVotes> {
        let mut zones: BTreeMap<Option<&Name>, BTreeSet<NodeId>> = BTreeMap::new();
        for node in self.cores() {
            zones.entry(self.zone(node)).or_default().insert(node);
        }
        let votes = |(zone, nodes): (Option<&Name>, BTreeSet<NodeId>)| ZoneVotes {
            zone: zone.cloned(),
            voters: nodes.difference(&self.voteless).copied().collect(),
            nodes,
        };
        zones.into_iter().map(votes).collect()
    }

    /// Zones whose loss would leave no majority of the votes, where there is more than one zone.
    pub fn overweight_zones(&self) -> Vec<Name> {
        let (votes, zones) = (self.voters(), self.zones());
        let is_alone = zones.len() < 2;
        let too_many = |zone: &ZoneVotes| zone.voters.len() * 2 >= votes;
        let zones = zones.into_iter().filter(|zone| !is_alone && too_many(zone));
        zones.filter_map(|zone| zone.zone).collect()
    }

    /// Who would have a vote if there were `count` of them, or as many as there are, spread over
    /// the zones. Nodes that drain are given none as long as there are others.
    pub fn spread(&self, count: Option<u32>) -> Spread {
        let count = count.map_or_else(|| self.voters(), |count| count as usize);
        let mut left: Vec<NodeId> = self.cores().into_iter().collect();
        let mut of_zone: BTreeMap<Fate<'_>, usize> = BTreeMap::new();
        let mut voters = BTreeSet::new();
        while voters.len() < count {
            let rank = |node: &NodeId| {
                let votes = of_zone.get(&self.fate(*node)).copied().unwrap_or(0);
                (self.is_draining(*node), votes, self.voteless.contains(node), *node)
            };
            let Some(best) = left.iter().copied().min_by_key(rank) else { break };
            *of_zone.entry(self.fate(best)).or_default() += 1;
            left.retain(|node| *node != best);
            voters.insert(best);
        }
        let vote: BTreeSet<NodeId> = self.cores().difference(&self.voteless).copied().collect();
        Spread {
            gain: voters.difference(&vote).copied().collect(),
            lose: vote.difference(&voters).copied().collect(),
            voters,
        }
    }

    fn fate(&self, node: NodeId) -> Fate<'_> {
        self.zone(node).map_or(Fate::Alone(node), Fate::Zone)
    }

    /// Spreads the votes.
    pub(crate) fn spread_votes(&mut self, count: Option<u32>) -> Done {
        if self.replicas.is_empty() {
            return Err(DirectoryRefusal::NotFounded);
        }
        let cores = self.cores().len();
        let most = cores.min(VOTERS_MAX);
        if count.is_some_and(|count| !(1..=most).contains(&(count as usize))) {
            return Err(bad("count", format!("1 to {most}: there are {cores} core nodes")));
        }
        let Spread { voters, gain, lose } = self.spread(count);
        assert!(!voters.is_empty(), "somebody always has a vote");
        let voteless = Arc::make_mut(&mut self.voteless);
        voteless.retain(|node| !gain.contains(node));
        voteless.extend(lose.iter().copied());
        let set = |votes| move |node| DirectoryEvent::VoteSet { node, votes };
        let events = gain.into_iter().map(set(true)).chain(lose.into_iter().map(set(false)));
        Ok((DirectoryDone::Ok, events.collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{DirectoryCommand, DirectoryOutcome};
    use crate::nodes::NodeKind;
    use crate::nodes::tests::announced;
    use crate::state::tests::{ask, members, name};

    const OK: DirectoryOutcome = DirectoryOutcome::Done(DirectoryDone::Ok);

    /// A directory of as many core nodes as there are letters, each in the zone of its letter; "-"
    /// names none.
    fn zoned(zones: &str) -> Directory {
        let mut directory = Directory::new();
        let members = members(zones.len() as u64);
        ask(&mut directory, DirectoryCommand::Found { shards: 1, members });
        for (node, zone) in (1..).map(NodeId).zip(zones.chars()) {
            let zone = (zone != '-').then(|| name(&zone.to_string()));
            let announced = crate::Announced { zone, ..announced(NodeKind::Core, "1") };
            ask(&mut directory, DirectoryCommand::Announce { node, announced });
        }
        directory
    }

    fn numbers(nodes: &BTreeSet<NodeId>) -> Vec<u64> {
        nodes.iter().map(|node| node.0).collect()
    }

    /// Who votes once `count` votes are spread.
    fn voters(directory: &mut Directory, count: Option<u32>) -> Vec<u64> {
        assert_eq!(ask(directory, DirectoryCommand::SpreadVotes { count }), OK);
        let seats = directory.seats(rotary_proto::ShardId(1)).expect("a shard");
        numbers(&seats.voters)
    }

    fn overweight(directory: &Directory) -> Vec<String> {
        let zones = directory.overweight_zones().into_iter();
        zones.map(|zone| zone.as_str().to_owned()).collect()
    }

    #[test]
    fn votes_go_to_as_many_zones_as_there_are() {
        let mut directory = zoned("aabbc");
        assert_eq!(overweight(&directory), Vec::<String>::new(), "two of five");
        assert_eq!(voters(&mut directory, Some(3)), [1, 3, 5]);
        assert_eq!(voters(&mut directory, Some(5)), [1, 2, 3, 4, 5]);
        assert_eq!(voters(&mut directory, None), [1, 2, 3, 4, 5]);
        assert_eq!(voters(&mut directory, Some(1)), [1]);
    }

    #[test]
    fn a_vote_stays_where_it_is_as_long_as_that_is_as_even() {
        let mut directory = zoned("aabbc");
        for node in [1, 4] {
            ask(&mut directory, DirectoryCommand::SetVote { node: NodeId(node), votes: false });
        }
        assert_eq!(voters(&mut directory, None), [2, 3, 5]);
    }

    #[test]
    fn a_zone_whose_loss_leaves_no_majority_is_named() {
        let mut directory = zoned("aab");
        assert_eq!(overweight(&directory), ["a"]);
        ask(&mut directory, DirectoryCommand::SetVote { node: NodeId(1), votes: false });
        assert_eq!(overweight(&directory), ["a", "b"], "each has one of two");
        assert_eq!(overweight(&zoned("aaa")), Vec::<String>::new(), "there is no other zone");
        assert_eq!(overweight(&zoned("---")), Vec::<String>::new(), "nobody named one");
    }

    #[test]
    fn who_drains_votes_only_where_nobody_else_can() {
        let mut directory = zoned("abcc");
        ask(&mut directory, DirectoryCommand::SetDraining { node: NodeId(1), drains: true });
        assert_eq!(voters(&mut directory, Some(3)), [2, 3, 4]);
        assert_eq!(voters(&mut directory, Some(4)), [1, 2, 3, 4]);
    }

    #[test]
    fn votes_are_bounded_by_the_nodes() {
        let mut directory = zoned("ab");
        for count in [0, 3] {
            let wrong = ask(&mut directory, DirectoryCommand::SpreadVotes { count: Some(count) });
            let DirectoryOutcome::Refused(DirectoryRefusal::BadValue { field, .. }) = wrong else {
                panic!("{wrong:?}");
            };
            assert_eq!(field, "count");
        }
    }

    proptest! {
        /// However many nodes are in however many zones, no zone has two votes more than another
        /// one that could have another, and a second spread changes nothing.
        #[test]
        fn it_is_as_even_as_it_can_be(zones in "[a-d-]{1,9}", count in 1u32..=9) {
            let mut directory = zoned(&zones);
            let count = count.min(zones.len() as u32);
            let voters = voters(&mut directory, Some(count));
            prop_assert_eq!(voters.len(), count as usize);
            let zones: Vec<ZoneVotes> =
                directory.zones().into_iter().filter(|zone| zone.zone.is_some()).collect();
            for (more, fewer) in zones.iter().flat_map(|a| zones.iter().map(move |b| (a, b))) {
                let could = fewer.voters.len() < fewer.nodes.len();
                prop_assert!(!could || more.voters.len() <= fewer.voters.len() + 1, "{:?}", zones);
            }
            prop_assert_eq!(&directory.spread(None).voters, &directory.spread(Some(count)).voters);
            prop_assert!(directory.spread(None).gain.is_empty());
        }
    }
}
