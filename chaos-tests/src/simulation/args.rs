//! What the command line asks of the simulation.

mod trials;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::simulation::bugs::Bug;
use crate::simulation::case::Case;
use crate::simulation::report::Total;
use crate::simulation::world::{self, Parameters};

/// Where case files go, beneath the directory it is run from.
const CASES: &str = "target/cases";

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
    },
    /// Runs every seed of seeds.txt.
    Seeds,
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
    /// Goes on with the next seed after a broken promise.
    #[arg(long)]
    keep_going: bool,
    /// Repeats a case file; the other options but `--trace` do not count.
    #[arg(long)]
    replay: Option<PathBuf>,
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
            Self::Meta { seed, minutes } => trials::meta(seed, minutes),
            Self::Seeds => trials::seeds(),
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
        let (began, mut total) = (std::time::Instant::now(), Total::default());
        for seed in self.seed..self.seed.saturating_add(self.seeds) {
            let spent = began.elapsed().as_secs_f64() / 60.0;
            if self.budget_minutes.is_some_and(|budget| spent > budget) {
                break;
            }
            let parameters = Parameters {
                seed,
                fault_ms: ms(self.minutes),
                still_clocks: self.still_clocks,
                keep_all: self.keep_all,
                bug: self.bug,
                trace: self.trace.clone(),
            };
            let report = world::run(&parameters)?;
            report.print();
            total.add(&report);
            if !report.held() {
                let path = Case::new(&parameters, &report).write(Path::new(CASES))?;
                println!("seed {seed}: repeat it with --replay {}", path.display());
                if !self.keep_going {
                    break;
                }
            }
        }
        total.print();
        Ok(total.failed == 0)
    }
}

/// Repeats a case: the same trace, or this build behaves otherwise.
fn replay(path: &Path, trace: Option<PathBuf>) -> Result<bool, String> {
    let case = Case::read(path)?;
    let report = world::run(&Parameters { trace, ..case.parameters()? })?;
    report.print();
    let same = format!("{:016x}", report.trace.0) == case.trace_hash;
    let word = if same { "the same trace" } else { "another trace than the case file's" };
    println!("replay: {word}");
    Ok(same)
}
