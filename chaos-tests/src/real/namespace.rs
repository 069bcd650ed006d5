//! The namespace that the whole harness lives in.
//!
//! Mounts, processes and network devices that are made inside end with its first process, which
//! ends with the process that made it: whoever kills the harness, in whatever way, has cleaned up.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use tokio::signal::unix::{SignalKind, signal};

use super::shell::{self, ShellError};

/// What an interrupted run ends with: it is unknown.
const INTERRUPTED: i32 = 2;
/// Tells a process that it is inside.
const INSIDE: &str = "ROTARY_CHAOS_INSIDE";

/// Whether this process is inside a namespace that [`enter`] made.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some() && std::process::id() == 1
}

/// Starts this program again, with the same arguments, inside a namespace. This process becomes its
/// guard: it returns only if that cannot be done.
pub fn enter() -> io::Error {
    match std::env::current_exe() {
        Ok(program) => command(program.into_os_string(), std::env::args_os().skip(1)).exec(),
        Err(error) => error,
    }
}

/// The command that runs a program as the first process of a new namespace. It ends, with all that
/// is inside, when the command's process does.
pub fn command(program: OsString, arguments: impl Iterator<Item = OsString>) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(program)
        .args(arguments)
        .env(INSIDE, "1");
    command
}

/// Ends this process, and so all that is inside, when it is asked to: whatever does not listen for
/// a signal as the first process of a namespace never gets it.
///
/// # Errors
/// What keeps it from listening.
pub fn end_if_asked() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupted, mut terminated) = {
        let _there = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let listen = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        });
        eprintln!("rotary-chaos: interrupted; the run says nothing, and nothing is left of it");
        std::process::exit(INTERRUPTED);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop)
}

/// Makes the inside ready: loopback is up, and names of network namespaces are kept apart from
/// those of the machine.
///
/// # Errors
/// [`ShellError`] of `ip` or `mount`.
pub fn furnish() -> Result<(), ShellError> {
    shell::run("ip link set lo up")?;
    shell::run("mkdir -p /run/netns")?;
    shell::run("mount -t tmpfs rotary-chaos /run/netns")?;
    // Shared memory, which libfaketime leaves behind, and room for what needs no disk.
    shell::run("mount -t tmpfs rotary-chaos /dev/shm").map(drop)
}
