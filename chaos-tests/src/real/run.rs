//! A run: set up, calm, faults, heal, converge, drain, read back, judge.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rotary_client::{Gateway, Network, Trust};
use rotary_storage::EXIT_DIVERGED;
use serde::Serialize;

use super::campaign::{Campaign, Tally};
use super::cluster::{Cluster, ClusterError, Incident, Layout, READY_LIMIT};
use super::load::{self, Judgement, Load};
use super::nemesis::{Kind, Means, Plan};
use super::probe;
use super::process::Ending;
use super::program::{Program, Purpose};
use super::scenario::Scenario;
use super::switch::Counts;
use super::verdict::Verdict;
use super::view::View;
use super::wires::Wires;
use crate::history::{FORMAT, Head, Recorder};

/// How long the load may take to make its sites and agents.
pub(super) const SET_UP_LIMIT: Duration = Duration::from_secs(120);
/// How often a run looks after its load and its faults.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// How often it says where it is.
const SAYS: Duration = Duration::from_secs(10);

/// What is to be run.
#[derive(Debug)]
pub struct Run {
    /// What it is called.
    pub name: String,
    /// The scenario.
    pub scenario: Scenario,
    /// How long faults go on.
    pub lasts: Duration,
    /// What repeats it.
    pub seed: u64,
    /// The program.
    pub rotary: Program,
    /// What it does on purpose.
    pub purpose: Purpose,
    /// An empty folder for images and mounts, which need not outlive the run.
    pub scratch: PathBuf,
    /// A folder for what is to be looked at afterwards.
    pub report: PathBuf,
    /// The command line that repeats it.
    pub replay: String,
}

/// What is written about a run.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    seed: u64,
    replay: &'a str,
    scenario: &'a Scenario,
    program: &'a Program,
    purpose: &'a Purpose,
    set_up_ms: u64,
    faults: u64,
    faults_per_second: f64,
    nemeses: BTreeMap<&'a str, Tally>,
    incidents: Vec<String>,
    links: Vec<LinkLine>,
    verdict: &'a Verdict,
}

#[derive(Debug, Serialize)]
struct LinkLine {
    from: String,
    to: String,
    counts: Counts,
}

/// What a run has found when its faults are over.
struct Found {
    verdict: Verdict,
    tallies: BTreeMap<Kind, Tally>,
    faults_s: f64,
}

impl Run {
    /// Runs it inside the harness's namespace: true if valid, false if invalid.
    ///
    /// # Errors
    /// It is unknown: the harness failed, a mechanism is missing, or a fault never bit.
    pub fn run(&self) -> Result<bool, String> {
        let kinds = self.scenario.kinds()?;
        self.allowed()?;
        self.probe(&kinds)?;
        let began = Instant::now();
        self.say(began, &format!("set up {}", self.rotary));
        let mut cluster = self.layout(&kinds).start().map_err(|error| error.to_string())?;
        let set_up = began.elapsed();
        self.say(began, &format!("{} nodes serve after {set_up:.1?}", self.scenario.nodes));
        let history = history_in(&self.report, &self.name, self.seed, &self.replay, &kinds);
        let history = history.map_err(|error| format!("the history: {error}"))?;
        let found = self
            .broken(&mut cluster, &kinds, &history, began)
            .map_err(|error| error.to_string())?;
        self.summarise(&cluster, &found, set_up).map_err(|error| error.to_string())?;
        println!("{}\nreplay: {}", found.verdict, self.replay);
        found.verdict.result()
    }

    /// Refuses what this program cannot do.
    ///
    /// # Errors
    /// How to build one that can.
    pub fn allowed(&self) -> Result<(), String> {
        if let Some(bug) = self.purpose.bug {
            self.rotary.must_be_chaos(&format!("--bug {}", bug.name()))?;
        }
        let fails = self.scenario.kinds()?.contains(&Kind::Failpoint);
        if fails { self.rotary.must_be_chaos("the nemesis failpoint") } else { Ok(()) }
    }

    /// Refuses what this machine cannot do.
    fn probe(&self, kinds: &[Kind]) -> Result<(), String> {
        let findings = probe::probe(&self.scratch.join("probe"));
        let needed = |finding: &&probe::Finding| {
            use probe::Mechanism::{NetworkNamespace, Tun, Volume};
            let of_faults = kinds.iter().flat_map(|kind| kind.needs());
            [NetworkNamespace, Tun, Volume].iter().chain(of_faults).any(|m| *m == finding.mechanism)
        };
        let missing = findings.iter().filter(|finding| finding.missing.is_some()).filter(needed);
        let missing: Vec<_> = missing.cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("this machine lacks what it takes:\n{}", probe::table(&missing)))
    }

    fn layout(&self, kinds: &[Kind]) -> Layout {
        Layout {
            rotary: self.rotary.path.clone(),
            nodes: self.scenario.nodes,
            shards: self.scenario.shards,
            folder: self.scratch.clone(),
            logs: self.report.clone(),
            volume_mib: self.scenario.volume_mib,
            set: self.scenario.set.clone(),
            clocks: kinds.contains(&Kind::ClockJump),
            bug: self.purpose.bug,
            seed: self.seed,
        }
    }

    /// Everything from the first customer to the last.
    fn broken(
        &self,
        cluster: &mut Cluster,
        kinds: &[Kind],
        history: &Recorder,
        began: Instant,
    ) -> Result<Found, ClusterError> {
        let mut plan = self.load(cluster);
        let means = self.means(kinds, &mut plan)?;
        let mut load = Load::start(&plan, history)?;
        let mut verdict = Verdict::default();
        if let Some(why) = self.set_up(cluster, &mut load) {
            verdict.unknown.push(why);
            return Ok(Found { verdict, tallies: BTreeMap::new(), faults_s: 0.0 });
        }
        self.say(began, "calm");
        std::thread::sleep(Duration::from_secs(self.scenario.calm_s));
        let plan = Plan::new(self.seed, kinds, self.scenario.pace());
        let mut campaign = Campaign::new(self.seed, kinds, plan, history.clone()).with(means);
        history.mark("faults");
        let faults = Instant::now();
        let broken = self.faults(cluster, &mut campaign, &mut load, began);
        let faults_s = faults.elapsed().as_secs_f64();
        self.say(began, "heal");
        history.mark("heal");
        if let Err(error) = broken.and_then(|()| campaign.heal(cluster)) {
            verdict.lost_node(error)?;
            self.say(began, "cut short");
            verdict.ledger(load.cut_short());
            let _ended = history.finish();
            verdict.panics(&cluster.panics());
            return Ok(Found { verdict, tallies: campaign.tallies().clone(), faults_s });
        }
        if let Err(error) = converge(cluster) {
            verdict.broken.push(format!("after the faults, {error}"));
        }
        self.say(began, "converged; serve");
        history.mark("serve");
        self.serve(cluster, &mut load, began)?;
        self.say(began, "drain and read back");
        load.stop()?;
        verdict.ledger(judgement(cluster, &mut load)?);
        // The judge of people has ended it; where it could not, or for the bank, it ends here.
        let _ended = history.finish();
        verdict.panics(&cluster.panics());
        let unexplained =
            cluster.incidents().iter().filter(|incident| !is_explained(incident.ending, kinds));
        let tell = |it: &Incident| format!("node {} ended by itself: {}", it.node, it.ending);
        verdict.broken.extend(unexplained.map(tell));
        verdict.coverage(campaign.tallies());
        Ok(Found { verdict, tallies: campaign.tallies().clone(), faults_s })
    }

    /// What faults are made with, and the load over connections that they can break.
    fn means(&self, kinds: &[Kind], load: &mut load::Plan) -> Result<Means, ClusterError> {
        let mut means = Means { failpoint: self.purpose.failpoint.clone(), wires: None };
        if kinds.iter().any(|kind| kind.is_of_clients()) && load.kind == load::Kind::People {
            let io = |why: String| ClusterError::Io {
                what: "the clients' connections".to_owned(),
                source: std::io::Error::other(why),
            };
            let wires = wires_to(&load.gateways).map_err(io)?;
            load.network = Network::Other(Arc::new(wires.clone()));
            means.wires = Some(wires);
        }
        Ok(means)
    }

    fn load(&self, cluster: &Cluster) -> load::Plan {
        load::Plan {
            kind: self.scenario.load,
            customers_per_minute: self.scenario.customers_per_minute,
            agents: self.scenario.agents,
            rotary: self.rotary.path.clone(),
            gateways: cluster.gateways(),
            network: Network::Tcp,
            trust: Trust::default(),
            ca: None,
            token: cluster.token().to_owned(),
            seed: self.seed,
            minutes: (self.lasts.as_secs() + self.scenario.calm_s).div_ceil(60),
            share_permille: self.scenario.share_permille,
            report: self.report.clone(),
        }
    }

    /// Waits until there are sites; says why not.
    fn set_up(&self, cluster: &mut Cluster, load: &mut Load) -> Option<String> {
        let until = Instant::now() + SET_UP_LIMIT;
        while cluster.view().leaders().is_empty() {
            if load.has_ended() {
                return Some(format!("{:?}", load.judgement()));
            }
            if Instant::now() > until {
                return Some(format!("there is no site after {SET_UP_LIMIT:?}"));
            }
            std::thread::sleep(TICK);
        }
        None
    }

    fn faults(
        &self,
        cluster: &mut Cluster,
        campaign: &mut Campaign,
        load: &mut Load,
        began: Instant,
    ) -> Result<(), ClusterError> {
        let until = Instant::now() + self.lasts;
        let mut said = Instant::now();
        while Instant::now() < until && !load.has_ended() {
            campaign.tick(cluster)?;
            for incident in cluster.supervise()? {
                self.say(began, &format!("node {} ended: {}", incident.node, incident.ending));
            }
            if said.elapsed() >= SAYS {
                said = Instant::now();
                let (begun, active) = (campaign.begun(), campaign.active());
                let names: Vec<_> = active.iter().map(|kind| kind.name()).collect();
                self.say(began, &format!("{begun} faults; at work: {}", names.join(" ")));
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Lets people go on for a while, and starts again what ends meanwhile.
    fn serve(
        &self,
        cluster: &mut Cluster,
        load: &mut Load,
        began: Instant,
    ) -> Result<(), ClusterError> {
        let until = Instant::now() + Duration::from_secs(self.scenario.serve_s);
        while Instant::now() < until && !load.has_ended() {
            for incident in cluster.supervise()? {
                self.say(began, &format!("node {} ended: {}", incident.node, incident.ending));
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn summarise(
        &self,
        cluster: &Cluster,
        found: &Found,
        set_up: Duration,
    ) -> Result<(), ClusterError> {
        let faults = found.tallies.values().map(|tally| tally.begun).sum::<u64>();
        let incident = |it: &Incident| format!("node {} ended: {}", it.node, it.ending);
        let link = |(from, to, counts): (std::net::Ipv4Addr, std::net::Ipv4Addr, Counts)| {
            LinkLine { from: from.to_string(), to: to.to_string(), counts }
        };
        let summary = Summary {
            seed: self.seed,
            replay: &self.replay,
            scenario: &self.scenario,
            program: &self.rotary,
            purpose: &self.purpose,
            set_up_ms: u64::try_from(set_up.as_millis()).unwrap_or(u64::MAX),
            faults,
            faults_per_second: if faults == 0 { 0.0 } else { faults as f64 / found.faults_s },
            nemeses: found.tallies.iter().map(|(kind, tally)| (kind.name(), *tally)).collect(),
            incidents: cluster.incidents().iter().map(incident).collect(),
            links: cluster.switch().all_counts().into_iter().map(link).collect(),
            verdict: &found.verdict,
        };
        let text = serde_json::to_string_pretty(&summary).map_err(std::io::Error::other);
        let path = self.report.join("run.json");
        let written = text.and_then(|text| fs::write(&path, text + "\n"));
        written.map_err(|source| ClusterError::Io { what: path.display().to_string(), source })?;
        print!("{}", table(&found.tallies));
        println!("{faults} faults, {:.2} a second", summary.faults_per_second);
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads like the other steps")]
    fn say(&self, began: Instant, words: &str) {
        println!("{:7.1} s  {words}", began.elapsed().as_secs_f64());
    }
}

/// Begins the history in a report's folder.
pub(crate) fn history_in(
    report: &Path,
    name: &str,
    seed: u64,
    replay: &str,
    kinds: &[Kind],
) -> std::io::Result<Recorder> {
    let head = Head {
        format: FORMAT,
        seed,
        name: name.to_owned(),
        replay: replay.to_owned(),
        nemeses: kinds.iter().map(|kind| kind.name().to_owned()).collect(),
    };
    Recorder::create(&report.join("history.jsonl"), head)
}

/// Connections of clients to these gateways, which can be broken.
///
/// # Errors
/// What is no gateway's address, or is reached over TLS.
pub(crate) fn wires_to(gateways: &[String]) -> Result<Wires, String> {
    let gateways = gateways.iter().map(|gateway| gateway.parse::<Gateway>());
    let gateways = gateways.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    Wires::new(&gateways)
}

/// Whether faults of those kinds make a server end by itself like that: a disk that fails it does,
/// and a limit of memory.
fn is_explained(ending: Ending, kinds: &[Kind]) -> bool {
    let disk = ["disk-full", "bit-flip", "failed-sync"];
    let has = |names: &[&str]| kinds.iter().any(|kind| names.contains(&kind.name()));
    match ending.code() {
        Some(EXIT_DIVERGED) => false,
        Some(_) => has(&disk),
        None => ending.is_killed() && has(&["memory-limit"]),
    }
}

/// Waits until every node serves, all name the same leaders, and shards have their members.
fn converge(cluster: &mut Cluster) -> Result<(), ClusterError> {
    for node in cluster.numbers() {
        cluster.wait_ready(node, READY_LIMIT)?;
    }
    let until = Instant::now() + READY_LIMIT;
    while !is_settled(&cluster.view()) {
        cluster.supervise()?;
        if Instant::now() > until {
            return cluster.wait_ready(1, Duration::ZERO).and(Err(ClusterError::Io {
                what: format!(
                    "after {READY_LIMIT:?} the nodes name different leaders, or other members of \
                     shards than are wanted"
                ),
                source: std::io::ErrorKind::TimedOut.into(),
            }));
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// Whether all name the same leaders, and every shard has the members that are wanted.
fn is_settled(view: &View) -> bool {
    view.agreed && view.settled
}

/// Waits for the load's judgement, and starts again what ends meanwhile.
fn judgement(cluster: &mut Cluster, load: &mut Load) -> Result<Judgement, ClusterError> {
    let until = Instant::now() + load::FINISH_LIMIT;
    while !load.has_ended() && Instant::now() < until {
        cluster.supervise()?;
        std::thread::sleep(TICK);
    }
    Ok(load.judgement())
}

/// What became of each kind of fault, as a table.
pub(crate) fn table(tallies: &BTreeMap<Kind, Tally>) -> String {
    let line = |(kind, tally): (&Kind, &Tally)| {
        let Tally { begun, bitten, refused } = tally;
        format!("{:<20} begun {begun:>4}  bitten {bitten:>4}  put off {refused:>5}\n", kind.name())
    };
    tallies.iter().map(line).collect()
}

/// Makes a folder for a report, which must be absent or empty.
///
/// # Errors
/// What is there already.
pub fn report_folder(path: &Path) -> Result<PathBuf, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(path).map_err(wrong)?;
    if fs::read_dir(path).map_err(wrong)?.next().is_some() {
        return Err(format!("{} is not empty: name another --report", path.display()));
    }
    path.canonicalize().map_err(wrong)
}
