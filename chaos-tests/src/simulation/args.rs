//! What the command line asks of the simulation.

mod trials;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};

use crate::simulation::bugs::Bug;
use crate::simulation::case::Case;
use crate::simulation::report::Total;
use crate::simulation::swarm;
use crate::simulation::world::Parameters;

/// Where case files go, beneath the directory it is run from.
pub(crate) const CASES: &str = "target/cases";

/// A trial in a simulated world.
#[derive(Debug, Subcommand)]
pub(crate) enum Trial {
    /// Runs worlds, one per seed, and stops at the first broken promise.
    Simulate(Simulate),
    /// Runs a seed twice in two processes, and with jumping and still wall clocks: the traces of
    /// either pair must be the same.
    Meta {
        /// The seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Simulated minutes of faults.
        #[arg(long, default_value_t = 0.5)]
        minutes: f64,
        /// Nodes are whole. What clocks say is in the ids that gateways make, so only the first
        /// pair is compared.
        #[arg(long)]
        whole: bool,
    },
    /// Runs every seed of seeds.txt.
    Seeds,
    /// Runs one world in this process, and writes its report as JSON.
    #[command(hide = true)]
    World {
        /// Its parameters as JSON.
        parameters: String,
    },
    /// Plants every bug and says how many seeds it took to catch it.
    Bugs {
        /// Seeds per bug, at most.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// This one only.
        #[arg(long)]
        bug: Option<Bug>,
    },
}

/// Which worlds to run, and how.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Simulated minutes of faults in each.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Stops beginning another seed after so many minutes of real time.
    #[arg(long)]
    budget_minutes: Option<f64>,
    /// Worlds at a time; as many as there are cores, if nothing is said.
    #[arg(long)]
    jobs: Option<usize>,
    /// Goes on with the next seed after a broken promise.
    #[arg(long)]
    keep_going: bool,
    /// Repeats a case file; the other options but `--trace` do not count.
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Nodes are whole, with doors, sessions and actors, and clients use the public API.
    #[arg(long)]
    whole: bool,
    /// Plants a bug.
    #[arg(long)]
    bug: Option<Bug>,
    /// Wall clocks do not jump.
    #[arg(long)]
    still_clocks: bool,
    /// Journals keep everything.
    #[arg(long)]
    keep_all: bool,
    /// Writes the whole trace.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Writes the sums over all worlds as JSON, for `totals`.
    #[arg(long)]
    sums: Option<PathBuf>,
}

impl Trial {
    /// Whether every promise held.
    ///
    /// # Errors
    /// What could not be read, written or run.
    pub(crate) fn run(self) -> Result<bool, String> {
        match self {
            Self::Simulate(Simulate { replay: Some(path), trace, .. }) => replay(&path, trace),
            Self::Simulate(simulate) => simulate.run(),
            Self::Meta { seed, minutes, whole } => trials::meta(seed, minutes, whole),
            Self::Seeds => trials::seeds(),
            Self::World { parameters } => swarm::be_world(&parameters),
            Self::Bugs { seeds, bug } => trials::bugs(seeds, bug),
        }
    }
}

/// Minutes as milliseconds.
fn ms(minutes: f64) -> u64 {
    (minutes.max(0.0) * 60_000.0) as u64
}

impl Simulate {
    fn run(self) -> Result<bool, String> {
        let (began, mut total) = (Instant::now(), Total::default());
        let budget = self.budget_minutes.map_or(f64::INFINITY, |minutes| minutes * 60.0);
        let worlds = (self.seed..self.seed.saturating_add(self.seeds))
            .take_while(|_| began.elapsed().as_secs_f64() <= budget)
            .map(|seed| self.parameters(seed));
        swarm::run(worlds, self.jobs.unwrap_or_else(swarm::jobs), |parameters, report| {
            report.print();
            total.add(report);
            if !report.held() {
                let path = Case::new(parameters, report).write(Path::new(CASES))?;
                let seed = parameters.seed;
                println!("seed {seed}: repeat it with --replay {}", path.display());
            }
            Ok(report.held() || self.keep_going)
        })?;
        total.print(began.elapsed());
        if let Some(path) = &self.sums {
            let text = serde_json::to_string(&total).map_err(|error| error.to_string())?;
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(total.failed == 0)
    }

    fn parameters(&self, seed: u64) -> Parameters {
        Parameters {
            seed,
            fault_ms: ms(self.minutes),
            still_clocks: self.still_clocks,
            keep_all: self.keep_all,
            // Bugs of whole nodes show nowhere else.
            whole: self.whole || self.bug.is_some_and(|bug| bug.planted().is_some()),
            bug: self.bug,
            trace: self.trace.clone(),
        }
    }
}

/// Repeats a case: the same trace, or this build behaves otherwise.
fn replay(path: &Path, trace: Option<PathBuf>) -> Result<bool, String> {
    let case = Case::read(path)?;
    let report = swarm::one(&Parameters { trace, ..case.parameters()? })?;
    report.print();
    let same = format!("{:016x}", report.trace.0) == case.trace_hash;
    let word = if same { "the same trace" } else { "another trace than the case file's" };
    println!("replay: {word}");
    Ok(same)
}
