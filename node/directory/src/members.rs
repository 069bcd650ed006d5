//! Core nodes that come, go, take each other's place, and have a vote or none.
//!
//! What is said here is what is *wanted*. Who votes in a shard is in that shard's own log, and
//! whoever leads it takes one safe step after the other until its members are those that are wanted
//! here. So an operator's word is an entry, and survives whoever was about to follow it.
//!
//! A core node's number is never used again: what a node with that number promised to the others
//! may still be on its way when another one is given it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rotary_proto::limits::{MEMBERS_PER_SHARD_MAX, NODES_MAX, VOTERS_BY_DEFAULT_MAX, VOTERS_MAX};
use rotary_proto::{NodeId, ShardId};

use crate::command::{DirectoryDone, DirectoryEvent, DirectoryRefusal};
use crate::nodes::{Announced, NodeKind, bad, check_members, everywhere};
use crate::state::{Directory, limit};

type Done = Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal>;

/// Who is to keep a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seats {
    /// Who is to have a vote.
    pub voters: BTreeSet<NodeId>,
    /// Who is to follow without one.
    pub learners: BTreeSet<NodeId>,
}

impl Directory {
    /// Has other nodes keep every shard, each with a vote, and forgets those that there were: for a
    /// cluster that is made from another one's backup.
    ///
    /// # Errors
    /// `BadValue` for members that no shard can have.
    pub fn rehome(&mut self, members: &BTreeSet<NodeId>) -> Result<(), DirectoryRefusal> {
        check_members(members)?;
        if members.len() > VOTERS_MAX {
            return Err(limit("voters_max"));
        }
        self.replicas = Arc::new(everywhere(self.shards, members));
        self.last_core = self.last_core.max(members.last().map_or(0, |node| node.0));
        (self.nodes, self.voteless, self.draining) = Default::default();
        for founding in Arc::make_mut(&mut self.founding).values_mut() {
            founding.voters.clone_from(members);
            // Nobody of the other cluster is there to have begun it.
            founding.again = false;
        }
        // Their folders are another cluster's.
        Arc::make_mut(&mut self.joins).tokens.clear();
        Ok(())
    }

    /// Who is to keep a shard, with a vote and without; `None` for a shard that is not known.
    pub fn seats(&self, shard: ShardId) -> Option<Seats> {
        let nodes = self.replicas.get(&shard)?.iter().copied();
        let (learners, voters) = nodes.partition(|node| self.voteless.contains(node));
        Some(Seats { voters, learners })
    }

    /// The highest number that a core node ever had.
    pub fn last_core(&self) -> NodeId {
        NodeId(self.last_core)
    }

    pub(crate) fn cores(&self) -> BTreeSet<NodeId> {
        self.replicas.values().flatten().copied().collect()
    }

    /// Core nodes that have a vote.
    pub(crate) fn voters(&self) -> usize {
        self.cores().difference(&self.voteless).count()
    }

    /// Takes in a core node, beside the others or instead of one of them. It keeps a replica of
    /// every shard, with a vote if the one that it replaces had one, or if few have.
    pub(crate) fn admit(
        &mut self,
        node: NodeId,
        announced: Announced,
        instead_of: Option<NodeId>,
    ) -> Done {
        announced.check()?;
        if announced.kind != NodeKind::Core {
            return Err(bad("kind", "a core node".to_owned()));
        }
        if self.replicas.is_empty() {
            return Err(DirectoryRefusal::NotFounded);
        }
        self.check_build(node, announced.logic)?;
        if node.0 <= self.last_core || self.nodes.contains_key(&node) {
            return Err(DirectoryRefusal::NodeNumberUsed { node, next: self.next_number() });
        }
        if let Some(old) = instead_of.filter(|old| !self.keeps_replicas(*old)) {
            return Err(self.keeps_none(old));
        }
        let cores = self.cores();
        let known = self.nodes.keys().copied().chain(cores.iter().copied());
        let known: BTreeSet<NodeId> = known.collect();
        if cores.len() >= MEMBERS_PER_SHARD_MAX || known.len() >= NODES_MAX {
            return Err(limit("nodes_max"));
        }
        let votes = match instead_of {
            Some(old) => !self.voteless.contains(&old),
            None => self.voters() < VOTERS_BY_DEFAULT_MAX,
        };
        for nodes in Arc::make_mut(&mut self.replicas).values_mut() {
            nodes.insert(node);
            instead_of.into_iter().for_each(|old| _ = nodes.remove(&old));
        }
        let voteless = Arc::make_mut(&mut self.voteless);
        instead_of.into_iter().for_each(|old| _ = voteless.remove(&old));
        let draining = Arc::make_mut(&mut self.draining);
        instead_of.into_iter().for_each(|old| _ = draining.remove(&old));
        if !votes {
            voteless.insert(node);
        }
        instead_of.into_iter().for_each(|old| self.found_without(old));
        self.last_core = node.0;
        Arc::make_mut(&mut self.nodes).insert(node, announced.clone());
        let event = DirectoryEvent::NodeAdmitted { node, announced, instead_of, votes };
        Ok((DirectoryDone::Ok, vec![event]))
    }

    /// The first number that no node has had.
    fn next_number(&self) -> NodeId {
        let known = self.nodes.last_key_value().map_or(0, |(last, _)| last.0);
        NodeId(known.max(self.last_core) + 1)
    }

    fn keeps_none(&self, node: NodeId) -> DirectoryRefusal {
        match self.node(node) {
            Some(_) => DirectoryRefusal::KeepsNoReplicas { node },
            None => DirectoryRefusal::NodeUnknown,
        }
    }

    /// Lets a core node go: it is to keep no replica any more.
    pub(crate) fn release(&mut self, node: NodeId) -> Done {
        if !self.keeps_replicas(node) {
            return Err(self.keeps_none(node));
        }
        if self.is_last_voter(node) {
            return Err(DirectoryRefusal::LastVoter { node });
        }
        for nodes in Arc::make_mut(&mut self.replicas).values_mut() {
            nodes.remove(&node);
        }
        Arc::make_mut(&mut self.voteless).remove(&node);
        self.found_without(node);
        // Who keeps nothing serves nobody either, whatever was said before.
        Arc::make_mut(&mut self.draining).remove(&node);
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::NodeReleased { node }]))
    }

    /// Gives a core node a vote in every shard, or takes it away.
    pub(crate) fn set_vote(&mut self, node: NodeId, votes: bool) -> Done {
        if !self.keeps_replicas(node) {
            return Err(self.keeps_none(node));
        }
        if votes != self.voteless.contains(&node) {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        if votes && self.voters() >= VOTERS_MAX {
            return Err(limit("voters_max"));
        }
        if !votes && self.is_last_voter(node) {
            return Err(DirectoryRefusal::LastVoter { node });
        }
        let voteless = Arc::make_mut(&mut self.voteless);
        if votes {
            voteless.remove(&node);
        } else {
            voteless.insert(node);
        }
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::VoteSet { node, votes }]))
    }

    fn is_last_voter(&self, node: NodeId) -> bool {
        !self.voteless.contains(&node) && self.voters() <= 1
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
