//! A shard that an operator has made while everything goes wrong: by an entry of the directory's
//! log, which is asked for until it is there. That every node keeps it in the end, with the same in
//! it, is looked at with the others.

use super::{Faults, Ms};
use crate::simulation::node::{Cluster, Node};
use crate::simulation::random::Random;

/// How often it is looked.
const LOOK_MS: Ms = 300;
/// When the operator asks, at the latest, as long as things go wrong.
const ASKS_MS_MAX: Ms = 12_000;

/// What is wanted of the number of shards.
pub(super) struct Growth {
    next_ms: Ms,
    turn: usize,
    done: bool,
}

impl Growth {
    pub(super) fn new(seed: u64) -> Self {
        let next_ms = Random::salted(seed, "growth").between(100, ASKS_MS_MAX);
        Self { next_ms, turn: 0, done: false }
    }
}

impl Faults {
    /// Asks one node after the other until there are as many shards as there are to be.
    pub(crate) fn regrow(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &[Node]) {
        let growth = &mut self.growth;
        if !cluster.grows() || growth.done || (now_ms < growth.next_ms && !self.healed) {
            return;
        }
        if growth.turn > 0 && now_ms < growth.next_ms {
            return;
        }
        (growth.next_ms, growth.turn) = (now_ms + LOOK_MS, growth.turn + 1);
        let asked = &nodes[growth.turn % nodes.len()];
        match asked.shards() {
            Some(shards) if shards as usize == cluster.shards => {
                growth.done = true;
                self.say(now_ms, format!("there are to be {shards} shards"));
            }
            Some(shards) if shards > 0 => asked.want_shards(cluster.shards as u32),
            _ => {}
        }
    }
}
