//! The command line of `rotary load` and `rotary verify`.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, FromArgMatches as _, Subcommand};
use rotary_client::{Gateway, Over};

use crate::bank::{Mix, time_of_day};

/// What a run does, and an example.
const TRACE_HELP: &str = "\
A tenant with sites, queues and agents is made for the run and stays. Agents sign in over \
sessions; customers come over HTTP and sessions. Interrupt it once to let everybody finish what \
they began. At the end every named gateway is read back and compared with the ledger. The exit \
code is 0 if every promise was kept, 10 if not, 1 if it could not run.

Half an hour of the morning in half a minute, against the cluster that `rotary cluster init` made:
  export ROTARY_TOKEN=$(cat DIR/admin.token)
  rotary load trace --from 10:00 --to 10:30 --ledger /tmp/ledger \\
    --gateway http://127.0.0.1:7080,http://127.0.0.1:7090,http://127.0.0.1:7100
  rotary verify /tmp/ledger       # judges it again

The 360 agents suit a whole day of the bank; --share 0.1 needs some more than a tenth of them.";

/// Puts load on a cluster, and proves what it kept.
#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    /// Replays a day of a real contact centre, and judges what the cluster kept of it.
    #[command(after_help = TRACE_HELP)]
    Trace(Box<TraceArgs>),
}

/// `rotary load trace`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TraceArgs {
    /// A gateway, e.g. http://127.0.0.1:7080; give each node's: people are spread over them, and
    /// only the ones named are read back and compared.
    #[arg(
        long = "gateway",
        value_name = "URL",
        env = "ROTARY_URL",
        value_delimiter = ',',
        required = true
    )]
    pub gateways: Vec<Gateway>,
    /// An administrator's token of the whole cluster.
    #[arg(long, env = "ROTARY_TOKEN", hide_env_values = true)]
    pub token: String,
    /// Who signs the certificates of nodes that speak TLS, in a PEM file.
    #[arg(long, env = "ROTARY_CA")]
    pub ca: Option<PathBuf>,
    /// Print the verdict as JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// What to replay.
    #[command(flatten)]
    pub options: Options,
}

/// What to replay, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Counts per five minutes, a heading and lines like 2003-03-03T07:05:00,111; a bank's, if
    /// absent.
    #[arg(long, value_name = "FILE")]
    pub arrivals: Option<PathBuf>,
    /// Handle times, a heading and a number of seconds a line; another bank's, if absent.
    #[arg(long, value_name = "FILE")]
    pub handle_times: Option<PathBuf>,
    /// The day of the file.
    #[arg(long, default_value = "2003-03-03")]
    pub day: String,
    /// From this time of day.
    #[arg(long, default_value = "00:00", value_name = "HH:MM")]
    pub from: String,
    /// Until this time of day.
    #[arg(long, default_value = "24:00", value_name = "HH:MM")]
    pub to: String,
    /// How many times faster than life people are.
    #[arg(long, default_value_t = 60.0)]
    pub speed: f64,
    /// The share of the day's contacts to replay.
    #[arg(long, default_value_t = 1.0)]
    pub share: f64,
    /// Agents, over all sites; at least two a site.
    #[arg(long, default_value_t = 360)]
    pub agents: usize,
    /// Weights of channels.
    #[arg(long, default_value = "voice=0.6,chat=0.4")]
    pub mix: Mix,
    /// Sites of the tenant that is made for the run.
    #[arg(long, default_value_t = 4)]
    pub sites: usize,
    /// Of every draw: equal seeds are equal days.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Chats that an agent of chats holds at a time, 1 to 100.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub chats: u8,
    /// What carries sessions: socket, stream (server-sent events and requests), or either, which is
    /// a socket where one can be had.
    #[arg(long, default_value = "either")]
    pub over: Over,
    /// After so many seconds without a sign of life a client goes elsewhere, 1 to 60; it asks for
    /// one three times as often. Thousands of clients on a small machine want more than one second.
    #[arg(long, default_value_t = 1.0)]
    pub silence: f64,
    /// Mean patience of waiting customers in seconds of the day; exponentially distributed.
    #[arg(long, default_value_t = 180.0)]
    pub patience: f64,
    /// The share of chats whose customer has a session of their own.
    #[arg(long, default_value_t = 0.1)]
    pub web: f64,
    /// The share of offers that agents decline.
    #[arg(long, default_value_t = 0.01)]
    pub decline: f64,
    /// The share of offers that agents let lapse.
    #[arg(long, default_value_t = 0.005)]
    pub lapse: f64,
    /// An answer within this many seconds of the day counts for the service level.
    #[arg(long, default_value_t = 20.0)]
    pub service_level: f64,
    /// Where to keep the evidence, a folder without any; one in the temporary folder, if absent.
    #[arg(long, value_name = "FOLDER")]
    pub ledger: Option<PathBuf>,
}

/// `rotary verify`.
#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    /// The folder that `rotary load --ledger` wrote.
    pub ledger: PathBuf,
    /// Read the nodes again, instead of what was read back at the end of the load; give each one.
    #[arg(long = "gateway", value_name = "URL", value_delimiter = ',', requires = "token")]
    pub gateways: Vec<Gateway>,
    /// An administrator's token, for reading again.
    #[arg(long, env = "ROTARY_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Who signs the certificates of nodes that speak TLS, in a PEM file.
    #[arg(long, env = "ROTARY_CA")]
    pub ca: Option<PathBuf>,
    /// Print the verdict as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Every option as it is when none is given.
    pub(crate) fn standard() -> Self {
        let command = Self::augment_args(clap::Command::new("load"));
        let matches = command.get_matches_from(["load"]);
        Self::from_arg_matches(&matches).expect("every option has a default or is optional")
    }

    /// The window of the day in seconds since midnight, once everything is within its bounds.
    ///
    /// # Errors
    /// Names the option that is not.
    pub(super) fn check(&self) -> anyhow::Result<(f64, f64)> {
        let within = |value: f64, most: f64| (0.0..=most).contains(&value);
        ensure!(
            self.speed > 0.0 && within(self.speed, 1e6),
            "--speed is above 0 and up to 1000000"
        );
        ensure!(self.share > 0.0 && within(self.share, 1e3), "--share is above 0 and up to 1000");
        ensure!(self.patience > 0.0 && within(self.patience, 1e6), "--patience is above 0");
        ensure!((1..=1_024).contains(&self.sites), "--sites is 1 to 1024");
        ensure!(
            self.agents >= 2 * self.sites,
            "--agents {} is too few for --sites {}: two per site",
            self.agents,
            self.sites
        );
        ensure!((1.0..=60.0).contains(&self.silence), "--silence is 1 to 60");
        for (name, value) in [("web", self.web), ("decline", self.decline), ("lapse", self.lapse)] {
            ensure!(within(value, 1.0), "--{name} is 0 to 1");
        }
        let time = |text: &str| {
            let time = time_of_day(text).with_context(|| format!("{text:?} is not HH:MM"));
            time.map(f64::from)
        };
        let (from, to) = (time(&self.from)?, time(&self.to)?);
        ensure!(from < to, "--from is before --to");
        Ok((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_options_are_within_their_bounds() {
        assert_eq!(Options::standard().check().expect("in bounds"), (0.0, 86_400.0));
        for broken in [
            Options { speed: 0.0, ..Options::standard() },
            Options { agents: 4, ..Options::standard() },
            Options { from: "9".to_owned(), ..Options::standard() },
            Options { to: "00:00".to_owned(), ..Options::standard() },
            Options { lapse: 2.0, ..Options::standard() },
            Options { silence: 0.5, ..Options::standard() },
        ] {
            assert!(broken.check().is_err(), "{broken:?}");
        }
    }
}
