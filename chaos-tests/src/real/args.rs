//! What the command line offers for real processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use rotary_client::Gateway;
use rotary_proto::planted::Planted;
use rotary_storage::Failpoints;

use super::nemesis::Kind;
use super::outside::Outside;
use super::probe::{self, Mechanism};
use super::program::{Program, Purpose};
use super::run::{Run, report_folder};
use super::scenario::Scenario;
use super::{cgroup, load, namespace, shell};

/// Where what needs no disk is kept: a file system in memory that goes with the namespace.
const SCRATCH: &str = "/dev/shm";

/// Acts on real processes.
#[derive(Debug, Subcommand)]
pub enum Act {
    /// Tries what faults are made with, and says what of it this machine lacks.
    Probe,
    /// Breaks a cluster of real processes under load: 0 if it kept its promises, 1 if not, 2 if
    /// that could not be found out.
    Run(Box<RunArguments>),
}

/// What is run.
#[derive(Debug, clap::Args)]
pub struct RunArguments {
    /// calm, clocks, disk, kill-leader, partition, power-cut, storm, or a TOML file.
    scenario: String,
    /// Faults instead of the scenario's, e.g. kill-leader,loss.
    #[arg(long, value_delimiter = ',')]
    nemesis: Option<Vec<String>>,
    /// Of every choice of faults, targets, packets and people.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long faults go on, instead of the scenario's; 0.1 to 1440.
    #[arg(long)]
    minutes: Option<f64>,
    /// A new folder for logs, the list of faults, the ledger and the verdict.
    #[arg(long)]
    report: PathBuf,
    /// The program; the one beside this, if absent.
    #[arg(long)]
    rotary: Option<PathBuf>,
    /// A bug that every node has, e.g. slot-leaked. It takes a program that was built with
    /// `--features chaos`; the run is to be invalid.
    #[arg(long, conflicts_with = "gateway")]
    bug: Option<Planted>,
    /// What the nemesis failpoint makes fail, e.g. sync:log=20*off->abort, instead of what chance
    /// draws; the nemesis is added if it is not there. It takes such a program, too.
    #[arg(long, conflicts_with = "gateway")]
    failpoint: Option<String>,
    /// A gateway of a cluster that runs already, http://host:port; give each node's. Then nothing
    /// is broken but what clients can break: its machines are out of reach.
    #[arg(long, value_delimiter = ',', requires = "token")]
    gateway: Vec<Gateway>,
    /// An administrator's token of that cluster.
    #[arg(long, env = "ROTARY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Who signs the gateways' certificates where they speak TLS, in a PEM file.
    #[arg(long, requires = "gateway")]
    ca: Option<PathBuf>,
}

/// What the arguments ask for.
enum Asked {
    /// Nothing but a probe.
    Probe,
    /// A cluster of the harness's own.
    Inside(Box<Run>),
    /// A cluster of somebody else's.
    Outside(Box<Outside>),
}

impl Act {
    /// Does it: true if all is well.
    ///
    /// # Errors
    /// What kept it from being found out.
    pub fn run(self) -> Result<bool, String> {
        // What is wrong with the arguments is said before anything is made.
        let asked = match &self {
            Self::Probe => Asked::Probe,
            Self::Run(arguments) => arguments.asked()?,
        };
        if let Asked::Outside(outside) = asked {
            report_folder(&outside.report)?;
            return outside.run();
        }
        if !namespace::is_inside() {
            let error = namespace::enter();
            return Err(format!("unshare: {error}; it comes with util-linux, and needs root"));
        }
        namespace::end_if_asked().map_err(|error| format!("signals: {error}"))?;
        furnish().map_err(|error| error.to_string())?;
        match asked {
            Asked::Inside(run) => {
                report_folder(&run.report)?;
                run.run()
            }
            _ => Ok(probe_all()),
        }
    }
}

impl RunArguments {
    fn asked(&self) -> Result<Asked, String> {
        let scenario = self.scenario()?;
        let minutes = self.minutes.unwrap_or(scenario.minutes as f64).clamp(0.1, 1_440.0);
        let lasts = Duration::from_secs_f64(60.0 * minutes);
        let report = std::path::absolute(&self.report)
            .map_err(|error| format!("{}: {error}", self.report.display()))?;
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("rotary"));
        let rotary = || Program::ask(&self.rotary.clone().or_else(beside).unwrap_or_default());
        let (name, seed) = (self.scenario.clone(), self.seed);
        if self.gateway.is_empty() {
            let rotary = rotary()?;
            let replay = self.replay(&scenario, minutes, Some(&rotary));
            let purpose = Purpose { bug: self.bug, failpoint: self.failpoint.clone() };
            let scratch = Path::new(SCRATCH).join("run");
            let run = Run { name, scenario, lasts, seed, rotary, purpose, scratch, report, replay };
            run.allowed()?;
            return Ok(Asked::Inside(Box::new(run)));
        }
        let rotary = if scenario.load == load::Kind::Bank { Some(rotary()?) } else { None };
        let replay = self.replay(&scenario, minutes, None);
        let (gateways, token) = (self.gateway.clone(), self.token.clone().unwrap_or_default());
        let ca = self.ca.clone();
        let outside =
            Outside { name, scenario, lasts, seed, rotary, gateways, token, ca, report, replay };
        outside.allowed()?;
        Ok(Asked::Outside(Box::new(outside)))
    }

    /// The scenario, with the faults that were asked for instead of its own.
    fn scenario(&self) -> Result<Scenario, String> {
        let mut scenario = Scenario::find(&self.scenario).map_err(|error| error.to_string())?;
        if let Some(nemesis) = &self.nemesis {
            scenario.nemesis = nemesis.iter().filter(|name| *name != "none").cloned().collect();
        }
        if let Some(text) = &self.failpoint {
            text.parse::<Failpoints>().map_err(|error| format!("--failpoint {error}"))?;
            let name = Kind::Failpoint.name();
            if !scenario.nemesis.iter().any(|known| known == name) {
                scenario.nemesis.push(name.to_owned());
            }
        }
        scenario.kinds()?;
        Ok(scenario)
    }

    /// The command line that repeats it. The program is a part of what does, and the page of a run
    /// shows this line.
    fn replay(&self, scenario: &Scenario, minutes: f64, rotary: Option<&Program>) -> String {
        let nemesis = match scenario.nemesis.join(",") {
            none if none.is_empty() => "none".to_owned(),
            some => some,
        };
        let Self { scenario: name, seed, .. } = self;
        let mut line = format!(
            "rotary-chaos run {name} --nemesis {nemesis} --seed {seed} --minutes {minutes}"
        );
        if let Some(bug) = self.bug {
            line.push_str(&format!(" --bug {}", bug.name()));
        }
        if let Some(text) = &self.failpoint {
            line.push_str(&format!(" --failpoint '{text}'"));
        }
        if !self.gateway.is_empty() {
            line.push_str(" --gateway URL,... --token T");
            line.push_str(if self.ca.is_some() { " --ca FILE" } else { "" });
        }
        line.push_str(" --report FOLDER");
        if let Some(rotary) = rotary {
            line.push_str(&format!("  # {rotary}"));
        }
        line
    }
}

/// Makes the namespace ready, and a scratch folder in it.
fn furnish() -> Result<(), shell::ShellError> {
    namespace::furnish()?;
    cgroup::sweep();
    shell::run(&format!("mkdir {SCRATCH}/run")).map(drop)
}

fn probe_all() -> bool {
    let findings = probe::probe(&Path::new(SCRATCH).join("probe"));
    print!("{}", probe::table(&findings));
    let works = findings.iter().filter(|finding| finding.missing.is_none()).count();
    println!("{works} of {} mechanisms work", Mechanism::ALL.len());
    works == Mechanism::ALL.len()
}
