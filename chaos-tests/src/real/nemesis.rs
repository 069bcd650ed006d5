//! What is done to a cluster, and whether it bit.
//!
//! A fault has three parts: it *begins* with a target that chance or the cluster's state chooses,
//! it *bites* or not, and it is *mended*. That it was ordered says nothing: a kill counts where
//! work was, a partition where packets fell, a full disk where the node noticed.
//!
//! Recoverability: at most a minority of nodes is out of work at a time, but for a loss of power on
//! more, which the cluster promises to survive when power is back; and only one node at a time has
//! damaged data, while all others serve.

mod backups;
mod clocks;
mod disk;
mod failpoint;
mod kind;
mod limits;
mod members;
mod partition;
mod plan;
mod power;
mod processes;
mod sites;
mod traffic;

use std::collections::BTreeSet;
use std::fmt::Debug;

pub use kind::{Kind, Lane};
pub use plan::{Pace, Plan};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::cluster::{Cluster, ClusterError};
use super::view::{NodeNumber, View};
use super::wires::Wires;

/// A stream of chance for one part of a run: what one part draws does not change another's.
pub fn chance(seed: u64, part: &str) -> StdRng {
    StdRng::seed_from_u64(xxhash_rust::xxh3::xxh3_64_with_seed(part.as_bytes(), seed))
}

/// One of them; nothing of nothing.
pub(crate) fn pick<T: Copy>(chance: &mut StdRng, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| from[chance.random_range(0..from.len())])
}

/// Why a fault does not begin.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// More than the cluster promised to survive would be broken, or there is no such target.
    #[error("{0}")]
    NotYet(String),
    /// The harness failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl From<super::volume::VolumeError> for Refusal {
    fn from(error: super::volume::VolumeError) -> Self {
        Self::Cluster(error.into())
    }
}

/// Something broken, until it is mended.
pub trait Damage: Debug + Send {
    /// Does what goes on while it lasts.
    ///
    /// # Errors
    /// The harness failed.
    fn tick(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        let _nothing = cluster;
        Ok(())
    }

    /// Whether all that it was to cause has happened. It is mended a while later even if not.
    fn has_settled(&mut self, cluster: &mut Cluster) -> bool {
        let _nothing = cluster;
        true
    }

    /// What shows that it bit; nothing if it did not. Asked once, before it is mended.
    fn bite(&mut self, cluster: &mut Cluster) -> Option<String>;

    /// Ends it.
    ///
    /// # Errors
    /// The harness failed, or the cluster does not recover.
    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError>;
}

/// A fault that has begun.
#[derive(Debug)]
pub struct Fault {
    /// Which.
    pub kind: Kind,
    /// The nodes that it was done to.
    pub targets: BTreeSet<NodeNumber>,
    /// What exactly was done.
    pub detail: String,
    /// What is broken.
    pub damage: Box<dyn Damage>,
}

/// What some faults are made with, beside the cluster.
#[derive(Debug, Clone, Default)]
pub struct Means {
    /// What the nemesis `failpoint` makes fail; drawn if absent.
    pub failpoint: Option<String>,
    /// The connections of clients, if they can be broken.
    pub wires: Option<Wires>,
}

/// What a fault may see of the run when it begins.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The cluster.
    pub cluster: &'a mut Cluster,
    /// Who leads what.
    pub view: View,
    /// Draws of faults.
    pub chance: &'a mut StdRng,
    /// Nodes that other faults keep from working, or that do not serve for another reason.
    pub out: BTreeSet<NodeNumber>,
    /// What some faults are made with.
    pub means: &'a Means,
}

impl Stage<'_> {
    /// The nodes.
    fn all(&self) -> Vec<NodeNumber> {
        self.cluster.numbers().collect()
    }

    /// Whether so many more nodes can be kept from working, and a majority still works.
    fn allows(&self, more: usize) -> Result<(), Refusal> {
        let all = self.cluster.numbers().count();
        let left = all.saturating_sub(self.out.len() + more);
        if left * 2 > all {
            return Ok(());
        }
        Err(not_yet(format!("{:?} are out: no majority would be left", self.out)))
    }

    /// A working node, by chance.
    fn anyone(&mut self) -> Result<NodeNumber, Refusal> {
        self.allows(1)?;
        let working: Vec<_> = self.all().into_iter().filter(|n| !self.out.contains(n)).collect();
        pick(self.chance, &working).ok_or_else(|| not_yet("no node works"))
    }

    /// A working leader of a shard that has work, by chance.
    fn leader(&mut self) -> Result<NodeNumber, Refusal> {
        self.allows(1)?;
        let leaders = self.view.leaders();
        let leaders: Vec<_> = leaders.difference(&self.out).copied().collect();
        pick(self.chance, &leaders).ok_or_else(|| not_yet("nobody leads a shard with work"))
    }

    /// Nothing else may be broken.
    fn whole(&self) -> Result<(), Refusal> {
        if self.out.is_empty() {
            return Ok(());
        }
        Err(not_yet(format!("{:?} are out, and this is for a whole cluster", self.out)))
    }
}

fn not_yet(why: impl Into<String>) -> Refusal {
    Refusal::NotYet(why.into())
}

/// A fault of that kind, begun.
///
/// # Errors
/// [`Refusal::NotYet`] if it would break too much or has no target at this time.
pub fn begin(kind: Kind, stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    use Kind::{
        Backup, Bandwidth, BitFlip, ClientsReset, ClientsSlow, ClientsStall, ClockJump, Corrupt,
        Delay, Demote, DiskFull, Drain, Duplicate, FailedSync, Failpoint, Flapping, HoldAndRelease,
        IsolateLeader, Jitter, Kill, KillLeader, Loss, MemoryLimit, OneWay, Partial,
        PartitionHalves, PartitionRing, Pause, PauseLeader, PowerCut, PowerCutAll,
        PowerCutMajority, Reorder, SiteMove, SlowCpu, Terminate,
    };
    match kind {
        Kill | KillLeader | Terminate | Pause | PauseLeader => processes::begin(kind, stage),
        PartitionHalves | PartitionRing | IsolateLeader | OneWay | Partial | Flapping => {
            partition::begin(kind, stage)
        }
        Delay | Jitter | Loss | Duplicate | Corrupt | Reorder | HoldAndRelease | Bandwidth => {
            traffic::begin(kind, stage)
        }
        PowerCut | PowerCutMajority | PowerCutAll => power::begin(kind, stage),
        DiskFull | BitFlip | FailedSync => disk::begin(kind, stage),
        Failpoint => failpoint::begin(stage),
        ClientsReset | ClientsStall | ClientsSlow => clients(kind, stage),
        SlowCpu | MemoryLimit => limits::begin(kind, stage),
        ClockJump => clocks::begin(stage),
        Demote => members::demote(stage),
        Drain => members::drain(stage),
        SiteMove => sites::begin(stage),
        Backup => backups::begin(stage),
    }
}

/// A fault of clients' own connections.
fn clients(kind: Kind, stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let wires = stage.means.wires.as_ref();
    let wires = wires.ok_or_else(|| not_yet("this load's connections cannot be broken"))?;
    let broken = wires.begin(kind, stage.chance);
    let (all, places) = (stage.all(), broken.places());
    let targets = places.iter().filter_map(|place| all.get(*place)).copied().collect();
    let detail = format!("to {} gateways", places.len());
    Ok(Fault { kind, targets, detail, damage: Box::new(broken) })
}
