//! `rotary upgrade`: whether the cluster can act by the next version of the logic, whether a node
//! can be restarted, and the way from one version to the next.
//!
//! Nodes are upgraded by whoever installs binaries, one after the other; until the upgrade is
//! finalised they may go back. What was finalised is brought about by the leaders of the shards,
//! whatever becomes of the command.

use clap::{Args, Subcommand};
use rotary_client::Method;
use rotary_proto::NodeId;
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::cli::client::{CliError, change, read_value, said};
use crate::cli::members::Waiting;
use crate::cli::node::read_id;
use crate::cli::output::{self, Format, Table, cell, rows};

/// Where an upgrade is.
const UPGRADE: &str = "/v1/upgrade";

/// `rotary upgrade`.
#[derive(Debug, Subcommand)]
pub(crate) enum UpgradeCommand {
    /// Says whether the next version can be finalised and what is in its way, and which nodes can
    /// be restarted just now.
    Check(CheckArgs),
    /// Shows the version that each shard acts by, what is wanted, and what is waited for.
    Status(Remote),
    /// Has the cluster act by the newest version that every node can apply. There is no way back
    /// from it to older builds.
    Finalize(FinalizeArgs),
    /// Takes that back, as long as no shard acts by it.
    Abort(Remote),
}

/// `rotary upgrade check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Only say whether that node can be restarted just now: its id or its number.
    #[arg(long, value_parser = read_id)]
    node: Option<NodeId>,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary upgrade finalize`.
#[derive(Debug, Args)]
pub(crate) struct FinalizeArgs {
    /// Which version; the newest that any node can apply, if absent.
    #[arg(long, value_name = "VERSION")]
    to: Option<u32>,
    /// Only say whether it would be done.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    remote: Remote,
}

/// Runs one of them.
pub(crate) async fn command(command: UpgradeCommand) -> Result<(), CliError> {
    match command {
        UpgradeCommand::Check(args) => check(args).await,
        UpgradeCommand::Status(remote) => status(&remote).await,
        UpgradeCommand::Finalize(args) => finalize(args).await,
        UpgradeCommand::Abort(remote) => {
            let answer = change(&remote, Method::DELETE, UPGRADE, &json!({})).await?;
            said(&remote, &answer, "no other version is wanted any more");
            Ok(())
        }
    }
}

async fn check(args: CheckArgs) -> Result<(), CliError> {
    let CheckArgs { node, remote } = args;
    let upgrade = read_value(&remote, UPGRADE).await?;
    if let Some(node) = node {
        return restart(&upgrade, node);
    }
    if remote.output == Format::Json {
        println!("{upgrade:#}");
    } else {
        print!("{}\n{}\n{}", nodes(&upgrade), versions(&upgrade), outlook(&upgrade));
    }
    if blocks(&upgrade).is_empty() {
        return Ok(());
    }
    let next = cell(&upgrade["next"]);
    Err(CliError::Unhealthy(format!("version {next} cannot be finalised yet")))
}

/// Whether a node can be restarted just now.
fn restart(upgrade: &Value, node: NodeId) -> Result<(), CliError> {
    let row = rows(&upgrade["nodes"]).iter().find(|row| row["node"] == json!(node));
    let row = row.ok_or_else(|| CliError::Unhealthy(format!("there is no {node}")))?;
    match &row["keep"] {
        Value::Null => {
            println!("{node} can be restarted");
            Ok(())
        }
        why => {
            let why = cell(why);
            Err(CliError::Unhealthy(format!("{node} should not be restarted now: {why}")))
        }
    }
}

fn nodes(upgrade: &Value) -> Table {
    let mut table = Table::new(["NODE", "KIND", "BUILD", "LOGIC", "ANSWERS", "RESTART"]);
    for node in rows(&upgrade["nodes"]) {
        let logic = output::versions(&node["logic"]);
        let kind = if node["gateway"] == json!(true) { "gateway" } else { "core" };
        let restart = match &node["keep"] {
            Value::Null => "can be".to_owned(),
            why => format!("not now: {}", cell(why)),
        };
        let [id, build, answers] = ["node", "build", "answers"].map(|key| cell(&node[key]));
        table.row([id, kind.to_owned(), build, logic, answers, restart]);
    }
    table
}

fn versions(upgrade: &Value) -> String {
    let (acts_by, wanted) = (cell(&upgrade["acts_by"]), cell(&upgrade["wanted"]));
    if acts_by == wanted {
        return format!("the cluster acts by version {acts_by} of the logic\n");
    }
    format!("the cluster acts by version {acts_by} of the logic, and is to act by {wanted}\n")
}

fn blocks(upgrade: &Value) -> Vec<String> {
    rows(&upgrade["blocks"]).iter().map(cell).collect()
}

/// Whether the next version can be finalised.
fn outlook(upgrade: &Value) -> String {
    let next = match &upgrade["next"] {
        Value::Null => return "no node's build can apply a newer one\n".to_owned(),
        next => cell(next),
    };
    let blocks = blocks(upgrade);
    if blocks.is_empty() {
        return format!("version {next} can be finalised: rotary upgrade finalize\n");
    }
    let lines: String = blocks.iter().map(|block| format!("  {block}\n")).collect();
    format!("version {next} cannot be finalised yet:\n{lines}")
}

async fn status(remote: &Remote) -> Result<(), CliError> {
    let upgrade = read_value(remote, UPGRADE).await?;
    if remote.output == Format::Json {
        println!("{upgrade:#}");
    } else {
        print!("{}\n{}", shards(&upgrade), versions(&upgrade));
    }
    Ok(())
}

fn shards(upgrade: &Value) -> Table {
    let mut table = Table::new(["SHARD", "LOGIC", "WAITS FOR"]);
    for shard in rows(&upgrade["shards"]) {
        table.row(["shard", "logic", "waiting"].map(|key| cell(&shard[key])));
    }
    table
}

async fn finalize(args: FinalizeArgs) -> Result<(), CliError> {
    let FinalizeArgs { to, dry_run, waiting, remote } = args;
    let upgrade = read_value(&remote, UPGRADE).await?;
    let newest = upgrade["next"].as_u64().or(upgrade["wanted"].as_u64());
    let Some(version) = to.map(u64::from).or(newest) else {
        return Err(CliError::Local("the node does not say what is wanted".to_owned()));
    };
    if dry_run {
        print!("{}{}", versions(&upgrade), outlook(&upgrade));
        let blocks = blocks(&upgrade);
        if upgrade["next"].as_u64() == Some(version) && !blocks.is_empty() {
            let why = format!("version {version} would be refused: {}", blocks.join("; "));
            return Err(CliError::Unhealthy(why));
        }
        return Ok(());
    }
    let answer = change(&remote, Method::PUT, UPGRADE, &json!({"version": version})).await?;
    said(&remote, &answer, &format!("the cluster is to act by version {version} of the logic"));
    if !waiting.wait {
        return Ok(());
    }
    waiting.until_none(&remote, UPGRADE, |upgrade| behind(upgrade, version)).await
}

/// The shards that do not act by a version yet, and what they wait for.
fn behind(upgrade: &Value, version: u64) -> Option<String> {
    let behind = |shard: &&Value| shard["logic"].as_u64().is_none_or(|logic| logic < version);
    let line = |shard: &Value| match &shard["waiting"] {
        Value::String(why) => format!("{} ({why})", cell(&shard["shard"])),
        _ => cell(&shard["shard"]),
    };
    let lines: Vec<String> = rows(&upgrade["shards"]).iter().filter(behind).map(line).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_way() -> Value {
        json!({
            "acts_by": 1, "wanted": 1, "next": 2,
            "blocks": ["nd_3 runs 0.1.0, which can apply 1: upgrade it"],
            "nodes": [
                {"node": "nd_1", "gateway": false, "build": "0.2.0",
                 "logic": {"oldest": 1, "newest": 2}, "answers": true, "keep": null},
                {"node": "nd_3", "gateway": false, "build": "0.1.0",
                 "logic": {"oldest": 1, "newest": 1}, "answers": true, "keep": "nd_2 drains"},
                {"node": "nd_4", "gateway": true, "build": null, "logic": null,
                 "answers": false, "keep": null},
            ],
            "shards": [{"shard": "sh_0", "logic": 2, "waiting": null},
                       {"shard": "sh_1", "logic": 1, "waiting": "nd_3 does not answer"},
                       {"shard": "sh_2", "logic": 1, "waiting": null}],
        })
    }

    #[test]
    fn nodes_say_what_they_run_and_whether_they_can_be_restarted() {
        let expected = "\
NODE  KIND     BUILD  LOGIC   ANSWERS  RESTART
nd_1  core     0.2.0  1 to 2  true     can be
nd_3  core     0.1.0  1       true     not now: nd_2 drains
nd_4  gateway  -      -       false    can be
";
        assert_eq!(nodes(&half_way()).to_string(), expected);
        assert!(restart(&half_way(), NodeId(1)).is_ok());
        let why = restart(&half_way(), NodeId(3)).expect_err("another drains").to_string();
        assert_eq!(why, "nd_3 should not be restarted now: nd_2 drains");
        assert!(restart(&half_way(), NodeId(9)).is_err());
    }

    #[test]
    fn what_is_in_the_way_is_told() {
        let told = outlook(&half_way());
        assert!(told.contains("cannot be finalised yet:\n  nd_3 runs 0.1.0, which"), "{told}");
        let free = json!({"next": 2, "blocks": []});
        assert!(outlook(&free).contains("can be finalised: rotary upgrade finalize"));
        assert!(outlook(&json!({"next": null, "blocks": []})).starts_with("no node's build"));
    }

    #[test]
    fn shards_say_what_they_act_by_and_wait_for() {
        let expected = "\
SHARD  LOGIC  WAITS FOR
sh_0   2      -
sh_1   1      nd_3 does not answer
sh_2   1      -
";
        assert_eq!(shards(&half_way()).to_string(), expected);
        let waits = behind(&half_way(), 2);
        assert_eq!(waits.as_deref(), Some("sh_1 (nd_3 does not answer); sh_2"));
        assert_eq!(behind(&half_way(), 1), None);
        let on_its_way = json!({"acts_by": 1, "wanted": 2});
        assert!(versions(&on_its_way).ends_with("and is to act by 2\n"));
    }
}
