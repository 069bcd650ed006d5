//! Faults on their way: begun by plan, watched, mended, counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use serde::Serialize;

use super::cluster::{Cluster, ClusterError};
use super::nemesis::{self, Fault, Kind, Lane, Means, Plan, Refusal, Stage, chance};
use super::view::NodeNumber;
use crate::history::{Edge, Recorder};

/// How long a fault that has not caused all that it was to cause is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Faults at work at a time: with more of them the cluster would never serve between two.
const ACTIVE_MAX: usize = 3;

/// What became of a kind of fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Begun.
    pub begun: u64,
    /// Begun, and bitten.
    pub bitten: u64,
    /// Put off, since more would have been broken than the cluster promised to survive, or since
    /// there was no such target.
    pub refused: u64,
}

#[derive(Debug)]
struct Active {
    fault: Fault,
    until: Instant,
}

/// All faults of a run.
#[derive(Debug)]
pub struct Campaign {
    plan: Plan,
    active: Vec<Active>,
    tallies: BTreeMap<Kind, Tally>,
    chance: StdRng,
    history: Recorder,
    means: Means,
    next: Instant,
}

impl Campaign {
    /// Faults by plan, each of which is written into the history.
    pub fn new(seed: u64, kinds: &[Kind], plan: Plan, history: Recorder) -> Self {
        Self {
            plan,
            active: Vec::new(),
            tallies: kinds.iter().map(|kind| (*kind, Tally::default())).collect(),
            chance: chance(seed, "targets"),
            history,
            means: Means::default(),
            next: Instant::now(),
        }
    }

    /// The same, made with these.
    #[must_use]
    pub fn with(self, means: Means) -> Self {
        Self { means, ..self }
    }

    /// What became of each kind that was asked for.
    pub fn tallies(&self) -> &BTreeMap<Kind, Tally> {
        &self.tallies
    }

    /// Kinds that are at work.
    pub fn active(&self) -> Vec<Kind> {
        self.active.iter().map(|active| active.fault.kind).collect()
    }

    /// Faults that began.
    pub fn begun(&self) -> u64 {
        self.tallies.values().map(|tally| tally.begun).sum()
    }

    /// Does what is due: mends what is over, and begins the next.
    ///
    /// # Errors
    /// [`ClusterError`]: the harness failed, or a node does not come back.
    pub fn tick(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        for active in &mut self.active {
            active.fault.damage.tick(cluster)?;
        }
        let now = Instant::now();
        self.mend(cluster, |active, cluster| {
            let settled =
                active.until + PATIENCE <= now || active.fault.damage.has_settled(cluster);
            active.until <= now && settled
        })?;
        if now >= self.next && self.active.len() < ACTIVE_MAX {
            // What is behind is not caught up with: a fault at a time, that often.
            self.next = (self.next + self.plan.every()).max(now);
            self.begin(cluster)?;
        }
        Ok(())
    }

    /// Mends everything.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn heal(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        self.mend(cluster, |_, _| true)?;
        cluster.switch().heal();
        Ok(())
    }

    fn mend(
        &mut self,
        cluster: &mut Cluster,
        over: impl Fn(&mut Active, &mut Cluster) -> bool,
    ) -> Result<(), ClusterError> {
        for mut active in std::mem::take(&mut self.active) {
            if !over(&mut active, cluster) {
                self.active.push(active);
                continue;
            }
            let Active { mut fault, .. } = active;
            let bite = fault.damage.bite(cluster);
            fault.damage.mend(cluster)?;
            let target = Self::names(&fault);
            mended(&self.history, &mut self.tallies, fault.kind, &target, bite.as_deref());
        }
        Ok(())
    }

    /// Begins the next fault that can begin.
    fn begin(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        let (out, view) = (self.out(cluster), cluster.view());
        let mut put_off = Vec::new();
        for _ in 0..2 * self.plan.kinds() {
            let Some((kind, lasts)) = self.plan.draw() else { break };
            let shared = |active: &Active| active.fault.kind.lane() == kind.lane();
            if kind.lane() == Lane::Process || !self.active.iter().any(shared) {
                let (out, view, chance) = (out.clone(), view.clone(), &mut self.chance);
                let means = &self.means;
                let mut stage = Stage { cluster, view, chance, out, means };
                match nemesis::begin(kind, &mut stage) {
                    Ok(fault) => {
                        self.begun_one(fault, lasts);
                        break;
                    }
                    Err(Refusal::Cluster(error)) => return Err(error),
                    Err(Refusal::NotYet(_)) => {}
                }
            }
            self.tallies.entry(kind).or_default().refused += 1;
            put_off.push(kind);
        }
        self.plan.postpone(&put_off);
        Ok(())
    }

    fn begun_one(&mut self, fault: Fault, lasts: Duration) {
        self.tallies.entry(fault.kind).or_default().begun += 1;
        let (name, target) = (fault.kind.name(), Self::names(&fault));
        self.history.fault(name, &target, Edge::Begin, &fault.detail);
        self.active.push(Active { fault, until: Instant::now() + lasts });
    }

    /// Nodes that are kept from working, or have not served since they were started.
    fn out(&self, cluster: &mut Cluster) -> BTreeSet<NodeNumber> {
        let keeps =
            |active: &&Active| matches!(active.fault.kind.lane(), Lane::Process | Lane::Limits);
        let mut out = cluster.starting();
        out.extend(self.active.iter().filter(keeps).flat_map(|active| &active.fault.targets));
        out
    }

    /// The nodes of a fault, as histories name them.
    fn names(fault: &Fault) -> String {
        fault.targets.iter().map(|node| format!("nd_{node}")).collect::<Vec<_>>().join(",")
    }
}

/// Counts and writes down what came of a fault that is over.
pub(super) fn mended(
    history: &Recorder,
    tallies: &mut BTreeMap<Kind, Tally>,
    kind: Kind,
    target: &str,
    bite: Option<&str>,
) {
    tallies.entry(kind).or_default().bitten += u64::from(bite.is_some());
    let evidence = bite.unwrap_or("nothing came of it");
    history.bitten(kind.name(), target, bite.is_some(), evidence);
    history.fault(kind.name(), target, Edge::End, "mended");
}
