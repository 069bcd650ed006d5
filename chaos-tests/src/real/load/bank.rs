//! `rotary load trace`: the bank's day, judged by the ledger of those who lived it.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use super::{Judgement, Plan};
use crate::real::process::{Ending, Server};

/// Minutes of the bank's day between 09:00 and 18:00.
const DAY_MINUTES: u64 = 540;
/// The exit code of a broken promise.
const BROKEN: i32 = 10;

/// The running program. It is killed when this is dropped.
#[derive(Debug)]
pub struct Bank {
    process: Server,
    log: PathBuf,
}

impl Bank {
    pub(super) fn start(plan: &Plan) -> io::Result<Self> {
        let log = plan.report.join("load.log");
        let speed = (DAY_MINUTES / (plan.minutes + 2)).clamp(1, 60);
        let mut command = Command::new(&plan.rotary);
        command.args(["load", "trace", "--from", "09:00", "--to", "18:00"]);
        command.args(["--speed", &speed.to_string(), "--seed", &plan.seed.to_string()]);
        command.args(["--share", &format!("{}", plan.share_permille as f64 / 1_000.0)]);
        command.args(["--gateway", &plan.gateways.join(",")]);
        if let Some(ca) = &plan.ca {
            command.arg("--ca").arg(ca);
        }
        command.arg("--ledger").arg(plan.report.join("ledger")).env("ROTARY_TOKEN", &plan.token);
        Ok(Self { process: Server::start(&mut command, &log)?, log })
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    pub(super) fn stop(&mut self) -> io::Result<()> {
        self.process.signal(Signal::INT)
    }

    pub(super) fn judgement(&mut self) -> Judgement {
        let words = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = words.lines().next_back().unwrap_or_default().to_owned();
        match self.process.ended().map(Ending::code) {
            Some(Some(0)) => Judgement::Kept,
            Some(Some(BROKEN)) => Judgement::Broken("the ledger says so, see load.log".into()),
            Some(_) => Judgement::Unknown(format!("the load could not run: {last}")),
            None => Judgement::Unknown(format!("the load did not end: {last}")),
        }
    }
}
