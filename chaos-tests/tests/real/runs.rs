//! Whole runs: three processes, a load, faults for a quarter of a minute, and the ledger's verdict.

use std::path::Path;
use std::time::Duration;

use rotary_chaos::real::run::{Run, report_folder};
use rotary_chaos::real::scenario::Scenario;

/// Runs a built-in scenario with faults that follow each other faster; the verdict must be valid.
fn judged(test: &str, scenario: &str, faults: &[&str]) {
    let test = format!("runs::{test}");
    let program = std::env::current_exe().expect("this program has a path");
    // target/debug/deps/real-… and target/debug/rotary.
    let rotary = program.ancestors().nth(2).expect("a target folder").join("rotary");
    if !rotary.exists() {
        let required = std::env::var_os("ROTARY_CHAOS_REQUIRED").is_some();
        assert!(!required, "{test}: no {}; build rotary", rotary.display());
        println!("SKIPPED {test}: no {}; build rotary", rotary.display());
        return;
    }
    if !super::inside(&test) {
        return;
    }
    let mut scenario = Scenario::find(scenario).expect("it is built in");
    scenario.nemesis = faults.iter().map(|name| (*name).to_owned()).collect();
    (scenario.calm_s, scenario.every_ms) = (1, 4_000);
    // Whether the cluster serves afterwards is looked at once.
    if scenario.nemesis != ["kill-leader"] {
        scenario.serve_s = 1;
    }
    (scenario.lasts_min_ms, scenario.lasts_max_ms) = (500, 2_000);
    let scratch = Path::new("/dev/shm/run").to_owned();
    std::fs::create_dir(&scratch).expect("a fresh folder");
    let folder = tempfile::tempdir().expect("a folder");
    let report = report_folder(folder.path()).expect("it is empty");
    let (lasts, replay) = (Duration::from_secs(15), test.clone());
    let name = test.clone();
    let run = Run { name, scenario, lasts, seed: 7, rotary, scratch, report, replay };
    let valid = run.run();
    if valid != Ok(true) {
        println!("kept: {}", folder.keep().display());
    }
    assert_eq!(valid, Ok(true), "{test}");
}

#[test]
fn dead_leaders_lose_nothing() {
    judged("dead_leaders_lose_nothing", "kill-leader", &["kill-leader"]);
}

#[test]
fn partitions_lose_nothing() {
    let faults = ["partition-halves", "isolate-leader", "hold-and-release"];
    judged("partitions_lose_nothing", "partition", &faults);
}

#[test]
fn lost_power_loses_nothing() {
    judged("lost_power_loses_nothing", "power-cut", &["power-cut", "power-cut-all"]);
}
