//! `rotary backup`: a folder with a file for each shard, made from a cluster that serves, checked
//! without one, and made into another.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::BodyExt as _;
use rotary_client::http::{Http, Outgoing};
use rotary_client::{Method, Network};
use rotary_log::Reach;
use rotary_proto::ShardId;
use serde_json::{Value, json};

use crate::backup::recover::{self, Choice};
use crate::backup::restore::{self, file_of, shards_of};
use crate::backup::{Checked, check};
use crate::cli::Remote;
use crate::cli::client::{CliError, read_value, trust};
use crate::cli::output::{Format, Table, rows};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the first bytes may take, for which a snapshot is written.
const BEGIN: Duration = Duration::from_secs(600);
/// How long the next ones may.
const PIECE: Duration = Duration::from_secs(60);

/// `rotary backup`.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Writes a backup of every shard into a new folder, while the cluster serves.
    Create(CreateArgs),
    /// Reads a folder's backups from end to end, and says what is in them.
    Verify(FolderArgs),
    /// Fills the data directories of a new cluster, which `rotary cluster init` has just made.
    Restore(RestoreArgs),
}

/// `rotary backup create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Where to: a folder that is not there yet, or is empty.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary backup verify`.
#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// The folder with the backups.
    folder: PathBuf,
    /// How to show the answer.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// `rotary backup restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The folder with the backups.
    folder: PathBuf,
    /// The folder of the new cluster, with a folder for each of its core nodes.
    #[arg(long, value_name = "CLUSTER")]
    into: PathBuf,
}

pub(crate) async fn command(command: BackupCommand) -> Result<(), CliError> {
    match command {
        BackupCommand::Create(args) => create(args).await,
        BackupCommand::Verify(args) => verify(&args),
        BackupCommand::Restore(args) => fill(args).await,
    }
}

fn of_file(path: &Path, what: impl std::fmt::Display) -> CliError {
    CliError::Local(format!("{}: {what}", path.display()))
}

async fn create(CreateArgs { to, remote }: CreateArgs) -> Result<(), CliError> {
    be_empty(&to)?;
    let cluster = read_value(&remote, "/v1/cluster").await?;
    let mut done = Vec::new();
    // The directory comes first in the list.
    for shard in rows(&cluster["shards"]) {
        let shard = shard["shard"].as_str().and_then(|id| id.parse::<ShardId>().ok());
        let shard = shard.ok_or_else(|| CliError::Local("a shard has no id".to_owned()))?;
        let (path, part) = (file_of(&to, shard), to.join(format!("{shard}.part")));
        let bytes = fetch(&remote, shard, &part).await?;
        let found = look(&part)?;
        std::fs::rename(&part, &path).map_err(|error| of_file(&path, error))?;
        eprintln!("{shard}: {} sites, {} records, {bytes} bytes", found.sites, found.records);
        done.push(found);
    }
    File::open(&to).and_then(|folder| folder.sync_all()).map_err(|error| of_file(&to, error))?;
    show(remote.output, &done);
    Ok(())
}

/// Writes what a node gives of a shard to a file, and syncs it; how many bytes.
async fn fetch(remote: &Remote, shard: ShardId, path: &Path) -> Result<u64, CliError> {
    let broken = |what: String| CliError::Local(format!("{shard}: {what}"));
    let http = Http::new(CONNECT, &trust(remote.ca.as_deref())?, &Network::Tcp);
    let wanted = format!("/v1/shards/{shard}/backup");
    let request = Outgoing {
        method: Method::GET,
        path: &wanted,
        token: remote.token.trim(),
        key: None,
        min_index: None,
        body: Bytes::new(),
    };
    let opened = tokio::time::timeout(BEGIN, http.open(&remote.url, request)).await;
    let late = |_| broken("no answer came in ten minutes".to_owned());
    let opened = opened.map_err(late)?.map_err(|error| broken(error.to_string()))?;
    let (status, mut body) = opened;
    if !status.is_success() {
        let whole = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let problem: Value = serde_json::from_slice(&whole).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("it says nothing else");
        return Err(broken(format!("the node answers {status}: {detail}")));
    }
    let file = File::create(path).map_err(|error| of_file(path, error))?;
    let (mut out, mut bytes) = (BufWriter::new(file), 0);
    loop {
        let next = tokio::time::timeout(PIECE, body.frame()).await;
        let next = next.map_err(|_| broken("nothing came for a minute".to_owned()))?;
        let Some(next) = next else { break };
        let next = next.map_err(|error| broken(format!("it broke off: {error}; try again")))?;
        let Some(piece) = next.data_ref() else { continue };
        bytes += piece.len() as u64;
        out.write_all(piece).map_err(|error| of_file(path, error))?;
    }
    let file = out.into_inner().map_err(|error| of_file(path, error))?;
    file.sync_all().map_err(|error| of_file(path, error))?;
    Ok(bytes)
}

fn look(path: &Path) -> Result<Checked, CliError> {
    let file = File::open(path).map_err(|error| of_file(path, error))?;
    check(BufReader::new(file)).map_err(|error| of_file(path, error))
}

fn verify(FolderArgs { folder, output }: &FolderArgs) -> Result<(), CliError> {
    let shards = shards_of(folder).map_err(|error| CliError::Local(error.to_string()))?;
    let found = shards.into_iter().map(|shard| look(&file_of(folder, shard)));
    show(*output, &found.collect::<Result<Vec<_>, _>>()?);
    Ok(())
}

async fn fill(RestoreArgs { folder, into }: RestoreArgs) -> Result<(), CliError> {
    let told = |found: &Checked| {
        eprintln!("{}: {} sites, {} records", found.shard, found.sites, found.records);
    };
    let filled = restore::restore(&folder, &into, told).await;
    let nodes = filled.map_err(|error| CliError::Local(error.to_string()))?;
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    println!("{} have all of it: start them", names.join(", "));
    println!("users and API keys are those of the backup; tokens of the old cluster are not good");
    Ok(())
}

/// `rotary cluster recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The folder of a node that does not run, where its rotary.toml is; every one that is left.
    #[arg(long, value_name = "FOLDER", required = true)]
    from: Vec<PathBuf>,
    /// Where the backups go: a folder that is not there yet, or is empty. It needs as much room as
    /// the nodes' data, while copies are made.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Yes: the other nodes are gone for good, and so is what only they had.
    #[arg(long = "unsafe")]
    really: bool,
    /// How to show what was written.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// `rotary cluster recover`
pub(crate) async fn recover(args: RecoverArgs) -> Result<(), CliError> {
    let RecoverArgs { from, to, really, output } = args;
    let plan = recover::plan(&from).map_err(|error| CliError::Local(error.to_string()))?;
    eprint!("{}", chosen(&plan.choices));
    if !really {
        return Err(CliError::File(
            "nothing was done. What a majority had acknowledged and none of these folders has \
             would be given up. Say --unsafe if the other nodes are gone for good"
                .to_owned(),
        ));
    }
    be_empty(&to)?;
    let told = |found: &Checked| {
        eprintln!("{}: {} sites, {} records", found.shard, found.sites, found.records);
    };
    let done = plan.carry_out(&to, told).await;
    let done = done.map_err(|error| CliError::Local(error.to_string()))?;
    show(output, &done);
    eprintln!("make a cluster of it: rotary cluster init, then rotary backup restore {to:?}");
    Ok(())
}

/// Which replicas count, and how much of what they have was known to be decided.
fn chosen(choices: &[Choice]) -> Table {
    let mut table = Table::new(["SHARD", "OF", "TERM", "INDEX", "KNOWN DECIDED", "END"]);
    for Choice { shard, node, reach } in choices {
        let Reach { term, index, committed, cut } = reach;
        let end = if *cut { "may be lost" } else { "whole" };
        let [term, index, committed] = [term, index, committed].map(u64::to_string);
        table.row([shard.to_string(), node.to_string(), term, index, committed, end.to_owned()]);
    }
    table
}

/// Makes a folder, or takes one that has nothing in it.
fn be_empty(folder: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).map_err(|error| of_file(folder, error))?;
    let mut there = std::fs::read_dir(folder).map_err(|error| of_file(folder, error))?;
    if there.next().is_some() {
        let what = "something is there already: name a folder that is empty";
        return Err(CliError::File(format!("{}: {what}", folder.display())));
    }
    Ok(())
}

fn show(format: Format, found: &[Checked]) {
    if format == Format::Json {
        println!("{:#}", json!(found));
        return;
    }
    let mut table = Table::new(["SHARD", "INDEX", "SITES", "RECORDS", "FILES"]);
    for row in found {
        let counts = [row.index, row.sites as u64, row.records, row.files];
        let [index, sites, records, files] = counts.map(|count| count.to_string());
        table.row([row.shard.to_string(), index, sites, records, files]);
    }
    print!("{table}");
}
