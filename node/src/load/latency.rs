//! How long an arrival takes to an agent's screen, and how much of that is the disk's.
//!
//! Customers open chats over HTTP, agents sit in sessions and take, close and forget them at once.
//! The clock of a contact starts just before its request is sent and stops when the agent's session
//! reads `offered`; both ends are in this process, so it is one monotonic clock. All the while a
//! file of this process on the cluster's file system grows by a record at a time, each one synced
//! ([`disk`]): the *floor*, what a lone durable write takes on this machine at this moment. What is
//! above the floor is Rotary's.
//!
//! Two things decide the way: whether the *door* that the customer asks leads the shard, and
//! whether the *agent's* session is on the leader. Doors and sessions go round the nodes, and each
//! contact is counted where it fell.
//!
//! Deliberately absent: no ledger and no verdict, which cost time on the same cores.

mod board;
mod disk;
mod figures;
mod overload;
mod people;
mod raw;
mod usage;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rotary_client::{Api, Gateway, Method, Patience};
use rotary_proto::plan::RequiredSkill;
use rotary_proto::{Channel, Name, NodeId, QueuePlan, SiteId, SkillId};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::args::Options;
use super::pace::Pace;
use super::plan::{exponential, stream};
use super::world::{CustomerSpec, World, queue_of};
use crate::bank::Mix;
use board::Board;
use disk::Disk;
pub(crate) use figures::{Figures, Quantiles};
#[cfg(test)]
pub(crate) use overload::Second;
pub(crate) use overload::{CONNECTIONS, Coming, Phase, Storm};
use people::Caller;
pub(crate) use usage::Usage;

/// How long agents may take to sign in.
const SIGN_IN: Duration = Duration::from_secs(60);
/// Contacts that are under way at a time when the most is asked for.
const AT_ONCE: usize = 64;
/// Arrivals a second, at most.
const RATE_MAX: f64 = 10_000.0;
/// Before times count: connections are made, and caches filled.
const WARM_UP: Duration = Duration::from_secs(2);

/// How contacts arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Arrivals {
    /// So many a second on average, whatever becomes of them; gaps are exponential.
    Rate(f64),
    /// The next one as soon as one is over: as many as the cluster can do.
    Most,
}

/// Agents at their screens, and customers to come.
pub(crate) struct Latency {
    world: World,
    board: Arc<Board>,
    doors: Vec<(NodeId, Gateway)>,
    agents: JoinSet<()>,
    closing: watch::Sender<bool>,
    seed: u64,
}

impl Latency {
    /// Makes a tenant with sites and agents, and lets the agents sign in, spread over `doors`.
    ///
    /// # Errors
    /// Options out of their bounds, or a cluster that refuses.
    pub(crate) async fn prepare(
        options: &Options,
        doors: Vec<(NodeId, Gateway)>,
        token: &str,
    ) -> anyhow::Result<Self> {
        let mut options = options.clone();
        options.mix = Mix { voice: 0.0 };
        options.check()?;
        let gateways: Vec<Gateway> = doors.iter().map(|(_, gateway)| gateway.clone()).collect();
        let api = Api::new(gateways.clone(), token, Patience::default())?;
        let (closing, closes) = watch::channel(false);
        let world = World::build(api, &options, &Pace::new(1.0, closes.clone())).await?;
        for spec in &world.sites {
            forget_wrap_up(&world.api, spec.site).await?;
        }
        let (board, mut agents) = (Arc::new(Board::default()), JoinSet::new());
        for spec in &world.agents {
            let gateways = gateways.clone();
            agents.spawn(people::agent(Arc::clone(&board), spec.clone(), gateways, closes.clone()));
        }
        let ready = async {
            while board.ready() < world.agents.len() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let signed_in = tokio::time::timeout(SIGN_IN, ready).await;
        signed_in.with_context(|| format!("only {} agents could sign in", board.ready()))?;
        Ok(Self { world, board, doors, agents, closing, seed: options.seed })
    }

    /// The sites that contacts arrive in.
    pub(crate) fn sites(&self) -> Vec<SiteId> {
        self.world.sites.iter().map(|spec| spec.site).collect()
    }

    /// Lets contacts arrive for so long, and measures each; `leaders` says where each came from.
    ///
    /// # Errors
    /// A contact that was not offered, or a disk that refuses.
    pub(crate) async fn measure(
        &self,
        arrivals: Arrivals,
        time: Duration,
        folder: &Path,
        leaders: &BTreeMap<SiteId, NodeId>,
    ) -> anyhow::Result<Figures> {
        self.arrive(arrivals, WARM_UP).await?;
        self.board.clear();
        let disk = Disk::sample(folder)?;
        let begun = Instant::now();
        let arrived = self.arrive(arrivals, time).await;
        let took = begun.elapsed();
        let floor = disk.end()?;
        Ok(Figures::of(arrived?, took, floor, &self.board.clear(), leaders))
    }

    /// Contacts arrive for so long, and all of them end; how many.
    async fn arrive(&self, arrivals: Arrivals, time: Duration) -> anyhow::Result<usize> {
        let callers = self.callers();
        match arrivals {
            Arrivals::Rate(rate) => {
                let range = format!("{rate} arrivals a second: more than 0 and up to {RATE_MAX}");
                ensure!(rate > 0.0 && rate <= RATE_MAX, range);
                self.at_rate(&callers, rate, time).await
            }
            Arrivals::Most => one_after_another(&callers, time).await,
        }
    }

    async fn at_rate(
        &self,
        callers: &[Arc<Caller>],
        rate: f64,
        time: Duration,
    ) -> anyhow::Result<usize> {
        let (mut rng, mut contacts) = (stream(self.seed, 77), JoinSet::new());
        let begun = tokio::time::Instant::now();
        let (mut at, mut number) = (Duration::ZERO, 0);
        loop {
            at += Duration::from_secs_f64(exponential(&mut rng, 1.0 / rate));
            if at > time {
                break;
            }
            tokio::time::sleep_until(begun + at).await;
            let caller = Arc::clone(&callers[number % callers.len()]);
            contacts.spawn(async move { caller.call().await });
            number += 1;
            while let Some(ended) = contacts.try_join_next() {
                ended??;
            }
        }
        while let Some(ended) = contacts.join_next().await {
            ended??;
        }
        Ok(number)
    }

    /// One caller for each pair of a site and a door.
    fn callers(&self) -> Vec<Arc<Caller>> {
        let sites = self.world.sites.iter();
        let pairs = sites.flat_map(|spec| self.doors.iter().map(move |door| (spec, door)));
        pairs
            .map(|(spec, (door, gateway))| {
                let alone = |customer: &CustomerSpec| CustomerSpec {
                    api: customer.api.only(gateway),
                    ..customer.clone()
                };
                let customers = spec.customers.iter().map(alone).collect();
                Arc::new(Caller::new(Arc::clone(&self.board), spec.site, *door, customers))
            })
            .collect()
    }

    /// The floor: how long a lone durable write takes, asked again and again for so long.
    ///
    /// # Errors
    /// A disk that refuses.
    pub(crate) async fn floor(folder: &Path, time: Duration) -> anyhow::Result<Vec<Duration>> {
        let disk = Disk::sample(folder)?;
        tokio::time::sleep(time).await;
        disk.end()
    }

    /// Lets the agents go home.
    pub(crate) async fn close(mut self) {
        self.closing.send_replace(true);
        while self.agents.join_next().await.is_some() {}
    }
}

/// Keeps so many contacts under way; how many ended.
async fn one_after_another(callers: &[Arc<Caller>], time: Duration) -> anyhow::Result<usize> {
    let (until, mut chains) = (Instant::now() + time, JoinSet::new());
    for chain in 0..AT_ONCE {
        let callers = callers.to_vec();
        chains.spawn(async move {
            let mut number = 0;
            while Instant::now() < until {
                callers[(chain + number) % callers.len()].call().await?;
                number += 1;
            }
            anyhow::Ok(number)
        });
    }
    let mut ended = 0;
    while let Some(chain) = chains.join_next().await {
        ended += chain??;
    }
    if ended == 0 { bail!("no contact ended in {} s", time.as_secs()) } else { Ok(ended) }
}

/// An agent is free again the moment a chat is closed: a distribution is an open, an accept and a
/// close.
pub(super) async fn forget_wrap_up(api: &Api, site: SiteId) -> anyhow::Result<()> {
    let skills = vec![RequiredSkill { skill: SkillId(2), level: 1 }];
    let plan = QueuePlan { skills, wrap_up_ms: 0, ..QueuePlan::named(Name::new("chats")?) };
    let path = format!("/v1/sites/{site}/queues/{}", queue_of(Channel::Chat));
    let changed = api.change(Method::PUT, &path, &serde_json::to_value(plan)?).await;
    changed.acknowledged().with_context(|| format!("PUT {path}"))?;
    Ok(())
}
