//! What a node is told before it starts: flags over environment over file over defaults.
//!
//! `config/rotary.toml` lists every key with its default; a test keeps it equal to the code. The
//! environment's form of `section.key` is `ROTARY_SECTION__KEY`. A key that nobody reads is refused
//! with the nearest one that somebody does: a misspelt key must not pass for a default.

mod admission;
mod backup;
mod blobs;
mod keep;
mod keys;
mod mail;
mod place;
mod sources;

pub(crate) use admission::Admission;
pub(crate) use backup::{Backup, BucketStyle};
pub(crate) use blobs::Blobs;
pub(crate) use keep::Keep;
pub(crate) use mail::{Mail, MailTls};
pub(crate) use place::Place;
pub(crate) use sources::Sources;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rotary_proto::Name;
use rotary_proto::limits::MEMBERS_PER_SHARD_MAX;
use serde::{Deserialize, Serialize};

/// Each key of each section with its value.
pub(crate) fn flat(config: &serde_json::Value) -> Vec<(String, &serde_json::Value)> {
    let sections = config.as_object().into_iter().flatten();
    let keys = sections.flat_map(|(section, values)| {
        let values = values.as_object().into_iter().flatten();
        values.map(move |(key, value)| (format!("{section}.{key}"), value))
    });
    keys.collect()
}

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) node: Node,
    pub(crate) listen: Listen,
    pub(crate) cluster: Cluster,
    pub(crate) tls: Tls,
    pub(crate) auth: Auth,
    pub(crate) gateway: GatewayDoors,
    pub(crate) admission: Admission,
    pub(crate) log: LogTimes,
    pub(crate) journal: JournalKept,
    pub(crate) blobs: Blobs,
    pub(crate) backup: Backup,
    pub(crate) session: Session,
    pub(crate) webhooks: Webhooks,
    pub(crate) mail: Mail,
    pub(crate) telemetry: Telemetry,
}

/// This node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// Its number; 0 is none.
    pub(crate) id: u64,
    pub(crate) data_dir: PathBuf,
    pub(crate) role: Role,
    /// What fails together with it; empty where nobody said.
    pub(crate) zone: String,
}

impl Node {
    /// What fails together with it.
    pub(crate) fn zone(&self) -> Option<Name> {
        Name::new(&self.zone).ok()
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// It has replicas, and doors.
    #[default]
    Core,
    /// It has doors only.
    Gateway,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// HTTP and WebSocket, TCP.
    pub(crate) public: SocketAddr,
    /// Other nodes, UDP.
    pub(crate) peer: SocketAddr,
    /// HTTP for those who run the node, TCP.
    pub(crate) admin: Place,
}

/// The cluster it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    pub(crate) id: String,
    /// Data shards that the cluster is founded with.
    pub(crate) shards: u32,
    pub(crate) peers: Vec<PeerNode>,
}

/// A node of the cluster, this one included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerNode {
    pub(crate) id: u64,
    /// Where other nodes reach it, UDP.
    pub(crate) peer: SocketAddr,
    /// The base of its HTTP API, as clients reach it.
    pub(crate) public: String,
}

/// Who this node is, and whom it believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) ca_file: PathBuf,
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

/// How tokens are signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Auth {
    pub(crate) token_secret_file: PathBuf,
    pub(crate) first_user_file: PathBuf,
}

/// How clients come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewayDoors {
    /// Plain HTTP, if empty.
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
    /// Whom this node believes to be others of the cluster when it asks them as a client; nobody,
    /// if empty.
    pub(crate) ca_file: PathBuf,
    pub(crate) connections_per_address_max: usize,
    /// The base of a gateway-only node's HTTP API, as clients reach it; from listen.public, if
    /// empty.
    pub(crate) public: String,
    /// Told to sessions as places to resume, by a gateway-only node.
    pub(crate) others: Vec<String>,
}

impl GatewayDoors {
    /// Who signs the certificates of the cluster's nodes, if anybody is named.
    pub(crate) fn trusted(&self) -> Option<&Path> {
        (!self.ca_file.as_os_str().is_empty()).then_some(self.ca_file.as_path())
    }

    /// Whether clients speak TLS.
    pub(crate) fn is_tls(&self) -> bool {
        !self.certificate_file.as_os_str().is_empty()
    }
}

/// How shards elect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogTimes {
    pub(crate) heartbeat_ms: u64,
    pub(crate) election_min_ms: u64,
    pub(crate) election_max_ms: u64,
    pub(crate) engine: LogEngine,
    pub(crate) threads: usize,
    pub(crate) pin_threads: bool,
    pub(crate) balance_leaders: bool,
    pub(crate) snapshot_bytes_min: u64,
    pub(crate) snapshot_entries_kept: u64,
    pub(crate) snapshot_bytes_per_second: u64,
    pub(crate) free_bytes_min: u64,
    pub(crate) reserve_bytes: u64,
}

/// What keeps the log on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogEngine {
    /// Segments of our own.
    Segments,
    /// An LSM tree, kept to fall back on.
    Fjall,
}

/// How long what happened is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JournalKept {
    pub(crate) retention: Keep,
}

/// How sessions are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    pub(crate) heartbeat_ms: u64,
}

/// Whom webhooks may call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhooks {
    pub(crate) allow_private: bool,
}

/// What the node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telemetry {
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    /// Standard error, if empty.
    pub(crate) log_file: PathBuf,
    /// Where traces are told; nowhere, if empty.
    pub(crate) otlp: String,
    pub(crate) trace_one_in: u32,
    /// Whether measures are told at listen.public.
    pub(crate) metrics_public: bool,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Default for Node {
    fn default() -> Self {
        Self { id: 0, data_dir: "data".into(), role: Role::Core, zone: String::new() }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let at = |port| ([127, 0, 0, 1], port).into();
        Self { public: at(7080), peer: at(7082), admin: Place::default() }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self { id: String::new(), shards: 8, peers: Vec::new() }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca_file: "tls/ca.pem".into(),
            cert_file: "tls/node.pem".into(),
            key_file: "tls/node.key".into(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self { token_secret_file: "token.secret".into(), first_user_file: "first-user.json".into() }
    }
}

impl Default for GatewayDoors {
    fn default() -> Self {
        Self {
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            connections_per_address_max: 4_096,
            public: String::new(),
            others: Vec::new(),
        }
    }
}

impl Default for LogTimes {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_min_ms: 200,
            election_max_ms: 400,
            engine: LogEngine::Segments,
            threads: 1,
            pin_threads: false,
            balance_leaders: true,
            snapshot_bytes_min: 8 * 1024 * 1024,
            snapshot_entries_kept: 10_000,
            snapshot_bytes_per_second: 64 * 1024 * 1024,
            free_bytes_min: 256 * 1024 * 1024,
            reserve_bytes: 16 * 1024 * 1024,
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self { heartbeat_ms: 10_000 }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        let log_format = LogFormat::Auto;
        let (log_level, log_file, otlp) = ("info".to_owned(), PathBuf::new(), String::new());
        Self { log_level, log_format, log_file, otlp, trace_one_in: 1, metrics_public: true }
    }
}

/// Why there is no configuration, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// There is no file.
    #[error("{path}: {source}; `rotary cluster init` writes one")]
    Read { path: PathBuf, source: std::io::Error },
    /// A key is not one.
    #[error("{source_name}: unknown key `{key}`{}; every key is listed in config/rotary.toml",
        nearest.as_ref().map_or(String::new(), |nearest| format!("; did you mean `{nearest}`?")))]
    UnknownKey { source_name: String, key: String, nearest: Option<String> },
    /// A value is not one.
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads a file, the environment, and flags of the form `section.key=value`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn load(path: &Path, flags: &[String]) -> Result<Self, ConfigError> {
        Self::from_sources(&Sources::read(path, flags)?, path)
    }

    /// The same, of sources that were read from `path`.
    ///
    /// # Errors
    /// [`ConfigError`] for values that are not allowed.
    pub(crate) fn from_sources(sources: &Sources, path: &Path) -> Result<Self, ConfigError> {
        let mut config = sources.merged()?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        config.check(sources.name())?;
        Ok(config)
    }

    /// The base of the HTTP API of a gateway-only node, as far as it knows.
    pub(crate) fn public_url(&self) -> String {
        if !self.gateway.public.is_empty() {
            return self.gateway.public.clone();
        }
        let scheme = if self.gateway.is_tls() { "https" } else { "http" };
        format!("{scheme}://{}", self.listen.public)
    }

    /// Paths are relative to the file that names them.
    fn resolve(&mut self, base: &Path) {
        let paths = [
            &mut self.node.data_dir,
            &mut self.tls.ca_file,
            &mut self.tls.cert_file,
            &mut self.tls.key_file,
            &mut self.auth.token_secret_file,
            &mut self.auth.first_user_file,
        ];
        for path in paths {
            *path = base.join(&*path);
        }
        if self.backup.is_in_folder() {
            let folder = base.join(&self.backup.to);
            self.backup.to = folder.to_string_lossy().into_owned();
        }
        let optional = [
            &mut self.telemetry.log_file,
            &mut self.gateway.certificate_file,
            &mut self.gateway.key_file,
            &mut self.gateway.ca_file,
            &mut self.mail.credentials_file,
            &mut self.mail.ca_file,
            &mut self.backup.credentials_file,
            &mut self.backup.ca_file,
        ];
        for path in optional.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            *path = base.join(&*path);
        }
    }

    fn check(&self, name: &str) -> Result<(), ConfigError> {
        let wrong = |what: String| Err(ConfigError::Value(format!("{name}: {what}")));
        let id = self.node.id;
        let is_peer = self.cluster.peers.iter().any(|peer| peer.id == id);
        if !is_peer && self.node.role == Role::Core {
            return wrong(format!(
                "node.id is {id}, and cluster.peers has no such node; `rotary cluster init` writes \
                 a file for each node"
            ));
        }
        if self.node.role == Role::Gateway && (is_peer || id == 0 || self.cluster.peers.is_empty())
        {
            return wrong(format!(
                "node.id is {id}: a gateway-only node has a number of its own, and cluster.peers \
                 names the core nodes only; `rotary cluster add-gateway` writes its file"
            ));
        }
        let mut ids: Vec<u64> = self.cluster.peers.iter().map(|peer| peer.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < self.cluster.peers.len() {
            return wrong("cluster.peers names a node twice".to_owned());
        }
        if let Err(error) = Name::new(&self.node.zone)
            && !self.node.zone.is_empty()
        {
            return wrong(format!("node.zone: {error}"));
        }
        if self.cluster.shards == 0 || self.cluster.shards > 1_024 {
            return wrong(format!("cluster.shards is {}; 1 to 1024", self.cluster.shards));
        }
        let peers = self.cluster.peers.len();
        if peers > MEMBERS_PER_SHARD_MAX {
            return wrong(format!(
                "cluster.peers names {peers} nodes; 1 to {MEMBERS_PER_SHARD_MAX}"
            ));
        }
        if !(1..=64).contains(&self.log.threads) {
            return wrong(format!("log.threads is {}; 1 to 64", self.log.threads));
        }
        if self.log.snapshot_bytes_min < 1024 || self.log.snapshot_bytes_per_second < 64 * 1024 {
            return wrong(
                "log.snapshot_bytes_min is at least 1024, log.snapshot_bytes_per_second 65536"
                    .to_owned(),
            );
        }
        if self.gateway.is_tls() == self.gateway.key_file.as_os_str().is_empty() {
            return wrong(
                "gateway.certificate_file and gateway.key_file go together: set both, or neither"
                    .to_owned(),
            );
        }
        self.mail.check().or_else(wrong)?;
        if self.gateway.connections_per_address_max == 0 {
            return wrong("gateway.connections_per_address_max is 0; at least 1".to_owned());
        }
        self.admission.check().or_else(wrong)?;
        self.blobs.check().or_else(wrong)?;
        self.backup.check().or_else(wrong)?;
        if !(100..=3_600_000).contains(&self.session.heartbeat_ms) {
            let ms = self.session.heartbeat_ms;
            return wrong(format!("session.heartbeat_ms is {ms}; 100 to 3600000"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
