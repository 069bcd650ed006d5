//! What faults of the network do to which links, and what is left of the cluster then.

use super::Kind;
use crate::simulation::network::Link;
use crate::simulation::random::Random;

/// What happens to one direction between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    Cut,
    Delay { delay_us: u64, jitter_us: u64 },
    Loss { permille: u64 },
    Reorder { jitter_us: u64, twice_permille: u64 },
}

impl Edit {
    pub(crate) fn make(self, link: &mut Link) {
        match self {
            Self::Cut => link.cut = true,
            Self::Delay { delay_us, jitter_us } => {
                (link.delay_us, link.jitter_us) = (delay_us, jitter_us);
            }
            Self::Loss { permille } => link.loss_permille = permille,
            Self::Reorder { jitter_us, twice_permille } => {
                (link.jitter_us, link.twice_permille) = (jitter_us, twice_permille);
            }
        }
    }
}

/// Directions, from one node to another.
pub(crate) type Edits = Vec<(usize, usize, Edit)>;

/// What a fault of that kind does; empty if it is none of the network's.
pub(crate) fn edits(kind: Kind, nodes: usize, random: &mut Random) -> Edits {
    match kind {
        Kind::Halves => halves(nodes, random),
        Kind::Ring => cut_pairs(nodes, |a, b| (a + 1) % nodes != b && (b + 1) % nodes != a, random),
        Kind::OneWay => {
            let mute = random.below(nodes as u64) as usize;
            (0..nodes).filter(|to| *to != mute).map(|to| (mute, to, Edit::Cut)).collect()
        }
        Kind::Partial | Kind::Flapping => {
            let (a, b) = pair(nodes, random);
            vec![(a, b, Edit::Cut), (b, a, Edit::Cut)]
        }
        Kind::Delay => {
            let (delay_us, jitter_us) = (random.between(5_000, 120_000), random.below(60_000));
            some_links(nodes, Edit::Delay { delay_us, jitter_us }, random)
        }
        Kind::Loss => {
            let permille = random.between(20, 250);
            some_links(nodes, Edit::Loss { permille }, random)
        }
        Kind::Reorder => {
            let (jitter_us, twice_permille) = (random.between(5_000, 40_000), random.below(300));
            some_links(nodes, Edit::Reorder { jitter_us, twice_permille }, random)
        }
        _ => Vec::new(),
    }
}

fn pair(nodes: usize, random: &mut Random) -> (usize, usize) {
    let a = random.below(nodes as u64) as usize;
    (a, (a + 1 + random.below(nodes as u64 - 1) as usize) % nodes)
}

fn halves(nodes: usize, random: &mut Random) -> Edits {
    let mut order: Vec<usize> = (0..nodes).collect();
    random.shuffle(&mut order);
    let small = random.between(1, (nodes as u64 - 1) / 2) as usize;
    let is_in = |node: usize| order[..small].contains(&node);
    cut_pairs(nodes, |a, b| is_in(a) != is_in(b), random)
}

/// Cuts both directions of those pairs. A ring of three has none: then one pair is cut.
fn cut_pairs(nodes: usize, cut: impl Fn(usize, usize) -> bool, random: &mut Random) -> Edits {
    let all = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
    let edits: Edits =
        all.filter(|(a, b)| a != b && cut(*a, *b)).map(|(a, b)| (a, b, Edit::Cut)).collect();
    if !edits.is_empty() {
        return edits;
    }
    let (a, b) = pair(nodes, random);
    vec![(a, b, Edit::Cut), (b, a, Edit::Cut)]
}

/// All links, or those to and from one node, or one direction.
fn some_links(nodes: usize, edit: Edit, random: &mut Random) -> Edits {
    let (a, b) = pair(nodes, random);
    let all = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    let reach = random.below(3);
    let of = |(from, to): &(usize, usize)| match reach {
        0 => from != to,
        1 => from != to && (*from == a || *to == a),
        _ => (*from, *to) == (a, b),
    };
    all.filter(of).map(|(from, to)| (from, to, edit)).collect()
}

/// Whether some node that works still reaches a majority that does.
pub(crate) fn quorum_remains(works: &[bool], cut: impl Fn(usize, usize) -> bool) -> bool {
    let nodes = works.len();
    let joined = |a: usize, b: usize| a == b || (!cut(a, b) && !cut(b, a));
    (0..nodes).filter(|node| works[*node]).any(|node| {
        let reached = (0..nodes).filter(|other| works[*other] && joined(node, *other)).count();
        2 * reached > nodes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_leave_a_majority_and_two_of_three_down_do_not() {
        let mut random = Random::salted(1, "test");
        for nodes in [3, 5] {
            for kind in [Kind::Halves, Kind::OneWay, Kind::Partial, Kind::Ring] {
                let edits = edits(kind, nodes, &mut random);
                assert!(!edits.is_empty());
                let cut = |a, b| edits.iter().any(|(from, to, _)| (*from, *to) == (a, b));
                assert!(quorum_remains(&vec![true; nodes], cut), "{kind:?} of {nodes}");
            }
        }
        assert!(!quorum_remains(&[true, false, false], |_, _| false));
    }
}
