//! `rotary demo`: a whole cluster with traffic, and keys to break it.
//!
//! Everything is real: three processes of this binary with their own configuration files and
//! disks, TLS between them, and a replayed day through the public doors. `kill -9` is a
//! `SIGKILL`. On the way out the load's ledger is judged against what every node tells.
//!
//! The same parts run without eyes: `--script kill-leader` for continuous integration, and
//! `--script bank-day` for a whole day with kills spread over it, `--script latency` for the time
//! from an arrival to its offer, `--script sockets` for many people at one gateway.
//!
//! Deliberately absent: the demo starts no server inside its own process, ends no process that it
//! did not start, and asks the cluster nothing but what the public API tells.

mod args;
mod banner;
mod cluster;
mod interactive;
mod kills;
mod latency;
mod overload;
mod ports;
mod script;
mod sockets;
mod unverified;
mod view;
mod wires;

pub(crate) use args::DemoArgs;
pub(crate) use ports::PortTaken;
pub(crate) use unverified::Unverified;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rotary_client::Trust;

use crate::load::{self, Finished, Load, Tally};
use crate::terminal::interrupted;
use args::Script;
use banner::Took;
use cluster::{Cluster, NODES};
use kills::Kill;

/// How long three fresh nodes may take to serve.
const START: Duration = Duration::from_secs(60);

/// Runs `rotary demo`; whether every promise was kept.
///
/// # Errors
/// What kept the cluster from starting, or the load from being judged.
pub(crate) async fn command(args: DemoArgs) -> anyhow::Result<bool> {
    load::show_log();
    ports::expect_free(args.port_base, NODES + args.more_gateways())?;
    let folder = Folder::make(&args)?;
    let ran = run(&args, &folder).await;
    folder.leave(matches!(ran, Ok(true)), args.keep);
    ran
}

/// Runs in a folder of its own.
async fn run(args: &DemoArgs, folder: &Folder) -> anyhow::Result<bool> {
    if let Some(script @ (Script::Latency | Script::Overload | Script::Sockets)) = args.script {
        return measure(script, args, folder).await;
    }
    let (mut cluster, traffic) = tokio::select! {
        begun = begin(args, folder) => begun?,
        () = interrupted() => return Err(Unverified::of("the start", &Tally::default()).into()),
    };
    let tally = traffic.tally();
    let ran = match args.script {
        None => interactive::run(args, &mut cluster, traffic).await,
        Some(which) => tokio::select! {
            ran = script::run(which, args, &mut cluster, traffic) => ran,
            () = interrupted() => Err(Unverified::of("the script", &tally).into()),
        },
    };
    cluster.stop().await;
    let (finished, kills) = ran?;
    Ok(conclude(args, &finished, &kills))
}

/// Measures; there is no traffic to judge.
async fn measure(script: Script, args: &DemoArgs, folder: &Folder) -> anyhow::Result<bool> {
    let mut cluster = Cluster::init(&folder.path, args.port_base).await?;
    for _ in 0..args.more_gateways() {
        cluster.add_gateway().await?;
    }
    cluster.start_all().await?;
    cluster.wait_ready(START).await?;
    let measured = match script {
        Script::Overload => overload::run(args, &cluster).await,
        Script::Sockets => sockets::run(args, &mut cluster).await,
        _ => latency::run(args, &cluster).await,
    };
    cluster.stop().await;
    measured
}

/// Everything up to the banner.
async fn begin(args: &DemoArgs, folder: &Folder) -> anyhow::Result<(Cluster, Load)> {
    let begun = Instant::now();
    let mut cluster = Cluster::init(&folder.path, args.port_base).await?;
    if args.script.is_none() {
        cluster.wire().await?;
    }
    for _ in 0..args.more_gateways() {
        cluster.add_gateway().await?;
    }
    let made = begun.elapsed();
    cluster.start_all().await?;
    cluster.wait_ready(START).await?;
    let healthy = begun.elapsed();
    let traffic = prepare(args, folder, &cluster).await?;
    banner::print(&cluster, args, Took { made, healthy, all: begun.elapsed() });
    Ok((cluster, traffic))
}

async fn prepare(args: &DemoArgs, folder: &Folder, cluster: &Cluster) -> anyhow::Result<Load> {
    let ledger = folder.path.join("ledger");
    // The nodes that are read back at the end; the others are doors to them.
    let cores = cluster.cores();
    let load =
        Load::prepare(args.options(), &ledger, cores.clone(), cluster.token(), Trust::default());
    let load = load.await.context("the load could not begin")?;
    for gateway in cluster.gateways().into_iter().filter(|gateway| !cores.contains(gateway)) {
        load.entrances().open(gateway);
    }
    Ok(load)
}

/// Prints what it came to; whether it passed.
fn conclude(args: &DemoArgs, finished: &Finished, kills: &[Kill]) -> bool {
    eprintln!("{}{}", finished.report, finished.outages);
    for kill in kills {
        println!("{kill}");
    }
    if kills.iter().any(Kill::is_of_process) {
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

/// There is something where the demo was to live.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is there already, perhaps left by an earlier demo: remove it, or choose another --folder"
)]
pub(crate) struct FolderTaken(PathBuf);

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
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Self { path }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(FolderTaken(path).into()),
            Err(error) => Err(error).with_context(|| format!("making {}", path.display())),
        }
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
