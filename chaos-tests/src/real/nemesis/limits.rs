//! Processor time and memory that a server does not get.

use std::collections::BTreeSet;
use std::io;

use super::{Damage, Fault, Kind, Refusal, Stage};
use crate::real::cgroup::Group;
use crate::real::cluster::{Cluster, ClusterError};
use crate::real::view::NodeNumber;

/// Percent of a processor that a slow server gets.
const PERCENT: u64 = 10;
/// Bytes of memory that a server may take beyond what it has.
const BYTES: u64 = 4 << 20;

pub(super) fn begin(kind: Kind, stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let node = stage.anyone()?;
    let pid = stage.cluster.server(node).map(|server| server.id());
    let pid = pid.ok_or_else(|| super::not_yet("the node has no server"))?;
    let name = format!("node-{node}");
    let make = || match kind {
        Kind::SlowCpu => Group::cpu(&name, PERCENT),
        _ => Group::memory(&name, BYTES),
    };
    let limit = make().and_then(|group| group.take(pid).map(|()| group));
    let group = limit.map_err(|source| wrong(node, source))?;
    let detail = match kind {
        Kind::SlowCpu => format!("{PERCENT} % of a processor"),
        _ => format!("{BYTES} bytes of memory more"),
    };
    let damage = Box::new(Limited { kind, node, group: Some(group) });
    Ok(Fault { kind, targets: BTreeSet::from([node]), detail, damage })
}

fn wrong(node: NodeNumber, source: io::Error) -> ClusterError {
    ClusterError::Io { what: format!("limiting node {node}"), source }
}

#[derive(Debug)]
struct Limited {
    kind: Kind,
    node: NodeNumber,
    group: Option<Group>,
}

impl Limited {
    /// What it did, as soon as it did something.
    fn count(&self) -> Option<String> {
        let group = self.group.as_ref()?;
        let (count, what) = match self.kind {
            Kind::SlowCpu => (group.throttled().ok()?, "waits for a processor"),
            _ => (group.at_limit().ok()?, "times at the limit"),
        };
        (count > 0).then(|| format!("{count} {what}"))
    }
}

impl Damage for Limited {
    fn has_settled(&mut self, cluster: &mut Cluster) -> bool {
        self.count().is_some() || cluster.server(self.node).is_none_or(|s| s.ended().is_some())
    }

    fn bite(&mut self, _: &mut Cluster) -> Option<String> {
        self.count()
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let Some(server) = cluster.server(self.node) else { return Ok(()) };
        if server.ended().is_some() {
            return Ok(());
        }
        group.release(server.id()).map_err(|source| wrong(self.node, source))
    }
}
