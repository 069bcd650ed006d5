//! P10: fenced.
//!
//! A deposed leader or a minority can have no command accepted. When a client is told that its
//! command was done, a majority of the nodes has it on disk, and the node that was asked was not
//! cut off from a majority, by whatever way round, from the question to the answer.

use super::Findings;
use crate::simulation::history::{Acknowledged, Ms};
use crate::simulation::store::Shadow;

/// Since when each node has had no majority within reach.
pub(crate) struct Isolation {
    since_ms: Vec<Option<Ms>>,
}

impl Isolation {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { since_ms: vec![None; nodes] }
    }

    /// Notes who reaches a majority, itself included, in both directions and through others.
    pub(crate) fn update(&mut self, now_ms: Ms, joined: impl Fn(usize, usize) -> bool) {
        let nodes = self.since_ms.len();
        for node in 0..nodes {
            let reached = reach(node, nodes, &joined);
            let since = &mut self.since_ms[node];
            *since = if 2 * reached > nodes { None } else { since.or(Some(now_ms)) };
        }
    }

    pub(crate) fn acknowledged(
        &self,
        told: &Acknowledged<'_>,
        shadows: &[Shadow],
        found: &mut Findings,
    ) {
        let (operation, node) = (told.operation, told.node);
        let label = &operation.label;
        let keeps = |shadow: &&Shadow| {
            shadow.keeps(operation.shard, told.index, &operation.payload, told.sent_ms)
        };
        let count = shadows.iter().filter(keeps).count();
        if 2 * count <= shadows.len() {
            let what = format!("{label} was acknowledged at {} with {count} on disk", told.index);
            found.breach("P10", what);
        }
        if self.since_ms[node].is_some_and(|since| since < told.sent_ms) {
            let asked = told.sent_ms;
            let what = format!("node {} took {label}, asked at {asked}, cut off", node + 1);
            found.breach("P10", what);
        }
    }
}

/// How many nodes are within reach of one, which may be handed on by others.
fn reach(node: usize, nodes: usize, joined: impl Fn(usize, usize) -> bool) -> usize {
    let mut found = vec![node];
    let mut next = 0;
    while let Some(at) = found.get(next).copied() {
        next += 1;
        let more: Vec<usize> =
            (0..nodes).filter(|other| !found.contains(other) && joined(at, *other)).collect();
        found.extend(more);
    }
    found.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detour_is_a_way() {
        let chain = |a: usize, b: usize| a.abs_diff(b) == 1;
        assert_eq!(reach(0, 5, chain), 5);
        assert_eq!(reach(0, 5, |a, b| chain(a, b) && a.min(b) != 1), 2);
    }
}
