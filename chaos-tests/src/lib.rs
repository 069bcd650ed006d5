//! Breaks a cluster of Rotary on purpose, and says whether it kept its promises.
//!
//! Two worlds, one judgement. The `simulation` runs whole clusters in one process, on simulated
//! time, network and disks, from one seed. What it cannot show (the kernel, the file system, the
//! scheduler) is for real processes.

pub mod cli;
#[cfg(target_os = "linux")]
pub mod real;
#[cfg(tokio_unstable)]
mod simulation;

#[cfg(tokio_unstable)]
pub use simulation::ambient;
