//! Gateway-only nodes: doors without a replica, which hold clients' connections and pass everything
//! on to the nodes of the cluster.
//!
//! Some worlds of whole nodes have one or two, behind the nodes in every numbering. Clients use
//! them like any other door. They keep nothing, so they may die at any time, all at once; what goes
//! wrong with them is drawn from a stream of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use rotary::simulated::{self, Gateway, GatewayParts};
use rotary_transport::TransportConfig;

use crate::simulation::faults::Count;
use crate::simulation::history::Ms;
use crate::simulation::invariants::Findings;
use crate::simulation::node::{Cluster, DAWN_MS, NEW_BUILD, id_of};
use crate::simulation::process::Process;
use crate::simulation::random::Random;
use crate::simulation::wires::{Guest, Listening};

/// Of a thousand worlds of whole nodes, so many have gateway-only nodes.
const WORLDS_PERMILLE: u64 = 400;

/// How many gateway-only nodes a world has.
pub(crate) fn of_world(seed: u64) -> usize {
    let mut random = Random::salted(seed, "gates");
    let has = random.permille(WORLDS_PERMILLE);
    if has { random.between(1, 2) as usize } else { 0 }
}

/// A process of a gateway-only node.
struct Running {
    process: Process,
    gateway: Arc<OnceLock<Arc<Gateway>>>,
    ended: Arc<Mutex<Option<String>>>,
}

/// A gateway-only node.
struct Gate {
    /// Its place behind the nodes.
    index: usize,
    starts: u64,
    restart_ms: Option<Ms>,
    running: Option<Running>,
}

/// What goes wrong with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// Its process dies, or its machine loses power.
    Crash { silently: bool },
    /// It gets no processor.
    Pause,
    /// It and some nodes do not hear each other.
    Cut,
    /// Clients do not reach it.
    ClientsCut,
    /// Clients' connections are reset.
    ClientsReset,
}

impl Trouble {
    const fn word(self) -> &'static str {
        match self {
            Self::Crash { .. } => "gateway crash",
            Self::Pause => "gateway pause",
            Self::Cut => "gateway cut",
            Self::ClientsCut => "gateway clients-cut",
            Self::ClientsReset => "gateway clients-reset",
        }
    }
}

/// A trouble that lasts.
struct Active {
    trouble: Trouble,
    gate: usize,
    until_ms: Ms,
    /// Nodes that it is cut off from.
    from: Vec<usize>,
    /// What was counted when it began.
    before: u64,
}

/// All gateway-only nodes of a world, and what is wrong with them.
pub(crate) struct Gates {
    gates: Vec<Gate>,
    random: Random,
    next_ms: Ms,
    active: Vec<Active>,
    pub(crate) counts: BTreeMap<String, Count>,
    /// One line per trouble, until somebody takes them.
    pub(crate) log: Vec<String>,
}

impl Gates {
    /// Those of a world, which start at once.
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let first = cluster.nodes;
        let gate = |index| Gate { index, starts: 0, restart_ms: Some(0), running: None };
        Self {
            gates: (first..first + cluster.gates).map(gate).collect(),
            random: Random::salted(cluster.seed, "gates' troubles"),
            next_ms: 0,
            active: Vec::new(),
            counts: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn gate(&self, index: usize) -> Option<&Gate> {
        self.gates.iter().find(|gate| gate.index == index)
    }

    /// How the one in that place answers a client that dials it.
    pub(crate) fn listening(&self, index: usize) -> Listening {
        match self.gate(index).and_then(|gate| gate.running.as_ref()) {
            Some(running) if running.process.is_paused() => Listening::Silent,
            Some(running) if running.gateway.get().is_some() => Listening::Open,
            _ => Listening::Closed,
        }
    }

    /// Lets a client's connection in.
    pub(crate) fn admit(&self, guest: Guest) {
        let running = self.gate(guest.node).and_then(|gate| gate.running.as_ref());
        let Some(running) = running else { return };
        let Some(gateway) = running.gateway.get().cloned() else { return };
        let Guest { stream, address, .. } = guest;
        running.process.runtime.spawn(async move { gateway.admit(stream, address).await });
    }

    /// Starts those whose time has come, and lets all run until that time.
    pub(crate) fn run_to(&mut self, now_ms: Ms, cluster: &Cluster, found: &mut Findings) {
        for gate in &mut self.gates {
            if gate.restart_ms.is_some_and(|at| at <= now_ms) {
                gate.restart_ms = None;
                gate.start(now_ms, cluster);
                let line = format!("{now_ms} g{} starts", gate.index + 1);
                self.log.push(line);
            }
            if let Some(why) = gate.run_to(now_ms) {
                found.breach("gateway", format!("g{} ended: {why}", gate.index + 1));
            }
        }
    }

    /// Begins and ends troubles.
    pub(crate) fn trouble(&mut self, now_ms: Ms, cluster: &Cluster) {
        let due = |active: &mut Active| now_ms >= active.until_ms;
        for active in self.active.extract_if(.., due).collect::<Vec<_>>() {
            self.end(&active, cluster);
        }
        if !self.gates.is_empty() && now_ms >= self.next_ms {
            self.next_ms = now_ms + self.random.between(1_500, 9_000);
            self.begin(now_ms, cluster);
        }
        self.relink(cluster);
    }

    fn begin(&mut self, now_ms: Ms, cluster: &Cluster) {
        let at = self.random.below(self.gates.len() as u64) as usize;
        let lasts_ms = self.random.between(300, 8_000);
        let trouble = match self.random.below(10) {
            0..3 => Trouble::Crash { silently: self.random.permille(400) },
            3..5 => Trouble::Pause,
            5..8 => Trouble::Cut,
            8 => Trouble::ClientsCut,
            _ => Trouble::ClientsReset,
        };
        let from: Vec<usize> = match trouble {
            Trouble::Cut => (0..cluster.nodes).filter(|_| self.random.permille(600)).collect(),
            _ => Vec::new(),
        };
        let gate = &mut self.gates[at];
        let index = gate.index;
        self.counts.entry(trouble.word().to_owned()).or_default().begun += 1;
        self.log.push(format!("{now_ms} {} g{} for {lasts_ms} ms", trouble.word(), index + 1));
        let resets = cluster.wires.resets();
        let (struck, lasts) = match trouble {
            Trouble::Crash { silently } => {
                gate.restart_ms = Some(now_ms + lasts_ms);
                (gate.crash(cluster, silently), false)
            }
            Trouble::Pause => (gate.pause_until(now_ms + lasts_ms), false),
            Trouble::Cut => (false, true),
            Trouble::ClientsCut => {
                cluster.wires.cut(index, true);
                (false, true)
            }
            Trouble::ClientsReset => {
                cluster.wires.reset_some(index, self.random.between(200, 1_000));
                (cluster.wires.resets() > resets, false)
            }
        };
        if struck {
            self.struck(trouble);
        }
        if lasts {
            let before = struck_so_far(trouble, index, cluster);
            let until_ms = now_ms + lasts_ms;
            self.active.push(Active { trouble, gate: index, until_ms, from, before });
        }
    }

    fn struck(&mut self, trouble: Trouble) {
        self.counts.entry(trouble.word().to_owned()).or_default().struck += 1;
    }

    fn end(&mut self, active: &Active, cluster: &Cluster) {
        for node in &active.from {
            self.link(cluster, active.gate, *node, false);
        }
        if active.trouble == Trouble::ClientsCut {
            cluster.wires.cut(active.gate, false);
        }
        if struck_so_far(active.trouble, active.gate, cluster) > active.before {
            self.struck(active.trouble);
        }
    }

    fn link(&self, cluster: &Cluster, gate: usize, node: usize, cut: bool) {
        cluster.network.edit(gate, node, |link| link.cut = cut);
        cluster.network.edit(node, gate, |link| link.cut = cut);
    }

    /// Makes cuts again: whoever mends links between nodes mends all.
    fn relink(&self, cluster: &Cluster) {
        for active in &self.active {
            active.from.iter().for_each(|node| self.link(cluster, active.gate, *node, true));
        }
    }

    /// Ends every trouble.
    pub(crate) fn heal(&mut self, now_ms: Ms, cluster: &Cluster) {
        for active in std::mem::take(&mut self.active) {
            self.end(&active, cluster);
        }
        for gate in &mut self.gates {
            gate.pause_until(0);
            if gate.running.is_none() {
                gate.restart_ms = Some(now_ms);
            }
        }
    }

    /// Ends every process.
    pub(crate) fn close(&mut self, cluster: &Cluster) {
        for gate in &mut self.gates {
            gate.crash(cluster, false);
        }
    }
}

/// How often such a trouble has struck so far, as far as that is counted elsewhere.
fn struck_so_far(trouble: Trouble, gate: usize, cluster: &Cluster) -> u64 {
    match trouble {
        Trouble::ClientsCut => cluster.wires.stalled(gate),
        _ => cluster.network.cuts(gate),
    }
}

impl Gate {
    fn start(&mut self, now_ms: Ms, cluster: &Cluster) {
        self.starts += 1;
        let part = format!("gate {}.{}", self.index, self.starts);
        let seed = Random::salted(cluster.seed, &part).next();
        let process = Process::start(seed, now_ms, DAWN_MS + now_ms);
        let network = cluster.network.socket(self.index, seed);
        let (node, listen) = (id_of(self.index), network.local_address());
        let (peers, certificates) = (cluster.peers(), cluster.certificates(self.index));
        let others = cluster.doors().map(|door| simulated::url(id_of(door))).collect();
        let run = DAWN_MS + now_ms;
        let (gateway, ended) = (Arc::new(OnceLock::new()), Arc::<Mutex<_>>::default());
        let (made, failed) = (gateway.clone(), ended.clone());
        process.runtime.spawn(async move {
            let started = certificates.and_then(|certificates| {
                let transport = TransportConfig { node, listen, peers, certificates };
                Gateway::start(GatewayParts { network, transport, others, run, logic: NEW_BUILD })
            });
            match started {
                Ok(started) => drop(made.set(Arc::new(started))),
                Err(why) => *failed.lock().expect("not poisoned") = Some(why),
            }
        });
        self.running = Some(Running { process, gateway, ended });
    }

    /// Lets the process run until that time; then says why it has ended, if it has.
    fn run_to(&mut self, now_ms: Ms) -> Option<String> {
        let running = self.running.as_mut()?;
        if !running.process.may_run(now_ms) {
            return None;
        }
        running.process.run_to(now_ms, DAWN_MS + now_ms);
        running.ended.lock().expect("not poisoned").take()
    }

    /// Keeps the process from running, as [`Process::pause_until`]. Whether there was one.
    fn pause_until(&mut self, ms: Ms) -> bool {
        let Some(running) = &mut self.running else { return false };
        running.process.pause_until(ms);
        true
    }

    fn crash(&mut self, cluster: &Cluster, silently: bool) -> bool {
        cluster.network.close(self.index);
        cluster.wires.close(self.index, silently);
        self.running.take().is_some()
    }
}
