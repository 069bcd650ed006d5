//! What must hold before anything is merged: a fixed set of seeds, that a seed repeats, and that
//! the invariants catch what they are there for.

use std::process::Command;

/// Runs the simulation with those arguments; it must succeed. Its case files are in `target/cases`.
fn simulate(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rotary-chaos"));
    // Where `target` is, so that a case file is found where the message says.
    command.args(arguments).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let output = command.output().expect("the simulation starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "simulate {arguments:?}: {}\n{said}\n{complained}",
        output.status
    );
    println!("{}", said.lines().last().unwrap_or_default());
}

#[test]
fn seeds_that_once_failed_hold() {
    simulate(&["seeds"]);
}

#[test]
fn some_other_seeds_hold() {
    simulate(&["simulate", "--seed", "10000", "--seeds", "12", "--minutes", "1", "--keep-going"]);
}

#[test]
fn some_more_seeds_hold() {
    simulate(&["simulate", "--seed", "10012", "--seeds", "12", "--minutes", "1", "--keep-going"]);
}

#[test]
fn a_seed_gives_the_same_bytes_twice_and_whatever_the_clocks_say() {
    simulate(&["meta", "--seed", "2", "--minutes", "0.3"]);
}

#[test]
fn whole_nodes_hold() {
    let fresh = ["simulate", "--whole", "--seed", "20000", "--seeds", "8", "--minutes", "1"];
    simulate(&[&fresh[..], &["--keep-going"]].concat());
}

#[test]
fn a_seed_gives_the_same_bytes_twice_where_nodes_are_whole() {
    simulate(&["meta", "--whole", "--seed", "3", "--minutes", "0.3"]);
}

#[test]
fn every_planted_bug_is_caught() {
    simulate(&["bugs", "--seeds", "24"]);
}
