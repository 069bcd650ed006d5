//! Real processes, network namespaces and file systems: needs root and the machine's consent.
//!
//! Each test starts itself again as the first process of a namespace, which takes everything along.
//! Where a machine allows none, tests say `SKIPPED` and count as passed, unless
//! `ROTARY_CHAOS_REQUIRED=1`: then they fail.

#![cfg(target_os = "linux")]

#[path = "real/named.rs"]
mod named;
#[path = "real/namespace.rs"]
mod namespace;
#[path = "real/network.rs"]
mod network;
#[path = "real/runs.rs"]
mod runs;

use std::process::Command;

use rotary_chaos::real::namespace as space;

/// Runs the rest of a test inside a namespace: true there. Outside it waits for the inside, and
/// fails as it does.
fn inside(name: &str) -> bool {
    if space::is_inside() {
        space::furnish().expect("a namespace can be furnished");
        return true;
    }
    if !allowed() {
        let required = std::env::var_os("ROTARY_CHAOS_REQUIRED").is_some();
        assert!(!required, "{name}: no namespaces here; run as root");
        println!("SKIPPED {name}: no namespaces here; run as root");
        return false;
    }
    let status = again(name).status().expect("unshare is there");
    assert!(status.success(), "{name} failed inside its namespace: {status}");
    false
}

/// Whether this machine lets this process make namespaces.
fn allowed() -> bool {
    let tried = space::command("true".into(), std::iter::empty()).output();
    tried.is_ok_and(|output| output.status.success())
}

/// The command that runs one test of this program inside a namespace.
fn again(name: &str) -> Command {
    let program = std::env::current_exe().expect("this program has a path");
    let arguments = [name, "--exact", "--nocapture", "--include-ignored"].map(Into::into);
    space::command(program.into_os_string(), arguments.into_iter())
}
