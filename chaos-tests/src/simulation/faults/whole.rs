//! What goes wrong for whole nodes: at their doors, and what comes and goes.

use std::sync::atomic::Ordering;

use super::{Faults, Kind, Ms};
use crate::simulation::node::{Cluster, Node, id_of};
use crate::simulation::random::Random;

/// How a fault that lasts comes and goes, or grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swing {
    /// It is there all the time.
    Steady,
    /// It comes and goes.
    Flaps { period_ms: Ms, since_ms: Ms, off: bool },
    /// A clock gains or loses so many of a thousand.
    Drifts { permille: i64 },
}

impl Swing {
    pub(super) fn of(kind: Kind, now_ms: Ms, random: &mut Random) -> Self {
        match kind {
            Kind::Flapping => {
                let period_ms = random.between(60, 700);
                Self::Flaps { period_ms, since_ms: now_ms, off: false }
            }
            Kind::ClockDrift => {
                let permille = random.below(1_001).cast_signed() - 500;
                Self::Drifts { permille }
            }
            _ => Self::Steady,
        }
    }

    /// Whether it is there at the moment.
    pub(super) fn is_felt(self) -> bool {
        !matches!(self, Self::Flaps { off: true, .. })
    }
}

impl Faults {
    /// Lets faults come and go, and clocks drift, by a millisecond.
    pub(super) fn swing(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &[Node]) {
        let mut flapped = false;
        for active in &mut self.active {
            match &mut active.swing {
                Swing::Flaps { period_ms, since_ms, off } if now_ms >= *since_ms + *period_ms => {
                    (*since_ms, *off, flapped) = (now_ms, !*off, true);
                }
                Swing::Drifts { permille } if !self.still_clocks => {
                    // Drawn out over a thousand steps, so that none is lost.
                    let phase = (now_ms % 1_000).cast_signed();
                    let step = (phase + 1) * *permille / 1_000 - phase * *permille / 1_000;
                    nodes[active.node].wall_off_ms.fetch_add(step, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        if flapped {
            self.relink(cluster);
        }
    }

    /// Clients always reach a majority of nodes.
    pub(super) fn may_cut_clients(&self, node: usize) -> bool {
        let cut = |active: &&super::Active| active.kind == Kind::ClientsCut && active.node != node;
        let others = self.active.iter().filter(cut).count();
        2 * (others + 1) < self.restart_ms.len()
    }

    /// Does what concerns no process, but doors and members; whether it lasts.
    pub(super) fn at_the_door(
        &mut self,
        kind: Kind,
        node: usize,
        cluster: &Cluster,
        nodes: &[Node],
    ) -> bool {
        match kind {
            Kind::Members => {
                self.seats.take(node, &mut self.random);
                true
            }
            Kind::Drain => {
                self.drains.begin(node);
                true
            }
            Kind::ClientsCut => {
                cluster.wires.cut(node, true);
                true
            }
            Kind::ClientsReset => {
                let before = cluster.wires.resets();
                cluster.wires.reset_some(node, self.random.between(200, 1_000));
                if cluster.wires.resets() > before {
                    self.struck(kind);
                }
                false
            }
            _ => {
                let group = self.random.below(u64::from(cluster.groups())) as u32;
                let to = id_of(self.random.below(nodes.len() as u64) as usize);
                if nodes.iter().any(|node| node.hand_on(group, to)) {
                    self.struck(kind);
                }
                false
            }
        }
    }
}
