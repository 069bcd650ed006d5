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

/// Where the state of the cluster is.
const CLUSTER: &str = "/v1/cluster";
/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(500);

/// How long to wait for the shards.
#[derive(Debug, Args)]
pub(crate) struct Waiting {
    /// Wait until it is so everywhere, and say meanwhile where it is not.
    #[arg(long)]
    pub(super) wait: bool,
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

/// `rotary node decommission`.
#[derive(Debug, Args)]
pub(crate) struct DecommissionArgs {
    /// Only say what would become of each shard.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

/// `rotary node drain`, `undrain`, `promote` and `demote`.
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
pub(crate) async fn decommission(args: DecommissionArgs) -> Result<(), CliError> {
    let ChangeArgs { node, waiting, remote } = args.change;
    if args.dry_run {
        let cluster = read_value(&remote, "/v1/cluster").await?;
        let (told, may) = without(&cluster, node)?;
        print!("{told}");
        return if may { Ok(()) } else { Err(CliError::Unhealthy(cannot(node))) };
    }
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

/// `rotary node drain` and `undrain`
pub(crate) async fn drain(args: ChangeArgs, drains: bool) -> Result<(), CliError> {
    let ChangeArgs { node, waiting, remote } = args;
    let path = format!("/v1/nodes/{node}/drain");
    let answer = change(&remote, Method::PUT, &path, &json!({"drains": drains})).await?;
    let what = if drains { "is to be empty" } else { "is to serve again" };
    said(&remote, &answer, &format!("{node} {what}"));
    if !drains || !waiting.wait {
        return Ok(());
    }
    let emptied = |cluster: &Value| Some(format!("{node}: {}", remains(cluster, node)?));
    waiting.until_none(&remote, CLUSTER, emptied).await?;
    let cluster = read_value(&remote, "/v1/cluster").await?;
    match without(&cluster, node) {
        Ok((told, false)) => eprint!("{node} is empty. Do not stop it yet:\n{told}"),
        _ => eprintln!("{node} is empty, and may be stopped"),
    }
    Ok(())
}

/// What is still on a node that drains.
fn remains(cluster: &Value, node: NodeId) -> Option<String> {
    let nodes = rows(&cluster["nodes"]).iter().chain(rows(&cluster["gateways"]));
    let row = nodes.into_iter().find(|row| row["node"] == json!(node));
    row.and_then(|row| row["remains"].as_str()).map(str::to_owned)
}

fn cannot(node: NodeId) -> String {
    format!("some shards cannot do without {node}")
}

/// What would become of each shard without a node, one line each, and whether every one could still
/// decide.
fn without(cluster: &Value, node: NodeId) -> Result<(String, bool), CliError> {
    let (nodes, mut told, mut may) = (rows(&cluster["nodes"]), String::new(), true);
    if !nodes.iter().any(|row| row["node"] == json!(node)) {
        let gateways = rows(&cluster["gateways"]);
        let is_gateway = gateways.iter().any(|row| row["node"] == json!(node));
        return if is_gateway {
            Ok((format!("{node} keeps nothing\n"), true))
        } else {
            Err(CliError::Unhealthy(format!("there is no {node} in this cluster")))
        };
    }
    let answers = |other: &Value| {
        nodes.iter().any(|row| row["node"] == *other && row["connected"] == json!(true))
    };
    for shard in rows(&cluster["shards"]) {
        let voters = rows(&shard["voters"]).iter().filter(|voter| **voter != json!(node));
        let (there, silent): (Vec<&Value>, Vec<&Value>) = voters.partition(|voter| answers(voter));
        let decides = there.len() > silent.len();
        may &= decides;
        let names =
            |nodes: &[&Value]| nodes.iter().map(|node| cell(node)).collect::<Vec<_>>().join(" ");
        let name = cell(&shard["shard"]);
        let line = match (there.len(), silent.is_empty(), decides) {
            (0, true, _) => "nobody else has a vote".to_owned(),
            (_, false, false) => format!("no majority: {} silent", names(&silent)),
            (_, false, true) => format!("{} decide; {} silent", names(&there), names(&silent)),
            (1, true, _) => format!("{} decides alone", names(&there)),
            (_, true, _) => format!("{} decide", names(&there)),
        };
        told += &format!("{name}: {line}\n");
    }
    Ok((told, may))
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
        let not_yet = |cluster: &Value| {
            let shards = rows(&cluster["shards"]).iter().filter(|shard| !is_so(shard));
            let line = shards.map(why).collect::<Vec<_>>().join("; ");
            (!line.is_empty()).then_some(line)
        };
        self.until_none(remote, CLUSTER, not_yet).await
    }

    /// Until nothing is waited for any more in what a path of the API answers.
    pub(super) async fn until_none(
        &self,
        remote: &Remote,
        path: &str,
        waited_for: impl Fn(&Value) -> Option<String>,
    ) -> Result<(), CliError> {
        let (begun, mut told) = (Instant::now(), String::new());
        loop {
            let found = read_value(remote, path).await?;
            let Some(line) = waited_for(&found) else { return Ok(()) };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(connected: &[u64], voters: &[u64]) -> Value {
        let row = |node: u64| {
            let connected = connected.contains(&node);
            json!({"node": NodeId(node), "connected": connected, "remains": "2 sessions"})
        };
        let voters: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
        let gateway = json!({"node": "nd_9", "remains": null});
        json!({"nodes": [row(1), row(2), row(3)], "gateways": [gateway],
            "shards": [{"shard": "sh_1", "voters": voters}]})
    }

    #[test]
    fn what_a_shard_would_be_without_a_node_is_told() {
        let of = |connected: &[u64], voters: &[u64]| {
            without(&cluster(connected, voters), NodeId(3)).expect("it is there")
        };
        assert_eq!(of(&[1, 2, 3], &[1, 2, 3]), ("sh_1: nd_1 nd_2 decide\n".to_owned(), true));
        let lost = "sh_1: no majority: nd_2 silent\n";
        assert_eq!(of(&[1, 3], &[1, 2, 3]), (lost.to_owned(), false));
        assert_eq!(of(&[1, 2, 3], &[1, 3]), ("sh_1: nd_1 decides alone\n".to_owned(), true));
        assert_eq!(of(&[1, 2, 3], &[3]), ("sh_1: nobody else has a vote\n".to_owned(), false));
        let cluster = cluster(&[1], &[1]);
        assert!(without(&cluster, NodeId(7)).is_err());
        assert!(without(&cluster, NodeId(9)).expect("it is there").1);
    }

    #[test]
    fn what_remains_on_a_node_is_found() {
        let cluster = cluster(&[1], &[1]);
        assert_eq!(remains(&cluster, NodeId(2)).as_deref(), Some("2 sessions"));
        assert_eq!(remains(&cluster, NodeId(9)), None);
        assert_eq!(remains(&cluster, NodeId(7)), None);
    }
}
