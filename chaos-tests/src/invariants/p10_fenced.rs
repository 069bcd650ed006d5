//! P10: fenced.
//!
//! A deposed leader or a minority can have no command accepted. When a client is told that its
//! command was done, a majority of the nodes has it on disk, and the node that was asked was not
//! cut off from a majority from the question to the answer.

use super::Findings;
use crate::history::{Acknowledged, Ms};
use crate::store::Shadow;

/// Since when each node has had no majority within reach.
pub(crate) struct Isolation {
    since_ms: Vec<Option<Ms>>,
}

impl Isolation {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { since_ms: vec![None; nodes] }
    }

    /// Notes who reaches a majority, itself included, in both directions.
    pub(crate) fn update(&mut self, now_ms: Ms, joined: impl Fn(usize, usize) -> bool) {
        let nodes = self.since_ms.len();
        for node in 0..nodes {
            let reached = (0..nodes).filter(|other| *other == node || joined(node, *other)).count();
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
            shadow.keeps(operation.shard, told.index, &operation.payload)
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
