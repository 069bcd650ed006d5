//! Sums over the runs of a soak.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::checkers::Percentiles;

/// Bytes of a file that is summed up.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The fault whose times a row tells where it is alone.
const KILL_LEADER: &str = "kill-leader";
/// The times that say how soon there is work again.
const FAILOVER: &str = "kill-leader: first offer after";
const REATTACH: &str = "sessions without a gateway";

/// What the runs of a soak came to.
#[derive(Debug, Default)]
pub struct Totals {
    runs: u64,
    broken: u64,
    unknown: u64,
    /// How often each fault was done, and did something.
    faults: BTreeMap<String, (u64, u64)>,
    /// File systems that lost their power.
    cuts: u64,
    /// What each checker looked at, and what of it was wrong.
    checked: BTreeMap<String, (u64, u64)>,
    times: BTreeMap<String, Vec<u64>>,
    /// Of the runs whose only fault was the death of leaders.
    alone: BTreeMap<String, Vec<u64>>,
    worlds: Worlds,
}

/// A run of real processes, of its `run.json`.
#[derive(Deserialize)]
struct Run {
    nemeses: BTreeMap<String, Tally>,
    scenario: Nodes,
    verdict: Said,
}

#[derive(Deserialize)]
struct Tally {
    begun: u64,
    bitten: u64,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: u64,
}

#[derive(Deserialize)]
struct Said {
    broken: Vec<String>,
    unknown: Vec<String>,
}

/// What its checkers said, of its `judgement.json`.
#[derive(Deserialize)]
struct Judged {
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    checked: u64,
    found: u64,
    times: Vec<(String, Vec<u64>)>,
}

/// Simulated worlds, as `simulate --sums` writes them.
#[derive(Debug, Default, Deserialize)]
struct Worlds {
    runs: u64,
    failed: u64,
    simulated_ms: u64,
    took: std::time::Duration,
    entries: u64,
    answered: u64,
    faults: BTreeMap<String, Struck>,
}

#[derive(Debug, Default, Deserialize)]
struct Struck {
    struck: u64,
}

impl Totals {
    /// Of a soak's folder.
    ///
    /// # Errors
    /// What cannot be read, or is nothing of a soak's.
    pub fn of(folder: &Path) -> Result<Self, String> {
        let mut totals = Self::default();
        let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
        let entries = fs::read_dir(folder).map_err(wrong)?;
        let mut paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(wrong));
        paths.try_for_each(|path| {
            let path = path?;
            let run = path.join("run.json");
            if run.is_file() {
                let run = read(&run)?;
                let is_alone = totals.run(&run);
                let judged = path.join("judgement.json");
                if judged.is_file() {
                    totals.judged(read(&judged)?, is_alone);
                }
            } else if path.extension().is_some_and(|extension| extension == "json") {
                totals.worlds.add(read(&path)?);
            }
            Ok::<_, String>(())
        })?;
        Ok(totals)
    }

    /// Adds a run; whether nothing was done in it but killing leaders.
    fn run(&mut self, run: &Run) -> bool {
        self.runs += 1;
        self.broken += u64::from(!run.verdict.broken.is_empty());
        let unknown = run.verdict.broken.is_empty() && !run.verdict.unknown.is_empty();
        self.unknown += u64::from(unknown);
        for (name, Tally { begun, bitten }) in &run.nemeses {
            let sum = self.faults.entry(name.clone()).or_default();
            (sum.0, sum.1) = (sum.0 + begun, sum.1 + bitten);
            let nodes = run.scenario.nodes;
            self.cuts += bitten
                * match name.as_str() {
                    "power-cut" => 1,
                    "power-cut-majority" => nodes / 2 + 1,
                    "power-cut-all" => nodes,
                    _ => 0,
                };
        }
        run.nemeses.keys().eq([KILL_LEADER])
    }

    fn judged(&mut self, judged: Judged, is_alone: bool) {
        for Check { name, checked, found, times } in judged.checks {
            let sum = self.checked.entry(name).or_default();
            (sum.0, sum.1) = (sum.0 + checked, sum.1 + found);
            for (name, mut times) in times {
                if is_alone {
                    self.alone.entry(name.clone()).or_default().extend(&times);
                }
                self.times.entry(name).or_default().append(&mut times);
            }
        }
    }

    /// Of runs in which nothing but leaders died: a storm takes its own time.
    fn times_of(&self, name: &str) -> Percentiles {
        Percentiles::of(self.alone.get(name).cloned().unwrap_or_default())
    }

    /// A row of `RESULTS.md`, behind its first columns.
    pub fn row(&self) -> String {
        let Worlds { runs, failed, simulated_ms, answered, .. } = &self.worlds;
        let hours = *simulated_ms as f64 / 3_600_000.0;
        let speed = self.worlds.speed();
        let struck: u64 = self.worlds.faults.values().map(|fault| fault.struck).sum();
        let bitten: u64 = self.faults.values().map(|(_, bitten)| bitten).sum();
        let checked: u64 = self.checked.values().map(|(checked, _)| checked).sum();
        let found: u64 = self.checked.values().map(|(_, found)| found).sum();
        let mut row = String::new();
        let _ = write!(
            row,
            "{runs} worlds, {failed} failed; {hours:.1} h ({speed:.0} in an hour on a core), \
             {struck} faults, {answered} answers | {} runs, {} invalid, {} unknown; {bitten} \
             faults bitten, {} file systems without power | {found} of {checked} | {} | {} |",
            self.runs,
            self.broken,
            self.unknown,
            self.cuts,
            self.times_of(FAILOVER),
            self.times_of(REATTACH),
        );
        row.push('\n');
        row
    }
}

impl Worlds {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.failed += other.failed;
        self.simulated_ms += other.simulated_ms;
        self.took += other.took;
        self.entries += other.entries;
        self.answered += other.answered;
        for (name, Struck { struck }) in other.faults {
            self.faults.entry(name).or_default().struck += struck;
        }
    }

    /// How many times as fast as we a core lets time pass.
    fn speed(&self) -> f64 {
        self.simulated_ms as f64 / 1_000.0 / self.took.as_secs_f64().max(0.001)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Worlds { runs, failed, simulated_ms, entries, answered, faults, .. } = &self.worlds;
        let (hours, speed) = (*simulated_ms as f64 / 3_600_000.0, self.worlds.speed());
        writeln!(
            f,
            "simulated: {runs} worlds, {failed} failed; {hours:.2} h, {speed:.0} in an hour on a \
             core; {entries} entries, {answered} answers"
        )?;
        for (name, Struck { struck }) in faults {
            writeln!(f, "    {name:<20} struck {struck:>6}")?;
        }
        let Self { runs, broken, unknown, cuts, .. } = self;
        writeln!(
            f,
            "real: {runs} runs, {broken} invalid, {unknown} unknown; {cuts} file systems without \
             power"
        )?;
        for (name, (begun, bitten)) in &self.faults {
            writeln!(f, "    {name:<20} begun {begun:>6}  bitten {bitten:>6}")?;
        }
        for (name, (checked, found)) in &self.checked {
            writeln!(f, "    {name:<22} {found:>6} of {checked:>9}")?;
        }
        for name in self.times.keys() {
            let all = Percentiles::of(self.times.get(name).cloned().unwrap_or_default());
            writeln!(f, "    {name}: {all}")?;
            if self.alone.contains_key(name) {
                writeln!(f, "        killed leaders alone: {}", self.times_of(name))?;
            }
        }
        Ok(())
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let wrong = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
    let bytes = fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(wrong(&format_args!("{bytes} bytes, above {FILE_BYTES_MAX}")));
    }
    let text = fs::read(path).map_err(|error| wrong(&error))?;
    serde_json::from_slice(&text).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_worlds_are_summed() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            fs::write(path, text).expect("written");
        };
        let run = |nemesis: &str, unknown: &str| {
            format!(
                r#"{{"nemeses": {{"{nemesis}": {{"begun": 3, "bitten": 2, "refused": 0}}}},
                "scenario": {{"nodes": 3}}, "verdict": {{"broken": [], "unknown": [{unknown}]}}}}"#
            )
        };
        let judged = |took: u64| {
            format!(
                r#"{{"checks": [{{"name": "liveness", "checked": 5, "found": 0,
                "times": [["kill-leader: first offer after", [{took}]]]}}]}}"#
            )
        };
        write("a/run.json", &run("power-cut-all", ""));
        write("a/judgement.json", &judged(7));
        write("b/run.json", &run("kill-leader", "\"x\""));
        write("b/judgement.json", &judged(9));
        write("c/something.txt", "");
        for name in ["spine.json", "whole.json"] {
            let took = r#""took": {"secs": 100, "nanos": 0}"#;
            let faults = r#""faults": {"crash": {"begun": 4, "struck": 3}}"#;
            let counts = r#""runs": 2, "failed": 0, "simulated_ms": 3600000, "entries": 9"#;
            write(name, &format!(r#"{{{counts}, "answered": 8, {took}, {faults}}}"#));
        }
        let row = Totals::of(folder.path()).expect("all is readable").row();
        let due = "4 worlds, 0 failed; 2.0 h (36 in an hour on a core), 6 faults, 16 answers | \
            2 runs, 0 invalid, 1 unknown; 4 faults bitten, 6 file systems without power | \
            0 of 10 | p50 9 ms, p99 9 ms, max 9 ms of 1 | p50 0 ms, p99 0 ms, max 0 ms of 0 |\n";
        assert_eq!(row, due);
        write("bad.json", "{");
        let error = Totals::of(folder.path()).expect_err("it is none");
        assert!(error.contains("bad.json"), "{error}");
    }
}
