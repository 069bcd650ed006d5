//! The command line of `rotary demo`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::load::Options;

/// What to do without eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Script {
    /// Kill the leader of a shard with live conversations, once.
    KillLeader,
    /// Replay a whole day with kills spread over it.
    BankDay,
    /// Measure the time from arrival to offer, beside that of a lone durable write.
    Latency,
    /// Measure five times what the cluster can do, from clients without manners.
    Overload,
    /// Measure thousands of sockets at one gateway, and the loss of it.
    Sockets,
}

/// `rotary demo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// How many times faster than life people are.
    #[arg(long, default_value_t = 60.0)]
    pub speed: f64,
    /// What to do without eyes.
    #[arg(long, value_enum)]
    pub script: Option<Script>,
    /// Fail unless the script's kills counted and the cluster went on.
    #[arg(long)]
    pub assert: bool,
    /// Stop after so many seconds; for `kill-leader`, how long traffic runs after the restart; for
    /// `overload`, how long that lasts, 60 if not said; for `sockets`, each rate of messages, 15.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Kills of `bank-day`.
    #[arg(long, default_value_t = 10)]
    pub kills: usize,
    /// Arrivals a second of `latency`, each measured for `--seconds`, 20 if not said; half of the
    /// most that the cluster can do follows by itself.
    #[arg(long, value_delimiter = ',', default_value = "1,25,100")]
    pub rates: Vec<f64>,
    /// Customers with sockets of `sockets`, up to six for each agent.
    #[arg(long, default_value_t = 10_000)]
    pub customers: usize,
    /// Gateway-only nodes of `sockets`, 2 if not said, 0 for sockets at a core node itself; and of
    /// `bank-day`, 0 if not said, of which one is killed at every third kill.
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=8))]
    pub gateways: Option<u16>,
    /// Keep the folder.
    #[arg(long)]
    pub keep: bool,
    /// Where the cluster lives; a folder that does not exist yet.
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// The first port; each node takes a few above it.
    #[arg(long, default_value_t = 7080)]
    #[arg(value_parser = clap::value_parser!(u16).range(1_024..=65_000))]
    pub port_base: u16,
    /// The day to replay.
    #[arg(long, default_value = "2003-03-03")]
    pub day: String,
    /// From this time of day; the whole day for `bank-day`, from ten o'clock otherwise.
    #[arg(long)]
    pub from: Option<String>,
    /// Until this time of day.
    #[arg(long, default_value = "24:00")]
    pub to: String,
    /// The share of the day's contacts; all for `bank-day`, 0.15 otherwise.
    #[arg(long)]
    pub share: Option<f64>,
    /// Agents; 360 for `bank-day`, 400 for `overload`, 2 000 for `sockets`, 60 otherwise.
    #[arg(long)]
    pub agents: Option<usize>,
    /// Sites.
    #[arg(long, default_value_t = 4)]
    pub sites: usize,
    /// Of every draw.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
}

impl DemoArgs {
    /// What the load is to do.
    pub(super) fn options(&self) -> Options {
        let whole = self.script == Some(Script::BankDay);
        let usual = match self.script {
            Some(Script::BankDay) => 360,
            Some(Script::Overload) => 400,
            Some(Script::Sockets) => 2_000,
            _ => 60,
        };
        let from = if whole { "00:00" } else { "10:00" };
        Options {
            day: self.day.clone(),
            from: self.from.clone().unwrap_or_else(|| from.to_owned()),
            to: self.to.clone(),
            speed: self.speed,
            share: self.share.unwrap_or(if whole { 1.0 } else { 0.15 }),
            agents: self.agents.unwrap_or(usual),
            sites: self.sites,
            seed: self.seed,
            chats: if self.script == Some(Script::Sockets) { 6 } else { 3 },
            ..Options::standard()
        }
    }

    /// Gateway-only nodes beside the core ones.
    pub(super) fn more_gateways(&self) -> u16 {
        match self.script {
            Some(Script::Sockets) => self.gateways.unwrap_or(2),
            Some(Script::BankDay) => self.gateways.unwrap_or(0),
            _ => 0,
        }
    }

    /// Kills that must count for an asserted run to pass.
    pub(super) fn least_kills(&self) -> usize {
        match self.script {
            None | Some(Script::Latency | Script::Overload | Script::Sockets) => 0,
            Some(Script::KillLeader) => 1,
            Some(Script::BankDay) => self.kills,
        }
    }
}
