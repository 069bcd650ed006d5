//! What a run came to, in a few lines.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::simulation::faults::Count;
use crate::simulation::history::Ms;
use crate::simulation::invariants::Violation;
use crate::simulation::workload::Counts;

/// The end of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) shards: usize,
    pub(crate) simulated_ms: Ms,
    pub(crate) took: Duration,
    pub(crate) entries: usize,
    pub(crate) counts: Counts,
    pub(crate) faults: BTreeMap<String, Count>,
    pub(crate) refused_faults: u64,
    /// Nodes that were rebuilt from the others.
    pub(crate) rebuilt: u64,
    /// Segments of journals that retention dropped.
    pub(crate) dropped_segments: u64,
    /// How often a reader was told that what it wanted next was gone.
    pub(crate) readers_late: u64,
    pub(crate) fault_log: Vec<String>,
    pub(crate) trace: (u64, u64),
    pub(crate) tail: Vec<String>,
    pub(crate) violations: Vec<Violation>,
    /// What could not be found out of a history.
    pub(crate) doubts: Vec<String>,
}

impl Report {
    /// Whether every promise held.
    pub(crate) fn held(&self) -> bool {
        self.violations.is_empty()
    }

    /// One line, and one for each broken promise.
    pub(crate) fn print(&self) {
        let Counts { attempts, repeated, answered, refused, unknown } = self.counts;
        let struck: u64 = self.faults.values().map(|count| count.struck).sum();
        let (seconds, hash) = (self.simulated_ms / 1_000, self.trace.0);
        println!(
            "seed {}: {} nodes, {} shards, {seconds} s in {:.1} s, {} entries, {answered} answers \
             ({refused} refusals, {repeated} repeated), {unknown} unknown, {attempts} attempts, \
             {struck} faults, trace {hash:016x}",
            self.seed,
            self.nodes,
            self.shards,
            self.took.as_secs_f64(),
            self.entries,
        );
        for doubt in self.doubts.iter().take(2) {
            println!("seed {}: not known: {doubt}", self.seed);
        }
        for Violation { promise, detail } in self.violations.iter().take(5) {
            println!("seed {}: {promise} BROKEN: {detail}", self.seed);
        }
    }
}

/// Sums over runs.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Total {
    pub(crate) runs: u64,
    pub(crate) failed: u64,
    simulated_ms: Ms,
    took: Duration,
    entries: usize,
    answered: u64,
    faults: BTreeMap<String, Count>,
    refused_faults: u64,
    rebuilt: u64,
    dropped_segments: u64,
    readers_late: u64,
}

impl Total {
    pub(crate) fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.failed += u64::from(!report.held());
        self.simulated_ms += report.simulated_ms;
        self.took += report.took;
        self.entries += report.entries;
        self.answered += report.counts.answered;
        self.refused_faults += report.refused_faults;
        self.rebuilt += report.rebuilt;
        self.dropped_segments += report.dropped_segments;
        self.readers_late += report.readers_late;
        for (word, count) in &report.faults {
            let sum = self.faults.entry(word.clone()).or_default();
            (sum.begun, sum.struck) = (sum.begun + count.begun, sum.struck + count.struck);
        }
    }

    /// Says what came of them, in that time.
    pub(crate) fn print(&self, took: Duration) {
        let hours = self.simulated_ms as f64 / 3_600_000.0;
        let speed = self.simulated_ms as f64 / 1_000.0 / self.took.as_secs_f64().max(0.001);
        println!(
            "{} runs, {} failed: {hours:.2} h simulated in {:.0} s ({speed:.0} times as fast on a \
             core), {} entries, {} answers",
            self.runs,
            self.failed,
            took.as_secs_f64(),
            self.entries,
            self.answered,
        );
        let word = |(word, count): (&String, &Count)| format!("{word} {}", count.struck);
        let words: Vec<String> = self.faults.iter().map(word).collect();
        let (words, refused, rebuilt) = (words.join(", "), self.refused_faults, self.rebuilt);
        let (segments, late) = (self.dropped_segments, self.readers_late);
        println!(
            "struck: {words}; refused beyond quorum: {refused}; rebuilt: {rebuilt}; segments \
             dropped: {segments}; readers too late: {late}"
        );
    }
}
