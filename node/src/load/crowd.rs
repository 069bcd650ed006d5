//! Many people at few doors: agents with several chats each, and customers who write to them.
//!
//! Everybody has a session. Customers open their chats through it, agents take them and keep them,
//! so that afterwards everything that goes on is messages. A message's clock starts just before the
//! customer's client is asked to send it, and stops when the agent's session reads `posted`; both
//! ends are in this process.
//!
//! Clients ask every few seconds whether their gateway is there, as browsers in the field do, and
//! not several times a second: a process that is killed closes its sockets, and that is heard.

mod meter;
mod people;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::RngExt as _;
use rotary_client::{Api, Gateway, Patience, SessionConfig};
use rotary_proto::SiteId;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::args::Options;
use super::latency::forget_wrap_up;
use super::pace::Pace;
use super::plan::{exponential, stream as draws};
use super::world::{World, customer};
use crate::bank::Mix;
use meter::Meter;
pub(crate) use meter::Seen;
use people::{Writer, agent, writer};

/// How often a client asks whether its gateway is there, and after how much silence it leaves.
const PING: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(20);
/// How long a connection, and a welcome, may take while thousands come at once.
const CONNECT: Duration = Duration::from_secs(10);
const WELCOME: Duration = Duration::from_secs(20);
/// How long everybody may take to come or to come back.
const COME: Duration = Duration::from_secs(300);
/// Credentials that are asked for at once, and people who come at once.
const AT_ONCE: usize = 64;
/// How long a message may take.
const MESSAGE: Duration = Duration::from_secs(30);

/// How customers write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Writing {
    /// So many messages a second on average, whatever becomes of them.
    Rate(f64),
    /// So many under way at a time, the next sent when one has been read.
    Closed(usize),
}

/// Agents and customers with a session each.
pub(crate) struct Crowd {
    world: World,
    doors: Vec<Gateway>,
    meter: Arc<Meter>,
    writers: Vec<Writer>,
    tasks: JoinSet<()>,
    closing: watch::Sender<bool>,
    seed: u64,
}

impl Crowd {
    /// Makes a tenant with sites and agents. Everybody tries `doors` in that order; `api` is asked
    /// for what has to be made.
    ///
    /// # Errors
    /// Options out of their bounds, or a cluster that refuses.
    pub(crate) async fn prepare(
        options: &Options,
        api: Vec<Gateway>,
        doors: Vec<Gateway>,
        token: &str,
    ) -> anyhow::Result<Self> {
        let mut options = options.clone();
        options.mix = Mix { voice: 0.0 };
        options.check()?;
        let api = Api::new(api, token, Patience::default())?;
        let (closing, closes) = watch::channel(false);
        let world = World::build(api, &options, &Pace::new(1.0, closes)).await?;
        for spec in &world.sites {
            forget_wrap_up(&world.api, spec.site).await?;
        }
        let (meter, seed) = (Arc::default(), options.seed);
        let (writers, tasks) = (Vec::new(), JoinSet::new());
        Ok(Self { world, doors, meter, writers, tasks, closing, seed })
    }

    /// The sites of it.
    pub(crate) fn sites(&self) -> Vec<SiteId> {
        self.world.sites.iter().map(|spec| spec.site).collect()
    }

    fn session(&self, token: &str) -> SessionConfig {
        let config = SessionConfig::new(self.doors.clone(), token.to_owned());
        SessionConfig { ping: PING, silence: SILENCE, connect: CONNECT, welcome: WELCOME, ..config }
    }

    /// Every agent signs in; how long that took.
    ///
    /// # Errors
    /// Agents who could not.
    pub(crate) async fn sign_in(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for spec in &self.world.agents {
            while self.tasks.len() >= self.meter.agents() + AT_ONCE {
                tokio::time::sleep(Duration::from_millis(5)).await;
                ensure_in_time(begun, "agents")?;
            }
            let (meter, closes) = (Arc::clone(&self.meter), self.closing.subscribe());
            self.tasks.spawn(agent(meter, spec.clone(), self.session(&spec.token), closes));
        }
        while self.meter.agents() < self.world.agents.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            ensure_in_time(begun, "agents")?;
        }
        Ok(begun.elapsed())
    }

    /// So many customers come and are served; how long that took, without their credentials.
    ///
    /// # Errors
    /// Customers whom nobody served in time.
    pub(crate) async fn arrive(&mut self, customers: usize) -> anyhow::Result<Duration> {
        let world = &self.world;
        let specs: Vec<_> = stream::iter(0..customers)
            .map(|number| {
                let site = world.sites[number % world.sites.len()].site;
                async move { Ok((site, customer(&world.api, world.tenant, site).await?)) }
            })
            .buffered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await
            .map_err(|error: anyhow::Error| error)?;
        let begun = Instant::now();
        for (site, spec) in specs {
            while self.writers.len() >= self.meter.served() + AT_ONCE {
                tokio::time::sleep(Duration::from_millis(5)).await;
                ensure_in_time(begun, "customers")?;
            }
            let (meter, closes) = (Arc::clone(&self.meter), self.closing.subscribe());
            let config = self.session(&spec.token);
            let (who, task) = writer(meter, site, spec.customer, config, closes)?;
            self.writers.push(who);
            self.tasks.spawn(task);
        }
        while self.meter.served() < customers {
            tokio::time::sleep(Duration::from_millis(5)).await;
            ensure_in_time(begun, "customers")?;
        }
        Ok(begun.elapsed())
    }

    /// Customers write for so long, and every message is waited for.
    ///
    /// # Errors
    /// A message that nobody read.
    pub(crate) async fn talk(&self, writing: Writing, time: Duration) -> anyhow::Result<Seen> {
        self.meter.clear();
        let begun = Instant::now();
        match writing {
            Writing::Rate(rate) => self.at_rate(rate, time).await?,
            Writing::Closed(under_way) => self.closed(under_way, time).await?,
        }
        let took = begun.elapsed();
        while self.meter.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if begun.elapsed() > took + MESSAGE {
                bail!("{} messages were not read in time", self.meter.waiting());
            }
        }
        self.expect_nobody_ended()?;
        Ok(self.meter.seen(took))
    }

    async fn at_rate(&self, rate: f64, time: Duration) -> anyhow::Result<()> {
        let (mut rng, begun) = (draws(self.seed, 78), tokio::time::Instant::now());
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_secs_f64(exponential(&mut rng, 1.0 / rate));
            if at > time {
                return Ok(());
            }
            tokio::time::sleep_until(begun + at).await;
            let writer = self.writers[rng.random_range(0..self.writers.len())].clone();
            tokio::spawn(async move { writer.write().await });
        }
    }

    async fn closed(&self, under_way: usize, time: Duration) -> anyhow::Result<()> {
        let (until, mut chains) = (Instant::now() + time, JoinSet::new());
        for chain in 0..under_way {
            let writers: Vec<Writer> =
                self.writers.iter().skip(chain).step_by(under_way).cloned().collect();
            chains.spawn(async move {
                for writer in writers.iter().cycle() {
                    if Instant::now() >= until {
                        break;
                    }
                    let read = tokio::time::timeout(MESSAGE, writer.write_and_wait()).await;
                    read.context("a message was not read in time")?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = chains.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Waits until so many sessions have come back since [`Crowd::talk`] or [`Crowd::forget`]; how
    /// long each heard nothing.
    ///
    /// # Errors
    /// Sessions that do not come back.
    pub(crate) async fn all_back(&self, sessions: usize) -> anyhow::Result<Vec<Duration>> {
        let begun = Instant::now();
        while self.meter.back() < sessions {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.expect_nobody_ended()?;
            let back = self.meter.back();
            ensure_in_time(begun, "sessions").with_context(|| format!("{back} are back"))?;
        }
        Ok(self.meter.outages())
    }

    /// Everything measured so far is forgotten.
    pub(crate) fn forget(&self) {
        self.meter.clear();
    }

    /// How many people have a session.
    pub(crate) fn sessions(&self) -> usize {
        self.world.agents.len() + self.writers.len()
    }

    /// A session that ended had a hole in its stream, or was told to.
    fn expect_nobody_ended(&self) -> anyhow::Result<()> {
        match self.meter.ended() {
            Some(why) => bail!("a session ended: {why}"),
            None => Ok(()),
        }
    }

    /// Lets everybody go.
    pub(crate) async fn close(mut self) {
        self.closing.send_replace(true);
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CONNECT, gone).await;
    }
}

fn ensure_in_time(begun: Instant, who: &str) -> anyhow::Result<()> {
    match begun.elapsed() > COME {
        true => bail!("not all {who} came within {} s", COME.as_secs()),
        false => Ok(()),
    }
}
