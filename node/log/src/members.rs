//! Who keeps a shard: what its log says, and how that is changed.
//!
//! The members of a shard are a matter of its own log. They change there in small steps, each of
//! which is safe by itself ([`Change`]), so that whoever walks them may die at any point and
//! another goes on from what the log says: [`next`] names the step that leads from there to what
//! is wanted. Voters are exchanged by joint consensus (Ongaro, *Consensus: Bridging Theory and
//! Practice*, 4.3): until the last of its two entries is committed, a majority of both sets must
//! agree to everything.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use rotary_proto::NodeId;

use crate::shard::Shard;
use crate::types::{LogId, StoredMembership, Types};

/// Who keeps a shard, as its log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Who has a vote; while voters are being exchanged, those of both sets.
    pub voters: BTreeSet<NodeId>,
    /// Who follows without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Whether an exchange of voters is half done.
    pub changing: bool,
    /// The index of the entry that says so, 0 if none does.
    pub index: u64,
}

impl Members {
    fn of(stored: &StoredMembership) -> Self {
        let voters: BTreeSet<NodeId> = stored.voter_ids().map(NodeId).collect();
        let nodes = stored.nodes().map(|(node, ())| NodeId(*node));
        Self {
            learners: nodes.filter(|node| !voters.contains(node)).collect(),
            voters,
            changing: stored.membership().get_joint_config().len() > 1,
            index: stored.log_id().as_ref().map_or(0, |id: &LogId| id.index),
        }
    }

    /// Everybody who keeps the shard, with a vote or without.
    pub fn all(&self) -> impl Iterator<Item = NodeId> {
        self.voters.union(&self.learners).copied()
    }
}

/// One step from some members to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These nodes follow from now on, without a vote.
    Admit(BTreeSet<NodeId>),
    /// These have the votes, and nobody else; they must follow already. Who had a vote follows on.
    Voters(BTreeSet<NodeId>),
    /// These, who have no vote, follow no longer.
    Dismiss(BTreeSet<NodeId>),
}

impl Change {
    /// Whether that node has no vote afterwards, or follows no longer. A leader should not do that
    /// to itself: it would lead on for a moment as somebody who is not there.
    pub fn takes_vote_of(&self, node: NodeId) -> bool {
        match self {
            Self::Admit(_) => false,
            Self::Voters(voters) => !voters.contains(&node),
            Self::Dismiss(nodes) => nodes.contains(&node),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, nodes) = match self {
            Self::Admit(nodes) => ("admit", nodes),
            Self::Voters(nodes) => ("vote:", nodes),
            Self::Dismiss(nodes) => ("dismiss", nodes),
        };
        f.write_str(what)?;
        nodes.iter().try_for_each(|node| write!(f, " {node}"))
    }
}

/// Why a step was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another node leads the shard, or none: ask there.
    #[error("this node does not lead the shard")]
    NotLeader,
    /// The shard refuses it as it stands: another step is not over, or a node that is to vote does
    /// not follow yet.
    #[error("not now: {0}")]
    Refused(String),
    /// It may have been taken: what the log says is to be looked at.
    #[error("nobody knows whether that was done: {0}")]
    Unknown(String),
}

/// The step that leads from the members that a shard has towards those that are wanted; `None`
/// where they are the same, or where nothing can be done before more nodes are ready.
///
/// Whoever is to vote first follows; voters are exchanged once `is_ready` says of every one that
/// is new that it has caught up; who is not wanted is dismissed last. So the shard never has fewer
/// copies on the way than before or after.
pub fn next(
    actual: &Members,
    voters: &BTreeSet<NodeId>,
    learners: &BTreeSet<NodeId>,
    is_ready: impl Fn(NodeId) -> bool,
) -> Option<Change> {
    if voters.is_empty() {
        return None;
    }
    let wanted: BTreeSet<NodeId> = voters.union(learners).copied().collect();
    let present: BTreeSet<NodeId> = actual.all().collect();
    let absent: BTreeSet<NodeId> = wanted.difference(&present).copied().collect();
    if !actual.changing && !absent.is_empty() {
        return Some(Change::Admit(absent));
    }
    if actual.changing || actual.voters != *voters {
        let mut new = voters.difference(&actual.voters);
        let can = voters.is_subset(&present) && new.all(|node| is_ready(*node));
        // What is half done is finished with whoever is ready.
        let rest = || voters.intersection(&actual.voters).copied().collect::<BTreeSet<_>>();
        return match can {
            true => Some(Change::Voters(voters.clone())),
            false if actual.changing => Some(rest()).filter(|r| !r.is_empty()).map(Change::Voters),
            false => None,
        };
    }
    let surplus: BTreeSet<NodeId> = actual.learners.difference(&wanted).copied().collect();
    (!surplus.is_empty()).then_some(Change::Dismiss(surplus))
}

impl Shard {
    /// Who keeps it, as far as this replica's log says.
    pub(crate) fn members(&self) -> Members {
        let metrics = self.raft.metrics();
        Members::of(&metrics.borrow_watched().membership_config)
    }

    /// Takes a step on this node, which should lead the shard, and waits until it is committed, for
    /// no longer than the patience.
    pub(crate) async fn change(
        &self,
        change: Change,
        patience: Duration,
    ) -> Result<(), ChangeError> {
        if !self.view.borrow().is_self {
            return Err(ChangeError::NotLeader);
        }
        let numbers = |nodes: BTreeSet<NodeId>| nodes.into_iter().map(|node| node.0);
        let change = match change {
            Change::Admit(nodes) => {
                ChangeMembers::AddNodes(numbers(nodes).map(|node| (node, ())).collect())
            }
            Change::Voters(nodes) => ChangeMembers::ReplaceAllVoters(numbers(nodes).collect()),
            Change::Dismiss(nodes) => ChangeMembers::RemoveNodes(numbers(nodes).collect()),
        };
        // Who loses its vote is kept as a learner, until it is dismissed.
        let changed = self.raft.change_membership(change, true);
        let late =
            |_| ChangeError::Unknown(format!("not committed in {} ms", patience.as_millis()));
        match tokio::time::timeout(patience, changed).await.map_err(late)? {
            Ok(_) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }
}

fn refused(error: RaftError<Types, ClientWriteError<Types>>) -> ChangeError {
    match error {
        RaftError::Fatal(error) => ChangeError::Unknown(error.to_string()),
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ChangeError::NotLeader,
        RaftError::APIError(error @ ClientWriteError::LogEntryDiscarded(_)) => {
            ChangeError::Unknown(error.to_string())
        }
        RaftError::APIError(error) => ChangeError::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(numbers: &[u64]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        let (voters, learners) = (nodes(voters), nodes(learners));
        Members { voters, learners, changing: false, index: 1 }
    }

    #[test]
    fn a_node_is_replaced_without_a_moment_of_fewer_copies() {
        let (wanted, none) = (nodes(&[1, 2, 4]), BTreeSet::new());
        let step = |actual: &Members, ready: bool| next(actual, &wanted, &none, |_| ready);
        let before = members(&[1, 2, 3], &[]);
        assert_eq!(step(&before, false), Some(Change::Admit(nodes(&[4]))));
        let admitted = members(&[1, 2, 3], &[4]);
        assert_eq!(step(&admitted, false), None, "it has not caught up");
        assert_eq!(step(&admitted, true), Some(Change::Voters(wanted.clone())));
        let exchanged = members(&[1, 2, 4], &[3]);
        assert_eq!(step(&exchanged, true), Some(Change::Dismiss(nodes(&[3]))));
        assert_eq!(step(&members(&[1, 2, 4], &[]), true), None);
    }

    #[test]
    fn what_is_half_done_is_finished_first() {
        let half = Members { changing: true, ..members(&[1, 2, 3, 4], &[]) };
        let none = BTreeSet::new();
        let step = |voters: &[u64], ready: bool| next(&half, &nodes(voters), &none, |_| ready);
        assert_eq!(step(&[1, 2, 4], true), Some(Change::Voters(nodes(&[1, 2, 4]))));
        let towards = Some(Change::Voters(nodes(&[1, 2])));
        assert_eq!(step(&[1, 2, 5], true), towards, "the fifth does not follow yet");
        assert_eq!(step(&[5], true), None, "a shard has a voter at all times");
    }

    /// Every pair of members over four nodes: steps end, at what is wanted, and a majority of the
    /// voters of each step is of the step before, or both sets had to agree.
    #[test]
    fn from_any_members_steps_lead_to_any_others() {
        let subset = |bits: u32| -> BTreeSet<NodeId> {
            (0..4).filter(|n| bits & (1 << n) != 0).map(|n| NodeId(n + 1)).collect()
        };
        for (from, to) in (1..16).flat_map(|from| (1..16).map(move |to| (from, to))) {
            for learners in 0..16 {
                let mut actual = Members { voters: subset(from), ..Members::default() };
                let (voters, learners) = (subset(to), subset(learners & !to));
                let mut steps = 0;
                while let Some(change) = next(&actual, &voters, &learners, |_| true) {
                    match change {
                        Change::Admit(nodes) => actual.learners.extend(nodes),
                        Change::Voters(nodes) => {
                            assert!(nodes.is_subset(&actual.all().collect()), "it follows");
                            let old = std::mem::replace(&mut actual.voters, nodes);
                            actual.learners.extend(old);
                            actual.learners.retain(|node| !actual.voters.contains(node));
                        }
                        Change::Dismiss(nodes) => {
                            assert!(nodes.is_subset(&actual.learners), "it has no vote");
                            actual.learners.retain(|node| !nodes.contains(node));
                        }
                    }
                    steps += 1;
                    assert!(steps <= 3, "{from:b} {to:b}");
                }
                assert_eq!((&actual.voters, &actual.learners), (&voters, &learners));
            }
        }
    }
}
