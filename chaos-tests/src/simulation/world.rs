//! The loop that moves time, a millisecond at a step, and the phases of a run.
//!
//! Set up, then faults, then heal; then the cluster must converge, serve what is opened, and agree.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rotary_proto::planted;
use serde::{Deserialize, Serialize};

use crate::checkers::liveness::SERVE_MS;
use crate::simulation::ambient;
use crate::simulation::args::CASES;
use crate::simulation::bugs::Bug;
use crate::simulation::case::bug_name;
use crate::simulation::faults::{Faults, Kind};
use crate::simulation::gates::Gates;
use crate::simulation::history::Ms;
use crate::simulation::invariants::{CONVERGE_MS_MAX, Extent, Findings, Isolation, Liveness};
use crate::simulation::node::{Cluster, Node};
use crate::simulation::panics;
use crate::simulation::random::Random;
use crate::simulation::report::Report;
use crate::simulation::store::Shadow;
use crate::simulation::street::Street;
use crate::simulation::trace::Trace;
use crate::simulation::workload::{Counts, Following, Registrar, Workload};
use crate::workload::Summary;

/// Setting up takes no longer, without faults.
const SET_UP_MS_MAX: Ms = 60_000;
/// Conversations that are opened in each site at the end, and must be served.
const PROBES: u32 = 6;
/// How long clients may take to bring everything to its end, and to read it back.
const GO_HOME_MS_MAX: Ms = 400_000;
/// What a violation is given to show the others that come with it.
const VIOLATIONS_MAX: usize = 20;

/// What makes a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Parameters {
    pub(crate) seed: u64,
    /// How long faults are made.
    pub(crate) fault_ms: Ms,
    /// Wall clocks do not jump, though the plan says so.
    pub(crate) still_clocks: bool,
    /// Journals keep everything, though the world has a retention.
    pub(crate) keep_all: bool,
    /// Whether nodes are whole, with doors, or end at their logs.
    pub(crate) whole: bool,
    pub(crate) bug: Option<Bug>,
    /// Where the trace goes.
    pub(crate) trace: Option<PathBuf>,
}

impl Parameters {
    /// What runs this world again.
    pub(crate) fn replay(&self) -> String {
        let minutes = self.fault_ms as f64 / 60_000.0;
        let mut words = format!("rotary-chaos simulate --seed {} --minutes {minutes}", self.seed);
        let options = [
            (self.whole, "--whole"),
            (self.still_clocks, "--still-clocks"),
            (self.keep_all, "--keep-all"),
        ];
        for (_, option) in options.iter().filter(|(is_on, _)| *is_on) {
            words.push(' ');
            words.push_str(option);
        }
        if let Some(bug) = self.bug {
            words.push_str(&format!(" --bug {}", bug_name(bug)));
        }
        words
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    SetUp,
    Faults { until_ms: Ms },
    Converge { since_ms: Ms },
    Serve,
    Settle { since_ms: Ms },
    Over,
}

struct World {
    cluster: Cluster,
    nodes: Vec<Node>,
    shadows: Vec<Shadow>,
    workload: Workload,
    registrar: Registrar,
    readers: Following,
    /// Where nodes are whole: those who come to their doors.
    street: Option<Street>,
    faults: Faults,
    gates: Gates,
    isolation: Isolation,
    liveness: Liveness,
    order: Random,
    trace: Trace,
    told: usize,
    findings: Findings,
    fault_ms: Ms,
    phase: Phase,
    now_ms: Ms,
    /// When nobody comes any more.
    drain_ms: Ms,
}

/// Runs a world in this process to its end, or to the first broken promise. Only the first world
/// of a process is the one that its seed makes: libraries keep numbers of their own.
///
/// # Errors
/// If the trace cannot be written.
pub(crate) fn run(parameters: &Parameters) -> Result<Report, String> {
    panics::watch();
    let began = Instant::now();
    if let Some(bug) = parameters.bug.and_then(Bug::planted) {
        planted::plant(bug);
    }
    let report = ambient::simulate(parameters.seed, || {
        let mut world = World::new(parameters)?;
        while world.phase != Phase::Over && world.findings.0.is_empty() {
            world.step();
        }
        Ok(world.report(parameters.seed))
    });
    report.map(|report| Report { took: began.elapsed(), ..report })
}

impl World {
    fn new(parameters: &Parameters) -> Result<Self, String> {
        let Parameters { seed, fault_ms, still_clocks, keep_all, whole, bug, .. } = *parameters;
        let mut random = Random::salted(seed, "world");
        let nodes = if random.permille(250) { 5 } else { 3 };
        let shards = random.between(1, 2) as usize;
        // A directory costs as much as a data shard.
        let has_directory = shards == 1 || random.permille(250);
        let cluster = Cluster::new(seed, nodes, (shards, has_directory), whole, bug, keep_all);
        let replay = parameters.replay();
        let street = if whole { Some(Street::new(&cluster, replay)?) } else { None };
        let trace = Trace::new(parameters.trace.as_deref()).map_err(|error| error.to_string())?;
        let made: Vec<Node> = (0..nodes).map(|node| Node::new(&cluster, node)).collect();
        Ok(Self {
            shadows: made.iter().map(|node| node.shadow.clone()).collect(),
            nodes: made,
            workload: Workload::new(seed, shards),
            registrar: Registrar::new(seed, cluster.directory()),
            readers: Following::new(seed, shards, cluster.retention_ms.is_some()),
            street,
            faults: Faults::new(
                seed,
                nodes,
                if whole { Kind::WHOLE } else { Kind::SPINE },
                still_clocks,
                bug.and_then(Bug::favours),
            ),
            gates: Gates::new(&cluster),
            isolation: Isolation::new(nodes),
            liveness: Liveness::default(),
            order: Random::salted(seed, "order"),
            trace,
            told: 0,
            findings: Findings::default(),
            fault_ms,
            phase: Phase::SetUp,
            now_ms: 0,
            drain_ms: 0,
            cluster,
        })
    }

    /// One millisecond.
    fn step(&mut self) {
        self.now_ms += 1;
        let now_ms = self.now_ms;
        self.cluster.move_to(now_ms);
        self.faults.restart(now_ms, &self.cluster, &mut self.nodes, &mut self.findings);
        if let Phase::Faults { .. } = self.phase {
            self.faults.step(now_ms, &self.cluster, &mut self.nodes, &mut self.findings);
            self.gates.trouble(now_ms, &self.cluster);
        }
        self.faults.reseat(now_ms, &self.cluster, &self.nodes);
        self.faults.redrain(now_ms, &self.nodes);
        self.faults.reupgrade(now_ms, &self.nodes);
        self.faults.regrow(now_ms, &self.cluster, &self.nodes);
        if let (Some(_), Phase::Faults { .. } | Phase::Converge { .. }) = (&self.street, self.phase)
        {
            self.faults.rehouse(now_ms, &self.nodes, &mut self.findings);
        }
        let network = &self.cluster.network;
        self.isolation.update(now_ms, |a, b| network.joined(a, b));
        if self.street.is_none() && !matches!(self.phase, Phase::Settle { .. }) {
            self.use_it();
        }
        self.run_nodes();
        self.gates.run_to(now_ms, &self.cluster, &mut self.findings);
        match &mut self.street {
            Some(street) => street.run_to(now_ms, &self.cluster, &self.nodes, &self.gates),
            None => self.readers.step(now_ms, &self.nodes, &self.cluster.observer),
        }
        for node in &mut self.nodes {
            node.check_disk(&mut self.findings);
        }
        for panic in panics::take() {
            self.findings.breach("panic", panic);
        }
        self.tell();
        self.next_phase();
    }

    fn use_it(&mut self) {
        let observer = &self.cluster.observer;
        self.registrar.step(self.now_ms, &self.nodes, observer);
        let (answers, garbled) = self.workload.step(self.now_ms, &self.nodes, observer);
        let observed = &mut *observer.lock();
        for answer in &answers {
            let told = answer.acknowledged(&self.workload.clients);
            let line = format!(
                "told n{} {} i{} {:?}",
                told.node + 1,
                told.operation.label,
                told.index,
                told.answer.outcome
            );
            self.trace.say(self.now_ms, &line);
            let story = &observed.stories[told.operation.shard as usize];
            let (shadows, isolation) = (&self.shadows, &self.isolation);
            let found = &mut self.findings;
            observed.invariants.acknowledged(&told, story, shadows, isolation, found);
        }
        for garbled in garbled {
            self.findings.breach("P7", format!("an answer cannot be read: {garbled}"));
        }
    }

    fn run_nodes(&mut self) {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        self.order.shuffle(&mut order);
        for node in order {
            let victim = &mut self.nodes[node];
            if let Some(reason) = victim.run_to(self.now_ms) {
                let (cluster, found) = (&self.cluster, &mut self.findings);
                self.faults.ended(self.now_ms, &reason, victim, cluster, found);
            }
        }
    }

    /// Writes down what has happened.
    fn tell(&mut self) {
        let mut observed = self.cluster.observer.lock();
        for line in std::mem::take(&mut observed.lines) {
            self.trace.say(self.now_ms, &line);
        }
        self.findings.0.append(&mut observed.findings.0);
        drop(observed);
        for line in &self.faults.log[self.told..] {
            self.trace.say(self.now_ms, line);
            if let Some(street) = &self.street {
                street.fault(line);
            }
        }
        self.told = self.faults.log.len();
        for line in std::mem::take(&mut self.gates.log) {
            self.trace.say(self.now_ms, &line);
            if let Some(street) = &self.street {
                street.fault(&line);
            }
        }
    }

    fn next_phase(&mut self) {
        let now_ms = self.now_ms;
        self.phase = match self.phase {
            Phase::SetUp if self.is_open() => {
                self.mark("faults");
                Phase::Faults { until_ms: now_ms + self.fault_ms }
            }
            Phase::SetUp if now_ms > SET_UP_MS_MAX => self.late("sites cannot be set up"),
            Phase::Faults { until_ms } if now_ms >= until_ms => {
                let (cluster, found) = (&self.cluster, &mut self.findings);
                self.faults.heal(now_ms, cluster, &mut self.nodes, found);
                self.gates.heal(now_ms, cluster);
                self.mark("heal");
                self.workload.be_diligent();
                self.readers.come_back(now_ms);
                Phase::Converge { since_ms: now_ms }
            }
            Phase::Converge { since_ms }
                if now_ms > since_ms
                    && self.agrees()
                    && self.faults.is_upgraded(&self.nodes)
                    && self.faults.are_all_home(&self.nodes) =>
            {
                self.mark("serve");
                if self.street.is_none() {
                    self.workload.probe(now_ms, PROBES, &mut self.liveness);
                }
                self.drain_ms = now_ms + SERVE_MS;
                Phase::Serve
            }
            Phase::Converge { since_ms } if now_ms > since_ms + CONVERGE_MS_MAX => {
                self.late("the cluster does not converge")
            }
            Phase::Serve => match &self.street {
                None => self.serve(),
                Some(street) if street.is_done() => Phase::Settle { since_ms: now_ms },
                Some(_) if now_ms > self.drain_ms + GO_HOME_MS_MAX => {
                    self.late("clients do not go home")
                }
                Some(street) => {
                    if now_ms == self.drain_ms {
                        street.drain();
                    }
                    Phase::Serve
                }
            },
            Phase::Settle { since_ms } if now_ms > since_ms + 1_000 && self.is_settled() => {
                self.judge()
            }
            Phase::Settle { since_ms } if now_ms > since_ms + CONVERGE_MS_MAX => {
                if !self.readers.is_through(&self.cluster.observer) {
                    self.findings.breach("P8", "a reader does not come to the end".to_owned());
                }
                self.judge()
            }
            phase => phase,
        };
    }

    fn mark(&self, phase: &str) {
        if let Some(street) = &self.street {
            street.mark(phase);
        }
    }

    fn is_open(&self) -> bool {
        self.street.as_ref().map_or(self.workload.is_open(), Street::is_open)
    }

    fn late(&mut self, what: &str) -> Phase {
        self.findings.breach("liveness", what.to_owned());
        Phase::Over
    }

    fn serve(&mut self) -> Phase {
        let served = self.liveness.served(&self.cluster.observer.lock().stories);
        self.liveness.check(self.now_ms, &mut self.findings);
        if served { Phase::Settle { since_ms: self.now_ms } } else { Phase::Serve }
    }

    /// Whether every node runs, with its history, and has applied all that anybody has.
    fn agrees(&self) -> bool {
        let observed = self.cluster.observer.lock();
        (0..self.nodes.len()).all(|node| {
            let mut lasts = (0u32..).zip(observed.last_indexes());
            self.nodes[node].is_whole()
                && lasts.all(|(shard, last)| observed.invariants.applied_to(node, shard) == last)
        })
    }

    fn is_settled(&self) -> bool {
        let through = self.street.is_some() || self.readers.is_through(&self.cluster.observer);
        self.agrees() && through
    }

    fn judge(&mut self) -> Phase {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        let observed = &mut *self.cluster.observer.lock();
        observed.invariants.end(&all, &observed.stories, &observed.directory, &mut self.findings);
        for node in &self.nodes {
            let Some(journal) = node.journal() else { continue };
            node.check_streams(&self.cluster, journal, Extent::All, observed);
            for group in self.cluster.data_groups() {
                let (at, hash) = ((node.index, group, u64::MAX), journal.head(group).hash);
                observed.invariants.journals.chained(at, hash, &mut observed.findings);
            }
        }
        self.findings.0.append(&mut observed.findings.0);
        Phase::Over
    }

    fn counts(&self) -> Counts {
        let Some(Street { summary, .. }) = &self.street else {
            return self.workload.clients.counts;
        };
        let Summary { ok, fail, unknown, customers, .. } = *summary;
        let (attempts, answered) = (ok + fail + unknown, ok + fail);
        Counts { attempts, repeated: customers, answered, refused: fail, unknown }
    }

    fn report(mut self, seed: u64) -> Report {
        if let Some(street) = &mut self.street {
            street.judge(Path::new(CASES), seed, &mut self.findings);
        }
        for node in &mut self.nodes {
            node.crash(&self.cluster, false);
        }
        self.gates.close(&self.cluster);
        self.faults.counts.append(&mut self.gates.counts);
        let mut violations = std::mem::take(&mut self.findings.0);
        violations.truncate(VIOLATIONS_MAX);
        let observed = self.cluster.observer.lock();
        Report {
            seed,
            nodes: self.nodes.len(),
            shards: observed.stories.len(),
            simulated_ms: self.now_ms,
            took: Duration::ZERO,
            entries: observed.stories.iter().map(|story| story.len()).sum(),
            counts: self.counts(),
            doubts: self.street.as_ref().map(|street| street.doubts.clone()).unwrap_or_default(),
            faults: self.faults.counts,
            refused_faults: self.faults.refused,
            rebuilt: self.faults.rebuilt,
            dropped_segments: observed.dropped_segments,
            readers_late: observed.readers_late,
            fault_log: self.faults.log,
            trace: self.trace.digest(),
            tail: self.trace.tail(),
            violations,
        }
    }
}
