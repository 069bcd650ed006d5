//! What uses the cluster while it is broken, and judges what it kept.
//!
//! Two loads: *people* are this crate's workload, whose history the checkers judge; the *bank* is
//! `rotary load trace`, a real day with many more sessions, which judges by a ledger of its own.

mod bank;
mod people;

use std::path::PathBuf;
use std::time::Duration;

use bank::Bank;
use people::People;
use rotary_client::{Network, Trust};
use serde::{Deserialize, Serialize};

use super::cluster::ClusterError;
use crate::history::Recorder;

/// How long the load may take to let everybody finish, read back and judge.
pub const FINISH_LIMIT: Duration = Duration::from_secs(300);

/// Which load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The workload of this crate, and its checkers.
    #[default]
    People,
    /// `rotary load trace`, and its ledger.
    Bank,
}

/// What the load is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which.
    pub kind: Kind,
    /// The program.
    pub rotary: PathBuf,
    /// Where clients reach each node.
    pub gateways: Vec<String>,
    /// What people's connections are opened over.
    pub network: Network,
    /// Whose certificates are believed where gateways speak TLS.
    pub trust: Trust,
    /// The same as a file, for a load that is a program of its own.
    pub ca: Option<PathBuf>,
    /// An administrator's token.
    pub token: String,
    /// Of every draw of people.
    pub seed: u64,
    /// Minutes that it must last at least.
    pub minutes: u64,
    /// Of people: customers who come in a minute.
    pub customers_per_minute: u32,
    /// Of people: agents of each site.
    pub agents: u32,
    /// Of the bank: thousandths of its customers.
    pub share_permille: u64,
    /// A folder for its words and evidence; the history is there.
    pub report: PathBuf,
}

/// What the clients' evidence says.
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
pub enum Load {
    /// This crate's.
    People(People),
    /// The program's.
    Bank(Bank),
}

impl Load {
    /// Begins it. What people do goes into the history.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn start(plan: &Plan, history: &Recorder) -> Result<Self, ClusterError> {
        let load = match plan.kind {
            Kind::People => People::start(plan, history).map(Self::People),
            Kind::Bank => Bank::start(plan).map(Self::Bank),
        };
        load.map_err(|source| ClusterError::Io { what: "starting the load".into(), source })
    }

    /// Whether it is over.
    pub fn has_ended(&mut self) -> bool {
        match self {
            Self::People(people) => people.has_ended(),
            Self::Bank(bank) => bank.has_ended(),
        }
    }

    /// Lets everybody finish what they began; the load then reads everything back.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        match self {
            Self::People(people) => {
                people.stop();
                Ok(())
            }
            Self::Bank(bank) => bank
                .stop()
                .map_err(|source| ClusterError::Io { what: "stopping the load".into(), source }),
        }
    }

    /// Ends it where it stands, as nothing more is to be had of the cluster, and says what its
    /// evidence shows.
    pub fn cut_short(&mut self) -> Judgement {
        match self {
            Self::People(people) => people.cut_short(),
            Self::Bank(_) => Judgement::Unknown("the bank's ledger was not closed".into()),
        }
    }

    /// What it found. It must have ended; what has not is unknown.
    pub fn judgement(&mut self) -> Judgement {
        match self {
            Self::People(people) => people.judgement(),
            Self::Bank(bank) => bank.judgement(),
        }
    }
}
