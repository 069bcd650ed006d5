//! Nodes that are to be empty: agents' and customers' sessions, leaders and effects go to others.
//!
//! Like everything said of nodes here it is a wish that outlives whoever said it: a node that is
//! stopped while it drains comes back draining, until somebody says that it is to serve again.

use std::sync::Arc;

use rotary_proto::NodeId;

use crate::command::{DirectoryDone, DirectoryEvent, DirectoryRefusal};
use crate::state::Directory;

type Done = Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal>;

impl Directory {
    /// Whether a node is to be empty.
    pub fn is_draining(&self, node: NodeId) -> bool {
        self.draining.contains(&node)
    }

    /// Has a node emptied, or lets it serve again.
    pub(crate) fn set_draining(&mut self, node: NodeId, drains: bool) -> Done {
        if !self.keeps_replicas(node) && self.node(node).is_none() {
            return Err(DirectoryRefusal::NodeUnknown);
        }
        if drains == self.is_draining(node) {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        if drains && self.is_last_serving(node) {
            return Err(DirectoryRefusal::LastServing { node });
        }
        let draining = Arc::make_mut(&mut self.draining);
        if drains {
            draining.insert(node);
        } else {
            draining.remove(&node);
        }
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::DrainSet { node, drains }]))
    }

    /// Whether that is a core node, and nobody else with a vote is there to lead.
    fn is_last_serving(&self, node: NodeId) -> bool {
        let serves = |node: &NodeId| !self.voteless.contains(node) && !self.is_draining(*node);
        let mut others = self.replicas.values().flatten().filter(|other| **other != node);
        self.keeps_replicas(node) && !others.any(serves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{DirectoryCommand, DirectoryOutcome};
    use crate::nodes::NodeKind;
    use crate::nodes::tests::announced;
    use crate::state::tests::{ask, members};

    const OK: DirectoryOutcome = DirectoryOutcome::Done(DirectoryDone::Ok);

    fn drain(node: u64, drains: bool) -> DirectoryCommand {
        DirectoryCommand::SetDraining { node: NodeId(node), drains }
    }

    fn founded(nodes: u64) -> Directory {
        let mut directory = Directory::new();
        ask(&mut directory, DirectoryCommand::Found { shards: 1, members: members(nodes) });
        directory
    }

    fn refused(refusal: DirectoryRefusal) -> DirectoryOutcome {
        DirectoryOutcome::Refused(refusal)
    }

    #[test]
    fn somebody_with_a_vote_always_serves() {
        let mut directory = founded(3);
        ask(&mut directory, DirectoryCommand::SetVote { node: NodeId(3), votes: false });
        assert_eq!(ask(&mut directory, drain(3, true)), OK, "it could not lead anyway");
        assert_eq!(ask(&mut directory, drain(1, true)), OK);
        let last = refused(DirectoryRefusal::LastServing { node: NodeId(2) });
        assert_eq!(ask(&mut directory, drain(2, true)), last);
        assert_eq!(ask(&mut directory, drain(1, false)), OK);
        assert_eq!(ask(&mut directory, drain(2, true)), OK);
        assert!(directory.is_draining(NodeId(2)) && !directory.is_draining(NodeId(1)));
    }

    #[test]
    fn a_gateway_may_drain_and_nobody_unknown() {
        let mut directory = founded(1);
        let unknown = refused(DirectoryRefusal::NodeUnknown);
        assert_eq!(ask(&mut directory, drain(4, true)), unknown);
        let announced = announced(NodeKind::Gateway, "1");
        ask(&mut directory, DirectoryCommand::Announce { node: NodeId(4), announced });
        assert_eq!(ask(&mut directory, drain(4, true)), OK);
        assert_eq!(ask(&mut directory, drain(4, true)), OK, "said twice");
        ask(&mut directory, DirectoryCommand::Forget { node: NodeId(4) });
        assert!(!directory.is_draining(NodeId(4)));
    }

    #[test]
    fn who_is_let_go_does_not_drain_any_more() {
        let mut directory = founded(3);
        ask(&mut directory, drain(2, true));
        ask(&mut directory, DirectoryCommand::Release { node: NodeId(2) });
        assert!(!directory.is_draining(NodeId(2)));
        ask(&mut directory, drain(3, true));
        let announced = announced(NodeKind::Core, "1");
        let (node, instead_of) = (NodeId(4), Some(NodeId(3)));
        ask(&mut directory, DirectoryCommand::Admit { node, announced, instead_of });
        assert_eq!(directory.draining.len(), 0);
    }
}
