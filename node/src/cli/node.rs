//! `rotary node`: what an operator does to one node's files while it is stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rotary_log::doubt_note;
use rotary_proto::ShardId;
use rotary_storage::{DataDir, FileDisk, Notes};

use crate::cli::{exit, fail};
use crate::config::Config;
use crate::gateway::token::unix_ms;
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
    for shard in 0..=config.cluster.shards {
        let note = doubt_note(ShardId(shard));
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
    fn what_is_set_aside_is_kept_and_noted() {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = Plan {
            gateways: 0,
            dir: folder.path().join("c"),
            nodes: 1,
            listen: "127.0.0.1".parse().expect("an address"),
            base_port: 1,
            shards: 2,
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
