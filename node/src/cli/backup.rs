//! `rotary backup`: what a cluster is, put into a store while it serves, checked without it, and
//! made into another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures::Stream;
use http_body_util::BodyExt as _;
use rotary_client::http::{Http, Outgoing};
use rotary_client::{Method, Network};
use rotary_log::Reach;
use rotary_proto::ShardId;
use serde_json::{Value, json};

use crate::backup::Checked;
use crate::backup::entries::Known;
use crate::backup::failure::BackupFailure;
use crate::backup::line::Points;
use crate::backup::making::Making;
use crate::backup::manifest::{Kept, Maker, Moment, RunName};
use crate::backup::pace::Pace;
use crate::backup::points::{self, Wanted};
use crate::backup::recover::{self, Choice};
use crate::backup::restore;
use crate::backup::run::{self, Run};
use crate::backup::store::{self, Access, Store};
use crate::cli::Remote;
use crate::cli::client::{CliError, read_value, trust};
use crate::cli::output::{self, Format, Table, cell, moment, seconds};
use crate::config::Config;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the first bytes may take, for which a snapshot is written.
const BEGIN: Duration = Duration::from_secs(600);
/// How long the next ones may.
const PIECE: Duration = Duration::from_secs(60);

/// `rotary backup`.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Puts a backup of every shard into a store, while the cluster serves.
    Create(CreateArgs),
    /// Shows which backups a store has.
    List(ListArgs),
    /// Shows how the backups are doing that the cluster makes by itself.
    Status(Remote),
    /// Shows to which indexes, and so to which moments, each shard can be brought back.
    Points(VerifyArgs),
    /// Reads a backup from end to end, and says what is in it.
    Verify(VerifyArgs),
    /// Takes a backup out of a store, or what there is of one that was not finished.
    Remove(RemoveArgs),
    /// Fills the data directories of a new cluster, which `rotary cluster init` has just made.
    Restore(RestoreArgs),
}

/// How a bucket is reached, where the store is one.
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// A node's configuration, whose section [backup] says how a bucket is reached; AWS_* in the
    /// environment come before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// `rotary backup create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Where to: a folder, or s3://BUCKET/PREFIX. Each backup has a folder of its own in it.
    #[arg(long, value_name = "STORE")]
    to: String,
    /// Bytes a second that it reads from the cluster at most; as fast as it goes, if 0.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    bytes_per_second: u64,
    #[command(flatten)]
    access: StoreArgs,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary backup list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The folder, or s3://BUCKET/PREFIX.
    store: String,
    #[command(flatten)]
    access: StoreArgs,
    /// How to show the answer.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// `rotary backup verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The folder, or s3://BUCKET/PREFIX.
    store: String,
    /// Which backup, as `rotary backup list` names it; the newest that was finished, if not given.
    #[arg(long)]
    run: Option<RunName>,
    #[command(flatten)]
    access: StoreArgs,
    /// How to show the answer.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// `rotary backup remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The folder, or s3://BUCKET/PREFIX.
    store: String,
    /// Which backup, as `rotary backup list` names it.
    #[arg(long)]
    run: RunName,
    #[command(flatten)]
    access: StoreArgs,
}

/// `rotary backup restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The folder, or s3://BUCKET/PREFIX.
    store: String,
    /// Which backup, as `rotary backup list` names it; the newest that was finished, if not given.
    #[arg(long)]
    run: Option<RunName>,
    /// The folder of the new cluster, with a folder for each of its core nodes.
    #[arg(long, value_name = "CLUSTER")]
    into: PathBuf,
    /// Brings every shard to where it was before this moment, in UTC, as in 2026-11-23T14:03:00Z:
    /// nothing that was done then or later is there.
    #[arg(long, value_name = "MOMENT")]
    at_time: Option<Moment>,
    /// Brings one shard to an index, with everything up to it, as in sh_1=4711; may be repeated.
    /// Shards that are not named are as --at-time says, or as the backup has them.
    #[arg(long, value_name = "SHARD=INDEX", value_parser = shard_index)]
    at_index: Vec<(ShardId, u64)>,
    #[command(flatten)]
    access: StoreArgs,
}

/// `sh_1=4711`.
fn shard_index(text: &str) -> Result<(ShardId, u64), String> {
    let wrong = || format!("`{text}` is no shard and index: write them as in sh_1=4711");
    let (shard, index) = text.split_once('=').ok_or_else(wrong)?;
    Ok((shard.parse().map_err(|_| wrong())?, index.parse().map_err(|_| wrong())?))
}

pub(crate) async fn command(command: BackupCommand) -> Result<(), CliError> {
    match command {
        BackupCommand::Create(args) => create(args).await,
        BackupCommand::List(args) => list(&args),
        BackupCommand::Status(remote) => {
            let standing = read_value(&remote, "/v1/backups").await?;
            output::show(remote.output, &standing, standing_table);
            Ok(())
        }
        BackupCommand::Points(args) => list_points(&args),
        BackupCommand::Verify(args) => verify(&args),
        BackupCommand::Remove(RemoveArgs { store, run, access }) => {
            let store = open(&store, &access)?;
            let run = run::choose(&*store, Some(&run)).map_err(failed)?;
            run.remove(&*store).map_err(failed)?;
            println!("{} is gone", run.name);
            Ok(())
        }
        BackupCommand::Restore(args) => fill(args).await,
    }
}

/// The store that somebody named.
fn open(place: &str, StoreArgs { config }: &StoreArgs) -> Result<Arc<dyn Store>, CliError> {
    let section = match config {
        None => crate::config::Backup::default(),
        Some(path) => {
            let config = Config::load(path, &[]);
            config.map_err(|error| CliError::File(error.to_string()))?.backup
        }
    };
    let opened = store::open(place, &Access::of(&section));
    opened.map_err(|error| CliError::File(error.to_string()))
}

fn of_file(path: &Path, what: impl std::fmt::Display) -> CliError {
    CliError::Local(format!("{}: {what}", path.display()))
}

fn failed(why: BackupFailure) -> CliError {
    CliError::Local(why.to_string())
}

/// Says what a shard's backup has, once it is written or read.
fn tell(found: &Checked) {
    eprintln!("{}: {} sites, {} records", found.shard, found.sites, found.records);
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let CreateArgs { to, bytes_per_second, access, remote } = args;
    let store = open(&to, &access)?;
    let cluster = read_value(&remote, "/v1/cluster").await?;
    let unnamed = || CliError::Local("the node does not say which cluster it is of".to_owned());
    let id = cluster["cluster"].as_str().ok_or_else(unnamed)?;
    let making = Making::begin(store, RunName::begun(id, Maker::Hand));
    let mut making = making.go_on().map_err(failed)?;
    let mut pace = Pace::of(bytes_per_second);
    while let Some(shard) = making.next().map_err(failed)? {
        // Before the snapshot, with which the log may forget them.
        let known = making
            .known(shard)
            .map(|Known { after, term, sum }| format!("?after={after}&term={term}&sum={sum}"));
        let wanted = format!("/v1/shards/{shard}/entries{}", known.unwrap_or_default());
        let stream = fetch(&remote, shard, &wanted).await?;
        let log = making.fill_entries(shard, stream, &mut pace).await.map_err(failed)?;
        let stream = fetch(&remote, shard, &format!("/v1/shards/{shard}/backup")).await?;
        let bytes = making.fill(shard, stream, &mut pace).await.map_err(failed)?;
        making.prove_entries(shard, log, &mut Pace::of(0)).map_err(failed)?;
        let found = making.prove(shard, bytes).map_err(failed)?;
        let again = if making.is_again() { ", again: sites moved" } else { "" };
        let Checked { sites, records, .. } = found;
        eprintln!("{shard}: {sites} sites, {records} records, {bytes} bytes{again}");
    }
    let (name, manifest) = making.finish().map_err(failed)?;
    show(remote.output, &name, &manifest.shards);
    Ok(())
}

/// What a node gives of a shard.
async fn fetch(
    remote: &Remote,
    shard: ShardId,
    wanted: &str,
) -> Result<impl Stream<Item = Result<Bytes, String>> + use<>, CliError> {
    let broken = |what: String| CliError::Local(format!("{shard}: {what}"));
    let http = Http::new(CONNECT, &trust(remote.ca.as_deref())?, &Network::Tcp);
    let request = Outgoing {
        method: Method::GET,
        path: wanted,
        token: remote.token.trim(),
        key: None,
        min_index: None,
        body: Bytes::new(),
    };
    let opened = tokio::time::timeout(BEGIN, http.open(&remote.url, request)).await;
    let late = |_| broken("no answer came in ten minutes".to_owned());
    let opened = opened.map_err(late)?.map_err(|error| broken(error.to_string()))?;
    let (status, body) = opened;
    if !status.is_success() {
        let whole = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let problem: Value = serde_json::from_slice(&whole).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("it says nothing else");
        return Err(broken(format!("the node answers {status}: {detail}")));
    }
    Ok(futures::stream::try_unfold(body, |mut body| async move {
        loop {
            let next = tokio::time::timeout(PIECE, body.frame()).await;
            let next = next.map_err(|_| "nothing came for a minute".to_owned())?;
            let Some(next) = next else { return Ok(None) };
            let next = next.map_err(|error| format!("it broke off: {error}; try again"))?;
            if let Ok(piece) = next.into_data() {
                return Ok(Some((piece, body)));
            }
        }
    }))
}

fn list(ListArgs { store, access, output }: &ListArgs) -> Result<(), CliError> {
    let store = open(store, access)?;
    let found = run::runs(&*store).map_err(failed)?;
    let bytes = |run: &Run| run.files.values().sum::<u64>();
    let state = |run: &Run| if run.is_complete() { "complete" } else { "half" };
    if *output == Format::Json {
        let row = |run: &Run| {
            let (name, files) = (run.name.to_string(), &run.files);
            json!({"run": name, "state": state(run), "bytes": bytes(run), "files": files})
        };
        println!("{:#}", json!(found.iter().map(row).collect::<Vec<_>>()));
        return Ok(());
    }
    let mut table = Table::new(["RUN", "BEGUN", "STATE", "FILES", "BYTES"]);
    for run in &found {
        let begun = moment(&json!(run.name.wall.0));
        let (files, bytes) = (run.files.len().to_string(), bytes(run).to_string());
        table.row([run.name.to_string(), begun, state(run).to_owned(), files, bytes]);
    }
    print!("{table}");
    Ok(())
}

fn standing_table(standing: &Value) -> Table {
    let mut table = Table::new(["FIELD", "VALUE"]);
    let mut row = |field: &str, value: String| table.row([field.to_owned(), value]);
    if standing["to"].is_null() {
        row("to", "nowhere: backup.to is not set on this node".to_owned());
        return table;
    }
    row("to", cell(&standing["to"]));
    row("every", seconds(&standing["every_ms"]));
    row("keep", cell(&standing["keep"]));
    row("made by", cell(&standing["made_by"]));
    row("newest", cell(&standing["last"]["run"]));
    row("age", seconds(&standing["age_ms"]));
    row("bytes", cell(&standing["last"]["bytes"]));
    row("took", seconds(&standing["last"]["ms"]));
    row("being made here", cell(&standing["running"]["run"]));
    row("failed here", cell(&standing["failed"]));
    table
}

fn verify(VerifyArgs { store, run, access, output }: &VerifyArgs) -> Result<(), CliError> {
    let store = open(store, access)?;
    let run = run::choose(&*store, run.as_ref()).map_err(failed)?;
    run::verify(&*store, &run).map_err(failed)?;
    let manifest = run.manifest(&*store).map_err(failed)?;
    show(*output, &run.name, &manifest.shards);
    Ok(())
}

fn list_points(VerifyArgs { store, run, access, output }: &VerifyArgs) -> Result<(), CliError> {
    let store = open(store, access)?;
    let run = run::choose(&*store, run.as_ref()).map_err(failed)?;
    let found = points::points(&*store, &run).map_err(failed)?;
    let all = || found.iter().flat_map(|(shard, points)| points.iter().map(move |at| (shard, at)));
    if *output == Format::Json {
        let row = |(shard, Points { indexes, since, until }): (&ShardId, &Points)| {
            let (first, last) = (indexes.start(), indexes.end());
            json!({"shard": shard, "first": first, "last": last, "after_unix_ms": since,
                   "until_unix_ms": until})
        };
        let rows: Vec<Value> = all().map(row).collect();
        println!("{:#}", json!({"run": run.name.to_string(), "points": rows}));
        return Ok(());
    }
    let mut table = Table::new(["SHARD", "FIRST", "LAST", "AFTER", "UNTIL"]);
    for (shard, Points { indexes, since, until }) in all() {
        let (first, last) = (indexes.start().to_string(), indexes.end().to_string());
        let (since, until) = (Moment(*since).to_string(), Moment(*until).to_string());
        table.row([shard.to_string(), first, last, since, until]);
    }
    print!("{table}");
    println!("{}", run.name);
    Ok(())
}

async fn fill(args: RestoreArgs) -> Result<(), CliError> {
    let RestoreArgs { store, run, into, at_time, at_index, access } = args;
    let store = open(&store, &access)?;
    let run = run::choose(&*store, run.as_ref()).map_err(failed)?;
    let count = at_index.len();
    let (before, indexes) = (at_time.map(|Moment(wall)| wall), BTreeMap::from_iter(at_index));
    if indexes.len() < count {
        return Err(CliError::File("--at-index names a shard twice".to_owned()));
    }
    let wanted = Wanted { before, indexes };
    let is_cut = |shard| before.is_some() || wanted.indexes.contains_key(&shard);
    let told = |found: &Checked| match is_cut(found.shard) {
        true => {
            let Checked { shard, index, sites, records, .. } = found;
            eprintln!("{shard}: {sites} sites, {records} records, up to index {index}");
        }
        false => tell(found),
    };
    let filled = restore::restore((&*store, &run), &into, &wanted, told).await;
    let nodes = filled.map_err(failed)?;
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    println!("{} have all of {}: start them", names.join(", "), run.name);
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
    let plan = recover::plan(&from).map_err(failed)?;
    eprint!("{}", chosen(&plan.choices));
    for shard in &plan.nowhere {
        eprintln!("{shard} is in no folder: it is left out if it never began, or else missing");
    }
    if !really {
        return Err(CliError::File(
            "nothing was done. What a majority had acknowledged and none of these folders has \
             would be given up. Say --unsafe if the other nodes are gone for good"
                .to_owned(),
        ));
    }
    be_empty(&to)?;
    let store = to.to_str().ok_or_else(|| of_file(&to, "its name is no text"))?;
    let store = store::open(store, &Access::default());
    let store = store.map_err(|error| CliError::File(error.to_string()))?;
    let done = plan.carry_out(store, &to, tell).await;
    let (name, manifest, unfit) = done.map_err(failed)?;
    show(output, &name, &manifest.shards);
    if let Some(what) = unfit {
        return Err(CliError::Local(format!(
            "these folders do not fit together: {what}. Name another node's, if there is one"
        )));
    }
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

fn show(format: Format, name: &RunName, shards: &[Kept]) {
    if format == Format::Json {
        println!("{:#}", json!({"run": name.to_string(), "shards": shards}));
        return;
    }
    let mut table = Table::new(["SHARD", "INDEX", "SITES", "RECORDS", "FILES", "BYTES"]);
    for row in shards {
        let counts = [row.index, row.sites, row.records, row.files, row.bytes];
        let [index, sites, records, files, bytes] = counts.map(|count| count.to_string());
        table.row([row.shard.to_string(), index, sites, records, files, bytes]);
    }
    print!("{table}");
    println!("{name}");
}
