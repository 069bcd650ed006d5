//! `rotary demo`: a whole cluster with traffic, and keys to break it.
//!
//! Everything is real: three processes of this binary with their own configuration files and
//! disks, TLS between them, and a replayed day through the public doors. `kill -9` is a
//! `SIGKILL`. On the way out the load's ledger is judged against what every node tells.
//!
//! The same parts run without eyes: `--script kill-leader` for continuous integration, and
//! `--script bank-day` for a whole day with kills spread over it, `--script latency` for the time
//! from an arrival to its offer.
//!
//! Deliberately absent: the demo starts no server inside its own process, ends no process that it
//! did not start, and asks the cluster nothing but what the public API tells.

mod args;
mod banner;
mod cluster;
mod interactive;
mod keys;
mod kills;
mod latency;
mod script;
mod view;

pub(crate) use args::DemoArgs;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::load::{self, Finished, Load};
use args::Script;
use cluster::Cluster;
use kills::Kill;

/// How long three fresh nodes may take to serve.
const START: Duration = Duration::from_secs(60);

/// Runs `rotary demo`; whether every promise was kept.
///
/// # Errors
/// What kept the cluster from starting, or the load from being judged.
pub(crate) async fn command(args: DemoArgs) -> anyhow::Result<bool> {
    load::show_log();
    let folder = Folder::make(&args)?;
    let ran = run(&args, &folder).await;
    folder.leave(matches!(ran, Ok(true)), args.keep);
    ran
}

/// Runs in a folder of its own.
async fn run(args: &DemoArgs, folder: &Folder) -> anyhow::Result<bool> {
    let mut cluster = Cluster::init(&folder.path, args.port_base).await?;
    cluster.start_all().await?;
    let took = cluster.wait_ready(START).await?;
    if args.script == Some(Script::Latency) {
        let measured = latency::run(args, &cluster).await;
        cluster.stop().await;
        return measured;
    }
    let traffic = prepare(args, folder, &cluster).await?;
    banner::print(&cluster, args, took);
    let ran = match args.script {
        None => interactive::run(args, &mut cluster, traffic).await,
        Some(Script::KillLeader) => script::kill_leader(args, &mut cluster, traffic).await,
        Some(Script::Latency) => unreachable!("it has no traffic, and ended above"),
        Some(Script::BankDay) => script::bank_day(args, &mut cluster, traffic).await,
    };
    cluster.stop().await;
    let (finished, kills) = ran?;
    Ok(conclude(args, &finished, &kills))
}

async fn prepare(args: &DemoArgs, folder: &Folder, cluster: &Cluster) -> anyhow::Result<Load> {
    let ledger = folder.path.join("ledger");
    let gateways = cluster.gateways();
    let load = Load::prepare(args.options(), &ledger, gateways, cluster.token()).await;
    load.context("the load could not begin")
}

/// Prints what it came to; whether it passed.
fn conclude(args: &DemoArgs, finished: &Finished, kills: &[Kill]) -> bool {
    eprintln!("{}{}", finished.report, finished.outages);
    for kill in kills {
        println!("{kill}");
    }
    if !kills.is_empty() {
        println!("{}", kills::summary(kills));
    }
    println!("{}", finished.verdict);
    let counted = kills.iter().filter(|kill| kill.counts()).count();
    let enough = !args.assert || counted >= args.least_kills();
    if !enough {
        println!("only {counted} kills counted, of {} that were to be", args.least_kills());
    }
    let slow = args.assert && kills.iter().any(|kill| kill.led() && kill.first_offer.is_none());
    if slow {
        println!("after a kill of a leader no offer came");
    }
    finished.verdict.passes() && enough && !slow
}

/// Where the cluster lives.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make(args: &DemoArgs) -> anyhow::Result<Self> {
        let path = match &args.folder {
            Some(folder) => folder.clone(),
            None => std::env::temp_dir().join(format!("rotary-demo-{}", std::process::id())),
        };
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }

    /// Removes it, unless somebody wants to look: after `--keep`, or after a failure.
    fn leave(&self, passed: bool, keep: bool) {
        if keep || !passed {
            eprintln!("kept: {} (ledger, feeds, report and logs)", self.path.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("{} could not be removed: {error}", self.path.display());
        }
    }
}
