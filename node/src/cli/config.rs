//! `rotary config`: the configuration of a node on this machine.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::output::{Format, Table, cell};
use crate::cli::{exit, fail, fail_with};
use crate::config::{Config, ConfigError, Sources, flat};

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
    /// Shows in which keys two nodes differ that ought to be alike.
    Diff(DiffArgs),
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

/// `rotary config diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The configuration of a node.
    one: PathBuf,
    /// That of another.
    other: PathBuf,
    /// Keys too that are each node's own: its id, its addresses, its files.
    #[arg(long)]
    all: bool,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Keys, and whole sections, that are each node's own.
const OWN: [&str; 8] = [
    "auth.",
    "gateway.ca_file",
    "gateway.certificate_file",
    "gateway.key_file",
    "listen.",
    "node.",
    "telemetry.log_file",
    "tls.",
];

/// `rotary config`
pub(crate) fn command(command: &ConfigCommand) -> u8 {
    match command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Validate(args) => validate(&args.file),
        ConfigCommand::Init(args) => init(args.file.as_deref()),
        ConfigCommand::Diff(args) => diff(args),
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

fn diff(args: &DiffArgs) -> u8 {
    match differences(args) {
        Ok((text, alike)) => {
            print!("{text}");
            if alike { exit::OK } else { exit::UNHEALTHY }
        }
        Err(error) => invalid(&error),
    }
}

/// The keys in which two nodes differ, and whether that is as it should be.
fn differences(args: &DiffArgs) -> Result<(String, bool), ConfigError> {
    let [one, other] = [&args.one, &args.other].map(|file| {
        let config = Config::load(file, &[])?;
        Ok(serde_json::to_value(&config).expect("a configuration is plain data"))
    });
    let (one, other) = (one?, other?);
    let own = |key: &str| OWN.iter().any(|own| key.starts_with(own));
    let pairs = flat(&one).into_iter().zip(flat(&other));
    let differ = pairs.filter(|((key, one), (_, other))| one != other && (args.all || !own(key)));
    let rows: Vec<_> = differ.map(|((key, one), (_, other))| (key, one, other)).collect();
    let alike = rows.iter().all(|(key, ..)| own(key));
    let text = match args.output {
        Format::Json => {
            let rows = rows.into_iter().map(|(key, one, other)| (key, json!([one, other])));
            format!("{:#}\n", Value::Object(rows.collect()))
        }
        Format::Table => {
            let [first, second] = [&args.one, &args.other].map(|file| file.display().to_string());
            let mut table = Table::new(["KEY", &first, &second]);
            rows.into_iter().for_each(|(key, one, other)| table.row([key, cell(one), cell(other)]));
            table.to_string()
        }
    };
    Ok((text, alike))
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
    fn two_nodes_are_compared_but_for_what_is_their_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("writable");
            path
        };
        let peer = "[[cluster.peers]]\nid = 2\npeer = \"127.0.0.1:2\"\npublic = \"http://y\"\n";
        let whole = format!("{FILE}{peer}");
        let one = file("one.toml", &whole);
        let second = whole.replacen("id = 1", "id = 2", 1);
        let other = file("other.toml", &second);
        let compared = |other: &Path, all| {
            let (one, other, output) = (one.clone(), other.to_owned(), Format::Json);
            let told = differences(&DiffArgs { one, other, all, output }).expect("valid");
            (serde_json::from_str::<Value>(&told.0).expect("JSON"), told.1)
        };
        assert_eq!(compared(&other, false), (json!({}), true));
        assert_eq!(compared(&other, true), (json!({"node.id": [1, 2]}), true));
        let other = file("slower.toml", &format!("{second}[log]\nheartbeat_ms = 150\n"));
        assert_eq!(compared(&other, false), (json!({"log.heartbeat_ms": [100, 150]}), false));
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
