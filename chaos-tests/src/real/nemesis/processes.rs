//! Servers that are killed, asked to stop, or paused.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;

use super::{Damage, Fault, Kind, Refusal, Stage};
use crate::real::cluster::{Cluster, ClusterError, Trouble};
use crate::real::process::Server;
use crate::real::view::NodeNumber;

/// How long a server that was asked to stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn begin(kind: Kind, stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let node = match kind {
        Kind::KillLeader | Kind::PauseLeader | Kind::Terminate => stage.leader()?,
        _ => stage.anyone()?,
    };
    let work = stage.work_of(node);
    let cluster = &mut *stage.cluster;
    let ran = cluster.server(node).is_some_and(|server| server.ended().is_none());
    let work = work.filter(|_| ran);
    let damage: Box<dyn Damage> = match kind {
        Kind::Pause | Kind::PauseLeader => {
            signal(cluster, node, Signal::STOP)?;
            Box::new(Paused { node, work: work.clone() })
        }
        Kind::Terminate => {
            cluster.expect_end(node);
            signal(cluster, node, Signal::TERM)?;
            Box::new(Stopping { node, work: work.clone() })
        }
        _ => {
            cluster.kill(node)?;
            Box::new(Down { nodes: vec![node], work: work.clone() })
        }
    };
    let detail = work.unwrap_or_else(|| "it had no work".into());
    Ok(Fault { kind, targets: BTreeSet::from([node]), detail, damage })
}

impl Stage<'_> {
    /// What a node does at this time that clients would miss.
    pub(super) fn work_of(&self, node: NodeNumber) -> Option<String> {
        match (self.view.leads_work(node), self.view.has_work(node)) {
            (true, _) => Some("it led shards with sites".into()),
            (_, true) => Some("it followed in shards with sites".into()),
            _ => None,
        }
    }
}

fn signal(cluster: &mut Cluster, node: NodeNumber, signal: Signal) -> Result<(), ClusterError> {
    let sent = cluster.server(node).map_or(Ok(()), |server| server.signal(signal));
    sent.map_err(|source| ClusterError::Io { what: format!("signalling node {node}"), source })
}

/// Servers that were ended, and are started again.
#[derive(Debug)]
pub(super) struct Down {
    pub(super) nodes: Vec<NodeNumber>,
    pub(super) work: Option<String>,
}

impl Damage for Down {
    fn bite(&mut self, _: &mut Cluster) -> Option<String> {
        self.work.take()
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        self.nodes.iter().try_for_each(|node| cluster.start(*node, Trouble::default()))
    }
}

/// A server that was asked to stop.
#[derive(Debug)]
struct Stopping {
    node: NodeNumber,
    work: Option<String>,
}

impl Damage for Stopping {
    fn has_settled(&mut self, cluster: &mut Cluster) -> bool {
        cluster.server(self.node).is_none_or(|server| server.ended().is_some())
    }

    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        let ending = cluster.server(self.node)?.wait(STOP_LIMIT)?;
        let work = self.work.take().filter(|_| ending.code() == Some(0));
        work.map(|work| format!("{work}; it ended with {ending}"))
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        cluster.kill(self.node)?;
        cluster.start(self.node, Trouble::default())
    }
}

/// A server that stands still.
#[derive(Debug)]
struct Paused {
    node: NodeNumber,
    work: Option<String>,
}

impl Damage for Paused {
    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        let paused = cluster.server(self.node).is_some_and(|server| Server::is_paused(server));
        self.work.take().filter(|_| paused)
    }

    fn mend(&mut self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        signal(cluster, self.node, Signal::CONT)
    }
}
