//! The demo for people: a status line, and keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rotary_proto::{NodeId, SiteId};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use super::args::DemoArgs;
use super::banner::KEYS;
use super::cluster::Cluster;
use super::kills::{Blow, Kill, Means};
use super::unverified::Unverified;
use crate::load::{Entrances, Finished, Load, Tally, Verdict, Verifier};
use crate::terminal::{Keys, interrupted};

/// Nodes that have a key.
const ALL_MAX: u8 = 9;
/// How often what is under way is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long the dead may take to serve again once somebody quits.
const READY: Duration = Duration::from_secs(60);

/// Runs until somebody quits, or time is over, and then to the verdict.
pub(super) async fn run(
    args: &DemoArgs,
    cluster: &mut Cluster,
    mut load: Load,
) -> anyhow::Result<(Finished, Vec<Kill>)> {
    let mut desk = Desk::new(&load);
    let stopper = load.stopper();
    let traffic = tokio::spawn(async move {
        let played = load.play(true).await;
        (load, played)
    });
    let mut keys = Keys::listen();
    desk.watch(args, cluster, &mut keys, &stopper).await?;
    stopper.send_replace(true);
    desk.look(true).await;
    println!("stopping: everybody finishes what they began; q again leaves without a verdict");
    let conclusion = async {
        cluster.restore().await?;
        cluster.wait_ready(READY).await?;
        let (load, played) = traffic.await?;
        played?;
        load.finish().await
    };
    tokio::select! {
        finished = conclusion => Ok((finished?, std::mem::take(&mut desk.kills))),
        () = desk.wait_for_leave(&mut keys) => Err(desk.unverified().into()),
    }
}

/// An interval that does not catch up.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

struct Desk {
    /// What the next digit is for.
    means: Means,
    entrances: Arc<Entrances>,
    sites: Vec<SiteId>,
    verifier: Arc<Verifier>,
    tally: Arc<Tally>,
    begun: Instant,
    /// Kills of which there is more to be seen.
    blows: Vec<Blow>,
    kills: Vec<Kill>,
    verifying: Option<JoinHandle<anyhow::Result<Verdict>>>,
    /// When the last verdict so far was given, and whether it passed.
    so_far: Option<(String, bool)>,
}

impl Desk {
    fn new(load: &Load) -> Self {
        Self {
            means: Means::Kill,
            entrances: load.entrances(),
            sites: load.sites(),
            verifier: Arc::new(load.verifier()),
            tally: load.tally(),
            begun: Instant::now(),
            blows: Vec::new(),
            kills: Vec::new(),
            verifying: None,
            so_far: None,
        }
    }

    async fn watch(
        &mut self,
        args: &DemoArgs,
        cluster: &mut Cluster,
        keys: &mut Keys,
        stopper: &watch::Sender<bool>,
    ) -> anyhow::Result<()> {
        let (mut second, mut look) = (every(Duration::from_secs(1)), every(LOOK));
        let end = args.seconds.map(Duration::from_secs);
        while !*stopper.borrow() {
            tokio::select! {
                biased;
                () = interrupted() => return Ok(()),
                key = keys.next() => {
                    if key == 'q' {
                        return Ok(());
                    }
                    if let Err(error) = self.press(key, cluster).await {
                        println!("{} that cannot be done: {error:#}", self.time());
                    }
                }
                _ = look.tick() => self.look(false).await,
                _ = second.tick() => {
                    cluster.fallen().iter().for_each(|fallen| println!("{fallen}"));
                    println!("{} {}", self.time(), self.tally);
                    if end.is_some_and(|end| self.begun.elapsed() >= end) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for somebody who does not want to wait for the verdict, and shows how it goes on.
    async fn wait_for_leave(&self, keys: &mut Keys) {
        let mut second = every(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                () = interrupted() => return,
                key = keys.next() => match key {
                    'q' => return,
                    _ => println!("keys: q leave without a verdict"),
                },
                _ = second.tick() => println!("{} {}", self.time(), self.tally),
            }
        }
    }

    fn unverified(&self) -> Unverified {
        let so_far = self.so_far.clone();
        Unverified { so_far, ..Unverified::of("the read-back", &self.tally) }
    }

    fn time(&self) -> String {
        let elapsed = self.begun.elapsed().as_secs();
        format!("{:02}:{:02}", elapsed / 60, elapsed % 60)
    }

    /// Tells what has come of kills and verdicts, or of all there are if nobody will look `last`.
    async fn look(&mut self, last: bool) {
        let (over, on): (Vec<Blow>, Vec<Blow>) = std::mem::take(&mut self.blows)
            .into_iter()
            .partition(|blow| last || blow.is_over(&self.tally));
        self.blows = on;
        for blow in over {
            let kill = blow.cost(&self.tally);
            println!("{} {kill}", self.time());
            self.kills.push(kill);
        }
        if let Some(verifying) = self.verifying.take_if(|verifying| verifying.is_finished()) {
            match verifying.await.map_err(anyhow::Error::from).flatten() {
                Ok(verdict) => {
                    println!("{} so far: {verdict}", self.time());
                    self.so_far = Some((self.time(), verdict.passes()));
                }
                Err(error) => println!("{} cannot be verified at present: {error:#}", self.time()),
            }
        }
    }

    async fn press(&mut self, key: char, cluster: &mut Cluster) -> anyhow::Result<()> {
        let means = std::mem::replace(&mut self.means, Means::Kill);
        match key {
            'p' => self.means = Means::Pause,
            'x' => self.means = Means::Cut,
            '1'..='9' => {
                let node = NodeId(u64::from(key as u32 - '0' as u32));
                self.strike(means, node, cluster).await?;
            }
            's' => match cluster.restore().await?.as_slice() {
                [] => println!("{} nothing is wrong with anybody", self.time()),
                restored => println!("{} {} again at work", self.time(), words(restored)),
            },
            '+' => self.add_gateway(cluster).await?,
            'v' if self.verifying.is_some() => println!("{} being verified already", self.time()),
            'v' => {
                let (verifier, api) = (Arc::clone(&self.verifier), cluster.api()?);
                println!("{} reading every running node back", self.time());
                self.verifying =
                    Some(tokio::spawn(async move { verifier.verify(api.gateways()).await }));
            }
            _ => println!("keys: {KEYS}"),
        }
        Ok(())
    }

    /// Does that to a node, or takes it back where it was done already.
    async fn strike(
        &mut self,
        means: Means,
        node: NodeId,
        cluster: &mut Cluster,
    ) -> anyhow::Result<()> {
        let time = self.time();
        if !cluster.nodes().iter().any(|(id, ..)| *id == node) {
            println!("{time} there is no {node}");
            return Ok(());
        }
        if !cluster.running().contains(&node) {
            println!("{time} {node} is dead already; s restarts it");
            return Ok(());
        }
        match means {
            Means::Pause if cluster.is_paused(node) => {
                cluster.toggle_pause(node)?;
                println!("{time} {node} goes on");
                return Ok(());
            }
            Means::Cut if cluster.is_cut_off(node) => {
                cluster.toggle_cut(node)?;
                println!("{time} {node} is joined to the others again");
                return Ok(());
            }
            _ => {}
        }
        self.blows.push(Blow::strike(cluster, &self.tally, &self.sites, node, means).await?);
        let (left, all) = cluster.cores_at_work();
        let more = if left * 2 > all { "" } else { ": no majority, so all waits until s" };
        println!("{time} {means} {node}; {left} of {all} core nodes are left{more}");
        Ok(())
    }

    async fn add_gateway(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        if cluster.nodes().len() >= usize::from(ALL_MAX) {
            println!("{} {ALL_MAX} nodes are as many as there are keys", self.time());
            return Ok(());
        }
        let node = cluster.add_gateway().await?;
        let gateway = cluster.start(node)?;
        let time = self.time();
        println!("{time} {node}, a gateway without data: {gateway}; people come in there, too");
        self.entrances.open(gateway);
        Ok(())
    }
}

fn words(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}
