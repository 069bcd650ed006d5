//! A node that loses its vote in every shard, and gets it back: what operators do to one that is
//! to go, while everything else goes on going wrong.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Damage, Fault, Kind, Refusal, Stage, not_yet};
use crate::real::cluster::{Cluster, ClusterError};
use crate::real::view::NodeNumber;

/// How long it is tried to give a vote back.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(90);
/// Pause between two attempts.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) fn begin(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let node = stage.anyone()?;
    if !set_vote(stage.cluster, node, false) {
        return Err(not_yet("nobody takes the change"));
    }
    let (targets, detail) = (BTreeSet::from([node]), "it is to have no vote".to_owned());
    let damage = Box::new(Voteless { node, without: 0 });
    Ok(Fault { kind: Kind::Demote, targets, detail, damage })
}

/// Asks every node in turn, once.
fn set_vote(cluster: &Cluster, node: NodeNumber, votes: bool) -> bool {
    let path = format!("/v1/nodes/nd_{node}/vote");
    let body = format!("{{\"votes\": {votes}}}");
    cluster.numbers().any(|asked| {
        let answer = cluster.change(asked, "PUT", &path, &body);
        answer.is_ok_and(|answer| answer.status == 200)
    })
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
        let until = Instant::now() + GIVE_BACK_LIMIT;
        while !set_vote(cluster, self.node, true) {
            // Whoever would take the change may be down by itself.
            cluster.supervise()?;
            if Instant::now() > until {
                let how = format!("nobody gives it its vote back within {GIVE_BACK_LIMIT:?}");
                return Err(ClusterError::Node { node: self.node, how, words: String::new() });
            }
            std::thread::sleep(AGAIN);
        }
        Ok(())
    }
}
