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
//! A runtime takes a seed only in a build with `--cfg tokio_unstable`, which the workspace's
//! `.cargo/config.toml` sets; any other build is without this module.

pub mod ambient;
mod args;
mod bugs;
mod case;
mod faults;
mod gates;
mod hall;
mod history;
mod invariants;
mod layer;
mod machine;
mod network;
mod node;
mod node_disk;
mod observer;
mod panics;
mod process;
mod promised;
mod random;
mod receivers;
mod report;
mod store;
mod story;
mod street;
mod swarm;
mod trace;
mod upkeep;
mod whole;
mod wires;
mod workload;
mod world;

pub(crate) use args::Trial;
