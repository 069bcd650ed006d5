//! Breaks a cluster of Rotary on purpose, and says whether it kept its promises.
//!
//! Two worlds, one judgement. The `simulation` runs whole clusters in one process, on simulated
//! time, network and disks, from one seed. What it cannot show (the kernel, the file system, the
//! scheduler) is for real processes.
//!
//! What clients did and saw is a [`history`]; [`checkers`] say whether it keeps the promises. Any
//! harness can write one and have it judged:
//!
//! ```
//! use rotary_chaos::checkers::{self, Verdict};
//! use rotary_chaos::history::{Edge, FORMAT, Head, History, Recorder};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("history.jsonl");
//! let (name, replay) = ("calm".to_owned(), "my-harness --seed 7".to_owned());
//! let nemeses = vec!["kill".to_owned()];
//! let head = Head { format: FORMAT, seed: 7, name, replay, nemeses };
//! let recorder = Recorder::create(&path, head)?;
//! recorder.mark("faults");
//! recorder.fault("kill", "nd_1", Edge::Begin, "SIGKILL");
//! recorder.bitten("kill", "nd_1", true, "it led sh_1");
//! recorder.finish()?;
//!
//! let judgement = checkers::check(&History::read(&path)?);
//! // Nobody did anything, so there is nothing that could be valid.
//! assert_eq!(judgement.verdict(), Verdict::Unknown);
//! # Ok(())
//! # }
//! ```

pub mod checkers;
pub mod cli;
pub mod history;
pub mod judge;
#[cfg(target_os = "linux")]
pub mod real;
pub mod report;
#[cfg(tokio_unstable)]
mod simulation;
pub mod totals;
pub mod workload;

#[cfg(tokio_unstable)]
pub use simulation::ambient;
