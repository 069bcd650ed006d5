//! `rotary node`: nodes that come, go, and have a vote or none.
//!
//! Each command is one entry of the directory's log; the leaders of the shards then do what it
//! wants, step by step, whatever becomes of the command. With `--wait` it tells which shards are
//! not there yet, and ends when all are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use rotary_client::Method;
use rotary_proto::NodeId;
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::cli::client::{CliError, change, read_value, said};
use crate::cli::node::read_id;
use crate::cli::output::{cell, rows};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(500);

/// How long to wait for the shards.
#[derive(Debug, Args)]
pub(crate) struct Waiting {
    /// Wait until every shard is so, and say meanwhile which are not.
    #[arg(long)]
    wait: bool,
    /// How long, in seconds. What was asked for goes on afterwards.
    #[arg(long, default_value_t = 3_600, requires = "wait")]
    timeout_s: u64,
}

/// `rotary node add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Its id or its number; no core node has had it before.
    #[arg(value_parser = read_id)]
    node: NodeId,
    /// Where other nodes reach it (UDP).
    #[arg(long, value_name = "ADDRESS:PORT")]
    peer: SocketAddr,
    /// Where clients reach it, e.g. http://10.0.0.4:7080.
    #[arg(long, value_name = "URL")]
    public: String,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary node replace`.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// Which goes: its id or its number.
    #[arg(value_parser = read_id)]
    old: NodeId,
    #[command(flatten)]
    new: AddArgs,
}

/// `rotary node decommission`, `promote` and `demote`.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Which: its id or its number.
    #[arg(value_parser = read_id)]
    node: NodeId,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    remote: Remote,
}

/// What a node is to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Voter,
    Learner,
    Nothing,
}

/// `rotary node add`
pub(crate) async fn add(args: AddArgs, instead_of: Option<NodeId>) -> Result<(), CliError> {
    let AddArgs { node, peer, public, waiting, remote } = args;
    let body = json!({"node": node, "peer": peer, "url": public, "instead_of": instead_of});
    let answer = change(&remote, Method::POST, "/v1/nodes", &body).await?;
    said(&remote, &answer, &format!("{node} is to keep every shard"));
    let seated = |shard: &Value| seat(shard, node) == wanted(shard, node);
    let gone = |shard: &Value| instead_of.is_none_or(|old| seat(shard, old) == Seat::Nothing);
    waiting.until(&remote, |shard| seated(shard) && gone(shard)).await
}

/// `rotary node replace`
pub(crate) async fn replace(args: ReplaceArgs) -> Result<(), CliError> {
    add(args.new, Some(args.old)).await
}

/// `rotary node decommission`
pub(crate) async fn decommission(args: ChangeArgs) -> Result<(), CliError> {
    let ChangeArgs { node, waiting, remote } = args;
    let path = format!("/v1/nodes/{node}/decommission");
    let answer = change(&remote, Method::POST, &path, &json!({})).await?;
    said(&remote, &answer, &format!("{node} is to keep no shard"));
    waiting.until(&remote, |shard| seat(shard, node) == Seat::Nothing).await
}

/// `rotary node promote` and `demote`
pub(crate) async fn vote(args: ChangeArgs, votes: bool) -> Result<(), CliError> {
    let ChangeArgs { node, waiting, remote } = args;
    let path = format!("/v1/nodes/{node}/vote");
    let answer = change(&remote, Method::PUT, &path, &json!({"votes": votes})).await?;
    let what = if votes { "a vote" } else { "no vote" };
    said(&remote, &answer, &format!("{node} is to have {what}"));
    let due = if votes { Seat::Voter } else { Seat::Learner };
    waiting.until(&remote, |shard| seat(shard, node) == due).await
}

/// What a node is to a shard, by the shard's own log.
fn seat(shard: &Value, node: NodeId) -> Seat {
    let (node, has) = (json!(node), |list: &str, node: &Value| rows(&shard[list]).contains(node));
    match (has("voters", &node), has("learners", &node)) {
        (true, _) => Seat::Voter,
        (false, true) => Seat::Learner,
        (false, false) => Seat::Nothing,
    }
}

/// What it is to be, by the directory.
fn wanted(shard: &Value, node: NodeId) -> Seat {
    let node = json!(node);
    match (rows(&shard["replicas"]).contains(&node), rows(&shard["voteless"]).contains(&node)) {
        (true, false) => Seat::Voter,
        (true, true) => Seat::Learner,
        (false, _) => Seat::Nothing,
    }
}

impl Waiting {
    /// Until every shard is so, as its leader says.
    async fn until(&self, remote: &Remote, is_so: impl Fn(&Value) -> bool) -> Result<(), CliError> {
        if !self.wait {
            return Ok(());
        }
        let (begun, mut told) = (Instant::now(), String::new());
        loop {
            let cluster = read_value(remote, "/v1/cluster").await?;
            let not_yet: Vec<&Value> =
                rows(&cluster["shards"]).iter().filter(|shard| !is_so(shard)).collect();
            if not_yet.is_empty() {
                return Ok(());
            }
            let line = not_yet.iter().map(|shard| why(shard)).collect::<Vec<_>>().join("; ");
            if begun.elapsed() >= Duration::from_secs(self.timeout_s) {
                return Err(CliError::Unhealthy(format!(
                    "not so after {} s, and it goes on: {line}",
                    self.timeout_s
                )));
            }
            if line != told {
                eprintln!("waiting for {line}");
                told = line;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What keeps a shard.
fn why(shard: &Value) -> String {
    let name = cell(&shard["shard"]);
    match &shard["waiting"] {
        Value::String(why) => format!("{name} ({why})"),
        _ => name,
    }
}
