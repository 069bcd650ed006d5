//! Trials of the simulation itself: that it repeats, that old stories still hold, that it can fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::simulation::bugs::Bug;
use crate::simulation::case::bug_name;
use crate::simulation::report::Total;
use crate::simulation::swarm;
use crate::simulation::world::Parameters;

/// Simulated milliseconds of faults in a run of a kept seed.
const KEPT_FAULT_MS: u64 = 60_000;
/// The same, where a bug is planted.
const BUG_FAULT_MS: u64 = 60_000;

/// The kept seeds, each with its story.
const SEEDS: &str = include_str!("../../../seeds.txt");

/// Runs a seed in processes of its own and compares the bytes of their traces. How long records are
/// kept is by wall time, so what clocks may not matter to is a world that keeps everything.
pub(crate) fn meta(seed: u64, minutes: f64, whole: bool) -> Result<bool, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut traces = Vec::new();
    let (keep, still) = ("--keep-all", "--still-clocks");
    let runs: [(&str, &[&str]); 4] =
        [("first", &[]), ("second", &[]), ("jumping", &[keep]), ("still", &[keep, still])];
    for (name, options) in &runs[..if whole { 2 } else { runs.len() }] {
        let path = trace_path(seed, name);
        let mut run = Command::new(&program);
        run.args(["simulate", "--seed", &seed.to_string(), "--minutes", &minutes.to_string()]);
        run.args(*options).args(whole.then_some("--whole")).arg("--trace").arg(&path);
        let output = run.output().map_err(|error| error.to_string())?;
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("meta: {name}: {} bytes, {}", bytes.len(), output.status);
        traces.push((bytes, path));
    }
    let same = traces.windows(2).step_by(2).map(|pair| pair[0].0 == pair[1].0);
    let same: Vec<bool> = same.collect();
    if same.first() == Some(&false) {
        println!("meta: the same seed gives two traces");
    }
    if same.get(1) == Some(&false) {
        println!("meta: P11 BROKEN: wall clocks matter");
    }
    let holds = same.iter().all(|same| *same);
    for (_, path) in &traces {
        if holds {
            drop(fs::remove_file(path));
        } else {
            println!("meta: {}", path.display());
        }
    }
    if holds {
        let whatever = if whole { "" } else { ", whatever wall clocks say" };
        println!("meta: seed {seed} gives the same bytes{whatever}");
    }
    Ok(holds)
}

fn trace_path(seed: u64, name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("simulate-{}-{seed}-{name}.trace", std::process::id()))
}

/// A seed that once failed.
struct Kept {
    seed: u64,
    whole: bool,
    story: &'static str,
}

impl Kept {
    fn parameters(&self) -> Parameters {
        Parameters { whole: self.whole, ..parameters(self.seed, KEPT_FAULT_MS, None) }
    }
}

/// The kept seeds and their stories.
fn kept() -> impl Iterator<Item = Kept> {
    let lines = SEEDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| {
        let (seed, story) = line.split_once(' ')?;
        let whole = seed.strip_prefix("whole:");
        let seed = whole.unwrap_or(seed).parse().ok()?;
        Some(Kept { seed, whole: whole.is_some(), story })
    })
}

/// Runs every kept seed.
pub(crate) fn seeds() -> Result<bool, String> {
    let (began, mut total) = (Instant::now(), Total::default());
    let worlds = kept().map(|kept| kept.parameters());
    let mut stories = kept().map(|kept| kept.story);
    swarm::run(worlds, swarm::jobs(), |parameters, report| {
        let story = stories.next().unwrap_or_default();
        println!("seed {}: {story}", parameters.seed);
        report.print();
        total.add(report);
        Ok(true)
    })?;
    total.print(began.elapsed());
    Ok(total.failed == 0)
}

fn parameters(seed: u64, fault_ms: u64, bug: Option<Bug>) -> Parameters {
    Parameters {
        seed,
        fault_ms,
        still_clocks: false,
        keep_all: false,
        whole: false,
        bug,
        trace: None,
    }
}

/// Plants bugs, each until a seed catches it; as many at a time as there are cores.
pub(crate) fn bugs(seeds: u64, only: Option<Bug>) -> Result<bool, String> {
    let all = Bug::value_variants().iter().copied();
    let planted: Vec<Bug> = all.filter(|bug| only.is_none_or(|only| only == *bug)).collect();
    let (next, caught, sane) = (AtomicUsize::new(0), AtomicUsize::new(0), Sane::default());
    let work = || -> Result<(), String> {
        while let Some(bug) = planted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = catch(*bug, seeds, &sane)?;
            caught.fetch_add(usize::from(found.is_some()), Ordering::Relaxed);
            let name = bug_name(*bug);
            match found {
                Some(Catch { seed, after_ms, took, what }) => {
                    let after = after_ms / 1_000;
                    println!("{name}: caught by seed {seed} after {after} s ({took:.0?}): {what}");
                    println!("    simulate --bug {name} --seed {seed}");
                }
                None => println!("{name}: NOT CAUGHT by {seeds} seeds"),
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..swarm::jobs()).map(|_| scope.spawn(work)).collect();
        let join = |worker: ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|_| Err("a worker panicked".to_owned()))
        };
        workers.into_iter().try_for_each(join)
    })?;
    let (caught, planted) = (caught.into_inner(), planted.len());
    println!("{caught} of {planted} planted bugs caught");
    Ok(caught == planted)
}

/// How a bug was caught.
struct Catch {
    seed: u64,
    /// In the world's time.
    after_ms: u64,
    /// In ours, all seeds included.
    took: Duration,
    what: String,
}

/// Whether worlds without a bug hold: by seed, and whether nodes are whole.
type Sane = Mutex<BTreeMap<(u64, bool), bool>>;

/// The first seed that catches a bug, and what it says.
fn catch(bug: Bug, seeds: u64, sane: &Sane) -> Result<Option<Catch>, String> {
    let (whole, began) = (bug.planted().is_some(), Instant::now());
    for seed in 1..=seeds {
        let world = Parameters { whole, ..parameters(seed, BUG_FAULT_MS, Some(bug)) };
        let report = swarm::one(&world)?;
        let Some(broken) = report.violations.first() else { continue };
        // The same world without the bug must hold, or it is not the bug that was caught.
        if !holds_without(&world, sane)? {
            continue;
        }
        let what = format!("{} {}", broken.promise, broken.detail);
        let (after_ms, took) = (report.simulated_ms, began.elapsed());
        return Ok(Some(Catch { seed, after_ms, took, what }));
    }
    Ok(None)
}

/// Whether that world holds without its bug. It is asked for many bugs, and tried once.
fn holds_without(world: &Parameters, sane: &Sane) -> Result<bool, String> {
    let key = (world.seed, world.whole);
    let known = || sane.lock().expect("nothing panics under it");
    if let Some(holds) = known().get(&key) {
        return Ok(*holds);
    }
    let holds = swarm::one(&Parameters { bug: None, ..world.clone() })?.held();
    known().insert(key, holds);
    Ok(holds)
}
