//! Every fault that was asked for did what it is for, and the history is whole.
//!
//! A run whose faults never bit shows nothing, and a history that lost records may hide anything:
//! both leave the verdict unknown.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::Evidence;
use super::verdict::Check;
use crate::history::{Edge, Record};

/// Counts what bit.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("coverage", "faults");
    let mut begun: BTreeMap<&str, u64> = BTreeMap::new();
    let mut bitten: BTreeMap<&str, u64> = BTreeMap::new();
    let mut end = None;
    for line in &evidence.history.lines {
        match &line.record {
            Record::Fault { name, edge: Edge::Begin, .. } => {
                check.checked += 1;
                *begun.entry(name).or_default() += 1;
            }
            Record::Bitten { name, bitten: true, .. } => *bitten.entry(name).or_default() += 1,
            Record::Mark { name, .. } if name.starts_with("unread ") => check.doubt(name.clone()),
            Record::End { lines, lost } => end = Some((*lines, *lost, line.number)),
            _ => {}
        }
    }
    for name in &evidence.history.head.nemeses {
        if !bitten.contains_key(name.as_str()) {
            let times = begun.get(name.as_str()).copied().unwrap_or_default();
            check.doubt(format!("{name} was done {times} times and never bit"));
        }
    }
    let names: BTreeSet<&str> = begun.keys().chain(bitten.keys()).copied().collect();
    for name in names {
        let of = |counts: &BTreeMap<&str, u64>| counts.get(name).copied().unwrap_or_default();
        check.figure(name, format!("{} done, {} bit", of(&begun), of(&bitten)));
    }
    match end {
        None => check.doubt("the history has no end: its writer died, or it was cut off"),
        Some((_, lost, _)) if lost > 0 => {
            check.doubt(format!("{lost} records found no room and are missing"));
        }
        Some((lines, _, number)) if lines + 1 != number as u64 => {
            check.doubt(format!("line {number} says that there are {lines} before it"));
        }
        Some(_) => {}
    }
    check
}
