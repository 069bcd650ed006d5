//! What somebody needs who looks for a fault and must not see whose conversations these are.
//!
//! A node tells of itself ([`About::report`]), `rotary debug bundle` asks every node and packs what
//! they tell ([`archive`]). What goes into it is named: keys of the configuration ([`SHOWN`]),
//! fields of `/v1/cluster` ([`cluster`]), metrics of the registry ([`metrics`]), fields of log
//! lines ([`crate::telemetry::recent`]), codes and grades of the doctor's findings. What is not
//! named is left out, so that what is added elsewhere does not come in by itself.
//!
//! Deliberately absent: addresses and names of machines, paths, texts of errors, and everything
//! that is about a person: names, logins, messages, credentials.

pub(crate) mod archive;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rotary_client::Trust;
use rotary_storage::{Disk as _, FileDisk};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::build;
use crate::cli::trust;
use crate::config::{Config, flat};
use crate::doctor::{Finding, examine};
use crate::gateway::token::unix_ms;
use crate::telemetry::names::METRICS;
use crate::telemetry::process::Process;
use crate::telemetry::recent::{self, is_plain};

/// The form of what a node tells.
const FORMAT: u32 = 1;
/// How long the doctor waits for each node.
const PATIENCE: Duration = Duration::from_secs(2);
/// Files that are looked at in a data directory.
const FILES_MAX: usize = 100_000;

/// Keys of the configuration whose values are shown: numbers, switches and choices. Of the others
/// it is said whether they differ from their defaults.
const SHOWN: [&str; 34] = [
    "admission.caller_commands_max",
    "admission.shard_commands_max",
    "admission.target_ms",
    "blobs.disk_bytes_max",
    "blobs.scrub_bytes_per_second",
    "blobs.site_unnamed_bytes_max",
    "blobs.tenant_disk_percent_max",
    "blobs.unnamed_bytes_max",
    "blobs.unnamed_keep",
    "blobs.upload_bytes_max",
    "blobs.uploads_per_minute_max",
    "cluster.shards",
    "gateway.connections_per_address_max",
    "journal.retention",
    "log.balance_leaders",
    "log.election_max_ms",
    "log.election_min_ms",
    "log.engine",
    "log.free_bytes_min",
    "log.heartbeat_ms",
    "log.pin_threads",
    "log.reserve_bytes",
    "log.snapshot_bytes_min",
    "log.snapshot_bytes_per_second",
    "log.snapshot_entries_kept",
    "log.threads",
    "mail.tls",
    "node.id",
    "node.role",
    "session.heartbeat_ms",
    "telemetry.log_format",
    "telemetry.metrics_public",
    "telemetry.trace_one_in",
    "webhooks.allow_private",
];

/// Fields of nodes, gateways and shards in `/v1/cluster` that are shown.
const CLUSTER: [&str; 27] = [
    "applied",
    "build",
    "connected",
    "drains",
    "fresh",
    "keeps",
    "last",
    "last_seen",
    "leader",
    "leads",
    "learners",
    "logic",
    "marks",
    "newest",
    "node",
    "oldest",
    "recorded",
    "replicas",
    "seen_by",
    "sessions",
    "shard",
    "since",
    "sites",
    "term",
    "voteless",
    "voters",
    "votes",
];

/// What a node tells of itself.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DebugReport")]
pub(crate) struct Report {
    format: u32,
    node: String,
    build: &'static str,
    made_unix_ms: u64,
    /// Values of keys that are shown; of the others `default` or `set`.
    config: BTreeMap<String, Value>,
    #[schemars(with = "Value")]
    process: Process,
    disk: DiskReport,
    /// What `rotary doctor` finds there, without its texts.
    doctor: Vec<FindingReport>,
    /// How often each code of the runbook was said since the start.
    #[schemars(with = "Value")]
    codes: BTreeMap<&'static str, recent::Said>,
    /// The last log lines, without what they may say of anybody.
    #[schemars(with = "Vec<Value>")]
    lines: Vec<recent::Line>,
}

/// How full the disk is, and with what.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct DiskReport {
    free_bytes: Option<u64>,
    /// By folder of the data directory.
    folders: BTreeMap<&'static str, FolderReport>,
}

/// The files of a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct FolderReport {
    files: u64,
    bytes: u64,
    largest_bytes: u64,
}

/// What the doctor found, without its texts: these have paths and addresses.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FindingReport {
    #[schemars(with = "String")]
    grade: crate::doctor::Grade,
    code: Option<&'static str>,
    /// A node, a shard, or nothing where it is a file or a folder.
    of: Option<String>,
}

/// Whom a node tells of.
#[derive(Debug, Clone)]
pub(crate) struct About {
    config: Config,
}

impl About {
    /// A node with that configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Self { config: config.clone() }
    }

    /// Bytes that may still be written to the disk of the data directory.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        FileDisk.free_bytes(&self.config.node.data_dir).ok()
    }

    /// Whether measures are told to clients.
    pub(crate) fn metrics_are_public(&self) -> bool {
        self.config.telemetry.metrics_public
    }

    /// What the node tells of itself.
    pub(crate) async fn report(&self) -> Report {
        let data = self.config.node.data_dir.clone();
        let disk = crate::blocking::run(move || look_at(&data)).await.unwrap_or_default();
        let trusted = trust(self.config.gateway.trusted()).unwrap_or_else(|_| Trust::default());
        let found = examine(&self.config, &trusted, PATIENCE).await;
        Report {
            format: FORMAT,
            node: rotary_proto::NodeId(self.config.node.id).to_string(),
            build: build::VERSION,
            made_unix_ms: unix_ms(),
            config: configured(&self.config),
            process: Process::look(),
            disk,
            doctor: found.into_iter().map(shown).collect(),
            codes: recent::codes(),
            lines: recent::lines(),
        }
    }
}

/// A finding without its texts.
pub(crate) fn shown(finding: Finding) -> FindingReport {
    let Finding { grade, code, of, .. } = finding;
    FindingReport { grade, code, of: is_plain(&of).then_some(of) }
}

/// What is configured, as far as it is shown.
fn configured(config: &Config) -> BTreeMap<String, Value> {
    let whole = |config: &Config| serde_json::to_value(config).expect("plain data");
    let (ours, default) = (whole(config), whole(&Config::default()));
    let defaults: BTreeMap<String, &Value> = flat(&default).into_iter().collect();
    let told = |(key, value): (String, &Value)| {
        let shown = if SHOWN.contains(&key.as_str()) {
            value.clone()
        } else if defaults.get(&key) == Some(&value) {
            "default".into()
        } else {
            "set".into()
        };
        (key, shown)
    };
    flat(&ours).into_iter().map(told).collect()
}

/// How full the disk is, and which folders of the data directory have how much.
fn look_at(data: &Path) -> DiskReport {
    let mut report =
        DiskReport { free_bytes: FileDisk.free_bytes(data).ok(), ..Default::default() };
    for name in ["blobs", "journal", "log", "lookup", "notes", "snapshots"] {
        let mut found = FolderReport::default();
        let mut folders = vec![data.join(name)];
        while let Some(folder) = folders.pop() {
            // What goes away while it is looked at is not there.
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            for (entry, about) in
                entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
            {
                if about.is_dir() {
                    folders.push(entry);
                } else if found.files < FILES_MAX as u64 {
                    found.files += 1;
                    found.bytes += about.len();
                    found.largest_bytes = found.largest_bytes.max(about.len());
                }
            }
        }
        report.folders.insert(name, found);
    }
    report
}

/// What is shown of an answer of `/v1/cluster`.
pub(crate) fn cluster(answer: &Value) -> Value {
    let lists = ["nodes", "gateways", "shards"];
    let of = |list: &str| {
        let rows = answer[list].as_array().into_iter().flatten();
        Value::Array(rows.map(|row| plain_fields(row, &CLUSTER)).collect())
    };
    let mut shown: Map<String, Value> =
        lists.into_iter().map(|list| (list.to_owned(), of(list))).collect();
    // Why shards and drains wait is text; that they do is not.
    for (list, field) in [("shards", "waiting"), ("nodes", "remains"), ("gateways", "remains")] {
        let rows = answer[list].as_array().into_iter().flatten();
        let waits = rows.map(|row| !row[field].is_null());
        for (row, waits) in shown[list].as_array_mut().into_iter().flatten().zip(waits) {
            row[field] = waits.into();
        }
    }
    shown.insert("node".to_owned(), plain_fields(&answer["node"], &[]));
    Value::Object(shown)
}

/// A value of which objects keep those fields, and texts stay where they are plain.
fn plain_fields(value: &Value, fields: &[&str]) -> Value {
    match value {
        Value::Object(object) => {
            let keep = |name: &str| fields.contains(&name) || is_plain(name);
            let kept = object.iter().filter(|(name, _)| keep(name));
            let kept = kept.map(|(name, value)| (name.clone(), plain_fields(value, fields)));
            Value::Object(kept.collect())
        }
        Value::Array(list) => list.iter().map(|value| plain_fields(value, fields)).collect(),
        Value::String(text) if is_plain(text) || is_version(text) => text.clone().into(),
        Value::String(_) => "(left out)".into(),
        other => other.clone(),
    }
}

/// Whether that is the version of a build, and nothing else.
fn is_version(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 24 && text.split('.').count() == 3 && text.split('.').all(part)
}

/// The lines of a scrape that are of metrics in the registry, with its labels.
pub(crate) fn metrics(scrape: &str) -> String {
    let mut shown = String::new();
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let stems = ["_bucket", "_sum", "_count"].map(|end| name.strip_suffix(end));
        let known = |name: &str| METRICS.iter().find(|metric| metric.name == name);
        let metric = known(name).or_else(|| stems.into_iter().flatten().find_map(known));
        let fits = metric.is_some_and(|metric| {
            labels(line).all(|(label, value)| {
                let is_one = metric.labels.contains(&label) || label == "le";
                is_one && (is_plain(value) || is_word(value))
            })
        });
        if fits {
            shown.push_str(line);
            shown.push('\n');
        }
    }
    shown
}

/// The labels of a series.
fn labels(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let inner = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
    let pairs = inner.map_or("", |(inner, _)| inner).split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(label, value)| (label, value.trim_matches('"')))
}

/// Whether that is a word of the sources: a result, a kind, a bound of a bucket, a version.
fn is_word(text: &str) -> bool {
    let letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.')
    };
    let method = matches!(text, "GET" | "POST" | "PUT" | "DELETE" | "+Inf");
    text.len() <= 32 && (method || text.bytes().all(letter))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_the_configuration_only_numbers_and_choices_are_shown() {
        let mut config = Config::default();
        config.cluster.id = "planted".to_owned();
        config.node.data_dir = "/planted".into();
        config.mail.relay = "planted.example.com:25".to_owned();
        config.telemetry.otlp = "http://planted".to_owned();
        config.telemetry.log_level = "planted=trace".to_owned();
        config.gateway.others = vec!["https://planted".to_owned()];
        config.log.threads = 7;
        let shown = configured(&config);
        let text = serde_json::to_string(&shown).expect("plain data");
        assert!(!text.contains("planted"), "{text}");
        assert_eq!(shown["log.threads"], 7);
        assert_eq!(
            (&shown["mail.relay"], &shown["mail.hello"]),
            (&"set".into(), &"default".into())
        );
        for key in SHOWN {
            assert!(shown.contains_key(key), "{key} is no key");
        }
    }

    #[test]
    fn of_the_cluster_no_text_is_shown_but_ids_and_versions() {
        let answer = json!({
            "node": "nd_1", "build": "0.1.0", "planted": "planted",
            "nodes": [{"node": "nd_1", "url": "http://planted", "peer": "10.0.0.1:1",
                "connected": true, "build": "0.1.0", "remains": "planted",
                "logic": {"oldest": 1, "newest": 2}}],
            "gateways": [],
            "shards": [{"shard": "sh_1", "leader": "nd_2", "marks": {"nd_1": 7, "planted": 1},
                "waiting": "planted does not answer", "voters": ["nd_1", "planted"]}],
        });
        let shown = cluster(&answer);
        let text = shown.to_string();
        assert!(!text.contains("planted") && !text.contains("10.0.0.1"), "{text}");
        let node = &shown["nodes"][0];
        assert_eq!((&node["build"], &node["remains"]), (&"0.1.0".into(), &true.into()));
        assert_eq!(node["logic"]["newest"], 2);
        let shard = &shown["shards"][0];
        assert_eq!((&shard["leader"], &shard["waiting"]), (&"nd_2".into(), &true.into()));
        assert_eq!(shard["marks"], json!({"nd_1": 7}));
    }

    #[test]
    fn of_a_scrape_what_is_in_the_registry_is_shown() {
        let scrape = "# HELP rotary_sessions planted\n\
            rotary_sessions{kind=\"agent\"} 3\n\
            rotary_sessions{kind=\"Lin Planted\"} 3\n\
            rotary_sessions{kind=\"agent\",planted=\"1\"} 3\n\
            planted_total 4\n\
            rotary_command_commit_seconds_bucket{op=\"open\",le=\"+Inf\"} 5\n";
        let shown = metrics(scrape);
        let wanted = "rotary_sessions{kind=\"agent\"} 3\n\
            rotary_command_commit_seconds_bucket{op=\"open\",le=\"+Inf\"} 5\n";
        assert_eq!(shown, wanted);
    }
}
