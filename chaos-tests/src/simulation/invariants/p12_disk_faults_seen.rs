//! P12: disk faults are seen.
//!
//! What a log or a journal gives back is what it acknowledged, or it refuses to open: damage is
//! never served and never cut away. After a failed sync the process ends at once, with nothing
//! acknowledged on top.
//! No log refuses to open, and no process ends by itself, unless its disk was troubled.

use super::Findings;

/// How a node's process ended, or why it could not start.
#[derive(Debug, Clone)]
pub(crate) struct NodeEnd {
    pub(crate) node: usize,
    pub(crate) reason: String,
    /// Whether a fault of its disk struck since it was last started.
    pub(crate) troubled: bool,
}

impl NodeEnd {
    /// Nothing but the fault of a disk ends a process.
    pub(crate) fn check(&self, found: &mut Findings) {
        if !self.troubled {
            let (node, reason) = (self.node + 1, &self.reason);
            found.breach("P12", format!("node {node} ended without a fault: {reason}"));
        }
    }
}

/// A process whose sync failed is still there after that.
pub(crate) fn survived(node: usize, what: &str, found: &mut Findings) {
    found.breach("P12", format!("node {} goes on after {what}", node + 1));
}

/// Everything that a node's disk gave back wrongly.
pub(crate) fn check(node: usize, wrong: impl Iterator<Item = String>, found: &mut Findings) {
    for wrong in wrong {
        found.breach("P12", format!("node {}: {wrong}", node + 1));
    }
}
