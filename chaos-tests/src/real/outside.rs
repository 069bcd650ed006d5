//! A run against a cluster that somebody else started: a load and a judgement, and no faults.
//!
//! Its machines are out of the harness's reach, so that nothing can be broken from here. What such
//! a run shows is that nothing breaks by itself, or under what its operators do meanwhile.

use std::time::{Duration, Instant};

use super::load::{FINISH_LIMIT, Load, Plan};
use super::verdict::Verdict;
use crate::history::Recorder;

/// How often the load is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Puts a load on for so long, and judges what the cluster kept of it: true if valid.
///
/// # Errors
/// It is unknown.
pub fn run(plan: &Plan, lasts: Duration, history: &Recorder, replay: &str) -> Result<bool, String> {
    let mut load = Load::start(plan, history).map_err(|error| error.to_string())?;
    println!("load for {lasts:?} on {}", plan.gateways.join(", "));
    let until = Instant::now() + lasts;
    while Instant::now() < until && !load.has_ended() {
        std::thread::sleep(TICK);
    }
    println!("drain and read back");
    load.stop().map_err(|error| error.to_string())?;
    let until = Instant::now() + FINISH_LIMIT;
    while Instant::now() < until && !load.has_ended() {
        std::thread::sleep(TICK);
    }
    let mut verdict = Verdict::default();
    verdict.ledger(load.judgement());
    println!("{verdict}\nreplay: {replay}");
    verdict.result()
}
