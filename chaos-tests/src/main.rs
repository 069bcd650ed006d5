//! A whole cluster in one process, with simulated time, network and disks, and one seed for it all.
//!
//! ```text
//!   workload --> node (log, machine) --> store --> simulated disk  <-- faults
//!                  |        ^
//!                  v        |
//!             simulated network  <-- faults         observer --> invariants
//! ```
//!
//! A `world` has nodes that run the production log, transport and distributor, each on a runtime
//! of its own whose clock the world moves. A `workload` of agents and customers uses them, and
//! `faults` trouble them. The `observer` sees what every replica applies, the `store` what
//! every disk acknowledged, the `history` what every client was told; `invariants` compare the
//! three. After the faults everything heals, and the cluster must converge and serve.
//!
//! One seed fixes every choice: each part draws from a salted stream of its own, so that a change
//! in one does not shift the others. A failing run leaves a case file, which `--replay` repeats.
//!
//! The runtime takes a seed only in a build with `--cfg tokio_unstable`, which the workspace's
//! `.cargo/config.toml` sets; any other build of this crate says so and ends.

#[cfg(tokio_unstable)]
mod args;
#[cfg(tokio_unstable)]
mod bugs;
#[cfg(tokio_unstable)]
mod case;
#[cfg(tokio_unstable)]
mod faults;
#[cfg(tokio_unstable)]
mod hall;
#[cfg(tokio_unstable)]
mod history;
#[cfg(tokio_unstable)]
mod invariants;
#[cfg(tokio_unstable)]
mod layer;
#[cfg(tokio_unstable)]
mod machine;
#[cfg(tokio_unstable)]
mod network;
#[cfg(tokio_unstable)]
mod node;
#[cfg(tokio_unstable)]
mod node_disk;
#[cfg(tokio_unstable)]
mod observer;
#[cfg(tokio_unstable)]
mod panics;
#[cfg(tokio_unstable)]
mod promised;
#[cfg(tokio_unstable)]
mod random;
#[cfg(tokio_unstable)]
mod report;
#[cfg(tokio_unstable)]
mod store;
#[cfg(tokio_unstable)]
mod story;
#[cfg(tokio_unstable)]
mod trace;
#[cfg(tokio_unstable)]
mod upkeep;
#[cfg(tokio_unstable)]
mod workload;
#[cfg(tokio_unstable)]
mod world;

#[cfg(tokio_unstable)]
fn main() -> std::process::ExitCode {
    args::run()
}

#[cfg(not(tokio_unstable))]
fn main() -> std::process::ExitCode {
    eprintln!("this build cannot simulate: unset RUSTFLAGS, or add --cfg tokio_unstable to it");
    std::process::ExitCode::from(2)
}
