//! A node that an operator has emptied, and lets serve again later, while everything else goes on
//! going wrong: by entries of the directory's log, which are asked for until they are there.

use super::{Faults, Ms};
use crate::simulation::node::{Node, id_of};

/// How often it is looked.
const LOOK_MS: Ms = 200;

/// Who is to be empty.
#[derive(Default)]
pub(super) struct Drains {
    node: Option<usize>,
    /// Whether that node knew.
    done: bool,
    /// Whether somebody has to look: not before anything was ever asked for.
    stirred: bool,
    next_ms: Ms,
    turn: usize,
}

impl Drains {
    pub(super) fn begin(&mut self, node: usize) {
        (self.node, self.done, self.stirred) = (Some(node), false, true);
    }

    /// It is to serve again; whether it knew that it was not to.
    pub(super) fn end(&mut self) -> bool {
        self.node = None;
        std::mem::take(&mut self.done)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.node.is_none()
    }
}

impl Faults {
    /// Asks one node after the other until what is wanted is so.
    pub(crate) fn redrain(&mut self, now_ms: Ms, nodes: &[Node]) {
        let drains = &mut self.drains;
        if !drains.stirred || now_ms < drains.next_ms {
            return;
        }
        drains.next_ms = now_ms + LOOK_MS;
        drains.turn += 1;
        let asked = &nodes[drains.turn % nodes.len()];
        for node in nodes {
            let wanted = drains.node == Some(node.index);
            if asked.knows_draining(id_of(node.index)).is_some_and(|is| is != wanted) {
                asked.set_draining(id_of(node.index), wanted);
            }
            drains.done |= wanted && node.knows_draining(id_of(node.index)) == Some(true);
        }
    }
}
