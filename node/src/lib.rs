//! Rotary: a fault-tolerant distributor of calls and chats, in one binary.
//!
//! ```text
//!   world --> door --> command --> log --> distributor --> events --> dispatch --> actor --> door
//! ```
//!
//! This crate is the shell: it joins the parts that each keep one promise. `gateway` is the door
//! for clients, `spine` the way from a door to the log, `machine` what the log runs,
//! `replica` what this node knows, `feed` and `actor` bring what became true to whom it
//! concerns, `archive` finds it again, `retention` lets it go, and `marks` tells the others
//! how far it is on this disk.
//! `nodes` tells the directory which nodes there are.
//! `server` starts and stops a node; `cluster` makes the directories of a new one; `cli` is
//! the command line, `runbook` what it can explain, `doctor` what it looks for, and `debug` what
//! a node tells somebody who looks for a fault. Beside them, and through the public doors only,
//! `load` and `demo` put a cluster to work and judge it; `bank` is the day that they replay.
//! `build` says which build this is.
//!
//! What is deliberately absent: nothing here decides about a conversation, and nothing calls
//! upstream. A new intention enters as a command.

mod actor;
mod admission;
mod archive;
mod background;
mod backup;
mod balance;
mod bank;
mod blobs;
mod blocking;
mod build;
mod cli;
mod cluster;
mod config;
mod debug;
mod demo;
mod doctor;
mod effects;
mod feed;
mod founder;
mod gateway;
mod hint;
mod join;
mod load;
mod machine;
mod marks;
mod nearest;
mod nodes;
mod relay;
mod replica;
mod report;
mod retention;
mod runbook;
mod server;
mod simulate_day;
#[cfg(feature = "simulated")]
pub mod simulated;
mod spine;
mod telemetry;
mod terminal;
mod view;

/// Does what the command line says; the whole of the binary.
pub fn run() -> std::process::ExitCode {
    cli::run()
}
