//! What the command line offers for real processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use super::probe::{self, Mechanism};
use super::run::{Run, report_folder};
use super::scenario::Scenario;
use super::{cgroup, load, namespace, outside, shell};

/// Where what needs no disk is kept: a file system in memory that goes with the namespace.
const SCRATCH: &str = "/dev/shm";

/// Acts on real processes.
#[derive(Debug, Subcommand)]
pub enum Act {
    /// Tries what faults are made with, and says what of it this machine lacks.
    Probe,
    /// Breaks a cluster of real processes under load: 0 if it kept its promises, 1 if not, 2 if
    /// that could not be found out.
    Run(RunArguments),
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
    /// A gateway of a cluster that runs already, http://host:port; give each node's. Then nothing
    /// is broken: its machines are out of reach.
    #[arg(long, value_delimiter = ',', requires = "token")]
    gateway: Vec<String>,
    /// An administrator's token of that cluster.
    #[arg(long, env = "ROTARY_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Act {
    /// Does it: true if all is well.
    ///
    /// # Errors
    /// What kept it from being found out.
    pub fn run(self) -> Result<bool, String> {
        let run = match &self {
            Self::Probe => None,
            // What is wrong with the arguments is said before anything is made.
            Self::Run(arguments) => Some(arguments.run()?),
        };
        if let (Self::Run(arguments), Some(run)) = (&self, &run)
            && !arguments.gateway.is_empty()
        {
            return arguments.outside(run);
        }
        if !namespace::is_inside() {
            let error = namespace::enter();
            return Err(format!("unshare: {error}; it comes with util-linux, and needs root"));
        }
        furnish().map_err(|error| error.to_string())?;
        match run {
            None => Ok(probe_all()),
            Some(run) => {
                report_folder(&run.report)?;
                run.run()
            }
        }
    }
}

impl RunArguments {
    /// A run against a cluster of somebody else's.
    fn outside(&self, run: &Run) -> Result<bool, String> {
        let kinds = run.scenario.kinds()?;
        if !kinds.is_empty() {
            let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
            let names = names.join(", ");
            return Err(format!(
                "{names}: a cluster that runs already cannot be broken from here; \
                                use the scenario calm, or --nemesis none"
            ));
        }
        report_folder(&run.report)?;
        let plan = load::Plan {
            kind: run.scenario.load,
            customers_per_minute: run.scenario.customers_per_minute,
            rotary: run.rotary.clone(),
            gateways: self.gateway.clone(),
            token: self.token.clone().unwrap_or_default(),
            seed: run.seed,
            minutes: run.lasts.as_secs().div_ceil(60),
            share_permille: run.scenario.share_permille,
            report: run.report.clone(),
        };
        let history = run.history(&[]).map_err(|error| format!("the history: {error}"))?;
        let replay = format!("{} --gateway URL,...", run.replay);
        outside::run(&plan, run.lasts, &history, &replay)
    }

    fn run(&self) -> Result<Run, String> {
        let mut scenario = Scenario::find(&self.scenario).map_err(|error| error.to_string())?;
        if let Some(nemesis) = &self.nemesis {
            scenario.nemesis = nemesis.iter().filter(|name| *name != "none").cloned().collect();
        }
        let minutes = self.minutes.unwrap_or(scenario.minutes as f64).clamp(0.1, 1_440.0);
        scenario.kinds()?;
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("rotary"));
        let rotary = self.rotary.clone().or_else(beside).unwrap_or_default();
        let rotary = rotary.canonicalize().map_err(|error| {
            format!("{}: {error}; build rotary, or name it with --rotary", rotary.display())
        })?;
        let report = std::path::absolute(&self.report)
            .map_err(|error| format!("{}: {error}", self.report.display()))?;
        let Self { seed, scenario: name, .. } = self;
        let nemesis = match scenario.nemesis.join(",") {
            none if none.is_empty() => "none".to_owned(),
            some => some,
        };
        let replay = format!(
            "rotary-chaos run {name} --nemesis {nemesis} --seed {seed} --minutes {minutes} \
             --report FOLDER"
        );
        let scratch = Path::new(SCRATCH).join("run");
        let lasts = Duration::from_secs_f64(60.0 * minutes);
        Ok(Run {
            name: name.clone(),
            scenario,
            lasts,
            seed: *seed,
            rotary,
            scratch,
            report,
            replay,
        })
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
