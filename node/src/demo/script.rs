//! The demo without eyes: scripts that end by themselves.

use std::time::{Duration, Instant};

use anyhow::bail;
use rotary_proto::{NodeId, SiteId};
use tokio::task::JoinHandle;

use super::args::{DemoArgs, Script};
use super::cluster::Cluster;
use super::kills::{self, Kill, Prey};
use super::view::View;
use crate::load::{Finished, Load, Tally};

/// How long a killed node stays dead.
const DEAD: Duration = Duration::from_secs(3);
/// How long a restarted node may take to serve.
const READY: Duration = Duration::from_secs(60);
/// How long traffic may take to reach a shard.
const TRAFFIC: Duration = Duration::from_secs(60);

/// A load at play, and its counts.
struct Traffic {
    sites: Vec<SiteId>,
    tally: std::sync::Arc<Tally>,
    stopper: tokio::sync::watch::Sender<bool>,
    playing: JoinHandle<(Load, anyhow::Result<()>)>,
    progress: JoinHandle<()>,
}

impl Traffic {
    fn begin(mut load: Load, repeat: bool) -> Self {
        let (sites, tally, stopper) = (load.sites(), load.tally(), load.stopper());
        let playing = tokio::spawn(async move {
            let played = load.play(repeat).await;
            (load, played)
        });
        let seen = std::sync::Arc::clone(&tally);
        let progress = tokio::spawn(async move {
            let begun = Instant::now();
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let elapsed = begun.elapsed().as_secs();
                eprintln!("{:02}:{:02} {seen}", elapsed / 60, elapsed % 60);
            }
        });
        Self { sites, tally, stopper, playing, progress }
    }

    async fn end(self) -> anyhow::Result<Finished> {
        let (load, played) = self.playing.await?;
        played?;
        let finished = load.finish().await;
        self.progress.abort();
        finished
    }

    /// Kills a node, restarts it after a while, and waits until it serves again.
    async fn strike(
        &self,
        cluster: &mut Cluster,
        prey: Prey,
        last: Option<NodeId>,
    ) -> anyhow::Result<Kill> {
        let node = kills::victim(cluster, &self.sites, prey, last).await?;
        let begun = Instant::now();
        let mut kill = kills::kill(cluster, &self.tally, &self.sites, node).await?;
        tokio::time::sleep(DEAD.saturating_sub(begun.elapsed())).await;
        cluster.start_all().await?;
        kill.ready = Some(cluster.wait_ready(READY).await?);
        eprintln!("{kill}");
        Ok(kill)
    }

    /// Waits until some leader has live conversations.
    async fn wait_for_people(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < TRAFFIC {
            let view = View::of(&cluster.api()?, &self.sites).await?;
            if cluster.running().iter().any(|node| view.led_live(*node) > 3) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("no shard has live conversations after {} s", TRAFFIC.as_secs())
    }
}

/// Runs a script to its end.
pub(super) async fn run(
    which: Script,
    args: &DemoArgs,
    cluster: &mut Cluster,
    load: Load,
) -> anyhow::Result<(Finished, Vec<Kill>)> {
    match which {
        Script::KillLeader => kill_leader(args, cluster, load).await,
        Script::BankDay => bank_day(args, cluster, load).await,
        Script::Latency | Script::Overload | Script::Sockets => {
            bail!("a measurement has no traffic")
        }
    }
}

/// Kills the leader of a shard with live conversations, restarts it, goes on, and verifies.
async fn kill_leader(
    args: &DemoArgs,
    cluster: &mut Cluster,
    load: Load,
) -> anyhow::Result<(Finished, Vec<Kill>)> {
    let traffic = Traffic::begin(load, true);
    tokio::time::sleep(Duration::from_secs(5)).await;
    traffic.wait_for_people(cluster).await?;
    let kill = traffic.strike(cluster, Prey::Leader, None).await?;
    tokio::time::sleep(Duration::from_secs(args.seconds.unwrap_or(5))).await;
    traffic.stopper.send_replace(true);
    Ok((traffic.end().await?, vec![kill]))
}

/// Every other kill is of a leader; where there are gateway-only nodes, every third is, and every
/// third of one of these.
const fn prey(number: usize, gateways: bool) -> Prey {
    match (gateways, number % 2, number % 3) {
        (false, 0, _) | (true, _, 0) => Prey::Leader,
        (false, ..) | (true, _, 1) => Prey::Follower,
        (true, ..) => Prey::Gateway,
    }
}

/// Replays a whole day with kills spread over it.
async fn bank_day(
    args: &DemoArgs,
    cluster: &mut Cluster,
    load: Load,
) -> anyhow::Result<(Finished, Vec<Kill>)> {
    let day = load.duration();
    let traffic = Traffic::begin(load, false);
    let begun = Instant::now();
    let mut kills: Vec<Kill> = Vec::new();
    for number in 0..args.kills {
        let due = day.mul_f64((number as f64 + 0.5) / args.kills as f64);
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        if let Some(fallen) = cluster.fallen().first() {
            bail!("{fallen}");
        }
        let prey = prey(number, args.more_gateways() > 0);
        // The last of its kind: gateways are killed in turns, too.
        let of_kind = |kill: &&Kill| cluster.is_core(kill.node) == (prey != Prey::Gateway);
        let last = kills.iter().rev().find(of_kind).map(|kill| kill.node);
        kills.push(traffic.strike(cluster, prey, last).await?);
    }
    Ok((traffic.end().await?, kills))
}
