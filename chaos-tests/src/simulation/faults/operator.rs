//! What an operator does: a node whose disk is damaged or lost is rebuilt from the others.
//!
//! Sometimes soon, sometimes not before everything else is healed; and only while so many others
//! are whole that nothing can be missing: that is what the runbook asks for.

use std::sync::atomic::Ordering;

use super::{Faults, Ms};
use crate::simulation::node::{Cluster, Node};

impl Faults {
    /// The node stays down until somebody comes.
    pub(super) fn damage(&mut self, now_ms: Ms, node: usize) {
        self.damaged.insert(node);
        self.restart_ms[node] = None;
        let soon = self.operator.permille(600);
        let after = self.operator.between(500, 15_000);
        // What only a start after the healing shows is mended like what was known before.
        let comes = if self.healed { Some(now_ms) } else { soon.then_some(now_ms + after) };
        self.operator_ms[node] = comes;
    }

    /// Rebuilds the nodes whose time has come, one at a time.
    pub(super) fn rebuild(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &mut [Node]) {
        let due = |node: &&usize| self.operator_ms[**node].is_some_and(|at| at <= now_ms);
        let Some(node) = self.damaged.iter().find(due).copied() else { return };
        if !others_are_whole(node, nodes) {
            return;
        }
        let victim = &mut nodes[node];
        victim.disk.disk.set_capacity(u64::MAX);
        // A disk that does not work yet is tried again.
        if victim.set_aside(cluster, now_ms).is_ok() {
            self.damaged.remove(&node);
            self.operator_ms[node] = None;
            self.restart_ms[node] = Some(now_ms);
            self.rebuilt += 1;
            self.say(now_ms, format!("n{} is rebuilt from the others", node + 1));
        }
    }
}

/// Whether a majority of all nodes, without that one, has everything, and is right: two whose
/// states are wrong alike would outvote the one that is right.
pub(super) fn others_are_whole(node: usize, nodes: &[Node]) -> bool {
    let is_right = |other: &&Node| !other.astray.load(Ordering::Relaxed);
    let others = nodes.iter().filter(|other| other.index != node).filter(is_right);
    let whole = others.filter(|other| other.is_whole()).count();
    2 * whole > nodes.len()
}
