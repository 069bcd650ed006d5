//! What an operator has a node do.

use std::collections::BTreeSet;

use rotary::simulated::Place;
use rotary_directory::Upgrade;
use rotary_log::{Role, next_change};
use rotary_proto::{NodeId, ShardId, SiteId};

use crate::simulation::node::{Node, id_of};

impl Node {
    /// Asks it to hand a group on; whether it leads it, and to another.
    pub(crate) fn hand_on(&self, group: u32, to: NodeId) -> bool {
        let Some(running) = &self.running else { return false };
        let Some(log) = running.log.get().cloned() else { return false };
        let _entered = running.process.runtime.enter();
        let leads = log.status(ShardId(group)).is_some_and(|status| status.role == Role::Leader);
        if leads && to != id_of(self.index) {
            running.process.runtime.spawn(async move { log.transfer(ShardId(group), to).await });
        }
        leads && to != id_of(self.index)
    }

    /// Has it take a group's next step towards these members, if it leads the group; whether there
    /// is none left.
    pub(crate) fn reseat(
        &self,
        group: u32,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
    ) -> Option<bool> {
        let running = self.running.as_ref().filter(|running| !running.process.is_paused())?;
        let (log, shard) = (running.log.get()?.clone(), ShardId(group));
        let _entered = running.process.runtime.enter();
        let status = log.status(shard).filter(|status| status.role == Role::Leader)?;
        let (actual, followers) = (log.members(shard)?, log.followers(shard)?);
        let has_all = |node| {
            let follower = followers.iter().find(|follower| follower.node == node);
            node == id_of(self.index)
                || follower.is_some_and(|found| found.matched >= status.applied_index)
        };
        let own = id_of(self.index);
        match next_change(&actual, voters, learners, has_all) {
            Some(change) if change.takes_vote_of(own) => {
                let mut stay = voters.intersection(&actual.voters);
                if let Some(to) = stay.find(|node| has_all(**node)).copied() {
                    running.process.runtime.spawn(async move { log.transfer(shard, to).await });
                }
            }
            Some(change) => {
                let change = async move { log.change_members(shard, change).await };
                running.process.runtime.spawn(change);
            }
            None => {}
        }
        let is_so = !actual.changing && actual.voters == *voters && actual.learners == *learners;
        Some(is_so)
    }

    /// Whether its directory wants that node to be empty; `None` if it has none to ask.
    pub(crate) fn knows_draining(&self, node: NodeId) -> Option<bool> {
        let running = self.running.as_ref().filter(|running| !running.process.is_paused())?;
        Some(running.doors.get()?.is_draining(node))
    }

    /// Has it bring that into the directory, as an operator's command does.
    pub(crate) fn set_draining(&self, node: NodeId, drains: bool) {
        let Some(running) = &self.running else { return };
        let Some(doors) = running.doors.get().cloned() else { return };
        running.process.runtime.spawn(async move { doors.set_draining(node, drains).await });
    }

    /// How many data shards its directory has; `None` if it has none to ask.
    pub(crate) fn shards(&self) -> Option<u32> {
        let running = self.running.as_ref().filter(|running| !running.process.is_paused())?;
        Some(running.doors.get()?.shards())
    }

    /// Has it ask for so many, as an operator's command does.
    pub(crate) fn want_shards(&self, shards: u32) {
        let Some(running) = &self.running else { return };
        let Some(doors) = running.doors.get().cloned() else { return };
        running.process.runtime.spawn(async move { doors.want_shards(shards).await });
    }

    /// Where its directory has the sites, and how many shards there are; `None` if there is none to
    /// ask.
    pub(crate) fn places(&self) -> Option<(Vec<Place>, u32)> {
        let running = self.running.as_ref().filter(|running| !running.process.is_paused())?;
        let doors = running.doors.get()?;
        Some((doors.places(), doors.shards()))
    }

    /// Has it ask for a site to live in a shard, as an operator's command does.
    pub(crate) fn move_site(&self, site: SiteId, to: ShardId) {
        let Some(running) = &self.running else { return };
        let Some(doors) = running.doors.get().cloned() else { return };
        running.process.runtime.spawn(async move { doors.move_site(site, to).await });
    }

    /// What its directory acts by and wants of the logic, and what its replicas act by; `None` if
    /// there is nobody to ask.
    pub(crate) fn logic(&self) -> Option<(Upgrade, Vec<u32>)> {
        let running = self.running.as_ref().filter(|running| !running.process.is_paused())?;
        let doors = running.doors.get()?;
        Some((doors.upgrade(), doors.logic_versions()))
    }

    /// Has it ask for a version of the logic, or for none any more, as an operator's command does.
    pub(crate) fn want_logic(&self, version: Option<u32>) {
        let Some(running) = &self.running else { return };
        let Some(doors) = running.doors.get().cloned() else { return };
        running.process.runtime.spawn(async move { doors.want_logic(version).await });
    }
}
