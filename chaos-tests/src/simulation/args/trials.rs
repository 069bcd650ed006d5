//! Trials of the simulation itself: that it repeats, that old stories still hold, that it can fail.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;

use crate::simulation::bugs::Bug;
use crate::simulation::case::bug_name;
use crate::simulation::world::{self, Parameters};

/// Simulated milliseconds of faults in a run of a kept seed.
const KEPT_FAULT_MS: u64 = 60_000;
/// The same, where a bug is planted.
const BUG_FAULT_MS: u64 = 60_000;

/// The kept seeds, each with its story.
const SEEDS: &str = include_str!("../../../seeds.txt");

/// Runs a seed in processes of its own and compares the bytes of their traces. How long records are
/// kept is by wall time, so what clocks may not matter to is a world that keeps everything.
pub(crate) fn meta(seed: u64, minutes: f64) -> Result<bool, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut traces = Vec::new();
    let (keep, still) = ("--keep-all", "--still-clocks");
    let runs: [(&str, &[&str]); 4] =
        [("first", &[]), ("second", &[]), ("jumping", &[keep]), ("still", &[keep, still])];
    for (name, options) in runs {
        let path = trace_path(seed, name);
        let mut run = Command::new(&program);
        run.args(["simulate", "--seed", &seed.to_string(), "--minutes", &minutes.to_string()]);
        run.args(options).arg("--trace").arg(&path);
        let output = run.output().map_err(|error| error.to_string())?;
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("meta: {name}: {} bytes, {}", bytes.len(), output.status);
        traces.push((bytes, path));
    }
    let [(first, one), (second, two), (jumping, three), (still, four)] = traces.as_slice() else {
        return Err("four runs give four traces".to_owned());
    };
    let (same, clock_proof) = (first == second, jumping == still);
    if !same {
        println!("meta: the same seed gives two traces: {} and {}", one.display(), two.display());
    }
    if !clock_proof {
        println!("meta: P11 BROKEN: wall clocks matter: {} {}", three.display(), four.display());
    }
    if same && clock_proof {
        println!("meta: seed {seed} gives the same bytes, whatever wall clocks say");
        [one, two, three, four].into_iter().for_each(|path| drop(fs::remove_file(path)));
    }
    Ok(same && clock_proof)
}

fn trace_path(seed: u64, name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("simulate-{}-{seed}-{name}.trace", std::process::id()))
}

/// The kept seeds and their stories.
fn kept() -> impl Iterator<Item = (u64, &'static str)> {
    let lines = SEEDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| {
        let (seed, story) = line.split_once(' ')?;
        Some((seed.parse().ok()?, story))
    })
}

/// Runs every kept seed.
pub(crate) fn seeds() -> Result<bool, String> {
    let (mut held, mut total) = (true, crate::simulation::report::Total::default());
    for (seed, story) in kept() {
        println!("seed {seed}: {story}");
        let report = world::run(&parameters(seed, KEPT_FAULT_MS, None))?;
        report.print();
        total.add(&report);
        held &= report.held();
    }
    total.print();
    Ok(held)
}

fn parameters(seed: u64, fault_ms: u64, bug: Option<Bug>) -> Parameters {
    Parameters { seed, fault_ms, still_clocks: false, keep_all: false, bug, trace: None }
}

/// Plants bugs, each until a seed catches it.
pub(crate) fn bugs(seeds: u64, only: Option<Bug>) -> Result<bool, String> {
    let (mut planted, mut caught) = (0, 0);
    for bug in Bug::value_variants() {
        if only.is_some_and(|only| only != *bug) {
            continue;
        }
        planted += 1;
        let found = catch(*bug, seeds)?;
        caught += u32::from(found.is_some());
        match found {
            Some((seed, what)) => println!("{}: caught by seed {seed}: {what}", bug_name(*bug)),
            None => println!("{}: NOT CAUGHT by {seeds} seeds", bug_name(*bug)),
        }
    }
    println!("{caught} of {planted} planted bugs caught");
    Ok(caught == planted)
}

/// The first seed that catches a bug, and what it says.
fn catch(bug: Bug, seeds: u64) -> Result<Option<(u64, String)>, String> {
    for seed in 1..=seeds {
        let report = world::run(&parameters(seed, BUG_FAULT_MS, Some(bug)))?;
        if let Some(broken) = report.violations.first() {
            return Ok(Some((seed, format!("{} {}", broken.promise, broken.detail))));
        }
    }
    Ok(None)
}
