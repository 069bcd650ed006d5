//! Members that go and come back: a node loses its votes, or leaves the shards altogether, and gets
//! them back later, while everything else goes on going wrong.
//!
//! Somebody looks again and again at what each shard's leader says, and has it take the next step
//! towards what is wanted, as an operator's tool does: what a leader left half done is finished by
//! the next one.

use std::collections::BTreeSet;

use rotary_proto::NodeId;

use super::{Faults, Kind, Ms};
use crate::simulation::node::{Cluster, Node, id_of};
use crate::simulation::random::Random;

/// How often leaders are looked at.
const LOOK_MS: Ms = 50;

/// Who is to keep the shards.
#[derive(Default)]
pub(super) struct Seats {
    /// Which node has no vote, and whether it leaves altogether.
    out: Option<(usize, bool)>,
    /// Groups in which that has come true since it was wanted.
    done: BTreeSet<u32>,
    /// Whether somebody has to look: not before anything was ever changed.
    stirred: bool,
    next_ms: Ms,
}

impl Seats {
    /// Takes a node's votes away.
    pub(super) fn take(&mut self, node: usize, random: &mut Random) {
        self.out = Some((node, random.permille(500)));
        self.stirred = true;
        self.done.clear();
    }

    /// Gives them back; whether any shard had done without.
    pub(super) fn give_back(&mut self) -> bool {
        self.out = None;
        !std::mem::take(&mut self.done).is_empty()
    }

    /// Who has no vote, or is not to have one.
    pub(super) fn out(&self) -> Option<usize> {
        self.out.map(|(node, _)| node)
    }
}

impl Faults {
    /// Has the leaders take the next steps.
    pub(crate) fn reseat(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &[Node]) {
        if !self.seats.stirred || now_ms < self.seats.next_ms {
            return;
        }
        self.seats.next_ms = now_ms + LOOK_MS;
        let out = self.seats.out;
        let has_vote = |node: &usize| out.is_none_or(|(without, _)| without != *node);
        let voters: BTreeSet<NodeId> = (0..nodes.len()).filter(has_vote).map(id_of).collect();
        let learners = out.into_iter().filter(|(_, leaves)| !leaves).map(|(node, _)| id_of(node));
        let learners = learners.collect();
        for group in 0..cluster.groups() {
            let led = nodes.iter().find_map(|node| node.reseat(group, &voters, &learners));
            if led == Some(true) && out.is_some() {
                self.seats.done.insert(group);
            }
        }
    }

    /// Only one node is without votes at a time, and only one whose absence is survived.
    pub(super) fn may_reseat(&self) -> bool {
        self.seats.out.is_none() && !self.active.iter().any(|active| active.kind == Kind::Members)
    }
}
