//! The command line.

mod trials;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::bugs::Bug;
use crate::case::Case;
use crate::report::Total;
use crate::world::{self, Parameters};

/// Where case files go, beneath the directory it is run from.
const CASES: &str = "target/cases";

/// A whole cluster in one seeded, simulated world.
#[derive(Debug, Parser)]
#[command(name = "simulate", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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

#[derive(Debug, Args)]
struct Simulate {
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

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let done = match Arguments::parse().command {
        Command::Simulate(Simulate { replay: Some(path), trace, .. }) => replay(&path, trace),
        Command::Simulate(simulate) => simulate.run(),
        Command::Meta { seed, minutes } => trials::meta(seed, minutes),
        Command::Seeds => trials::seeds(),
        Command::Bugs { seeds, bug } => trials::bugs(seeds, bug),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error}");
            ExitCode::from(2)
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
