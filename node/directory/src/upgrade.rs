//! Which version of the logic the cluster acts by, and which it is to act by.
//!
//! An administrator says what is *wanted*; it is taken back as easily. Whoever leads the directory
//! then raises the directory's own version, one step at a time, by an entry of its log: that is the
//! point from which there is no way back. The leaders of the other shards raise theirs up to the
//! directory's, and never beyond. So nothing can be taken back that a shard has begun to act by,
//! whichever leader looks when.
//!
//! A node whose build cannot apply what the directory acts by is not taken in, and not taken for
//! what it says of itself.

use std::collections::BTreeSet;

use rotary_proto::{FIRST_LOGIC, LogicVersions, NodeId, UnfitBuild};
use serde::{Deserialize, Serialize};

use crate::command::{DirectoryCommand, DirectoryDone, DirectoryEvent, DirectoryRefusal};
use crate::nodes::{NodeKind, bad};
use crate::state::Directory;

type Done = Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal>;

/// Versions of the logic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// What the directory acts by, and every shard acts by or is about to.
    pub acts_by: u32,
    /// What it is to act by; at least that.
    pub wanted: u32,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { acts_by: FIRST_LOGIC, wanted: FIRST_LOGIC }
    }
}

impl Upgrade {
    pub(crate) const fn is_valid(self) -> bool {
        FIRST_LOGIC <= self.acts_by && self.acts_by <= self.wanted
    }
}

impl Directory {
    /// Which version of the logic the cluster acts by, and is to act by.
    pub fn upgrade(&self) -> Upgrade {
        self.upgrade
    }

    /// Makes sure that a build that can apply those versions may apply a command here.
    ///
    /// # Errors
    /// The version that the build would have to apply.
    pub fn fits(
        &self,
        command: Option<&DirectoryCommand>,
        can: LogicVersions,
    ) -> Result<(), UnfitBuild> {
        let version = match command {
            // One that is refused raises nothing.
            Some(DirectoryCommand::RaiseVersion { version }) if self.raises(*version).is_ok() => {
                *version
            }
            _ => self.upgrade.acts_by,
        };
        if can.include(version) { Ok(()) } else { Err(UnfitBuild { version, can }) }
    }

    /// The nodes that an upgrade waits for: those that keep replicas, and gateway-only ones. Core
    /// nodes that were let go do not matter.
    pub fn participants(&self) -> BTreeSet<NodeId> {
        let keepers = self.replicas.values().flatten().copied();
        let doors = self.nodes.iter().filter(|(_, known)| known.kind == NodeKind::Gateway);
        keepers.chain(doors.map(|(node, _)| *node)).collect()
    }

    /// Those of them that cannot apply a version, or have not said what they can.
    pub fn unfit(&self, version: u32) -> BTreeSet<NodeId> {
        let can = |node: &NodeId| self.node(*node).is_some_and(|it| it.logic.include(version));
        self.participants().into_iter().filter(|node| !can(node)).collect()
    }

    /// Refuses a node whose build cannot apply what the cluster acts by.
    pub(crate) fn check_build(
        &self,
        node: NodeId,
        can: LogicVersions,
    ) -> Result<(), DirectoryRefusal> {
        let version = self.upgrade.acts_by;
        if can.include(version) {
            return Ok(());
        }
        Err(DirectoryRefusal::BuildUnfit { node, can, version })
    }

    /// Wants a version.
    pub(crate) fn finalize(&mut self, version: u32) -> Done {
        if self.replicas.is_empty() {
            return Err(DirectoryRefusal::NotFounded);
        }
        if version < self.upgrade.acts_by {
            return Err(DirectoryRefusal::UpgradeFinal { version: self.upgrade.acts_by });
        }
        let nodes = self.unfit(version);
        if !nodes.is_empty() {
            return Err(DirectoryRefusal::UpgradeBlocked { version, nodes });
        }
        Ok(self.want(version))
    }

    /// Wants what is so already.
    pub(crate) fn abort_upgrade(&mut self) -> Done {
        let Upgrade { acts_by, wanted } = self.upgrade;
        if wanted == acts_by && acts_by > FIRST_LOGIC {
            return Err(DirectoryRefusal::UpgradeFinal { version: acts_by });
        }
        Ok(self.want(acts_by))
    }

    fn want(&mut self, version: u32) -> (DirectoryDone, Vec<DirectoryEvent>) {
        let before = std::mem::replace(&mut self.upgrade.wanted, version);
        assert!(self.upgrade.is_valid(), "nothing older is wanted than what is acted by");
        let changed = before != version;
        let events = changed.then_some(DirectoryEvent::LogicWanted { version });
        (DirectoryDone::Ok, events.into_iter().collect())
    }

    /// Whether a version is the next that is wanted, and nobody stands in its way.
    fn raises(&self, version: u32) -> Result<(), DirectoryRefusal> {
        let Upgrade { acts_by, wanted } = self.upgrade;
        if version != acts_by.saturating_add(1) || version > wanted {
            let rule = format!("the next after {acts_by}, and wanted; {wanted} is");
            return Err(bad("version", rule));
        }
        match self.unfit(version) {
            nodes if nodes.is_empty() => Ok(()),
            nodes => Err(DirectoryRefusal::UpgradeBlocked { version, nodes }),
        }
    }

    /// Acts by the next version from here on.
    pub(crate) fn raise_version(&mut self, version: u32) -> Done {
        if version <= self.upgrade.acts_by {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        self.raises(version)?;
        self.upgrade.acts_by = version;
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::LogicRaised { version }]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Announced;
    use crate::command::DirectoryOutcome;
    use crate::nodes::tests::announced;
    use crate::state::tests::{ask, members};

    const OK: DirectoryOutcome = DirectoryOutcome::Done(DirectoryDone::Ok);

    fn refused(refusal: DirectoryRefusal) -> DirectoryOutcome {
        DirectoryOutcome::Refused(refusal)
    }

    fn announce(node: u64, kind: NodeKind, newest: u32) -> DirectoryCommand {
        let logic = LogicVersions { oldest: 1, newest };
        let announced = Announced { logic, ..announced(kind, "1") };
        DirectoryCommand::Announce { node: NodeId(node), announced }
    }

    fn finalize(version: u32) -> DirectoryCommand {
        DirectoryCommand::Finalize { version }
    }

    fn raise(version: u32) -> DirectoryCommand {
        DirectoryCommand::RaiseVersion { version }
    }

    fn blocked(version: u32, nodes: &[u64]) -> DirectoryOutcome {
        let nodes = nodes.iter().copied().map(NodeId).collect();
        refused(DirectoryRefusal::UpgradeBlocked { version, nodes })
    }

    /// Three core nodes and a gateway-only one, the last two of which run the old build.
    fn half_way() -> Directory {
        let mut directory = Directory::new();
        ask(&mut directory, DirectoryCommand::Found { shards: 1, members: members(3) });
        for (node, newest) in [(1, 2), (2, 2), (3, 1)] {
            assert_eq!(ask(&mut directory, announce(node, NodeKind::Core, newest)), OK);
        }
        assert_eq!(ask(&mut directory, announce(4, NodeKind::Gateway, 1)), OK);
        directory
    }

    fn all_new() -> Directory {
        let mut directory = half_way();
        ask(&mut directory, announce(3, NodeKind::Core, 2));
        ask(&mut directory, announce(4, NodeKind::Gateway, 2));
        directory
    }

    fn versions(directory: &Directory) -> (u32, u32) {
        (directory.upgrade().acts_by, directory.upgrade().wanted)
    }

    #[test]
    fn nothing_is_wanted_that_a_node_cannot_apply_or_has_not_said_that_it_can() {
        let mut directory = half_way();
        assert_eq!(ask(&mut directory, finalize(2)), blocked(2, &[3, 4]));
        assert_eq!(ask(&mut directory, DirectoryCommand::Forget { node: NodeId(4) }), OK);
        assert_eq!(ask(&mut directory, finalize(2)), blocked(2, &[3]));
        assert_eq!(ask(&mut directory, DirectoryCommand::Release { node: NodeId(3) }), OK);
        assert_eq!(ask(&mut directory, finalize(2)), OK, "who was let go does not matter");
        assert_eq!(versions(&directory), (1, 2));
        let mut silent = Directory::new();
        assert_eq!(ask(&mut silent, finalize(2)), refused(DirectoryRefusal::NotFounded));
        ask(&mut silent, DirectoryCommand::Found { shards: 1, members: members(2) });
        ask(&mut silent, announce(1, NodeKind::Core, 2));
        assert_eq!(ask(&mut silent, finalize(2)), blocked(2, &[2]));
    }

    #[test]
    fn it_is_taken_back_until_the_directory_acts_by_it() {
        let mut directory = all_new();
        assert_eq!(ask(&mut directory, DirectoryCommand::AbortUpgrade), OK, "nothing is wanted");
        assert_eq!(ask(&mut directory, finalize(2)), OK);
        assert_eq!(ask(&mut directory, finalize(2)), OK, "said twice");
        assert_eq!(ask(&mut directory, DirectoryCommand::AbortUpgrade), OK);
        assert_eq!(versions(&directory), (1, 1));
        let late = ask(&mut directory, raise(2));
        assert!(matches!(late, DirectoryOutcome::Refused(_)), "a leader that had not heard of it");
        assert_eq!(versions(&directory), (1, 1));
        ask(&mut directory, finalize(2));
        assert_eq!(ask(&mut directory, raise(2)), OK);
        assert_eq!(versions(&directory), (2, 2));
        let no_way_back = refused(DirectoryRefusal::UpgradeFinal { version: 2 });
        assert_eq!(ask(&mut directory, DirectoryCommand::AbortUpgrade), no_way_back);
        assert_eq!(ask(&mut directory, finalize(1)), no_way_back);
        assert_eq!(ask(&mut directory, raise(2)), OK, "another leader said it before");
    }

    #[test]
    fn a_node_that_goes_back_meanwhile_holds_it_up() {
        let mut directory = all_new();
        ask(&mut directory, finalize(2));
        assert_eq!(ask(&mut directory, announce(2, NodeKind::Core, 1)), OK, "it may go back");
        assert_eq!(ask(&mut directory, raise(2)), blocked(2, &[2]));
        assert_eq!(versions(&directory), (1, 2));
        ask(&mut directory, announce(2, NodeKind::Core, 2));
        assert_eq!(ask(&mut directory, raise(2)), OK);
    }

    #[test]
    fn builds_that_cannot_apply_it_are_not_taken_from_there_on() {
        let mut directory = all_new();
        ask(&mut directory, finalize(2));
        ask(&mut directory, raise(2));
        let unfit = |node| {
            let can = LogicVersions { oldest: 1, newest: 1 };
            refused(DirectoryRefusal::BuildUnfit { node: NodeId(node), can, version: 2 })
        };
        assert_eq!(ask(&mut directory, announce(2, NodeKind::Core, 1)), unfit(2));
        assert_eq!(ask(&mut directory, announce(4, NodeKind::Gateway, 1)), unfit(4));
        let logic = LogicVersions { oldest: 1, newest: 1 };
        let announced = Announced { logic, ..announced(NodeKind::Core, "1") };
        let (node, instead_of) = (NodeId(9), None);
        let admit = DirectoryCommand::Admit { node, announced, instead_of };
        assert_eq!(ask(&mut directory, admit), unfit(9));
        assert_eq!(ask(&mut directory, announce(2, NodeKind::Core, 3)), OK);
    }

    #[test]
    fn versions_are_raised_one_at_a_time() {
        let mut directory = Directory::new();
        ask(&mut directory, DirectoryCommand::Found { shards: 1, members: members(1) });
        ask(&mut directory, announce(1, NodeKind::Core, 3));
        ask(&mut directory, finalize(3));
        let skipped = ask(&mut directory, raise(3));
        assert!(matches!(skipped, DirectoryOutcome::Refused(_)), "{skipped:?}");
        assert_eq!(ask(&mut directory, raise(2)), OK);
        assert_eq!(versions(&directory), (2, 3));
        assert_eq!(ask(&mut directory, DirectoryCommand::AbortUpgrade), OK, "the rest of it");
        assert_eq!(versions(&directory), (2, 2));
    }

    #[test]
    fn a_build_may_apply_what_it_can_and_no_entry_beyond() {
        let old = LogicVersions { oldest: 1, newest: 1 };
        let mut directory = all_new();
        assert_eq!(directory.fits(Some(&raise(2)), old), Ok(()), "it is refused anyway");
        ask(&mut directory, finalize(2));
        let unfit = Err(UnfitBuild { version: 2, can: old });
        assert_eq!(directory.fits(Some(&raise(2)), old), unfit);
        assert_eq!(directory.fits(Some(&finalize(2)), old), Ok(()));
        ask(&mut directory, raise(2));
        assert_eq!(directory.fits(None, old), unfit);
        assert_eq!(directory.fits(None, LogicVersions { oldest: 2, newest: 5 }), Ok(()));
    }
}
