//! What goes wrong: a plan drawn as the run goes, from a stream of its own.
//!
//! Only what the cluster promised to survive is done to it: a fault that would leave no node with
//! a working majority is refused, except the loss of power on all. A fault is counted when it has
//! struck: when it dropped a datagram, ended a process, delayed a sync.

mod drain;
mod growth;
mod kind;
mod links;
mod members;
mod operator;
mod travel;
mod upgrade;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use rotary_storage::EXIT_DIVERGED;

use crate::simulation::history::Ms;
use crate::simulation::invariants::{Findings, NodeEnd};
use crate::simulation::network::Struck;
use crate::simulation::node::{Cluster, Node};
use crate::simulation::node_disk::is_journal;
use crate::simulation::random::Random;
use drain::Drains;
use growth::Growth;
use links::Edits;
use members::Seats;
use operator::others_are_whole;
use travel::Travel;
use upgrade::Builds;
use whole::Swing;

pub(crate) use kind::Kind;

/// How long a doomed process may live before its power is cut.
const DOOM_MS: Ms = 60;
/// Bytes that a bit is flipped in, at least.
const COLD_BYTES_MIN: u64 = 1_000;
/// What is added to the weight of a kind that is favoured: about one in three is of it.
const FAVOUR: u64 = 16;
/// Batches after which a process with a failing sync should have met it.
const SYNCS_MAX: u64 = 2;

/// How often a kind of fault was begun, and how often it struck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Count {
    pub(crate) begun: u64,
    pub(crate) struck: u64,
}

/// A fault that lasts.
struct Active {
    kind: Kind,
    node: usize,
    until_ms: Ms,
    edits: Edits,
    before: Before,
    /// How it comes and goes, or drifts.
    swing: Swing,
}

impl Active {
    /// Whether it is about to end a process by way of that node's disk.
    fn is_of_disk(&self, node: usize) -> bool {
        self.node == node && matches!(self.kind, Kind::PowerCut | Kind::FailedSync | Kind::DiskFull)
    }
}

/// What was counted when it began.
struct Before {
    struck: Struck,
    wall_reads: u64,
    pumps: u64,
    /// Bytes that clients' connections were held up with, in times.
    stalled: u64,
}

/// What is wrong at the moment, and what was.
pub(crate) struct Faults {
    kinds: &'static [Kind],
    random: Random,
    active: Vec<Active>,
    next_ms: Ms,
    pub(crate) counts: BTreeMap<String, Count>,
    pub(crate) refused: u64,
    /// One line per fault, for case files.
    pub(crate) log: Vec<String>,
    /// When nodes that are down start again.
    restart_ms: Vec<Option<Ms>>,
    /// Nodes whose disk was damaged: they stay down until they are rebuilt.
    damaged: BTreeSet<usize>,
    /// When somebody comes to rebuild them.
    operator_ms: Vec<Option<Ms>>,
    operator: Random,
    /// How many were rebuilt.
    pub(crate) rebuilt: u64,
    /// Nodes whose disk was troubled since they were last started.
    troubled: BTreeSet<usize>,
    /// Whether the time of faults is over.
    healed: bool,
    still_clocks: bool,
    favoured: Option<Kind>,
    /// Who is to keep the shards.
    seats: Seats,
    /// Who is to be empty.
    drains: Drains,
    /// Which builds there are, and what is wanted of them.
    builds: Builds,
    /// What is wanted of the number of shards.
    growth: Growth,
    /// Where sites are wanted.
    travel: Travel,
}

impl Faults {
    /// A plan that has a kind more often than the others, if one is favoured.
    pub(crate) fn new(
        seed: u64,
        nodes: usize,
        kinds: &'static [Kind],
        still_clocks: bool,
        favoured: Option<Kind>,
    ) -> Self {
        let count = |kind: &Kind| (kind.word().to_owned(), Count::default());
        Self {
            kinds,
            random: Random::salted(seed, "faults"),
            active: Vec::new(),
            next_ms: 0,
            counts: kinds.iter().map(count).collect(),
            refused: 0,
            log: Vec::new(),
            restart_ms: vec![Some(0); nodes],
            damaged: BTreeSet::new(),
            operator_ms: vec![None; nodes],
            operator: Random::salted(seed, "operator"),
            rebuilt: 0,
            troubled: BTreeSet::new(),
            healed: false,
            still_clocks,
            favoured,
            seats: Seats::default(),
            drains: Drains::default(),
            builds: Builds::new(seed),
            growth: Growth::new(seed),
            travel: Travel::new(seed),
        }
    }

    fn say(&mut self, now_ms: Ms, what: String) {
        self.log.push(format!("{now_ms} {what}"));
    }

    fn struck(&mut self, kind: Kind) {
        self.counts.entry(kind.word().to_owned()).or_default().struck += 1;
    }

    /// Begins and ends faults.
    pub(crate) fn step(
        &mut self,
        now_ms: Ms,
        cluster: &Cluster,
        nodes: &mut [Node],
        found: &mut Findings,
    ) {
        self.end_due(now_ms, cluster, nodes, found);
        self.swing(now_ms, cluster, nodes);
        self.finalize(now_ms, cluster, nodes);
        if now_ms < self.next_ms {
            return;
        }
        self.next_ms = now_ms + self.random.between(800, 6_000);
        let kind = self.draw();
        self.begin(now_ms, kind, cluster, nodes);
    }

    fn draw(&mut self) -> Kind {
        let favoured = self.favoured;
        let more = |kind| if favoured == Some(kind) { FAVOUR } else { 0 };
        let weight = |kind: Kind| kind.weight() + more(kind);
        let mut at = self.random.below(self.kinds.iter().copied().map(weight).sum());
        for kind in self.kinds.iter().copied() {
            match at.checked_sub(weight(kind)) {
                Some(rest) => at = rest,
                None => return kind,
            }
        }
        Kind::Crash
    }

    fn begin(&mut self, now_ms: Ms, kind: Kind, cluster: &Cluster, nodes: &mut [Node]) {
        let node = self.random.below(nodes.len() as u64) as usize;
        let lasts_ms = self.random.between(500, 9_000);
        let edits = links::edits(kind, nodes.len(), &mut self.random);
        if !self.may(kind, node, &edits, nodes) {
            self.refused += 1;
            return;
        }
        self.counts.entry(kind.word().to_owned()).or_default().begun += 1;
        let names: Vec<String> =
            edits.iter().map(|(a, b, edit)| format!("{}>{} {edit:?}", a + 1, b + 1)).collect();
        let place = if edits.is_empty() { format!("n{}", node + 1) } else { names.join(", ") };
        self.say(now_ms, format!("{} {place} for {lasts_ms} ms", kind.word()));
        for (from, to, edit) in &edits {
            cluster.network.edit(*from, *to, |link| edit.make(link));
        }
        let until_ms = now_ms + lasts_ms;
        let before = Before {
            struck: cluster.network.struck(),
            wall_reads: nodes[node].wall_reads.load(Ordering::Relaxed),
            pumps: nodes[node].pumps(),
            stalled: cluster.wires.stalled(node),
        };
        let swing = Swing::of(kind, now_ms, &mut self.random);
        let mut active = Active { kind, node, until_ms, edits, before, swing };
        if self.trouble(now_ms, &mut active, cluster, nodes) {
            self.active.push(active);
        }
    }

    /// Does to nodes what the fault does to nodes; whether it lasts.
    fn trouble(
        &mut self,
        now_ms: Ms,
        active: &mut Active,
        cluster: &Cluster,
        nodes: &mut [Node],
    ) -> bool {
        let Active { kind, node, until_ms, .. } = active;
        let (kind, victim) = (*kind, &mut nodes[*node]);
        match kind {
            Kind::Crash => {
                self.kill(now_ms, victim, cluster);
                self.struck(kind);
                false
            }
            Kind::Upgrade => {
                self.reinstall(now_ms, *node, cluster, nodes);
                false
            }
            Kind::PowerCut => {
                self.doom(victim);
                *until_ms = now_ms + DOOM_MS;
                true
            }
            Kind::PowerCutAll => {
                self.cut_all(now_ms, cluster, nodes);
                false
            }
            Kind::Pause => {
                if victim.pause_until(*until_ms) {
                    self.struck(kind);
                }
                false
            }
            Kind::SlowDisk => {
                victim.sync_ms_max = self.random.between(20, 300);
                true
            }
            Kind::FailedSync => {
                victim.disk.disk.fail_sync(0);
                self.troubled.insert(victim.index);
                true
            }
            Kind::DiskFull => {
                let disk = &victim.disk.disk;
                disk.set_capacity(disk.used_bytes() + self.random.below(20_000));
                self.troubled.insert(victim.index);
                true
            }
            Kind::BitFlip => {
                self.flip(now_ms, victim, cluster);
                false
            }
            Kind::DiskLost => {
                self.lose_disk(now_ms, victim, cluster);
                false
            }
            Kind::Astray => {
                victim.astray.store(true, Ordering::Relaxed);
                self.troubled.insert(victim.index);
                false
            }
            Kind::ClockJump => {
                self.jump(victim);
                true
            }
            kind if kind.is_at_the_door() => self.at_the_door(kind, *node, cluster, nodes),
            _ => true,
        }
    }

    fn cut_all(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &mut [Node]) {
        let alive: Vec<usize> =
            (0..nodes.len()).filter(|node| !self.damaged.contains(node)).collect();
        for node in alive {
            self.cut_power(now_ms, &mut nodes[node], cluster);
        }
        self.struck(Kind::PowerCutAll);
    }

    fn may(&mut self, kind: Kind, node: usize, edits: &Edits, nodes: &[Node]) -> bool {
        let mut works: Vec<bool> = nodes.iter().map(|node| node.is_ready()).collect();
        for active in &self.active {
            if matches!(active.kind, Kind::PowerCut | Kind::FailedSync | Kind::DiskFull) {
                works[active.node] = false;
            }
        }
        let paused = nodes.iter().filter(|node| node.is_paused());
        paused.for_each(|node| works[node.index] = false);
        self.seats.out().into_iter().for_each(|node| works[node] = false);
        match kind {
            Kind::PowerCutAll | Kind::ClockJump | Kind::ClockDrift | Kind::SlowDisk => return true,
            Kind::Transfer | Kind::ClientsReset => return true,
            Kind::ClientsCut => return self.may_cut_clients(node),
            Kind::Drain => return self.drains.is_idle(),
            Kind::Members if !self.may_reseat() => return false,
            Kind::BitFlip if nodes[node].disk.cold_bytes() < COLD_BYTES_MIN => return false,
            Kind::BitFlip | Kind::DiskLost | Kind::Astray if !others_are_whole(node, nodes) => {
                return false;
            }
            Kind::Crash
            | Kind::Upgrade
            | Kind::PowerCut
            | Kind::Pause
            | Kind::FailedSync
            | Kind::DiskFull
            | Kind::BitFlip
            | Kind::DiskLost
            | Kind::Astray
            | Kind::Members => {
                if !works[node] {
                    return false;
                }
                works[node] = false;
            }
            _ => {}
        }
        let all = self.active.iter().map(|active| &active.edits).chain([edits]);
        let all: Vec<_> = all.flatten().filter(|(.., edit)| *edit == links::Edit::Cut).collect();
        links::quorum_remains(&works, |a, b| all.iter().any(|(from, to, _)| (*from, *to) == (a, b)))
    }

    fn doom(&mut self, victim: &mut Node) {
        victim.disk.disk.die_after(self.random.below(4));
        self.troubled.insert(victim.index);
    }

    fn kill(&mut self, now_ms: Ms, victim: &mut Node, cluster: &Cluster) {
        victim.crash(cluster, false);
        victim.disk.disk.kill();
        self.down(now_ms, victim.index);
    }

    fn cut_power(&mut self, now_ms: Ms, victim: &mut Node, cluster: &Cluster) {
        victim.crash(cluster, true);
        victim.disk.disk.power_cut();
        self.down(now_ms, victim.index);
    }

    fn down(&mut self, now_ms: Ms, node: usize) {
        let at = now_ms + self.random.between(100, 4_000);
        if !self.damaged.contains(&node) {
            self.restart_ms[node] = Some(at);
        }
    }

    fn flip(&mut self, now_ms: Ms, victim: &mut Node, cluster: &Cluster) {
        self.kill(now_ms, victim, cluster);
        let path = victim.disk.flip(self.random.below(victim.disk.cold_bytes() * 8));
        if is_journal(&path) {
            // A flip in its last piece looks like a torn tail, which is made again from the log.
            victim.promised.forget();
        }
        self.say(now_ms, format!("n{} {} is damaged", victim.index + 1, path.display()));
        self.troubled.insert(victim.index);
    }

    fn lose_disk(&mut self, now_ms: Ms, victim: &mut Node, cluster: &Cluster) {
        self.kill(now_ms, victim, cluster);
        self.damage(now_ms, victim.index);
        if victim.disk.lose().is_ok() {
            self.struck(Kind::DiskLost);
        }
    }

    fn jump(&mut self, victim: &Node) {
        let far = if self.random.permille(200) { 400 * 24 * 3_600_000 } else { 3_600_000 };
        let off = self.random.below(2 * far).cast_signed() - far.cast_signed();
        if !self.still_clocks {
            victim.wall_off_ms.store(off, Ordering::Relaxed);
        }
    }

    /// Ends what is due.
    fn end_due(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &mut [Node], found: &mut Findings) {
        let over = |active: &mut Active| {
            let met = active.kind == Kind::FailedSync
                && nodes[active.node].pumps() > active.before.pumps + SYNCS_MAX;
            now_ms >= active.until_ms || met
        };
        let due: Vec<Active> = self.active.extract_if(.., over).collect();
        if due.is_empty() {
            return;
        }
        for active in due {
            self.end(now_ms, &active, cluster, nodes, found);
        }
        self.relink(cluster);
    }

    /// Makes links as those faults have them that last.
    fn relink(&self, cluster: &Cluster) {
        cluster.network.heal();
        let felt = self.active.iter().filter(|active| active.swing.is_felt());
        for (from, to, edit) in felt.flat_map(|active| &active.edits) {
            cluster.network.edit(*from, *to, |link| edit.make(link));
        }
    }

    fn end(
        &mut self,
        now_ms: Ms,
        active: &Active,
        cluster: &Cluster,
        nodes: &mut [Node],
        found: &mut Findings,
    ) {
        let Active { kind, node, before, .. } = active;
        let (struck, victim) = (cluster.network.struck(), &mut nodes[*node]);
        let hit = match kind {
            Kind::PowerCut => {
                self.cut_power(now_ms, victim, cluster);
                true
            }
            Kind::SlowDisk => {
                victim.sync_ms_max = 2;
                victim.pumps() > before.pumps
            }
            Kind::FailedSync => {
                if victim.pumps() > before.pumps + SYNCS_MAX {
                    crate::simulation::invariants::survived(*node, "a failed sync", found);
                }
                false
            }
            Kind::DiskFull => {
                victim.disk.disk.set_capacity(u64::MAX);
                victim.pumps() > before.pumps
            }
            Kind::ClockJump | Kind::ClockDrift => {
                victim.wall_reads.load(Ordering::Relaxed) > before.wall_reads
            }
            Kind::Halves | Kind::Ring | Kind::OneWay | Kind::Partial | Kind::Flapping => {
                struck.cut > before.struck.cut
            }
            Kind::ClientsCut => {
                cluster.wires.cut(*node, false);
                cluster.wires.stalled(*node) > before.stalled
            }
            Kind::Members => self.seats.give_back(),
            Kind::Drain => self.drains.end(),
            Kind::Loss => struck.lost > before.struck.lost,
            Kind::Reorder => struck.overtaken > before.struck.overtaken,
            Kind::Delay => struck.delivered > before.struck.delivered,
            _ => false,
        };
        if hit {
            self.struck(*kind);
        }
    }

    /// A process has ended by itself: its disk was troubled, or something is wrong.
    pub(crate) fn ended(
        &mut self,
        now_ms: Ms,
        reason: &str,
        victim: &mut Node,
        cluster: &Cluster,
        found: &mut Findings,
    ) {
        let node = victim.index;
        let troubled = self.troubled.contains(&node);
        self.say(now_ms, format!("n{} ended: {reason}", node + 1));
        if self.is_outdated(reason, victim) {
            self.install_newer(now_ms, victim, cluster);
            return;
        }
        NodeEnd { node, reason: reason.to_owned(), troubled }.check(found);
        let mine = |active: &mut Active| active.is_of_disk(node);
        let over: Vec<Active> = self.active.extract_if(.., mine).collect();
        let cut = over.iter().any(|active| active.kind == Kind::PowerCut);
        over.iter().for_each(|active| self.struck(active.kind));
        if reason.starts_with(&format!("exit code {EXIT_DIVERGED}:")) {
            self.struck(Kind::Astray);
        }
        victim.disk.disk.set_capacity(u64::MAX);
        if cut {
            self.cut_power(now_ms, victim, cluster);
        } else {
            self.kill(now_ms, victim, cluster);
        }
    }

    /// Starts the nodes whose time has come.
    pub(crate) fn restart(
        &mut self,
        now_ms: Ms,
        cluster: &Cluster,
        nodes: &mut [Node],
        found: &mut Findings,
    ) {
        self.rebuild(now_ms, cluster, nodes);
        for (node, process) in nodes.iter_mut().enumerate() {
            if self.restart_ms[node].is_none_or(|at| at > now_ms) {
                continue;
            }
            self.restart_ms[node] = None;
            match process.start(cluster, now_ms) {
                Ok(()) => {
                    let start = process.starts();
                    self.say(now_ms, format!("n{} starts for the {start}. time", node + 1));
                    if !self.disk_is_ill(node) {
                        self.troubled.remove(&node);
                    }
                }
                Err(reason) => self.refuses(now_ms, node, reason, found),
            }
        }
    }

    /// Whether a fault of a node's disk lasts, whatever its process does.
    fn disk_is_ill(&self, node: usize) -> bool {
        let ill = |active: &Active| active.is_of_disk(node) && active.kind != Kind::PowerCut;
        self.active.iter().any(ill)
    }

    fn refuses(&mut self, now_ms: Ms, node: usize, reason: String, found: &mut Findings) {
        self.say(now_ms, format!("n{} cannot start: {reason}", node + 1));
        let troubled = self.troubled.contains(&node);
        NodeEnd { node, reason, troubled }.check(found);
        self.damage(now_ms, node);
        self.struck(Kind::BitFlip);
    }

    /// Ends every fault and starts every node that may; somebody comes for the others.
    pub(crate) fn heal(
        &mut self,
        now_ms: Ms,
        cluster: &Cluster,
        nodes: &mut [Node],
        found: &mut Findings,
    ) {
        self.healed = true;
        for active in std::mem::take(&mut self.active) {
            self.end(now_ms, &active, cluster, nodes, found);
        }
        cluster.network.heal();
        cluster.wires.heal();
        for node in nodes.iter_mut() {
            node.pause_until(0);
            if cluster.whole {
                // A door whose clock is a year ahead takes every token for expired.
                node.wall_off_ms.store(0, Ordering::Relaxed);
            }
            if !node.is_up() && !self.damaged.contains(&node.index) {
                self.restart_ms[node.index] = Some(now_ms);
            }
        }
        for node in &self.damaged {
            self.operator_ms[*node] = Some(now_ms);
        }
        self.finish_upgrade(now_ms, cluster, nodes);
        self.say(now_ms, "everything is healed".to_owned());
    }
}
