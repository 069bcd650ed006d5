//! What uses the cluster while it is broken, and judges what it kept: `rotary load trace`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::cluster::ClusterError;
use super::process::{Ending, Server};

/// How long the load may take to let everybody finish, read back and judge.
pub const FINISH_LIMIT: Duration = Duration::from_secs(300);
/// Minutes of the bank's day between 09:00 and 18:00.
const DAY_MINUTES: u64 = 540;
/// The exit code of a broken promise.
const BROKEN: i32 = 10;

/// What the load is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program.
    pub rotary: PathBuf,
    /// Where clients reach each node.
    pub gateways: Vec<String>,
    /// An administrator's token.
    pub token: String,
    /// Of every draw of people.
    pub seed: u64,
    /// Minutes that it must last at least.
    pub minutes: u64,
    /// Thousandths of the bank's customers.
    pub share_permille: u64,
    /// A folder for its words and evidence.
    pub report: PathBuf,
}

/// What the clients' ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Every promise was kept.
    Kept,
    /// One was broken.
    Broken(String),
    /// It could not be found out.
    Unknown(String),
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    process: Server,
    log: PathBuf,
}

impl Load {
    /// Begins it.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn start(plan: &Plan) -> Result<Self, ClusterError> {
        let log = plan.report.join("load.log");
        let speed = (DAY_MINUTES / (plan.minutes + 2)).clamp(1, 60);
        let mut command = Command::new(&plan.rotary);
        command.args(["load", "trace", "--from", "09:00", "--to", "18:00"]);
        command.args(["--speed", &speed.to_string(), "--seed", &plan.seed.to_string()]);
        command.args(["--share", &format!("{}", plan.share_permille as f64 / 1_000.0)]);
        command.args(["--gateway", &plan.gateways.join(",")]);
        command.arg("--ledger").arg(plan.report.join("ledger")).env("ROTARY_TOKEN", &plan.token);
        let process = Server::start(&mut command, &log);
        let process = process
            .map_err(|source| ClusterError::Io { what: "starting the load".into(), source })?;
        Ok(Self { process, log })
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<Ending> {
        self.process.ended()
    }

    /// Lets everybody finish what they began; the load then reads everything back.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        let sent = self.process.signal(Signal::INT);
        sent.map_err(|source| ClusterError::Io { what: "stopping the load".into(), source })
    }

    /// Waits for what it found.
    pub fn judgement(&mut self) -> Judgement {
        let ending = self.process.wait(FINISH_LIMIT);
        let words = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = words.lines().next_back().unwrap_or_default().to_owned();
        match ending.map(Ending::code) {
            Some(Some(0)) => Judgement::Kept,
            Some(Some(BROKEN)) => Judgement::Broken(format!("the ledger says: {last}")),
            Some(_) => Judgement::Unknown(format!("the load could not run: {last}")),
            None => Judgement::Unknown(format!("the load did not end in {FINISH_LIMIT:?}: {last}")),
        }
    }
}
