//! Reading everything back, from each node on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rotary_client::{Api, Gateway, Patience};
use rotary_proto::event::Viewer;
use rotary_proto::query::SiteView;
use rotary_proto::{Cursor, Event, NodeId, SiteId, Wall};
use serde::Deserialize;

use super::ledger::{FeedEvent, History, NodeReading, Readings, digest};

/// Rows asked for at once.
const PAGE: usize = 1_000;
/// How long a node may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Feeds that are read at once from one node.
const AT_ONCE: usize = 4;

/// A cursor in full, or its sequence alone.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Place {
    Cursor(Cursor),
    Sequence(u64),
}

impl Place {
    const fn sequence(&self) -> u64 {
        match self {
            Self::Cursor(cursor) => cursor.sequence,
            Self::Sequence(sequence) => *sequence,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Row {
    cursor: Place,
    index: u64,
    wall: Wall,
    event: Event,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Row>,
    through: u64,
}

/// What to read.
pub(super) struct Wanted {
    /// Whole sites.
    sites: Vec<SiteId>,
    /// Viewers that had sessions, and between which places these read.
    viewers: BTreeMap<(SiteId, Viewer), (u64, u64)>,
    /// How far sessions have seen each site.
    seen: BTreeMap<SiteId, u64>,
}

impl Wanted {
    /// What a ledger's evidence needs to be judged.
    pub(super) fn by(history: &History, sites: Vec<SiteId>) -> Self {
        let mut seen: BTreeMap<SiteId, u64> = sites.iter().map(|site| (*site, 0)).collect();
        let mut viewers: BTreeMap<(SiteId, Viewer), (u64, u64)> = BTreeMap::new();
        for log in history.streams.values() {
            let range = viewers.entry((log.site, log.viewer)).or_insert((u64::MAX, 0));
            for segment in &log.segments {
                let Some(last) = segment.events.last() else { continue };
                *range = (range.0.min(segment.after), range.1.max(last.cursor));
            }
            let end = seen.entry(log.site).or_default();
            *end = range.1.max(*end);
        }
        Self { sites, viewers, seen }
    }
}

/// Reads what is wanted from every gateway of `api`.
///
/// # Errors
/// A node that cannot be read, or does not catch up with the others.
pub(super) async fn read(api: &Api, wanted: &Wanted) -> anyhow::Result<Readings> {
    let ends = ends(api, &wanted.seen).await?;
    let mut readings = Readings::default();
    for gateway in api.gateways() {
        let (node, reading) = read_node(api, gateway, wanted, &ends)
            .await
            .with_context(|| format!("reading back from {gateway}"))?;
        if readings.nodes.insert(node, reading).is_some() {
            bail!("{gateway} answers as {node}, and so does another gateway");
        }
    }
    Ok(readings)
}

/// How far each site's events go, by any node or session. Every node must tell that much.
async fn ends(api: &Api, seen: &BTreeMap<SiteId, u64>) -> anyhow::Result<BTreeMap<SiteId, u64>> {
    let mut ends = BTreeMap::new();
    for (site, seen) in seen {
        let mut end = *seen;
        for gateway in api.gateways() {
            let view: SiteView = api.only(gateway).read(&format!("/v1/sites/{site}")).await?;
            end = end.max(view.sequence);
        }
        ends.insert(*site, end);
    }
    Ok(ends)
}

async fn read_node(
    api: &Api,
    gateway: &Gateway,
    wanted: &Wanted,
    ends: &BTreeMap<SiteId, u64>,
) -> anyhow::Result<(NodeId, NodeReading)> {
    let patience = Patience { attempt: Duration::from_secs(20), ..Patience::default() };
    let api = api.only(gateway).patient(patience);
    let mut reading = NodeReading::default();
    let mut nodes = BTreeSet::new();
    for site in &wanted.sites {
        let end = ends.get(site).copied().unwrap_or_default();
        let (node, rows) = read_feed(&api, *site, Viewer::Supervisor, 0, end).await?;
        nodes.insert(node);
        reading.sites.insert(*site, rows.into_iter().map(whole).collect());
    }
    let viewers: Vec<_> = wanted.viewers.iter().map(|(viewer, range)| (*viewer, *range)).collect();
    let viewers = stream::iter(viewers)
        .map(|((site, viewer), (after, end))| {
            let api = &api;
            async move {
                let (node, rows) = read_feed(api, site, viewer, after, end).await?;
                let digests = rows.iter().map(|row| (row.cursor.sequence(), digest(&row.event)));
                anyhow::Ok((node, (site, viewer), digests.collect::<Vec<_>>()))
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    for (node, viewer, digests) in viewers {
        nodes.insert(node);
        reading.viewers.insert(viewer, digests);
    }
    match nodes.pop_first() {
        Some(node) if nodes.is_empty() => Ok((node, reading)),
        Some(_) => bail!("different nodes answer behind one gateway; name each node's own"),
        None => bail!("there was nothing to read"),
    }
}

fn whole(row: Row) -> FeedEvent {
    let Row { cursor, index, wall, event } = row;
    FeedEvent { sequence: cursor.sequence(), index, wall: wall.0, event }
}

/// Reads a feed after a place up to `end` and no further, waiting for a node that is behind. Where
/// there is nothing between them, the node says at least who it is.
async fn read_feed(
    api: &Api,
    site: SiteId,
    viewer: Viewer,
    after: u64,
    end: u64,
) -> anyhow::Result<(NodeId, Vec<Row>)> {
    let deadline = Instant::now() + CATCH_UP;
    let viewer = name(viewer);
    let (mut rows, mut after) = (Vec::new(), after.min(end));
    loop {
        let path = format!("/v1/sites/{site}/events?after={after}&limit={PAGE}&viewer={viewer}");
        let answer = api.fetch(&path).await?;
        let node = answer.header("rotary-node").and_then(|text| text.parse::<NodeId>().ok());
        let node = node.context("an answer without a Rotary-Node header")?;
        let page: Page = serde_json::from_slice(&answer.body).with_context(|| path.clone())?;
        let advanced = page.through > after;
        after = after.max(page.through);
        rows.extend(page.data);
        if after >= end {
            rows.retain(|row: &Row| row.cursor.sequence() <= end);
            return Ok((node, rows));
        }
        if !advanced {
            if Instant::now() >= deadline {
                bail!("{site} stands at {after} there, and at {end} elsewhere");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How the API names a viewer.
fn name(viewer: Viewer) -> String {
    match viewer {
        Viewer::Supervisor => "supervisor".to_owned(),
        Viewer::Agent(agent) => format!("agent:{agent}"),
        Viewer::Customer(customer) => format!("customer:{customer}"),
    }
}
