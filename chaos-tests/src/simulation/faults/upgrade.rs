//! Nodes of two builds: one is started again as the other build, there and back, while everything
//! else goes on going wrong. Once all run the newer one, an operator may finalise the upgrade, by
//! an entry of the directory's log that is asked for until it is there; or take it back, while that
//! is possible. A node that goes back all the same must stop where it cannot go on, and only there.

use rotary_distributor::REHEARSED_LOGIC;
use rotary_storage::EXIT_BUILD;

use super::{Faults, Kind, Ms};
use crate::simulation::node::{Cluster, NEW_BUILD, Node, OLD_BUILD};
use crate::simulation::random::Random;

/// How often it is looked.
const LOOK_MS: Ms = 300;
/// Of a thousand looks while all run the newer build, it is finalised at so many.
const FINALIZES_PERMILLE: u64 = 100;
/// Of a thousand worlds in which nobody did, so many are upgraded when all is healed.
const ENDS_UPGRADED_PERMILLE: u64 = 500;
/// Of a thousand looks meanwhile, so many take it back.
const ABORTS_PERMILLE: u64 = 60;
/// Of a thousand nodes that are chosen when it may be too late, so many go back all the same.
const LATE_PERMILLE: u64 = 300;

/// Which builds there are, and what is wanted of them.
pub(super) struct Builds {
    random: Random,
    /// Whether an operator has finalised the upgrade, and has not taken it back.
    wants: bool,
    /// Whether that was ever said.
    said: bool,
    next_ms: Ms,
    turn: usize,
}

impl Builds {
    pub(super) fn new(seed: u64) -> Self {
        let random = Random::salted(seed, "builds");
        Self { random, wants: false, said: false, next_ms: 0, turn: 0 }
    }
}

impl Faults {
    /// Starts a node again as the other build.
    pub(super) fn reinstall(
        &mut self,
        now_ms: Ms,
        node: usize,
        cluster: &Cluster,
        nodes: &mut [Node],
    ) {
        let builds = &mut self.builds;
        let stays = builds.said && !builds.random.permille(LATE_PERMILLE);
        let victim = &mut nodes[node];
        victim.build = if victim.build == OLD_BUILD || stays { NEW_BUILD } else { OLD_BUILD };
        let can = victim.build;
        self.kill(now_ms, victim, cluster);
        self.struck(Kind::Upgrade);
        self.say(now_ms, format!("n{} is installed anew, and can apply {can}", node + 1));
    }

    /// Finalises the upgrade now and then, once all run the newer build.
    pub(super) fn finalize(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &[Node]) {
        let builds = &mut self.builds;
        let all_new = nodes.iter().all(|node| node.build == NEW_BUILD);
        let looks = cluster.whole && now_ms.is_multiple_of(LOOK_MS) && all_new && !builds.wants;
        if looks && builds.random.permille(FINALIZES_PERMILLE) {
            (builds.wants, builds.said) = (true, true);
            self.say(now_ms, "the upgrade is finalised".to_owned());
        }
    }

    /// Asks one node after the other until what is wanted is so, or cannot be any more.
    pub(crate) fn reupgrade(&mut self, now_ms: Ms, nodes: &[Node]) {
        let builds = &mut self.builds;
        if !builds.said || now_ms < builds.next_ms {
            return;
        }
        (builds.next_ms, builds.turn) = (now_ms + LOOK_MS, builds.turn + 1);
        let asked = &nodes[builds.turn % nodes.len()];
        let Some((upgrade, _)) = asked.logic() else { return };
        if upgrade.acts_by == REHEARSED_LOGIC {
            // There is no way back.
            builds.wants = true;
            return;
        }
        if builds.wants && !self.healed && builds.random.permille(ABORTS_PERMILLE) {
            builds.wants = false;
            self.say(now_ms, "the upgrade is taken back".to_owned());
        }
        let wanted = self.builds.wants.then_some(REHEARSED_LOGIC);
        if upgrade.wanted != wanted.unwrap_or(upgrade.acts_by) {
            asked.want_logic(wanted);
        }
    }

    /// Whether a process has ended since its build cannot go on, as it must.
    pub(super) fn is_outdated(&self, reason: &str, victim: &Node) -> bool {
        let met = reason.starts_with(&format!("exit code {EXIT_BUILD}:"));
        let noted = reason.contains("was seen here before");
        self.builds.said && victim.build == OLD_BUILD && (met || noted)
    }

    /// An operator installs the newer build on a node that has ended for want of it.
    pub(super) fn install_newer(&mut self, now_ms: Ms, victim: &mut Node, cluster: &Cluster) {
        victim.build = NEW_BUILD;
        self.kill(now_ms, victim, cluster);
    }

    /// What was once wanted is brought to its end: every node runs the newer build.
    pub(super) fn finish_upgrade(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &mut [Node]) {
        // Who ends at the log has no directory to ask.
        let ends = cluster.whole && self.builds.random.permille(ENDS_UPGRADED_PERMILLE);
        if !self.builds.said && !ends {
            return;
        }
        (self.builds.wants, self.builds.said) = (true, true);
        for node in nodes.iter_mut().filter(|node| node.build == OLD_BUILD) {
            node.build = NEW_BUILD;
            if node.is_up() {
                self.kill(now_ms, node, cluster);
                self.restart_ms[node.index] = Some(now_ms);
            }
        }
    }

    /// Whether every replica acts by what was wanted at last.
    pub(crate) fn is_upgraded(&self, nodes: &[Node]) -> bool {
        let is = |node: &Node| {
            let versions = node.logic().map(|(_, versions)| versions).unwrap_or_default();
            !versions.is_empty() && versions.iter().all(|version| *version == REHEARSED_LOGIC)
        };
        !self.builds.said || nodes.iter().all(is)
    }
}
