//! A site goes to another shard while everything goes wrong that does.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Damage, Fault, Kind, Refusal, Stage, not_yet, pick};
use crate::real::cluster::{Cluster, ClusterError};

#[derive(Deserialize)]
struct Page {
    data: Vec<Row>,
}

/// A site, as the directory has it.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    site: String,
    shard: String,
    moving: Option<Moves>,
}

/// Where it is to go, or why it did not get there.
#[derive(Debug, Clone, Deserialize)]
struct Moves {
    failed: Option<String>,
}

impl Row {
    fn is_at_rest(&self) -> bool {
        self.moving.as_ref().is_none_or(|moving| moving.failed.is_some())
    }
}

pub(super) fn begin(stage: &mut Stage<'_>) -> Result<Fault, Refusal> {
    let sites = rows(stage.cluster).ok_or_else(|| not_yet("nobody knows the sites"))?;
    let resting: Vec<usize> = (0..sites.len()).filter(|at| sites[*at].is_at_rest()).collect();
    let chosen = pick(stage.chance, &resting).ok_or_else(|| not_yet("no site is at rest"))?;
    let Row { site, shard: from, .. } = sites[chosen].clone();
    let shards: Vec<&str> = stage.view.data_shards().filter(|other| *other != from).collect();
    let to = pick(stage.chance, &shards).ok_or_else(|| not_yet("there is one shard"))?.to_owned();
    let (path, body) = (format!("/v1/sites/{site}/shard"), format!("{{\"shard\": \"{to}\"}}"));
    let taken = stage.cluster.numbers().any(|asked| {
        let answer = stage.cluster.change(asked, "PUT", &path, &body);
        answer.is_ok_and(|answer| answer.status == 200)
    });
    if !taken {
        return Err(not_yet("nobody takes the change"));
    }
    let detail = format!("{site} is to go from {from} to {to}");
    let damage = Box::new(Moving { site, to, arrived: false });
    Ok(Fault { kind: Kind::SiteMove, targets: BTreeSet::new(), detail, damage })
}

/// The sites, as the first node says that answers.
fn rows(cluster: &Cluster) -> Option<Vec<Row>> {
    let page = cluster.numbers().find_map(|asked| {
        let answer = cluster.ask(asked, "/v1/sites").ok()?;
        serde_json::from_str::<Page>(&answer.body).ok()
    });
    page.map(|page| page.data)
}

/// A site that is to live elsewhere. It does so, sooner or later, without anybody's help.
#[derive(Debug)]
struct Moving {
    site: String,
    to: String,
    arrived: bool,
}

impl Damage for Moving {
    fn has_settled(&mut self, cluster: &mut Cluster) -> bool {
        let is_it = |row: &Row| row.site == self.site && row.shard == self.to;
        self.arrived |= rows(cluster).is_some_and(|rows| rows.iter().any(is_it));
        self.arrived
    }

    fn bite(&mut self, cluster: &mut Cluster) -> Option<String> {
        self.has_settled(cluster).then(|| format!("it lives in {}", self.to))
    }

    fn mend(&mut self, _cluster: &mut Cluster) -> Result<(), ClusterError> {
        Ok(())
    }
}
