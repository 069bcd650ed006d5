//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Breaks a cluster of Rotary on purpose, and says whether it kept its promises.
#[derive(Debug, Parser)]
#[command(name = "rotary-chaos", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trials in a simulated world.
    #[cfg(tokio_unstable)]
    #[command(flatten)]
    Simulated(crate::simulation::Trial),
    /// Acts on real processes.
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    Real(crate::real::args::Act),
    /// What is asked about histories.
    #[command(flatten)]
    Asked(crate::judge::Asked),
}

/// Does what the command line says: 0 if all promises held, 1 if one was broken, 2 if it could not
/// be found out.
pub fn run() -> ExitCode {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let done = match Arguments::parse().command {
        #[cfg(tokio_unstable)]
        Command::Simulated(trial) => trial.run(),
        #[cfg(target_os = "linux")]
        Command::Real(act) => act.run(),
        Command::Asked(asked) => asked.run(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rotary-chaos: {error}");
            ExitCode::from(2)
        }
    }
}
