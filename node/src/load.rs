//! `rotary load`: a day of a real contact centre, replayed against a cluster's public doors.
//!
//! The shape of the day comes from counts of a bank's calls, and the length of each contact from
//! recorded handle times (`node/data`). Customers arrive, wait, write, lose patience; agents sign
//! in over sessions, accept, decline, miss offers, talk, hold and wrap up. `--speed` makes people
//! faster, and with them the deadlines that the load puts on its own queues. It never touches a
//! clock or a timeout of the cluster.
//!
//! ```text
//!   trace --> plan --> customers --HTTP, sessions--> gateways
//!                      agents    --sessions--------> gateways
//!                         |
//!                       ledger --> read back --> check --> verdict
//! ```
//!
//! People meet on the [`floor`]: a caller hears the agent answer without asking the cluster. All
//! else that anybody knows came through the public API, and all that anybody did is in the
//! [`ledger`] before it is sent.

mod agent;
mod args;
mod conduct;
mod crowd;
mod customer;
mod day;
mod desk;
mod floor;
mod latency;
pub(crate) mod ledger;
mod pace;
mod plan;
mod readback;
mod recorder;
mod run;
mod tally;
mod verify;
mod world;

pub(crate) use args::{LoadCommand, Options, VerifyArgs};
pub(crate) use conduct::Entrances;
pub(crate) use crowd::{Crowd, Seen, Writing};
#[cfg(test)]
pub(crate) use latency::Second;
pub(crate) use latency::{
    Arrivals, CONNECTIONS, Coming, Figures, Latency, Phase, Quantiles, Storm, Usage,
};
pub(crate) use ledger::Verdict;
pub(crate) use run::{Finished, Load};
pub(crate) use tally::{Tally, WatchNumber};
pub(crate) use verify::{Verifier, verify};

/// Lets warnings and errors of this process be seen: on standard error, `RUST_LOG` says which.
pub(crate) fn show_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let shown = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Where a subscriber is set already, it shows the same.
    let _ = shown.try_init();
}

/// Runs `rotary load ...`; whether every promise was kept.
///
/// # Errors
/// What kept the load from running at all.
pub(crate) async fn command(command: LoadCommand) -> anyhow::Result<bool> {
    let LoadCommand::Trace(args) = command;
    show_log();
    run::trace(*args).await
}
