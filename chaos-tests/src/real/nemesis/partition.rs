//! Directions between nodes that nothing passes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Damage, Fault, Kind, Refusal, Stage};
use crate::real::cluster::{Cluster, ClusterError};
use crate::real::network::address;
use crate::real::view::NodeNumber;

/// How long a flapping link is in either state.
const FLAP: Duration = Duration::from_millis(170);

pub(super) fn begin(kind: Kind, stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let all = stage.all();
    let mut mixed = all.clone();
    shuffle(stage.chance, &mut mixed);
    let first = match kind {
        Kind::IsolateLeader => stage.leader_of_any()?,
        _ => mixed[0],
    };
    let others: Vec<NodeNumber> = all.iter().copied().filter(|node| *node != first).collect();
    let alone = [first];
    let ways: Vec<(NodeNumber, NodeNumber)> = match kind {
        Kind::PartitionHalves => {
            let (few, many) = mixed.split_at((mixed.len() - 1) / 2);
            both(&across(few, many))
        }
        Kind::PartitionRing => both(&ring(&mixed)),
        Kind::OneWay => across(&alone, &others),
        Kind::Partial => both(&[(mixed[0], mixed[1 % mixed.len()])]),
        _ => both(&across(&alone, &others)),
    };
    let targets: BTreeSet<_> = ways.iter().map(|(from, _)| *from).collect();
    let detail = format!("cut {}", described(&ways));
    let ways: Vec<_> = ways.iter().map(|(from, to)| (address(*from), address(*to))).collect();
    let fell = fallen(stage.cluster, &ways);
    let flap = (kind == Kind::Flapping).then(Instant::now);
    let damage = Cut { ways, fell, flap, closed: true };
    damage.set(stage.cluster, true);
    Ok(Fault { kind, targets, detail, damage: Box::new(damage) })
}

impl Stage<'_> {
    /// A leader of a shard that has work, whatever else is broken.
    fn leader_of_any(&mut self) -> Result<NodeNumber, Refusal> {
        let leaders: Vec<_> = self.view.leaders().into_iter().collect();
        let leader = super::pick(self.chance, &leaders);
        leader.ok_or_else(|| super::not_yet("nobody leads a shard with work"))
    }
}

/// Every direction from one group to another.
fn across(from: &[NodeNumber], to: &[NodeNumber]) -> Vec<(NodeNumber, NodeNumber)> {
    from.iter().flat_map(|from| to.iter().map(|to| (*from, *to))).collect()
}

/// Those directions, and the opposite ones.
fn both(ways: &[(NodeNumber, NodeNumber)]) -> Vec<(NodeNumber, NodeNumber)> {
    ways.iter().flat_map(|(from, to)| [(*from, *to), (*to, *from)]).collect()
}

/// Pairs that a ring lacks in which each node reaches just enough neighbours to be a majority.
fn ring(nodes: &[NodeNumber]) -> Vec<(NodeNumber, NodeNumber)> {
    let count = nodes.len();
    if count == 3 {
        return vec![(nodes[0], nodes[1])];
    }
    // A majority beside oneself: count / 2 neighbours, half of them on each side.
    let reach = (count / 2).div_ceil(2);
    let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
    let far = pairs.filter(|(a, b)| (b - a).min(count - (b - a)) > reach);
    far.map(|(a, b)| (nodes[a], nodes[b])).collect()
}

fn described(ways: &[(NodeNumber, NodeNumber)]) -> String {
    ways.iter().map(|(from, to)| format!("{from}>{to}")).collect::<Vec<_>>().join(" ")
}

fn fallen(cluster: &Cluster, ways: &[(Ipv4Addr, Ipv4Addr)]) -> u64 {
    ways.iter().map(|(from, to)| cluster.switch().counts(*from, *to).cut).sum()
}

pub(super) fn shuffle<T>(chance: &mut StdRng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, chance.random_range(0..=last));
    }
}

/// Directions that are cut.
#[derive(Debug)]
struct Cut {
    ways: Vec<(Ipv4Addr, Ipv4Addr)>,
    fell: u64,
    flap: Option<Instant>,
    closed: bool,
}

impl Cut {
    fn set(&self, cluster: &Cluster, cut: bool) {
        for (from, to) in &self.ways {
            cluster.switch().change(*from, *to, |policy| policy.cut = cut);
        }
    }
}

impl Damage for Cut {
    fn tick(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        if self.flap.is_some_and(|since| since.elapsed() >= FLAP) {
            self.closed = !self.closed;
            self.flap = Some(Instant::now());
            self.set(cluster, self.closed);
        }
        Ok(())
    }

    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        let fell = fallen(cluster, &self.ways) - self.fell;
        (fell > 0).then(|| format!("{fell} packets fell"))
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        self.set(cluster, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_ring_every_node_reaches_a_majority_and_no_two_the_same() {
        assert_eq!(ring(&[1, 2, 3]), [(1, 2)]);
        let cut = both(&ring(&[1, 2, 3, 4, 5]));
        let reached = |node: NodeNumber| -> BTreeSet<NodeNumber> {
            (1..=5).filter(|other| !cut.contains(&(node, *other))).collect()
        };
        let majorities: BTreeSet<_> = (1..=5).map(reached).collect();
        assert!(majorities.iter().all(|majority| majority.len() == 3), "{majorities:?}");
        assert_eq!(majorities.len(), 5);
    }

    #[test]
    fn directions_are_described() {
        assert_eq!(described(&both(&across(&[1], &[2, 3]))), "1>2 2>1 1>3 3>1");
    }
}
