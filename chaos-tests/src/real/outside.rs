//! A run against a cluster that somebody else started: a load, a judgement, and only the faults
//! that clients can make by themselves.
//!
//! Its machines are out of the harness's reach. What such a run shows is what the cluster keeps
//! when clients misbehave, or under what its operators do meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rotary_client::{Api, Gateway, Network, Patience, Trust};
use serde::Serialize;
use serde_json::Value;

use super::campaign::{Tally, mended};
use super::load::{self, FINISH_LIMIT, Load};
use super::nemesis::{Kind, Plan, chance};
use super::program::Program;
use super::run::{self, SET_UP_LIMIT, TICK, table};
use super::scenario::Scenario;
use super::verdict::Verdict;
use super::wires::{Broken, Wires};
use crate::history::{Edge, Recorder};

/// How long a gateway may take to say which cluster it is of.
const ASK: Patience = Patience { attempt: Duration::from_secs(5), total: Duration::from_secs(10) };

/// A run against a cluster that runs already.
#[derive(Debug)]
pub struct Outside {
    /// What it is called.
    pub name: String,
    /// The scenario, of which the load, the pace and the faults of clients are used.
    pub scenario: Scenario,
    /// How long customers come.
    pub lasts: Duration,
    /// What repeats it.
    pub seed: u64,
    /// The program, which only the bank's day needs.
    pub rotary: Option<Program>,
    /// A gateway of each node.
    pub gateways: Vec<Gateway>,
    /// An administrator's token.
    pub token: String,
    /// Who signs the gateways' certificates where they speak TLS, in a PEM file.
    pub ca: Option<PathBuf>,
    /// An empty folder.
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
    gateways: Vec<String>,
    builds: &'a [String],
    nemeses: BTreeMap<&'a str, Tally>,
    verdict: &'a Verdict,
}

/// A fault at work.
struct Active {
    kind: Kind,
    broken: Broken,
    target: String,
    until: Instant,
}

impl Outside {
    /// Refuses what cannot be done to a cluster from outside.
    ///
    /// # Errors
    /// The names of the faults that it takes the cluster's machines for.
    pub fn allowed(&self) -> Result<Vec<Kind>, String> {
        let kinds = self.scenario.kinds()?;
        let names = |kinds: &mut dyn Iterator<Item = &Kind>| {
            kinds.map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
        };
        let refused = names(&mut kinds.iter().filter(|kind| !kind.is_of_clients()));
        let possible = names(&mut Kind::ALL.iter().filter(|kind| kind.is_of_clients()));
        if !refused.is_empty() {
            return Err(format!(
                "{refused}: not possible on a cluster that runs already, whose machines are out of \
                 reach; use the scenario calm, and of nemeses {possible}"
            ));
        }
        if !kinds.is_empty() && self.scenario.load == load::Kind::Bank {
            return Err(format!("{}: only on connections of people", names(&mut kinds.iter())));
        }
        Ok(kinds)
    }

    /// Puts a load on, breaks what clients can break, and judges what the cluster kept: true if
    /// valid, false if invalid.
    ///
    /// # Errors
    /// It is unknown.
    pub fn run(&self) -> Result<bool, String> {
        let kinds = self.allowed()?;
        let (plan, wires) = self.plan(&kinds)?;
        let builds = self.builds(&plan.trust)?;
        println!("{} nodes of {}", builds.len(), builds.join(", "));
        let history = run::history_in(&self.report, &self.name, self.seed, &self.replay, &kinds);
        let history = history.map_err(|error| format!("the history: {error}"))?;
        let mut load = Load::start(&plan, &history).map_err(|error| error.to_string())?;
        println!("load for {:?} on {}", self.lasts, plan.gateways.join(", "));
        let mut tallies = kinds.iter().map(|kind| (*kind, Tally::default())).collect();
        self.faults(&kinds, wires.as_ref(), &mut load, &history, &mut tallies);
        println!("drain and read back");
        load.stop().map_err(|error| error.to_string())?;
        let until = Instant::now() + FINISH_LIMIT;
        while Instant::now() < until && !load.has_ended() {
            std::thread::sleep(TICK);
        }
        let mut verdict = Verdict::default();
        verdict.ledger(load.judgement());
        let _ended = history.finish();
        verdict.coverage(&tallies);
        self.summarise(&builds, &tallies, &verdict)
            .map_err(|error| format!("run.json: {error}"))?;
        print!("{}", table(&tallies));
        println!("{verdict}\nreplay: {}", self.replay);
        verdict.result()
    }

    /// Asks every gateway for its node's build: what is mistyped is named before a load begins.
    fn builds(&self, trust: &Trust) -> Result<Vec<String>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let ask = |gateway: &Gateway| {
            let wrong = |error: String| format!("{gateway} is not usable: {error}");
            let api = Api::new(vec![gateway.clone()], &self.token, ASK);
            let api = api.map_err(|error| wrong(error.to_string()))?.trusting(trust);
            let told = runtime.block_on(api.read::<Value>("/v1/cluster"));
            let told = told.map_err(|error| wrong(error.to_string()))?;
            let build = told.get("build").and_then(Value::as_str).map(str::to_owned);
            build.ok_or_else(|| wrong("its answer names no build".to_owned()))
        };
        self.gateways.iter().map(ask).collect()
    }

    /// Whom its clients believe.
    fn trust(&self) -> Result<Trust, String> {
        let Some(path) = &self.ca else {
            let secret = self.gateways.iter().find(|gateway| gateway.is_tls());
            return match secret {
                Some(gateway) => Err(format!("{gateway} speaks TLS: name its authority with --ca")),
                None => Ok(Trust::default()),
            };
        };
        let wrong = |why: String| format!("--ca {}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Trust::pem(&text).map_err(|error| wrong(error.to_string()))
    }

    fn plan(&self, kinds: &[Kind]) -> Result<(load::Plan, Option<Wires>), String> {
        let gateways: Vec<String> = self.gateways.iter().map(Gateway::to_string).collect();
        let wires = if kinds.is_empty() { None } else { Some(Wires::new(&self.gateways)?) };
        let network = wires.clone().map_or(Network::Tcp, |wires| Network::Other(Arc::new(wires)));
        let plan = load::Plan {
            kind: self.scenario.load,
            customers_per_minute: self.scenario.customers_per_minute,
            agents: self.scenario.agents,
            rotary: self.rotary.as_ref().map(|rotary| rotary.path.clone()).unwrap_or_default(),
            gateways,
            network,
            trust: self.trust()?,
            ca: self.ca.clone(),
            token: self.token.clone(),
            seed: self.seed,
            minutes: self.lasts.as_secs().div_ceil(60),
            share_permille: self.scenario.share_permille,
            report: self.report.clone(),
        };
        Ok((plan, wires))
    }

    /// Waits while customers come, and breaks their connections meanwhile.
    fn faults(
        &self,
        kinds: &[Kind],
        wires: Option<&Wires>,
        load: &mut Load,
        history: &Recorder,
        tallies: &mut BTreeMap<Kind, Tally>,
    ) {
        if wires.is_some() {
            let until = Instant::now() + SET_UP_LIMIT;
            // The load marks its phases in the history.
            while history.phase() != "calm" && !load.has_ended() && Instant::now() < until {
                std::thread::sleep(TICK);
            }
            std::thread::sleep(Duration::from_secs(self.scenario.calm_s));
            history.mark("faults");
        }
        let (mut plan, mut chance) =
            (Plan::new(self.seed, kinds, self.scenario.pace()), chance(self.seed, "targets"));
        let until = Instant::now() + self.lasts;
        let (mut active, mut next) = (Vec::new(), Instant::now());
        while Instant::now() < until && !load.has_ended() {
            mend(&mut active, history, tallies, |active| active.until <= Instant::now());
            if let Some(wires) = wires
                && Instant::now() >= next
                && let Some((kind, lasts)) = plan.draw()
            {
                next = Instant::now() + plan.every();
                if !active.iter().any(|active| active.kind == kind) {
                    let broken = wires.begin(kind, &mut chance);
                    let places = broken.places().iter();
                    let names: Vec<_> = places.map(|n| self.gateways[*n].to_string()).collect();
                    let (target, until) = (names.join(","), Instant::now() + lasts);
                    history.fault(kind.name(), &target, Edge::Begin, "on clients' connections");
                    tallies.entry(kind).or_default().begun += 1;
                    active.push(Active { kind, broken, target, until });
                } else {
                    tallies.entry(kind).or_default().refused += 1;
                }
            }
            std::thread::sleep(TICK);
        }
        mend(&mut active, history, tallies, |_| true);
        if wires.is_some() {
            history.mark("heal");
            // What clients broke is whole at once.
            history.mark("serve");
            std::thread::sleep(Duration::from_secs(self.scenario.serve_s));
        }
    }

    fn summarise(
        &self,
        builds: &[String],
        tallies: &BTreeMap<Kind, Tally>,
        verdict: &Verdict,
    ) -> std::io::Result<()> {
        let summary = Summary {
            seed: self.seed,
            replay: &self.replay,
            scenario: &self.scenario,
            gateways: self.gateways.iter().map(Gateway::to_string).collect(),
            builds,
            nemeses: tallies.iter().map(|(kind, tally)| (kind.name(), *tally)).collect(),
            verdict,
        };
        let text = serde_json::to_string_pretty(&summary).map_err(std::io::Error::other)?;
        std::fs::write(self.report.join("run.json"), text + "\n")
    }
}

/// Ends faults that are over, and writes down whether they bit.
fn mend(
    active: &mut Vec<Active>,
    history: &Recorder,
    tallies: &mut BTreeMap<Kind, Tally>,
    is_over: impl Fn(&Active) -> bool,
) {
    active.retain(|fault| {
        if !is_over(fault) {
            return true;
        }
        let Active { kind, broken, target, .. } = fault;
        let bite = broken.evidence();
        broken.end();
        mended(history, tallies, *kind, target, bite.as_deref());
        false
    });
}
