//! Those who come to the doors, and those whom nodes call: the workload that real clusters get, and
//! the receivers of webhooks' messages, on a runtime of their own.
//!
//! Everything is asked through `rotary-client`, over connections that break as connections do, and
//! written into a history, which the same checkers judge as the histories of real clusters.

use std::path::{Path, PathBuf};

use rotary::simulated;
use rotary_client::{Gateway, Network};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::checkers::{self, Verdict};
use crate::history::{Edge, FORMAT, Head, History, Recorder};
use crate::simulation::ambient;
use crate::simulation::bugs::Bug;
use crate::simulation::gates::Gates;
use crate::simulation::history::Ms;
use crate::simulation::invariants::Findings;
use crate::simulation::node::{Cluster, DAWN_MS, Node, id_of};
use crate::simulation::process::Process;
use crate::simulation::random::Random;
use crate::simulation::receivers::{self, Receivers};
use crate::simulation::whole::SECRET;
use crate::simulation::wires::Arrivals;
use crate::workload::{self, Config, DriveError, Phase, Summary};

/// The clients' side of a world.
pub(crate) struct Street {
    process: Process,
    recorder: Recorder,
    history: PathBuf,
    /// Who answers webhooks' messages, where sites have webhooks.
    receivers: Option<Receivers>,
    say: watch::Sender<Phase>,
    driven: Option<JoinHandle<Result<Summary, DriveError>>>,
    /// What the workload came to.
    pub(crate) summary: Summary,
    /// What could not be found out.
    pub(crate) doubts: Vec<String>,
}

impl Street {
    /// Clients who begin at once.
    ///
    /// # Errors
    /// If the history cannot be written.
    pub(crate) fn new(cluster: &Cluster, replay: String) -> Result<Self, String> {
        let mut random = Random::salted(cluster.seed, "street");
        let process = Process::start(random.next(), 0, DAWN_MS);
        let history = std::env::temp_dir().join(format!(
            "rotary-chaos-{}-{}.jsonl",
            std::process::id(),
            cluster.seed
        ));
        let (name, nemeses) = ("simulated".to_owned(), Vec::new());
        let head = Head { format: FORMAT, seed: cluster.seed, name, replay, nemeses };
        let recorder = Recorder::create(&history, head)
            .map_err(|error| format!("{}: {error}", history.display()))?;
        let (say, told) = watch::channel(Phase::Run);
        let config = config(cluster, &mut random);
        let receivers = config.receivers.as_ref();
        let receivers = receivers.map(|known| Receivers::new(known.seed, recorder.clone()));
        let driven = process.runtime.spawn(workload::drive(config, recorder.clone(), told));
        let (driven, summary, doubts) = (Some(driven), Summary::default(), Vec::new());
        Ok(Self { process, recorder, history, receivers, say, driven, summary, doubts })
    }

    /// Whether everything is set up.
    pub(crate) fn is_open(&self) -> bool {
        !["", "setup"].contains(&self.recorder.phase().as_str())
    }

    /// A phase of the world begins.
    pub(crate) fn mark(&self, name: &str) {
        self.recorder.mark(name);
        if let Some(receivers) = self.receivers.as_ref().filter(|_| name == "heal") {
            receivers.heal();
        }
    }

    /// A fault began: what the fault log says.
    pub(crate) fn fault(&self, line: &str) {
        self.recorder.fault("simulated", "", Edge::Begin, line);
    }

    /// Nobody comes any more, and everything is brought to its end.
    pub(crate) fn drain(&self) {
        self.say.send_replace(Phase::Drain);
    }

    /// Whether everybody has gone home.
    pub(crate) fn is_done(&self) -> bool {
        self.driven.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Lets clients act until that time, and nodes and receivers let in who has come.
    pub(crate) fn run_to(&mut self, now_ms: Ms, cluster: &Cluster, nodes: &[Node], gates: &Gates) {
        let listening = |door: usize| match nodes.get(door) {
            Some(node) => node.listening(),
            None => gates.listening(door),
        };
        let Arrivals { guests, callers } = cluster.wires.deliver(now_ms, listening);
        for guest in guests {
            match nodes.get(guest.node) {
                Some(node) => node.admit(guest),
                None => gates.admit(guest),
            }
        }
        for (wire, receivers) in callers.into_iter().zip(self.receivers.iter().cycle()) {
            self.process.runtime.spawn(receivers.clone().serve(wire));
        }
        ambient::set(now_ms, DAWN_MS + now_ms);
        self.process.run_to(now_ms, DAWN_MS + now_ms);
    }

    /// Ends the history and judges it. One with a finding is kept in `cases`.
    pub(crate) fn judge(&mut self, cases: &Path, seed: u64, found: &mut Findings) {
        match self.driven.take().filter(JoinHandle::is_finished) {
            Some(driven) => match self.process.runtime.block_on(driven) {
                Ok(Ok(summary)) => self.summary = summary,
                Ok(Err(error)) => found.breach("workload", error.to_string()),
                Err(error) => found.breach("workload", error.to_string()),
            },
            None => found.breach("workload", "it does not come to its end".to_owned()),
        }
        if !self.summary.drained {
            found.breach("P5", "not everything came to its end".to_owned());
        }
        if let Err(error) = self.recorder.finish() {
            return found.breach("workload", format!("the history: {error}"));
        }
        match History::read(&self.history) {
            Ok(history) => {
                let judgement = checkers::check(&history);
                for check in &judgement.checks {
                    for finding in &check.findings {
                        let what = format!("{} (lines {:?})", finding.what, finding.lines);
                        found.breach(check.name, what);
                    }
                    let doubt = |doubt: &String| format!("{}: {doubt}", check.name);
                    self.doubts.extend(check.doubts.iter().map(doubt));
                }
                if judgement.verdict() == Verdict::Unknown {
                    let doubts = self.doubts.join("; ");
                    found.breach("judge", format!("it could not be found out: {doubts}"));
                }
                if judgement.verdict() != Verdict::Valid || !self.summary.drained {
                    self.keep(cases, seed);
                }
            }
            Err(error) => found.breach("workload", error.to_string()),
        }
    }

    fn keep(&self, cases: &Path, seed: u64) {
        let kept = cases.join(format!("seed-{seed}.history.jsonl"));
        let copied =
            std::fs::create_dir_all(cases).and_then(|()| std::fs::copy(&self.history, &kept));
        if let Err(error) = copied {
            eprintln!("{} is not kept: {error}", kept.display());
        }
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        // It may be gone already, and what is kept is elsewhere.
        let _ = std::fs::remove_file(&self.history);
    }
}

fn config(cluster: &Cluster, random: &mut Random) -> Config {
    let gateways = cluster.doors().map(|node| simulated::url(id_of(node)));
    let gateways: Vec<Gateway> =
        gateways.map(|url| url.parse().expect("a node's address is one")).collect();
    let token = simulated::administrator(SECRET);
    let must = cluster.bug.is_some_and(Bug::is_of_webhooks);
    Config {
        receivers: receivers::of_world(cluster.seed, must),
        network: Network::Other(std::sync::Arc::new(cluster.wires.clone())),
        rate: random.between(2, 30) as f64 / 10.0,
        // One in each: a shard that is made later has none.
        sites: cluster.begins_with as u32,
        agents: random.between(2, 6) as u32,
        customers_max: 60,
        transcripts_max: 40,
        ..Config::new(gateways, token, random.next())
    }
}
