//! The nodes of the cluster, and which of them keep replicas of which shard.
//!
//! Each node *announces* itself: what it is, where it is reached, which build it runs and which
//! versions of the logic that can apply. Only what differs from what is kept is announced, so an
//! entry is a start with something new, and whether a node lives is nowhere here: that is seen by
//! the nodes that it is connected to.
//!
//! Replicas are set when the cluster is founded, and by whoever admits a core node or lets one go
//! ([`crate::Directory::seats`]). They say where replicas are meant to be; who votes in a shard is
//! in that shard's own log, which follows what is said here.
//!
//! A *core* node keeps replicas and cannot be forgotten; a *gateway-only* node keeps none, and one
//! that is gone can be. There is always room for the core nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use rotary_proto::limits::{MEMBERS_PER_SHARD_MAX, NODES_MAX, URL_BYTES_MAX};
use rotary_proto::{LogicVersions, Name, NodeId, ShardId};
use serde::{Deserialize, Serialize};

use crate::command::{DirectoryDone, DirectoryEvent, DirectoryRefusal};
use crate::state::{Directory, limit};

type Done = Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal>;

/// The nodes that keep a replica, of each shard.
pub(crate) type Replicas = BTreeMap<ShardId, BTreeSet<NodeId>>;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// It keeps replicas, and has doors.
    Core,
    /// It has doors only.
    Gateway,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// What it is.
    pub kind: NodeKind,
    /// Where it speaks to other nodes from, UDP.
    pub peer: SocketAddr,
    /// The base of its HTTP API, as clients reach it: at most [`URL_BYTES_MAX`] visible ASCII
    /// characters.
    pub public: String,
    /// Which build it runs.
    pub build: Name,
    /// What that can apply.
    pub logic: LogicVersions,
    /// What fails together with it: a rack, a hall, an availability zone. Absent where nobody said.
    pub zone: Option<Name>,
}

impl Announced {
    pub(crate) fn check(&self) -> Result<(), DirectoryRefusal> {
        let visible = self.public.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(1..=URL_BYTES_MAX).contains(&self.public.len()) {
            return Err(bad("public", format!("1 to {URL_BYTES_MAX} visible ASCII characters")));
        }
        if !self.logic.is_valid() {
            return Err(bad("logic", "from 1 up, the oldest first".to_owned()));
        }
        Ok(())
    }
}

pub(crate) fn bad(field: &str, rule: String) -> DirectoryRefusal {
    DirectoryRefusal::BadValue { field: field.to_owned(), rule }
}

/// Refuses members that no shard can have.
pub(crate) fn check_members(members: &BTreeSet<NodeId>) -> Result<(), DirectoryRefusal> {
    if (1..=MEMBERS_PER_SHARD_MAX).contains(&members.len()) && !members.contains(&NodeId(0)) {
        return Ok(());
    }
    Err(bad("members", format!("1 to {MEMBERS_PER_SHARD_MAX} nodes, numbered from 1")))
}

/// The same replicas for the directory and every data shard.
pub(crate) fn everywhere(shards: u32, members: &BTreeSet<NodeId>) -> Replicas {
    (0..=shards).map(|shard| (ShardId(shard), members.clone())).collect()
}

impl Directory {
    /// Every node that has announced itself and is not forgotten, in order of their numbers.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Announced)> {
        self.nodes.iter().map(|(node, announced)| (*node, announced))
    }

    /// What a node last announced.
    pub fn node(&self, node: NodeId) -> Option<&Announced> {
        self.nodes.get(&node)
    }

    /// The nodes that are to keep a replica of a shard; `None` for a shard that is not known.
    pub fn replicas(&self, shard: ShardId) -> Option<&BTreeSet<NodeId>> {
        self.replicas.get(&shard)
    }

    /// Every shard with the nodes that are to keep its replicas.
    pub fn all_replicas(&self) -> impl Iterator<Item = (ShardId, &BTreeSet<NodeId>)> {
        self.replicas.iter().map(|(shard, nodes)| (*shard, nodes))
    }

    /// Whether a node is to keep a replica of any shard.
    pub fn keeps_replicas(&self, node: NodeId) -> bool {
        self.replicas.values().any(|nodes| nodes.contains(&node))
    }

    /// Refuses what a node cannot be, or has no room for.
    pub(crate) fn check_announced(
        &self,
        node: NodeId,
        announced: &Announced,
    ) -> Result<(), DirectoryRefusal> {
        announced.check()?;
        if node == NodeId(0) {
            return Err(bad("node", "nodes are numbered from 1".to_owned()));
        }
        if self.replicas.is_empty() {
            return Err(DirectoryRefusal::NotFounded);
        }
        self.check_build(node, announced.logic)?;
        match (announced.kind, self.keeps_replicas(node)) {
            (NodeKind::Core, true) | (NodeKind::Gateway, false) => Ok(()),
            (NodeKind::Core, false) => {
                Err(bad("kind", format!("{node} keeps no replica, and is no core node")))
            }
            (NodeKind::Gateway, true) => {
                Err(bad("kind", format!("{node} keeps replicas, and is a core node")))
            }
        }
    }

    /// How many gateway-only nodes may be known beside the core nodes.
    pub(crate) fn gateways_max(&self) -> usize {
        let cores = self.replicas.values().flatten();
        let known = self.nodes.iter().filter(|(_, known)| known.kind == NodeKind::Core);
        let cores: BTreeSet<&NodeId> = cores.chain(known.map(|(node, _)| node)).collect();
        NODES_MAX.saturating_sub(cores.len())
    }

    /// How many gateway-only nodes are known.
    pub(crate) fn gateways(&self) -> usize {
        self.nodes.values().filter(|known| known.kind == NodeKind::Gateway).count()
    }

    /// Keeps what a node says of itself; what is kept already changes nothing.
    pub(crate) fn announce(&mut self, node: NodeId, announced: Announced) -> Done {
        self.check_announced(node, &announced)?;
        let before = self.node(node);
        if before == Some(&announced) {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        let is_new = before.is_none() && announced.kind == NodeKind::Gateway;
        if is_new && self.gateways() >= self.gateways_max() {
            return Err(limit("nodes_max"));
        }
        Arc::make_mut(&mut self.nodes).insert(node, announced.clone());
        assert!(self.nodes.len() <= NODES_MAX, "there is room for every core node");
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::NodeAnnounced { node, announced }]))
    }

    /// Forgets a gateway-only node; should it come back, it announces itself anew.
    pub(crate) fn forget(&mut self, node: NodeId) -> Done {
        if self.keeps_replicas(node) {
            return Err(DirectoryRefusal::KeepsReplicas { node });
        }
        if self.node(node).is_none() {
            return Err(DirectoryRefusal::NodeUnknown);
        }
        Arc::make_mut(&mut self.nodes).remove(&node);
        Arc::make_mut(&mut self.draining).remove(&node);
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::NodeForgotten { node }]))
    }
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
pub(crate) mod tests;
