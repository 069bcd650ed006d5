//! From an arrival to the agent's screen, rate by rate: the script without a verdict.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use rotary_proto::{NodeId, SiteId};

use super::args::DemoArgs;
use super::cluster::Cluster;
use super::view::View;
use crate::load::{Arrivals, Figures, Latency};

/// How long each rate is measured, unless `--seconds` says.
const SECONDS: u64 = 20;

/// Measures and prints; an error is a contact that was not served.
pub(super) async fn run(args: &DemoArgs, cluster: &Cluster) -> anyhow::Result<bool> {
    let nodes = cluster.nodes().into_iter();
    let doors = nodes.map(|(node, gateway, _)| (node, gateway)).collect();
    let latency = Latency::prepare(&args.options(), doors, cluster.token()).await?;
    let measured = measure(args, cluster, &latency).await;
    latency.close().await;
    measured.map(|()| true)
}

async fn measure(args: &DemoArgs, cluster: &Cluster, latency: &Latency) -> anyhow::Result<()> {
    let time = Duration::from_secs(args.seconds.unwrap_or(SECONDS));
    let leaders = leaders(cluster, latency).await?;
    let mut table = Figures::table();
    for rate in &args.rates {
        eprintln!("{rate} arrivals a second for {} s", time.as_secs());
        let arrivals = Arrivals::Rate(*rate);
        let figures = latency.measure(arrivals, time, cluster.folder(), &leaders).await?;
        figures.tell(&format!("{rate}/s"), &mut table);
    }
    eprintln!("as many as it can for {} s", time.as_secs());
    let most = latency.measure(Arrivals::Most, time, cluster.folder(), &leaders).await?;
    let half = (most.rate / 2.0).round().max(1.0);
    eprintln!("{half} arrivals a second, the half of it, for {} s", time.as_secs());
    let figures = latency.measure(Arrivals::Rate(half), time, cluster.folder(), &leaders).await?;
    figures.tell(&format!("half, {half}/s"), &mut table);
    most.tell(&format!("most, {:.0}/s", most.rate), &mut table);
    let moved = self::leaders(cluster, latency).await? != leaders;
    ensure!(!moved, "a shard changed its leader meanwhile, so the ways are mixed up; run it again");
    println!("from a customer's request to the offer in an agent's session, in ms:\n\n{table}");
    println!("most: {:.0} chats a second opened, accepted and closed", most.rate);
    println!("half load: {}", figures.judged());
    Ok(())
}

/// Who leads each of the sites.
async fn leaders(cluster: &Cluster, latency: &Latency) -> anyhow::Result<BTreeMap<SiteId, NodeId>> {
    let view = View::of(&cluster.api()?, &latency.sites()).await?;
    let of = |node: NodeId| view.led_sites(node).into_iter().map(move |site| (site, node));
    Ok(cluster.running().into_iter().flat_map(of).collect())
}
