//! The demo for people: a status line, and keys.

use std::time::{Duration, Instant};

use rotary_proto::NodeId;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::args::DemoArgs;
use super::cluster::Cluster;
use super::keys::Keys;
use super::kills::{self, Kill};
use crate::load::{Finished, Load, Verifier};

/// Runs until somebody quits, or time is over.
pub(super) async fn run(
    args: &DemoArgs,
    cluster: &mut Cluster,
    mut load: Load,
) -> anyhow::Result<(Finished, Vec<Kill>)> {
    let mut desk = Desk {
        sites: load.sites(),
        verifier: load.verifier(),
        tally: load.tally(),
        begun: Instant::now(),
        kills: Vec::new(),
    };
    let stopper = load.stopper();
    let traffic = tokio::spawn(async move {
        let played = load.play(true).await;
        (load, played)
    });
    let mut keys = Keys::listen();
    desk.watch(args, cluster, &mut keys, &stopper).await?;
    stopper.send_replace(true);
    drop(keys);
    println!("stopping: everybody finishes what they began");
    cluster.start_all().await?;
    cluster.wait_ready(Duration::from_secs(60)).await?;
    let (load, played) = traffic.await?;
    played?;
    Ok((load.finish().await?, desk.kills))
}

struct Desk {
    sites: Vec<rotary_proto::SiteId>,
    verifier: Verifier,
    tally: std::sync::Arc<crate::load::Tally>,
    begun: Instant,
    kills: Vec<Kill>,
}

impl Desk {
    async fn watch(
        &mut self,
        args: &DemoArgs,
        cluster: &mut Cluster,
        keys: &mut Keys,
        stopper: &watch::Sender<bool>,
    ) -> anyhow::Result<()> {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let end = args.seconds.map(Duration::from_secs);
        while !*stopper.borrow() {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => return Ok(()),
                key = keys.next() => {
                    if key == 'q' {
                        return Ok(());
                    }
                    self.press(key, cluster).await?;
                }
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

    fn time(&self) -> String {
        let elapsed = self.begun.elapsed().as_secs();
        format!("{:02}:{:02}", elapsed / 60, elapsed % 60)
    }

    async fn press(&mut self, key: char, cluster: &mut Cluster) -> anyhow::Result<()> {
        match key {
            '1' | '2' | '3' => {
                let node = NodeId(u64::from(key as u32 - '0' as u32));
                if !cluster.running().contains(&node) {
                    println!("{} {node} is dead already; s restarts it", self.time());
                    return Ok(());
                }
                let kill = kills::kill(cluster, &self.tally, &self.sites, node).await?;
                println!("{} {kill}", self.time());
                self.kills.push(kill);
            }
            's' => {
                let started = cluster.start_all().await?;
                println!("{} restarted {started:?}", self.time());
            }
            'v' => match self.verifier.verify(cluster.api()?.gateways()).await {
                Ok(verdict) => println!("{} so far: {verdict}", self.time()),
                Err(error) => println!("{} cannot be verified now: {error:#}", self.time()),
            },
            _ => println!("keys: 1 2 3 kill -9 | s restart | v verify | q quit"),
        }
        Ok(())
    }
}
