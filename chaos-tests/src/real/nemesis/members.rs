//! What operators do to a node that is to go, or to be stopped, while everything else goes on going
//! wrong: it loses its vote in every shard and gets it back, or is emptied and serves again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Damage, Fault, Kind, Refusal, Stage, not_yet};
use crate::real::cluster::{Cluster, ClusterError};
use crate::real::view::NodeNumber;

/// How long it is tried to undo what was done.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(90);
/// Pause between two attempts.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) fn demote(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let node = stage.anyone()?;
    if !set(stage.cluster, node, Wish::Votes(false)) {
        return Err(not_yet("nobody takes the change"));
    }
    let (targets, detail) = (BTreeSet::from([node]), "it is to have no vote".to_owned());
    let damage = Box::new(Voteless { node, without: 0 });
    Ok(Fault { kind: Kind::Demote, targets, detail, damage })
}

pub(super) fn drain(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let node = stage.anyone()?;
    if !stage.view.is_busy(node) {
        return Err(not_yet("it leads nothing, and has no sessions"));
    }
    if !set(stage.cluster, node, Wish::Drains(true)) {
        return Err(not_yet("nobody takes the change"));
    }
    let (targets, detail) = (BTreeSet::from([node]), "it is to be empty".to_owned());
    let damage = Box::new(Draining { node, emptied: false });
    Ok(Fault { kind: Kind::Drain, targets, detail, damage })
}

/// What is asked of a node.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Votes(bool),
    Drains(bool),
}

/// Asks every node in turn, once.
fn set(cluster: &Cluster, node: NodeNumber, wish: Wish) -> bool {
    let (what, body) = match wish {
        Wish::Votes(votes) => ("vote", format!("{{\"votes\": {votes}}}")),
        Wish::Drains(drains) => ("drain", format!("{{\"drains\": {drains}}}")),
    };
    let path = format!("/v1/nodes/nd_{node}/{what}");
    cluster.numbers().any(|asked| {
        let answer = cluster.change(asked, "PUT", &path, &body);
        answer.is_ok_and(|answer| answer.status == 200)
    })
}

/// Asks until somebody takes it.
fn insist(cluster: &mut Cluster, node: NodeNumber, wish: Wish) -> Result<(), ClusterError> {
    let until = Instant::now() + GIVE_BACK_LIMIT;
    while !set(cluster, node, wish) {
        // Whoever would take the change may be down by itself.
        cluster.supervise()?;
        if Instant::now() > until {
            let how = format!("nobody takes {wish:?} within {GIVE_BACK_LIMIT:?}");
            return Err(ClusterError::Node { node, how, words: String::new() });
        }
        std::thread::sleep(AGAIN);
    }
    Ok(())
}

/// A node without a vote.
#[derive(Debug)]
struct Voteless {
    node: NodeNumber,
    /// In how many shards with sites that has come true.
    without: usize,
}

impl Damage for Voteless {
    fn has_settled(&mut self, cluster: &mut Cluster) -> bool {
        self.without = self.without.max(cluster.view().without_vote(self.node));
        self.without > 0
    }

    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        self.has_settled(cluster).then(|| format!("no vote in {} shards with sites", self.without))
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        insist(cluster, self.node, Wish::Votes(true))
    }
}

/// A node that is to be empty.
#[derive(Debug)]
struct Draining {
    node: NodeNumber,
    emptied: bool,
}

impl Damage for Draining {
    fn has_settled(&mut self, cluster: &mut Cluster) -> bool {
        self.emptied |= cluster.view().is_emptied(self.node);
        self.emptied
    }

    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        self.has_settled(cluster).then(|| "nothing was left on it".to_owned())
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        insist(cluster, self.node, Wish::Drains(false))
    }
}
