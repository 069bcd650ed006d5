//! People at a contact centre, driving a cluster through its public doors and writing down what
//! they asked and saw.
//!
//! [`drive`] makes a tenant of its own with sites, queues, skills and agents, lets customers come
//! at a rate until it is told to drain, and reads everything back from every gateway. It knows
//! nothing of faults: whoever breaks the cluster does so beside it, with the same [`Recorder`], and
//! records the marks `faults`, `heal` and, once all works again, `serve`. This module records
//! `setup`, `calm`, `drain`, `read-back` and `done`.
//!
//! * *Customers* open (about one in five with a session), write, wait as long as they have
//!   patience, and leave or stay.
//! * *Agents* accept, decline, let it ring, accept the same offer twice at once, write, give back,
//!   wrap up or forget to, sign out while they hold something, and lose their sockets.
//! * *Supervisors* read along, move what waits, and change what agents may hold.
//! * *Readers* of the event feed go from gateway to gateway.
//! * *Administrators* make webhooks, if there is somebody who answers, and change them.
//! * About one request in ten is sent twice under its key, to two gateways.
//!
//! Every id is made here, so that each effect names its cause. Every choice is drawn from the seed,
//! by a stream of its own for each person. What came of a request is what the client library says:
//! acknowledged, refused, or unknown; an unknown one is asked again under its key at the drain.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use rotary_chaos::history::{FORMAT, Head, Recorder};
//! use rotary_chaos::workload::{Config, Phase, drive};
//!
//! let (name, replay, nemeses) = ("calm".to_owned(), String::new(), Vec::new());
//! let head = Head { format: FORMAT, seed: 7, name, replay, nemeses };
//! let history = Recorder::create("history.jsonl".as_ref(), head)?;
//! let gateways = vec!["http://127.0.0.1:7080".parse()?];
//! let config = Config::new(gateways, "a token".to_owned(), 7);
//! let (say, phase) = tokio::sync::watch::channel(Phase::Run);
//! let driven = tokio::spawn(drive(config, history.clone(), phase));
//! tokio::time::sleep(std::time::Duration::from_secs(60)).await;
//! say.send(Phase::Drain)?;
//! let summary = driven.await??;
//! history.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! Memory is bounded by the number of people, [`Config::transcripts_max`] and a bound on doubts.

mod agent;
mod customer;
mod desk;
mod hooks;
mod paths;
mod readers;
mod scribe;
mod supervisor;
mod world;

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rotary_client::{Api, Gateway, Network, Patience, Trust};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::history::Recorder;
use desk::Desk;
use world::World;

pub use hooks::{Receivers, secret};

/// How long a request is tried before its outcome is called unknown.
const PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(2), total: Duration::from_secs(10) };
/// The same for what must succeed: setting up, reading back.
const LONG_PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(5), total: Duration::from_secs(90) };
/// How long customers who are there may take to leave once the drain begins.
const LEAVE: Duration = Duration::from_secs(45);

/// What is driven, and how hard.
#[derive(Debug, Clone)]
pub struct Config {
    /// Every gateway of the cluster; all are used, and all are read back.
    pub gateways: Vec<Gateway>,
    /// What connections to them are opened over.
    pub network: Network,
    /// Whose certificates are believed where gateways speak TLS, which they do over TCP alone.
    pub trust: Trust,
    /// An administrator's token of the cluster.
    pub token: String,
    /// Of every draw.
    pub seed: u64,
    /// Customers who come in a second, over all sites.
    pub rate: f64,
    /// How many sites are made.
    pub sites: u32,
    /// Agents of each site.
    pub agents: u32,
    /// Customers who may be there at once, over all sites; who comes then goes away again.
    pub customers_max: usize,
    /// Conversations that are read back from every gateway, drawn from all.
    pub transcripts_max: usize,
    /// Who answers webhooks' messages; without them there are no webhooks.
    pub receivers: Option<Receivers>,
    /// How long after the beginning of the drain conversations may still be open.
    pub drain_max: Duration,
}

impl Config {
    /// A small load: three customers a second at two sites with six agents each.
    pub fn new(gateways: Vec<Gateway>, token: String, seed: u64) -> Self {
        Self {
            gateways,
            network: Network::Tcp,
            trust: Trust::default(),
            token,
            seed,
            rate: 3.0,
            sites: 2,
            agents: 6,
            customers_max: 1_000,
            transcripts_max: 2_000,
            receivers: None,
            drain_max: Duration::from_secs(120),
        }
    }
}

/// What the workload is to do. Whoever drives the run says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Customers come.
    Run,
    /// Nobody comes any more; what is there is brought to its end and read back.
    Drain,
}

/// What was done, for progress lines. The history has the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Operations that took effect.
    pub ok: u64,
    /// Operations that certainly did not.
    pub fail: u64,
    /// Operations of which nobody knows, those included that were found out later.
    pub unknown: u64,
    /// Customers who came.
    pub customers: u64,
    /// Whether everything was over before the drain's time was.
    pub drained: bool,
}

/// Why a workload cannot begin or be read back.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct DriveError {
    /// What was wanted.
    pub what: String,
    /// What the cluster said, or did not.
    pub why: String,
}

impl DriveError {
    fn new(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string() }
    }
}

/// A stream of random choices of its own for each person.
fn stream(seed: u64, salt: u64) -> StdRng {
    let mixed = seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    StdRng::seed_from_u64(mixed)
}

/// Returns once nobody is to come any more.
async fn draining(mut phase: watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Drain).await;
}

/// Drives a cluster until `phase` says to drain (or its sender is gone), and reads it back.
///
/// # Errors
/// [`DriveError`] if the cluster cannot be set up, or no gateway can be read back.
pub async fn drive(
    config: Config,
    history: Recorder,
    phase: watch::Receiver<Phase>,
) -> Result<Summary, DriveError> {
    let api = Api::new(config.gateways.clone(), &config.token, PATIENCE)
        .map_err(|error| DriveError::new("the gateways", error))?;
    let api = match &config.network {
        Network::Tcp => api.trusting(&config.trust),
        other => api.over(other),
    };
    let desk = Arc::new(Desk::new(history.clone(), config.seed, config.transcripts_max));
    history.mark("setup");
    let world = World::build(&api, &desk, &config).await?;
    let world = Arc::new(world);
    history.mark("calm");
    let (leave, leaving) = watch::channel(false);
    let mut staff = JoinSet::new();
    let mut readers = JoinSet::new();
    for (number, spec) in world.agents.iter().enumerate() {
        let agent = agent::Agent::new(&world, &desk, spec.clone(), config.seed, number as u64);
        staff.spawn(agent.work(phase.clone(), leaving.clone()));
    }
    for (number, site) in world.sites.iter().enumerate() {
        let number = number as u64;
        oversee(&mut staff, (&world, &desk), (number, site), &config, (&phase, &leaving));
        let live = readers::follow(world.api.clone(), history.clone(), site.site, number);
        let leaving = leaving.clone();
        readers.spawn(async move {
            tokio::select! {
                () = live => {}
                () = left(leaving) => {}
            }
        });
    }
    readers.spawn(readers::watch_leaders(world.api.clone(), history.clone()));
    let mut customers = customer::arrive(&config, &world, &desk, phase).await;
    history.mark("drain");
    let _ =
        tokio::time::timeout(LEAVE, async { while customers.join_next().await.is_some() {} }).await;
    customers.shutdown().await;
    desk.settle_doubts().await;
    let drained = supervisor::drain(&world, &desk, config.drain_max).await;
    let _ = leave.send(true);
    while staff.join_next().await.is_some() {}
    hooks::settle(&world, &desk).await;
    readers.shutdown().await;
    if drained {
        history.mark("read-back");
    }
    readers::read_back(&world, &history, &desk.opened()).await?;
    history.mark("done");
    Ok(Summary { drained, ..desk.summary() })
}

/// Begins the work of those who see to a site.
fn oversee(
    staff: &mut JoinSet<()>,
    (world, desk): (&Arc<World>, &Arc<Desk>),
    (number, site): (u64, &world::Site),
    config: &Config,
    (phase, leaving): (&watch::Receiver<Phase>, &watch::Receiver<bool>),
) {
    let here = || (Arc::clone(world), Arc::clone(desk));
    let (draw, (world, desk)) = (stream(config.seed, 10_000 + number), here());
    staff.spawn(supervisor::oversee(world, desk, site.clone(), draw, phase.clone()));
    let (world, desk) = here();
    staff.spawn(supervisor::read_along(world, desk, site.clone(), leaving.clone()));
    if config.receivers.is_some() {
        let (draw, (world, desk)) = (stream(config.seed, 20_000 + number), here());
        staff.spawn(hooks::change(world, desk, site.site, draw, phase.clone()));
    }
}

/// Returns once everybody is to go home.
async fn left(mut leaving: watch::Receiver<bool>) {
    let _ = leaving.wait_for(|leaving| *leaving).await;
}
