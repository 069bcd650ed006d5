//! A run from its preparation to its verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use rotary_client::{Api, Gateway, Patience, Trust};
use rotary_proto::SiteId;
use rotary_proto::query::SiteView;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::agent::Agent;
use super::args::{Options, TraceArgs};
use super::conduct::{Conduct, Entrances};
use super::customer::Customer;
use super::day::Day;
use super::desk::Desk;
use super::floor::Floor;
use super::ledger::{Effects, History, LINES, Ledger, OpEnd, Readings, Record, Run, Verdict};
use super::ledger::{check, settle};
use super::pace::{Pace, raised};
use super::plan::Arrival;
use super::readback::{self, Wanted};
use super::tally::Tally;
use super::verify;
use super::verify::Verifier;
use super::world::{self, World};
use crate::cli::trust;
use crate::report;

/// How long agents may take to sign in.
const SIGN_IN: Duration = Duration::from_secs(60);
/// How long what was begun may take to end once nobody arrives any more, beyond people's time.
const DRAIN: Duration = Duration::from_secs(60);

/// A prepared run.
pub(crate) struct Load {
    options: Options,
    folder: PathBuf,
    day: Day,
    conduct: Arc<Conduct>,
    desk: Arc<Desk>,
    world: Arc<World>,
    agents: JoinSet<()>,
    customers: JoinSet<()>,
    hurry: watch::Sender<bool>,
    closing: watch::Sender<bool>,
}

/// What a run came to.
pub(crate) struct Finished {
    /// Whether every promise was kept.
    pub verdict: Verdict,
    /// The day, per half hour.
    pub report: report::Report,
    /// How long sessions were without a socket, for people.
    pub outages: String,
}

/// Milliseconds since 1970.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

impl Load {
    /// Makes the tenant with its sites and agents, and lets the agents sign in.
    ///
    /// # Errors
    /// Options out of their bounds, an existing ledger, or a cluster that refuses.
    pub(crate) async fn prepare(
        options: Options,
        folder: &Path,
        gateways: Vec<Gateway>,
        token: &str,
        trust: Trust,
    ) -> anyhow::Result<Self> {
        // What is wrong on this side is said before anything is made on the other.
        let day = Day::read(&options)?;
        let ledger = Ledger::create(folder).with_context(|| {
            format!("a ledger in {} (name a folder without one)", folder.display())
        })?;
        let tally = Arc::new(Tally::default());
        let desk = Arc::new(Desk::new(Arc::new(ledger), Arc::clone(&tally)));
        let (hurry, hurries) = watch::channel(false);
        let (closing, closes) = watch::channel(false);
        let pace = Pace::new(options.speed, hurries);
        let api = Api::new(gateways.clone(), token, Patience::default())?.trusting(&trust);
        let built = World::build(api, &options, &pace).await;
        let world = Arc::new(built.inspect_err(|_| Ledger::discard(folder))?);
        let conduct = Arc::new(Conduct {
            desk: Arc::clone(&desk),
            floor: Floor::default(),
            tally,
            pace,
            entrances: Arc::new(Entrances::of(gateways)),
            over: options.over,
            silence: Duration::from_secs_f64(options.silence),
            trust,
            decline_share: options.decline,
            lapse_share: options.lapse,
            closing: closes,
        });
        let (folder, agents, customers) = (folder.to_owned(), JoinSet::new(), JoinSet::new());
        let mut load =
            Self { options, folder, day, conduct, desk, world, agents, customers, hurry, closing };
        load.sign_in().await?;
        Ok(load)
    }

    /// What is counted while it runs.
    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.conduct.tally)
    }

    /// Where people come in.
    pub(crate) fn entrances(&self) -> Arc<Entrances> {
        Arc::clone(&self.conduct.entrances)
    }

    /// The sites under load.
    pub(crate) fn sites(&self) -> Vec<SiteId> {
        self.world.sites.iter().map(|spec| spec.site).collect()
    }

    /// The handle that stops a run: nobody arrives any more, and everybody hurries.
    pub(crate) fn stopper(&self) -> watch::Sender<bool> {
        self.hurry.clone()
    }

    async fn sign_in(&mut self) -> anyhow::Result<()> {
        for spec in &self.world.agents {
            let agent = Agent::new(Arc::clone(&self.conduct), spec.clone(), self.options.seed);
            self.agents.spawn(agent.work());
        }
        let (all, deadline) = (self.world.agents.len() as u64, Instant::now() + SIGN_IN);
        while self.conduct.tally.signed_in.value() < all {
            if Instant::now() > deadline {
                let there = self.conduct.tally.signed_in.value();
                bail!("only {there} of {all} agents could sign in");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What can judge the run while it goes on.
    pub(crate) fn verifier(&self) -> Verifier {
        let (api, sites) = (self.world.api.clone(), self.sites());
        Verifier::new(api, sites, self.folder.join(LINES))
    }

    /// How long the window takes.
    pub(crate) fn duration(&self) -> Duration {
        self.conduct.pace.real(self.day.to_s - self.day.from_s)
    }

    /// Replays the window once, or again and again until stopped.
    ///
    /// # Errors
    /// A ledger that cannot be written.
    pub(crate) async fn play(&mut self, repeat: bool) -> anyhow::Result<()> {
        self.note_begin();
        let mut seed = self.options.seed;
        loop {
            let arrivals = self.day.arrivals(&self.options, seed);
            self.admit(arrivals).await?;
            seed += 1;
            if !repeat || *self.hurry.borrow() {
                return Ok(());
            }
        }
    }

    fn note_begin(&self) {
        let options = &self.options;
        self.desk.note(&Record::Run(Run {
            day: options.day.clone(),
            speed: options.speed,
            seed: options.seed,
            sites: self.sites(),
            wall_ms: wall_ms(),
            from_s: self.day.from_s,
            service_level_s: options.service_level,
        }));
    }

    /// Lets customers arrive, each at their time.
    async fn admit(&mut self, arrivals: Vec<Arrival>) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        for arrival in arrivals {
            let at = begun + self.conduct.pace.real(arrival.at_s);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(at) => {}
                () = raised(self.hurry.subscribe()) => return Ok(()),
            }
            if self.conduct.tally.broken.load(Ordering::Relaxed) {
                bail!("the ledger cannot be written");
            }
            while self.customers.try_join_next().is_some() {}
            let (conduct, world) = (Arc::clone(&self.conduct), Arc::clone(&self.world));
            self.customers.spawn(arrive(conduct, world, arrival));
        }
        Ok(())
    }

    /// Lets everything end, reads it back and judges it.
    ///
    /// # Errors
    /// A cluster that cannot be read back.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Finished> {
        self.drain().await?;
        self.closing.send_replace(true);
        while self.agents.join_next().await.is_some() {}
        self.desk.settle_doubts().await;
        let mut history = History::read(&self.folder.join(LINES))?;
        let wanted = Wanted::by(&history, self.sites());
        let readings = readback::read(&self.world.api, &wanted).await?;
        readings.save(&self.folder)?;
        if self.settle_by_reading(&history, &readings) {
            history = History::read(&self.folder.join(LINES))?;
        }
        let verdict = check(&history, &readings);
        let report = report::from_feeds(&history, &readings);
        std::fs::write(self.folder.join("verdict.json"), serde_json::to_vec_pretty(&verdict)?)?;
        std::fs::write(self.folder.join("report.txt"), report.to_string())?;
        std::fs::write(self.folder.join("report.svg"), report.picture())?;
        let outages = self.conduct.tally.outages();
        Ok(Finished { verdict, report, outages })
    }

    /// Waits until nobody is served any more: as long as people take, and some more.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let most = self.conduct.pace.real(3_600.0) + DRAIN;
        let all = async { while self.customers.join_next().await.is_some() {} };
        if tokio::time::timeout(most, all).await.is_err() {
            tracing::error!(after_s = most.as_secs(), "customers are still there");
        }
        let deadline = Instant::now() + DRAIN;
        for site in self.sites() {
            loop {
                let view: SiteView = self.world.api.read(&format!("/v1/sites/{site}")).await?;
                if view.conversations == 0 {
                    break;
                }
                if Instant::now() > deadline {
                    tracing::error!(%site, left = view.conversations, "conversations do not end");
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Looks up in what was read what became of commands that nobody answered for.
    fn settle_by_reading(&self, history: &History, readings: &Readings) -> bool {
        let Some(reading) = readings.nodes.values().next() else { return false };
        let effects = Effects::of(reading);
        let mut settled = false;
        for (number, op) in &history.ops {
            if let (OpEnd::Unknown(_), Some(happened)) = (&op.end, settle(op, &effects)) {
                settled |= self.desk.note(&Record::Settled { op: *number, happened });
            }
        }
        settled
    }
}

/// A customer arrives: one of a site's, or one of their own with a session.
async fn arrive(conduct: Arc<Conduct>, world: Arc<World>, arrival: Arrival) {
    let site = &world.sites[arrival.site % world.sites.len()];
    let spec = if arrival.web {
        match world::customer(&world.api, world.tenant, site.site).await {
            Ok(spec) => spec,
            Err(error) => {
                tracing::warn!(%error, "no credential for a customer");
                return;
            }
        }
    } else {
        site.customers[arrival.seed as usize % site.customers.len()].clone()
    };
    Customer::new(conduct, site.site, spec, arrival).live().await;
}

/// Runs `rotary load trace`; whether every promise was kept.
///
/// # Errors
/// What kept it from running or from being judged.
pub(super) async fn trace(args: TraceArgs) -> anyhow::Result<bool> {
    let folder = match &args.options.ledger {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("rotary-ledger-{}", wall_ms())),
    };
    let options = args.options.clone();
    eprintln!("{}", Day::read(&options)?.told(&options, args.gateways.len()));
    let (gateways, trust) = (args.gateways.clone(), trust(args.ca.as_deref())?);
    let mut load = Load::prepare(options, &folder, gateways, &args.token, trust).await?;
    eprintln!("{} agents signed in; ledger in {}", args.options.agents, folder.display());
    let progress = tokio::spawn(progress(load.tally()));
    let stopper = load.stopper();
    let interrupted = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            eprintln!("stopping: everybody finishes what they began");
            stopper.send_replace(true);
        }
    });
    let played = load.play(false).await;
    let finished = match played {
        Ok(()) => load.finish().await,
        Err(error) => Err(error),
    };
    progress.abort();
    interrupted.abort();
    let Finished { verdict, report, outages } = finished?;
    eprintln!("{report}{outages}");
    verify::print(&verdict, args.json)?;
    Ok(verdict.passes())
}

/// A line each second.
async fn progress(tally: Arc<Tally>) {
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let elapsed = begun.elapsed().as_secs();
        eprintln!("{:02}:{:02} {tally}", elapsed / 60, elapsed % 60);
    }
}
