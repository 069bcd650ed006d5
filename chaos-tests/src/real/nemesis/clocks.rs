//! Wall clocks that jump.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::{Damage, Fault, Kind, Refusal, Stage};
use crate::real::clock::{http_date, now_s};
use crate::real::cluster::{Cluster, ClusterError};
use crate::real::view::NodeNumber;

/// The farthest jump, in seconds: a day.
const JUMP_S_MAX: i64 = 86_400;

pub(super) fn begin(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let all = stage.all();
    let node = super::pick(stage.chance, &all).ok_or_else(|| super::not_yet("no node"))?;
    let far = stage.chance.random_range(60..=JUMP_S_MAX);
    let seconds = if stage.chance.random_bool(0.5) { far } else { -far };
    set(stage.cluster, node, seconds)?;
    let damage = Box::new(Jumped { node, seconds, seen: None });
    let detail = format!("{seconds:+} s");
    Ok(Fault { kind: Kind::ClockJump, targets: BTreeSet::from([node]), detail, damage })
}

fn set(cluster: &Cluster, node: NodeNumber, seconds: i64) -> Result<(), ClusterError> {
    let set = cluster.clock(node).map_or(Ok(()), |clock| clock.set(seconds));
    set.map_err(|source| ClusterError::Io { what: format!("the clock of node {node}"), source })
}

#[derive(Debug)]
struct Jumped {
    node: NodeNumber,
    seconds: i64,
    seen: Option<i64>,
}

impl Damage for Jumped {
    fn tick(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        let Ok(answer) = cluster.ask(self.node, "/livez") else { return Ok(()) };
        let off = answer.header("date").and_then(http_date).map(|date| date - now_s());
        self.seen = self.seen.or(off.filter(|off| (off - self.seconds).abs() < 30));
        Ok(())
    }

    fn has_settled(&mut self, _: &mut Cluster) -> bool {
        self.seen.is_some()
    }

    fn bite(&mut self, _: &mut Cluster) -> Option<String> {
        self.seen.map(|off| format!("its answers were {off:+} s off"))
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        set(cluster, self.node, 0)
    }
}
