//! `rotary node`: nodes that come, go, and have a vote or none.
//!
//! Each command is one entry of the directory's log; the leaders of the shards then do what it
//! wants, step by step, whatever becomes of the command. With `--wait` it tells which shards are
//! not there yet, and ends when all are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use rotary_client::Method;
use rotary_proto::{Name, NodeId};
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::cli::client::{CliError, change, read_value, said};
use crate::cli::node::read_id;
use crate::cli::output::{Table, cell, rows, show};

/// Where the state of the cluster is.
const CLUSTER: &str = "/v1/cluster";
/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(500);

/// `rotary cluster rebalance`.
#[derive(Debug, Args)]
pub(crate) struct RebalanceArgs {
    /// How many nodes are to have a vote; as many as have one if absent. Odd numbers pay: four
    /// survive the loss of no more than three.
    #[arg(long, value_name = "COUNT")]
    votes: Option<u32>,
    /// Only say which votes would move.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary cluster set-shards`.
#[derive(Debug, Args)]
pub(crate) struct SetShardsArgs {
    /// How many data shards there are to be in all, those included that there are: at most 1024.
    shards: u32,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    remote: Remote,
}

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
    /// What fails together with it, as its configuration says.
    #[arg(long, value_parser = |text: &str| Name::new(text))]
    zone: Option<Name>,
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
    let AddArgs { node, peer, public, zone, waiting, remote } = args;
    let body = json!({
        "node": node, "peer": peer, "url": public, "zone": zone, "instead_of": instead_of,
    });
    let answer = change(&remote, Method::POST, "/v1/nodes", &body).await?;
    said(&remote, &answer, &format!("{node} is to keep every shard"));
    let seated = |shard: &Value| seat(shard, node) == wanted(shard, node);
    let gone = |shard: &Value| instead_of.is_none_or(|old| seat(shard, old) == Seat::Nothing);
    waiting.until(&remote, |shard| seated(shard) && gone(shard)).await
}

/// How a core node is taken in that has its folder, as whole commands.
pub(crate) fn admission(node: NodeId, peer: SocketAddr, url: &str, zone: Option<&Name>) -> String {
    let zone = zone.map(|zone| format!(" --zone {:?}", zone.as_str())).unwrap_or_default();
    let (number, at) = (node.0, format!("--peer {peer} --public {url}{zone}"));
    format!(
        "\nIt keeps nothing before it is taken in, beside the others:\n\n\
         \x20 rotary node add {number} {at} --wait\n\n\
         or instead of one of them:\n\n\
         \x20 rotary node replace OLD {number} {at} --wait\n"
    )
}

/// `rotary node replace`
pub(crate) async fn replace(args: ReplaceArgs) -> Result<(), CliError> {
    add(args.new, Some(args.old)).await
}

/// `rotary node decommission`
pub(crate) async fn decommission(args: DecommissionArgs) -> Result<(), CliError> {
    let ChangeArgs { node, waiting, remote } = args.change;
    if args.dry_run {
        let cluster = read_value(&remote, CLUSTER).await?;
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

/// `rotary cluster rebalance`
pub(crate) async fn rebalance(args: RebalanceArgs) -> Result<(), CliError> {
    let RebalanceArgs { votes, dry_run, waiting, remote } = args;
    let count = votes.map(|count| format!("?count={count}")).unwrap_or_default();
    let spread = read_value(&remote, &format!("/v1/cluster/votes{count}")).await?;
    show(remote.output, &spread, zones);
    eprintln!("{}", moves(&spread));
    if dry_run {
        return Ok(());
    }
    change(&remote, Method::PUT, "/v1/cluster/votes", &json!({"count": votes})).await?;
    let is_so = |shard: &Value| {
        let wanted = rows(&shard["replicas"]).iter();
        let voteless = rows(&shard["voteless"]);
        wanted.filter(|node| !voteless.contains(node)).eq(rows(&shard["voters"]))
    };
    waiting.until(&remote, is_so).await
}

/// `rotary cluster set-shards`
pub(crate) async fn set_shards(args: SetShardsArgs) -> Result<(), CliError> {
    let SetShardsArgs { shards, waiting, remote } = args;
    let body = json!({"shards": shards});
    let answer = change(&remote, Method::PUT, "/v1/cluster/shards", &body).await?;
    said(&remote, &answer, &format!("there are to be {shards} data shards"));
    if !waiting.wait {
        return Ok(());
    }
    waiting.until_none(&remote, CLUSTER, |cluster| unmade(cluster, shards)).await
}

/// What keeps data shards from serving, if not all do.
fn unmade(cluster: &Value, wanted: u32) -> Option<String> {
    // The directory's is one more.
    let there = rows(&cluster["shards"]).len().saturating_sub(1);
    if there < wanted as usize {
        return Some(format!("{there} of {wanted} are there"));
    }
    let serves = |shard: &Value| is_settled(shard) && shard["leader"].is_string();
    let waits = |shard: &&Value| shard["waiting"].is_string() || !serves(shard);
    waited_for(rows(&cluster["shards"]).iter().filter(waits))
}

/// The votes of each zone, as they are and as they would be.
fn zones(spread: &Value) -> Table {
    let mut table = Table::new(["ZONE", "NODES", "VOTES", "THEN"]);
    let list = |value: &Value| match rows(value) {
        [] => "-".to_owned(),
        nodes => nodes.iter().map(cell).collect::<Vec<_>>().join(", "),
    };
    for zone in rows(&spread["zones"]) {
        let then =
            rows(&zone["nodes"]).iter().filter(|node| rows(&spread["voters"]).contains(node));
        let then = Value::Array(then.cloned().collect());
        table.row([cell(&zone["zone"]), list(&zone["nodes"]), list(&zone["voters"]), list(&then)]);
    }
    table
}

/// Which votes move.
fn moves(spread: &Value) -> String {
    let names = |key: &str| rows(&spread[key]).iter().map(cell).collect::<Vec<_>>().join(", ");
    match (names("gain").as_str(), names("lose").as_str()) {
        ("", "") => "no vote moves".to_owned(),
        (gain, "") => format!("{gain}: a vote more"),
        ("", lose) => format!("{lose}: no vote any more"),
        (gain, lose) => format!("{gain}: a vote, instead of {lose}"),
    }
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
    let cluster = read_value(&remote, CLUSTER).await?;
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

/// Whether a shard has the members that are wanted.
pub(super) fn is_settled(shard: &Value) -> bool {
    let named = ["replicas", "voters", "learners"].into_iter().flat_map(|list| rows(&shard[list]));
    let mut nodes = named.filter_map(|node| node.as_str()?.parse().ok());
    nodes.all(|node| seat(shard, node) == wanted(shard, node))
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
            waited_for(shards)
        };
        self.until_none(remote, CLUSTER, not_yet).await?;
        eprintln!("it is so in every shard");
        Ok(())
    }

    /// Until nothing is waited for any more in what a path of the API answers.
    pub(super) async fn until_none(
        &self,
        remote: &Remote,
        path: &str,
        not_yet: impl Fn(&Value) -> Option<String>,
    ) -> Result<(), CliError> {
        let (begun, mut told) = (Instant::now(), String::new());
        loop {
            let found = read_value(remote, path).await?;
            let Some(line) = not_yet(&found) else { return Ok(()) };
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

/// The shards that are waited for, those together that wait for the same.
fn waited_for<'a>(shards: impl Iterator<Item = &'a Value>) -> Option<String> {
    let mut by_reason: BTreeMap<Option<&str>, Vec<String>> = BTreeMap::new();
    for shard in shards {
        by_reason.entry(shard["waiting"].as_str()).or_default().push(cell(&shard["shard"]));
    }
    let told = |(why, names): (Option<&str>, Vec<String>)| {
        let names = names.join(" ");
        why.map_or_else(|| names.clone(), |why| format!("{names} ({why})"))
    };
    let line = by_reason.into_iter().map(told).collect::<Vec<_>>().join("; ");
    (!line.is_empty()).then_some(line)
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
    fn votes_are_shown_by_zone_as_they_are_and_as_they_would_be() {
        let named_none = json!({"zone": null, "nodes": ["nd_4"], "voters": []});
        let (nodes, voters) = (json!(["nd_1", "nd_2"]), json!(["nd_1", "nd_2"]));
        let named = json!({"zone": "a", "nodes": nodes, "voters": voters});
        let spread = json!({
            "zones": [named_none, named],
            "voters": ["nd_1", "nd_4"], "gain": ["nd_4"], "lose": ["nd_2"],
        });
        let expected = "\
ZONE  NODES       VOTES       THEN
-     nd_4        -           nd_4
a     nd_1, nd_2  nd_1, nd_2  nd_1
";
        assert_eq!(zones(&spread).to_string(), expected);
        assert_eq!(moves(&spread), "nd_4: a vote, instead of nd_2");
        assert_eq!(moves(&json!({"gain": [], "lose": []})), "no vote moves");
        assert_eq!(moves(&json!({"gain": ["nd_4"], "lose": []})), "nd_4: a vote more");
    }

    #[test]
    fn shards_that_wait_for_the_same_are_told_together() {
        let shard = |shard: &str, waiting: Value| json!({"shard": shard, "waiting": waiting});
        let slow = || Value::from("nd_4 does not answer");
        let shards = [shard("sh_0", slow()), shard("sh_1", Value::Null), shard("sh_2", slow())];
        let line = waited_for(shards.iter());
        assert_eq!(line.as_deref(), Some("sh_1; sh_0 sh_2 (nd_4 does not answer)"));
        assert_eq!(waited_for([].iter()), None);
    }

    #[test]
    fn what_remains_on_a_node_is_found() {
        let cluster = cluster(&[1], &[1]);
        assert_eq!(remains(&cluster, NodeId(2)).as_deref(), Some("2 sessions"));
        assert_eq!(remains(&cluster, NodeId(9)), None);
        assert_eq!(remains(&cluster, NodeId(7)), None);
    }
}
