//! `rotary config`: the configuration of a node on this machine.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::output::{Format, Table, cell};
use crate::cli::{exit, fail, fail_with};
use crate::config::{Config, ConfigError, Sources};

/// Every key with what it is for and its default.
const DOCUMENTED: &str = include_str!("../../../config/rotary.toml");

/// `rotary config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Shows every key with the value that a node would take.
    Show(ShowArgs),
    /// Says whether a node would take a file, and what is wrong with it.
    Validate(ValidateArgs),
    /// Writes a file with every key, what it is for, and its default.
    Init(InitArgs),
}

/// `rotary config show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The node's configuration.
    #[arg(long, env = "ROTARY_CONFIG", default_value = "rotary.toml")]
    config: PathBuf,
    /// A key of the configuration, over file and environment: `section.key=value`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where each value is from: a flag, the environment, the file, the defaults.
    #[arg(long)]
    origin: bool,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// `rotary config validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The file.
    file: PathBuf,
}

/// `rotary config init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where to write it; standard output if absent. A file that is there is left alone.
    #[arg(long)]
    file: Option<PathBuf>,
}

/// `rotary config`
pub(crate) fn command(command: &ConfigCommand) -> u8 {
    match command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Validate(args) => validate(&args.file),
        ConfigCommand::Init(args) => init(args.file.as_deref()),
    }
}

fn show(args: &ShowArgs) -> u8 {
    match shown(args) {
        Ok(text) => {
            print!("{text}");
            exit::OK
        }
        Err(error) => invalid(&error),
    }
}

fn shown(args: &ShowArgs) -> Result<String, ConfigError> {
    let sources = Sources::read(&args.config, &args.set)?;
    let config = Config::from_sources(&sources, &args.config)?;
    let whole = serde_json::to_value(&config).expect("a configuration is plain data");
    let values = flat(&whole);
    Ok(match (args.output, args.origin) {
        (Format::Json, false) => format!("{whole:#}\n"),
        (Format::Json, true) => {
            let told = |(key, value): (String, &Value)| {
                let origin = sources.origin(&key);
                (key, json!({"value": value, "origin": origin}))
            };
            let told: Map<String, Value> = values.into_iter().map(told).collect();
            format!("{:#}\n", Value::Object(told))
        }
        (Format::Table, false) => {
            let mut table = Table::new(["KEY", "VALUE"]);
            values.into_iter().for_each(|(key, value)| table.row([key, cell(value)]));
            table.to_string()
        }
        (Format::Table, true) => {
            let mut table = Table::new(["KEY", "ORIGIN", "VALUE"]);
            for (key, value) in values {
                let origin = sources.origin(&key);
                table.row([key, origin, cell(value)]);
            }
            table.to_string()
        }
    })
}

/// Each key of each section with its value.
fn flat(config: &Value) -> Vec<(String, &Value)> {
    let sections = config.as_object().into_iter().flatten();
    let keys = sections.flat_map(|(section, values)| {
        let values = values.as_object().into_iter().flatten();
        values.map(move |(key, value)| (format!("{section}.{key}"), value))
    });
    keys.collect()
}

fn validate(file: &Path) -> u8 {
    match Config::load(file, &[]) {
        Ok(config) => {
            let (name, id, cluster) = (file.display(), config.node.id, &config.cluster);
            let (nodes, shards) = (cluster.peers.len(), cluster.shards);
            let cluster = &cluster.id;
            println!("{name}: node {id} of cluster {cluster}, nodes {nodes}, shards {shards}");
            exit::OK
        }
        Err(error) => invalid(&error),
    }
}

fn invalid(error: &ConfigError) -> u8 {
    fail_with(exit::USAGE, error, Some("config-invalid"))
}

fn init(file: Option<&Path>) -> u8 {
    let Some(path) = file else {
        print!("{DOCUMENTED}");
        return exit::OK;
    };
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let written = opened.and_then(|mut file| file.write_all(DOCUMENTED.as_bytes()));
    let name = path.display();
    match written {
        Ok(()) => exit::OK,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fail(exit::CONFLICT, &format!("{name} is there already: choose another --file"))
        }
        Err(error) => fail(exit::ERROR, &format!("{name}: {error}; choose another --file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[node]\nid = 1\n[cluster]\nid = \"c\"\n[[cluster.peers]]\nid = 1\n\
                        peer = \"127.0.0.1:1\"\npublic = \"http://x\"\n";

    fn shown_of(text: &str, output: Format, origin: bool) -> (String, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("rotary.toml");
        std::fs::write(&config, text).expect("writable");
        let set = vec!["log.threads=2".to_owned()];
        let args = ShowArgs { config: config.clone(), set, origin, output };
        (shown(&args).expect("valid"), config)
    }

    #[test]
    fn each_value_says_where_it_is_from() {
        let (text, file) = shown_of(FILE, Format::Json, true);
        let told: Value = serde_json::from_str(&text).expect("JSON");
        let of = |key: &str| (told[key]["value"].clone(), told[key]["origin"].clone());
        assert_eq!(of("log.threads"), (json!(2), json!("--set")));
        assert_eq!(of("cluster.id"), (json!("c"), json!(file.display().to_string())));
        assert_eq!(of("log.heartbeat_ms"), (json!(100), json!("default")));
        let keys = told.as_object().expect("keys").len();
        let (table, _) = shown_of(FILE, Format::Table, true);
        assert_eq!(table.lines().count(), keys + 1, "{table}");
        assert!(table.starts_with("KEY "), "{table}");
    }

    #[test]
    fn what_is_shown_as_json_is_a_configuration() {
        let (text, _) = shown_of(FILE, Format::Json, false);
        let config: Config = serde_json::from_str(&text).expect("whole");
        assert_eq!((config.log.threads, config.cluster.peers.len()), (2, 1));
    }

    #[test]
    fn a_written_file_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("rotary.toml");
        assert_eq!(init(Some(&path)), exit::OK);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), DOCUMENTED);
        std::fs::write(&path, FILE).expect("writable");
        assert_eq!(init(Some(&path)), exit::CONFLICT);
        assert_eq!(validate(&path), exit::OK);
        std::fs::write(&path, FILE.replace("id = 1", "id = 2")).expect("writable");
        assert_eq!(validate(&path), exit::OK, "the peer is of that number as well");
        std::fs::write(&path, FILE.replacen("id = 1", "id = 2", 1)).expect("writable");
        assert_eq!(validate(&path), exit::USAGE);
    }
}
