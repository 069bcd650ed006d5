//! `rotary node`: lists nodes and forgets those that are gone, and what an operator does to one
//! node's files while it is stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rotary_client::Method;
use rotary_log::doubt_note;
use rotary_proto::NodeId;
use rotary_storage::{DataDir, FileDisk, Notes};

use serde_json::{Value, json};

use crate::cli::client::{CliError, change, read_value};
use crate::cli::output::{Table, cell, rows, show, versions};
use crate::cli::{Remote, exit, fail};
use crate::config::Config;
use crate::gateway::token::unix_ms;
use crate::nodes::hosting;
use crate::replica::DIRECTORY;
use crate::server::StartError;

/// What is made again from the others.
const SET_ASIDE: [&str; 4] = ["log", "snapshots", "journal", "lookup"];

/// `rotary node rebuild`.
#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    /// The node's configuration.
    #[arg(long, env = "ROTARY_CONFIG", default_value = "rotary.toml")]
    config: PathBuf,
    /// Yes: a majority of the other nodes has its data. Without it, only says what would be done.
    #[arg(long)]
    yes: bool,
}

/// `rotary node list`
pub(crate) async fn list(remote: &Remote) -> Result<(), CliError> {
    let cluster = read_value(remote, "/v1/cluster").await?;
    let nodes = json!({"nodes": cluster["nodes"], "gateways": cluster["gateways"]});
    show(remote.output, &nodes, table);
    Ok(())
}

fn table(nodes: &Value) -> Table {
    let mut table =
        Table::new(["NODE", "KIND", "URL", "PEER", "CONNECTED", "VERSION", "LOGIC", "SESSIONS"]);
    for (kind, of_kind) in [("core", &nodes["nodes"]), ("gateway", &nodes["gateways"])] {
        for node in rows(of_kind) {
            let of = |key: &str| cell(&node[key]);
            let logic = versions(&node["logic"]);
            let [id, url, peer] = ["node", "url", "peer"].map(of);
            let [connected, build, sessions] = ["connected", "build", "sessions"].map(of);
            let kind = match (&node["keeps"], &node["drains"], &node["votes"]) {
                (Value::Bool(false), ..) => "leaving",
                (_, Value::Bool(true), _) => "draining",
                (.., Value::Bool(false)) => "no vote",
                _ => kind,
            };
            table.row([id, kind.to_owned(), url, peer, connected, build, logic, sessions]);
        }
    }
    table
}

/// `rotary node forget`
pub(crate) async fn forget(node: NodeId, remote: &Remote) -> Result<(), CliError> {
    let path = format!("/v1/nodes/{node}");
    change(remote, Method::DELETE, &path, &json!({})).await.map(drop)
}

/// A node's id, or its number alone.
pub(crate) fn read_id(text: &str) -> Result<NodeId, String> {
    match text.parse() {
        Ok(number) => Ok(NodeId(number)),
        Err(_) => text.parse().map_err(|error: rotary_proto::IdError| error.to_string()),
    }
}

/// Sets the node's log, snapshots and journal aside, so that its next start takes them from the
/// other nodes. It does not vote until it has caught up, so what it promised stays promised.
pub(crate) fn rebuild(args: &RebuildArgs) -> u8 {
    let config = match Config::load(&args.config, &[]) {
        Ok(config) => config,
        Err(error) => return fail(exit::USAGE, &error),
    };
    match set_aside(&config, args.yes) {
        Ok(told) => {
            println!("{told}");
            if args.yes { exit::OK } else { exit::USAGE }
        }
        Err(error) => fail(error.exit_code(), &error),
    }
}

fn set_aside(config: &Config, really: bool) -> Result<String, StartError> {
    let data = DataDir::open(&config.node.data_dir, &config.cluster.id, config.node.id)?;
    let there: Vec<&str> =
        SET_ASIDE.into_iter().filter(|name| data.path().join(name).exists()).collect();
    let list = there.join(", ");
    if !really {
        return Ok(format!(
            "would set {list} of {} aside; the node takes them from the others when it starts. Say \
             --yes if a majority of the other nodes is whole",
            data.path().display()
        ));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Store { path, source }
    };
    let notes = data.notes_path();
    let noted = Notes::open(Arc::new(FileDisk), &notes).map_err(failed(&notes))?;
    // The notes first: a log that is gone without them would look like a new node's.
    let kept = hosting::kept(config.cluster.shards, &noted).map_err(failed(&notes))?;
    for shard in std::iter::once(DIRECTORY).chain(kept) {
        let note = doubt_note(shard);
        noted.put(&note, "the log was set aside").map_err(failed(&notes))?;
    }
    let aside = data.path().join(format!("set-aside-{}", unix_ms()));
    std::fs::create_dir_all(&aside).map_err(failed(&aside))?;
    for name in there {
        let from = data.path().join(name);
        std::fs::rename(&from, aside.join(name)).map_err(failed(&from))?;
    }
    let kept = aside.display();
    Ok(format!("{list} set aside in {kept}; start the node, and remove that folder once it serves"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Plan, init};

    #[test]
    fn a_node_is_named_by_its_id_or_its_number() {
        assert_eq!(read_id("nd_4"), Ok(NodeId(4)));
        assert_eq!(read_id("4"), Ok(NodeId(4)));
        assert!(read_id("sh_4").is_err() && read_id("").is_err());
    }

    #[test]
    fn nodes_of_both_kinds_are_listed() {
        let core = json!({"node": "nd_1", "url": "http://x:1", "peer": "x:3", "connected": true,
            "build": "1.2", "logic": {"oldest": 1, "newest": 2}});
        let leaving = json!({"node": "nd_2", "url": "http://x:2", "peer": "x:4", "connected": false,
            "keeps": false, "votes": false, "build": "1.2", "logic": {"oldest": 1, "newest": 2}});
        let follows = json!({"node": "nd_3", "url": "http://x:3", "peer": "x:5", "connected": true,
            "keeps": true, "votes": false, "build": "1.2", "logic": {"oldest": 1, "newest": 2}});
        let gateway = json!({"node": "nd_4", "url": "http://x:4", "peer": "x:6",
            "connected": false, "build": "1.1", "logic": {"oldest": 1, "newest": 1},
            "sessions": null});
        let text =
            table(&json!({"nodes": [core, leaving, follows], "gateways": [gateway]})).to_string();
        let expected = "\
NODE  KIND     URL         PEER  CONNECTED  VERSION  LOGIC   SESSIONS
nd_1  core     http://x:1  x:3   true       1.2      1 to 2  -
nd_2  leaving  http://x:2  x:4   false      1.2      1 to 2  -
nd_3  no vote  http://x:3  x:5   true       1.2      1 to 2  -
nd_4  gateway  http://x:4  x:6   false      1.1      1       -
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_set_aside_is_kept_and_noted() {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = Plan {
            gateways: 0,
            dir: folder.path().join("c"),
            nodes: 1,
            listen: "127.0.0.1".parse().expect("an address"),
            base_port: 1,
            shards: 2,
            zones: Vec::new(),
            id: None,
            password: None,
        };
        init(&plan).expect("made");
        let config = folder.path().join("c/node-1/rotary.toml");
        let loaded = Config::load(&config, &[]).expect("valid");
        let data = loaded.node.data_dir.clone();
        std::fs::create_dir(data.join("log")).expect("made");
        std::fs::write(data.join("log/1"), b"damaged").expect("written");
        assert_eq!(rebuild(&RebuildArgs { config: config.clone(), yes: false }), exit::USAGE);
        assert!(data.join("log/1").exists(), "nothing is done unasked");
        assert_eq!(rebuild(&RebuildArgs { config, yes: true }), exit::OK);
        assert!(!data.join("log").exists());
        let names = |path: &Path| -> Vec<String> {
            let found = std::fs::read_dir(path).expect("there");
            let mut names: Vec<String> = found
                .map(|found| found.expect("listed").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&data.join("notes")), ["doubt-0", "doubt-1", "doubt-2"]);
        let aside = names(&data).into_iter().find(|name| name.starts_with("set-aside-"));
        let kept = data.join(aside.expect("there")).join("log/1");
        assert_eq!(std::fs::read(kept).expect("kept"), b"damaged");
    }
}
