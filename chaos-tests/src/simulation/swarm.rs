//! Many worlds, each in a process of its own, some at a time.
//!
//! A world must not know of those before it, and libraries keep numbers of their own for as long
//! as a process lives. So a seed gives the same world alone and among others, and every core is
//! used.

use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};

use crate::simulation::report::Report;
use crate::simulation::world::{self, Parameters};

/// The subcommand of one world.
pub(crate) const WORLD: &str = "world";

/// How many worlds run at a time, if nobody says otherwise.
pub(crate) fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs worlds, so many at a time, and hands their reports over in order, for as long as `each`
/// says so.
///
/// # Errors
/// What keeps a process from being started, or from giving a report.
pub(crate) fn run(
    worlds: impl IntoIterator<Item = Parameters>,
    jobs: usize,
    mut each: impl FnMut(&Parameters, &Report) -> Result<bool, String>,
) -> Result<(), String> {
    let (mut worlds, mut running) = (worlds.into_iter(), Running::default());
    loop {
        while running.0.len() < jobs.max(1) {
            let Some(parameters) = worlds.next() else { break };
            running.0.push_back((begin(&parameters)?, parameters));
        }
        let Some((child, parameters)) = running.0.pop_front() else { return Ok(()) };
        let report = end(child, &parameters)?;
        if !each(&parameters, &report)? {
            return Ok(());
        }
    }
}

/// Worlds that were begun. Those that are left when nobody asks any more are of no use.
#[derive(Default)]
struct Running(VecDeque<(Child, Parameters)>);

impl Drop for Running {
    fn drop(&mut self) {
        for (child, _) in &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// One world and its report.
///
/// # Errors
/// As [`run`].
pub(crate) fn one(parameters: &Parameters) -> Result<Report, String> {
    end(begin(parameters)?, parameters)
}

fn begin(parameters: &Parameters) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let text = serde_json::to_string(parameters).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg(WORLD).arg(text).stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().map_err(|error| format!("no process for a world: {error}"))
}

fn end(child: Child, parameters: &Parameters) -> Result<Report, String> {
    let seed = parameters.seed;
    let output = child.wait_with_output().map_err(|error| format!("seed {seed}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let report = said.lines().last().unwrap_or_default();
    serde_json::from_str(report)
        .map_err(|error| format!("seed {seed}: no report, {}: {error}: {said}", output.status))
}

/// What the process of one world does: its report is its last line.
///
/// # Errors
/// What is wrong with the parameters, or what `world::run` says.
pub(crate) fn be_world(parameters: &str) -> Result<bool, String> {
    let parameters: Parameters =
        serde_json::from_str(parameters).map_err(|error| error.to_string())?;
    let report = world::run(&parameters)?;
    println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
    Ok(true)
}
