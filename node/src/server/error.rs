//! Why a node does not start, and how to mend it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rotary_log::LogError;
use rotary_proto::{ShardId, UnfitBuild};
use rotary_storage::{DataDirError, JournalError, LookupError, SegmentLogError, SnapshotError};
use rotary_transport::{BindError, CertificateError};

use crate::cli::exit;
use crate::config::ConfigError;
use crate::effects::RelayError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The configuration is not one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Log lines or measures cannot be written.
    #[error("{0}")]
    Telemetry(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The certificates cannot be used.
    #[error(
        "{0}; `rotary cluster init` writes certificates, and tls.ca_file, tls.cert_file and \
         tls.key_file say where they are"
    )]
    Certificates(#[from] CertificateError),
    /// The certificate is another node's.
    #[error(
        "{path} is the certificate of {found}, this is {expected}: correct tls.cert_file, node.id \
         or cluster.id"
    )]
    OtherCertificate { path: PathBuf, found: String, expected: String },
    /// The token secret cannot be read.
    #[error("{path}: {source}; auth.token_secret_file says where the secret is")]
    Secret { path: PathBuf, source: io::Error },
    /// The first administrator's file is not one.
    #[error("{0}; auth.first_user_file says where it is")]
    Founder(String),
    /// The certificate for clients cannot be used.
    #[error(
        "{path}: {what}; gateway.certificate_file is a chain and gateway.key_file its key, in PEM"
    )]
    PublicCertificate { path: PathBuf, what: String },
    /// Clients' address is taken.
    #[error(
        "TCP {address} is in use by another process: stop that one, or choose another \
         listen.public"
    )]
    PublicInUse { address: SocketAddr },
    /// Clients' address cannot be taken.
    #[error("TCP {address} cannot be listened on: {source}; correct listen.public")]
    Public { address: SocketAddr, source: io::Error },
    /// The address of those who run the node is taken.
    #[error(
        "TCP {address} is in use by another process: stop that one, or choose another listen.admin"
    )]
    AdminInUse { address: SocketAddr },
    /// The address of those who run the node cannot be taken.
    #[error("TCP {address} cannot be listened on: {source}; correct listen.admin")]
    Admin { address: SocketAddr, source: io::Error },
    /// Nodes' address cannot be taken.
    #[error("{source}; the address is listen.peer")]
    Peer { address: SocketAddr, source: BindError },
    /// This build cannot apply what a shard acts by.
    #[error(
        "{shard} was seen here before: {source}. Install one that can apply it; there is no way \
         back from an upgrade that was finalised"
    )]
    Unfit { shard: ShardId, source: UnfitBuild },
    /// The log cannot be opened.
    #[error("the log in {path} cannot be opened: {source}")]
    Store { path: PathBuf, source: io::Error },
    /// The log's segments cannot be opened.
    #[error(transparent)]
    Segments(#[from] SegmentLogError),
    /// Snapshots cannot be opened.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal's lookup cannot be opened.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The log cannot be started.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Actors cannot be started.
    #[error("actors cannot be started: {0}")]
    Actors(#[from] ractor::SpawnErr),
    /// The client that calls webhooks cannot be made.
    #[error("webhooks cannot be called: {0}")]
    Webhooks(#[from] reqwest::Error),
    /// Mails cannot be handed over as configured.
    #[error(transparent)]
    Mail(#[from] RelayError),
    /// The ready file cannot be written.
    #[error("--ready-file {path}: {source}")]
    ReadyFile { path: PathBuf, source: io::Error },
    /// The operating system refuses something else.
    #[error(transparent)]
    Io(io::Error),
}

impl StartError {
    /// What a failed bind of clients' address means.
    pub(crate) fn public(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::PublicInUse { address },
            _ => Self::Public { address, source },
        }
    }

    /// What a failed bind of the address of those who run the node means.
    pub(crate) fn admin(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AdminInUse { address },
            _ => Self::Admin { address, source },
        }
    }

    /// The code that `rotary explain` knows.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config-invalid",
            Self::Telemetry(_) => "telemetry-unusable",
            Self::DataDir(DataDirError::Locked { .. }) => "data-dir-locked",
            Self::DataDir(DataDirError::OtherCluster { .. } | DataDirError::OtherNode { .. }) => {
                "data-dir-foreign"
            }
            Self::DataDir(_) => "data-dir-unusable",
            Self::Certificates(_) | Self::PublicCertificate { .. } => "certificate-unusable",
            Self::OtherCertificate { .. } => "certificate-foreign",
            Self::Secret { .. } => "secret-unreadable",
            Self::PublicInUse { .. }
            | Self::AdminInUse { .. }
            | Self::Peer { source: BindError::InUse { .. }, .. } => "address-in-use",
            Self::Public { .. } | Self::Admin { .. } | Self::Peer { .. } => "address-unusable",
            Self::Store { .. }
            | Self::Segments(_)
            | Self::Snapshots(_)
            | Self::Journal(_)
            | Self::Lookup(_) => "storage-damaged",
            Self::Unfit { .. } => "build-unfit",
            Self::Log(_)
            | Self::Actors(_)
            | Self::Webhooks(_)
            | Self::Mail(_)
            | Self::Founder(_)
            | Self::ReadyFile { .. }
            | Self::Io(_) => "start-failed",
        }
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => exit::USAGE,
            Self::Unfit { .. } => exit::BUILD,
            Self::PublicInUse { .. }
            | Self::AdminInUse { .. }
            | Self::Peer { source: BindError::InUse { .. }, .. }
            | Self::DataDir(
                DataDirError::Locked { .. }
                | DataDirError::OtherCluster { .. }
                | DataDirError::OtherNode { .. },
            ) => exit::CONFLICT,
            _ => exit::ERROR,
        }
    }
}
