//! What the public API tells about who leads what.

use std::collections::{BTreeMap, BTreeSet};

use rotary_client::{Api, ApiError};
use rotary_proto::query::SiteView;
use rotary_proto::{NodeId, ShardId, SiteId};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct ClusterJson {
    shards: Vec<ShardJson>,
}

#[derive(Debug, Deserialize)]
struct ShardJson {
    shard: ShardId,
    leader: Option<NodeId>,
    #[serde(default)]
    term: u64,
    #[serde(default)]
    last: u64,
}

#[derive(Debug, Deserialize)]
struct Rows<T> {
    data: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct SiteJson {
    site: SiteId,
    shard: ShardId,
}

/// Who leads what, and where people are.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Shards by leader, as the highest term has it.
    pub leads: BTreeMap<NodeId, BTreeSet<ShardId>>,
    /// Terms by shard, the highest that anybody said.
    pub terms: BTreeMap<ShardId, u64>,
    /// The load's sites and their shards.
    pub places: BTreeMap<SiteId, ShardId>,
    /// Live conversations by site.
    pub live: BTreeMap<SiteId, u64>,
}

impl View {
    /// Asks every gateway of `api` that answers; the highest term wins.
    pub(super) async fn of(api: &Api, sites: &[SiteId]) -> Result<Self, ApiError> {
        let mut leaders: BTreeMap<ShardId, (u64, NodeId)> = BTreeMap::new();
        for gateway in api.gateways() {
            let Ok(cluster) = api.only(gateway).read::<ClusterJson>("/v1/cluster").await else {
                continue;
            };
            for row in cluster.shards {
                let Some(leader) = row.leader else { continue };
                let known = leaders.entry(row.shard).or_insert((row.term, leader));
                if row.term > known.0 {
                    *known = (row.term, leader);
                }
            }
        }
        let mut view = Self::default();
        for (shard, (term, leader)) in leaders {
            view.terms.insert(shard, term);
            view.leads.entry(leader).or_default().insert(shard);
        }
        let rows: Rows<SiteJson> = api.read("/v1/sites").await?;
        let own = rows.data.into_iter().filter(|row| sites.contains(&row.site));
        view.places = own.map(|row| (row.site, row.shard)).collect();
        for site in sites {
            let seen: SiteView = api.read(&format!("/v1/sites/{site}")).await?;
            view.live.insert(*site, seen.conversations);
        }
        Ok(view)
    }

    /// Entries in the logs of all shards, as the first gateway that answers has them.
    pub(super) async fn entries(api: &Api) -> Result<u64, ApiError> {
        let cluster = api.read::<ClusterJson>("/v1/cluster").await?;
        Ok(cluster.shards.iter().map(|row| row.last).sum())
    }

    /// The load's sites in shards that `node` leads.
    pub(super) fn led_sites(&self, node: NodeId) -> BTreeSet<SiteId> {
        let led = self.leads.get(&node);
        let places = self.places.iter();
        let own = places.filter(|(_, shard)| led.is_some_and(|led| led.contains(shard)));
        own.map(|(site, _)| *site).collect()
    }

    /// Live conversations in shards that `node` leads.
    pub(super) fn led_live(&self, node: NodeId) -> u64 {
        let sites = self.led_sites(node);
        sites.iter().filter_map(|site| self.live.get(site)).sum()
    }

    /// How many shards `node` leads.
    pub(super) fn led(&self, node: NodeId) -> usize {
        self.leads.get(&node).map_or(0, BTreeSet::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_answers_for_the_sites_of_its_shards() {
        let (one, two) = (SiteId::new(1, 1), SiteId::new(1, 2));
        let view = View {
            terms: BTreeMap::new(),
            leads: [(NodeId(1), [ShardId(1), ShardId(2)].into())].into(),
            places: [(one, ShardId(2)), (two, ShardId(3))].into(),
            live: [(one, 7), (two, 5)].into(),
        };
        assert_eq!(view.led_sites(NodeId(1)), [one].into());
        assert_eq!((view.led_live(NodeId(1)), view.led_live(NodeId(2))), (7, 0));
        assert_eq!((view.led(NodeId(1)), view.led(NodeId(2))), (2, 0));
    }
}
