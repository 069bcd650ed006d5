//! Whole runs: three processes, a load, faults for a quarter of a minute, and the ledger's verdict.

use std::path::Path;
use std::time::Duration;

use rotary_chaos::real::program::{Program, Purpose};
use rotary_chaos::real::run::{Run, report_folder};
use rotary_chaos::real::scenario::Scenario;
use rotary_proto::planted::Planted;

/// The program beside this test, if it can do what the test wants.
fn program(test: &str, purpose: &Purpose, faults: &[&str]) -> Option<Program> {
    let own = std::env::current_exe().expect("this program has a path");
    // target/debug/deps/real-… and target/debug/rotary.
    let path = own.ancestors().nth(2).expect("a target folder").join("rotary");
    let asked = Program::ask(&path).and_then(|program| {
        let fails = purpose.bug.is_some() || faults.contains(&"failpoint");
        if fails {
            program.must_be_chaos(test)?
        }
        Ok(program)
    });
    match asked {
        Ok(program) => Some(program),
        Err(why) => {
            let required = std::env::var_os("ROTARY_CHAOS_REQUIRED").is_some();
            assert!(!required, "{test}: {why}");
            println!("SKIPPED {test}: {why}");
            None
        }
    }
}

/// Runs a built-in scenario with faults that follow each other faster: its verdict, and the report
/// as text. Nothing where it cannot be run.
fn run(
    test: &str,
    scenario: &str,
    faults: &[&str],
    purpose: Purpose,
) -> Option<(Result<bool, String>, String)> {
    let test = format!("runs::{test}");
    let rotary = program(&test, &purpose, faults)?;
    if !super::inside(&test) {
        return None;
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
    let (lasts, replay, name) = (Duration::from_secs(15), test.clone(), test.clone());
    let run = Run { name, scenario, lasts, seed: 7, rotary, purpose, scratch, report, replay };
    let valid = run.run();
    let read = |file| std::fs::read_to_string(folder.path().join(file)).unwrap_or_default();
    let told = read("run.json") + &read("judgement.txt");
    if std::env::var_os("ROTARY_KEEP_HISTORY").is_some() {
        println!("kept: {}", folder.keep().display());
    }
    Some((valid, told))
}

/// The verdict must be valid.
fn judged(test: &str, scenario: &str, faults: &[&str]) {
    let Some((valid, told)) = run(test, scenario, faults, Purpose::default()) else { return };
    assert_eq!(valid, Ok(true), "{test}: {told}");
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

#[test]
fn disks_that_fail_at_a_place_lose_nothing() {
    judged("disks_that_fail_at_a_place_lose_nothing", "failpoints", &["failpoint"]);
}

#[test]
fn clients_that_misbehave_lose_nothing() {
    let faults = ["clients-reset", "clients-stall", "clients-slow"];
    judged("clients_that_misbehave_lose_nothing", "calm", &faults);
}

#[test]
fn a_named_failpoint_ends_the_process() {
    let failpoint = Some("sync:log=20*off->abort".to_owned());
    let purpose = Purpose { failpoint, ..Purpose::default() };
    let test = "a_named_failpoint_ends_the_process";
    let Some((valid, told)) = run(test, "failpoints", &["failpoint"], purpose) else { return };
    assert_eq!(valid, Ok(true), "{told}");
    assert!(told.contains("\"failpoint\": \"sync:log=20*off->abort\""), "{told}");
}

#[test]
fn a_planted_bug_is_caught() {
    let purpose = Purpose { bug: Some(Planted::KeyReplaced), ..Purpose::default() };
    let test = "a_planted_bug_is_caught";
    let Some((valid, told)) = run(test, "calm", &[], purpose) else { return };
    assert_eq!(valid, Ok(false), "{told}");
    assert!(told.contains("\"bug\": \"key-replaced\""), "{told}");
}
