//! A node from its start to its end.
//!
//! The order of the start is the order of what needs what, and of what is likeliest to be wrong:
//! configuration, directory, certificates, secret, addresses; then disk, peers, machines, log; the
//! doors last. Everything wrong is an error with its cure ([`StartError`]), before anything is
//! shown to a client. The stop goes the other way: sessions are asked to leave, leadership is
//! handed on, and what is written is flushed.

mod admin;
pub(crate) mod doorstep;
mod error;
pub(crate) mod gateway_only;
pub(crate) mod handler;
mod log_spine;
pub(crate) mod peer_tls;
mod public_tls;
pub(crate) mod reload;
pub(crate) mod running;
mod threads;

pub(crate) use doorstep::Address;
pub(crate) use error::StartError;
pub(crate) use public_tls::PublicTls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rotary_client::Network;
use rotary_log::{LogConfig, LogStores};
use rotary_proto::NodeId;
use rotary_storage::{
    BlobRoom, Blobs, DataDir, Disk, Fatal, FjallLog, FjallLogOptions, Journal, JournalOptions,
    LogStore, Lookup, Notes, SegmentLog, SegmentLogOptions, Snapshots,
};
use rotary_transport::{Certificates, Transport, TransportConfig};
use tokio::net::TcpListener;

use crate::background::begun_behind;
use crate::build;
use crate::config::{Config, LogEngine, Role};
use crate::doctor;
use crate::effects::{self, Endpoint, Tools};
use crate::founder::Founder;
use crate::gateway::token::{Tokens, unix_ms};
use crate::machine::Witness;
use crate::nodes::Runs;
use crate::server::admin::AdminDoor;
use crate::server::doorstep::Doorstep;
use crate::server::handler::NodeHandler;
use crate::server::peer_tls::{Begun, PeerTls};
use crate::server::reload::{Origin, Reload};
use crate::server::threads::SpineThreads;
use crate::telemetry;
use crate::telemetry::timed_disk::Timed;

/// What `rotary server` is told beside its configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerOptions {
    /// Where to write which addresses were taken, once they are.
    pub(crate) ready_file: Option<PathBuf>,
    /// Whether the end of standard input ends the node.
    pub(crate) exit_with_stdin: bool,
    /// Where the configuration is from, to be read again on SIGHUP.
    pub(crate) origin: Option<Origin>,
}

/// How long sessions have to leave when the node stops.
const LEAVE: Duration = Duration::from_secs(4);

/// What was opened before anything runs.
pub(crate) struct Ground {
    pub(crate) node: NodeId,
    /// Which run of this node.
    pub(crate) run: u64,
    /// What it runs.
    pub(crate) runs: Runs,
    pub(crate) doorstep: Doorstep,
    /// For those who run the node, if there is one.
    pub(crate) admin: Option<AdminDoor>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) handler: Arc<NodeHandler>,
    pub(crate) stores: LogStores,
    pub(crate) log: LogConfig,
    pub(crate) journal: Arc<Journal>,
    pub(crate) lookup: Lookup,
    pub(crate) blobs: Blobs,
    pub(crate) tokens: Tokens,
    pub(crate) founder: Option<Founder>,
    pub(crate) tools: Tools,
    /// Who sees what machines do, in a simulation.
    pub(crate) witness: Option<Arc<dyn Witness>>,
    /// What must live as long as the node does.
    pub(crate) kept: Option<Kept>,
}

/// What must live as long as a node of this machine does.
pub(crate) struct Kept {
    _threads: SpineThreads,
    _data: DataDir,
}

/// What comes of opening, beside the ground.
struct Opened {
    ground: Ground,
    public: SocketAddr,
    /// How clients are spoken to, if not in plain HTTP.
    tls: Option<PublicTls>,
    /// What other nodes are shown.
    begun: Begun,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// [`StartError`].
pub(crate) async fn run(config: Config, options: ServerOptions) -> Result<(), StartError> {
    let level = telemetry::start_log(&config.telemetry).map_err(StartError::Telemetry)?;
    build::begin()?;
    let node = NodeId(config.node.id);
    telemetry::trace::start(&config.telemetry, node).map_err(StartError::Telemetry)?;
    let metrics = telemetry::start_metrics(node, config.node.role)
        .map_err(|error| StartError::Telemetry(error.to_string()))?;
    if config.node.role == Role::Gateway {
        return gateway_only::run(config, options, level, metrics).await;
    }
    let Opened { ground, public, tls, begun } = open(&config).await?;
    let peer = ground.transport.local_address().map_err(StartError::Io)?;
    let admin = ground.admin.as_ref().map(|door| door.address);
    let peers = PeerTls::new(ground.transport.clone(), &config, begun);
    let (origin, config_read) = (options.origin.clone(), config.clone());
    let reload = Reload { origin, config: config_read, level, tls, peers };
    tokio::spawn(reload.keep());
    let running = running::start(&config, ground, metrics).await?;
    tokio::spawn(doctor::watch(config.clone(), running.peers(), running.reaches()));
    tell_ready(&config, &options, (public, peer, admin))?;
    let why = until_stopped(options.exit_with_stdin).await;
    tracing::info!(why, "stopping");
    running.stop(LEAVE).await;
    tracing::info!("stopped");
    Ok(())
}

async fn open(config: &Config) -> Result<Opened, StartError> {
    let node = NodeId(config.node.id);
    let data = DataDir::open(&config.node.data_dir, &config.cluster.id, config.node.id)?;
    let (certificates, begun) = peer_tls::read(config)?;
    let secret = config.auth.token_secret_file.clone();
    let secret = std::fs::read(&secret)
        .map_err(|source| StartError::Secret { path: secret.clone(), source })?;
    let founder = Founder::load(&config.auth.first_user_file).map_err(StartError::Founder)?;
    let (listener, tls) = listen(config).await?;
    let admin = AdminDoor::take(config).await?;
    let handler = Arc::new(NodeHandler::default());
    let transport = transport(config, certificates);
    let threads =
        SpineThreads::start(config.log.threads, config.log.pin_threads).map_err(StartError::Io)?;
    let transport = {
        // The transport's tasks live where they are spawned.
        let _there = threads.handles()[0].enter();
        Transport::start(transport, handler.clone())
            .map_err(|source| StartError::Peer { address: config.listen.peer, source })?
    };
    let Disks { stores, journal, blobs } = disks(config, &data)?;
    let lookup = begun_behind(|| Lookup::open(&data.lookup_path(), &journal))?;
    let endpoint = Endpoint::new(config.webhooks.allow_private, &Network::Tcp)?;
    let tools = Tools::new(endpoint, effects::relay(&config.mail)?);
    let mut log = running::log_config(config);
    if data.identity().joins {
        log.founders.clear();
    }
    log.runtimes = threads.handles().to_vec();
    let public = listener.local_addr().map_err(StartError::Io)?;
    let per_address_max = config.gateway.connections_per_address_max;
    let served = tls.clone().map(|tls| tls.config());
    let doorstep = Doorstep::at(listener, served, per_address_max).map_err(StartError::Io)?;
    let ground = Ground {
        node,
        run: unix_ms(),
        runs: Runs::this_build(),
        doorstep,
        admin,
        transport: Arc::new(transport),
        handler,
        stores,
        log,
        journal: Arc::new(journal),
        lookup,
        blobs,
        tokens: Tokens::new(secret.trim_ascii()),
        founder,
        tools,
        witness: None,
        kept: Some(Kept { _threads: threads, _data: data }),
    };
    Ok(Opened { ground, public, tls, begun })
}

/// Takes the address that clients come to, and how they are spoken to there.
async fn listen(config: &Config) -> Result<(TcpListener, Option<PublicTls>), StartError> {
    let (public, tls) = (config.listen.public, PublicTls::load(&config.gateway)?);
    if tls.is_none() && !public.ip().is_loopback() {
        tracing::warn!(
            %public,
            "clients speak plain HTTP to this node: set gateway.certificate_file and \
             gateway.key_file, or let a proxy on this machine end TLS"
        );
    }
    let listener = TcpListener::bind(public).await;
    Ok((listener.map_err(|source| StartError::public(public, source))?, tls))
}

/// Who the other nodes are and where.
fn transport(config: &Config, certificates: Certificates) -> TransportConfig {
    let peers = config.cluster.peers.iter().map(|peer| (NodeId(peer.id), peer.peer)).collect();
    let (node, listen) = (NodeId(config.node.id), config.listen.peer);
    TransportConfig { node, listen, peers, certificates }
}

/// Says which addresses were taken, in the log and where it was asked for.
fn tell_ready(
    config: &Config,
    options: &ServerOptions,
    (public, peer, admin): (SocketAddr, SocketAddr, Option<SocketAddr>),
) -> Result<(), StartError> {
    let node = NodeId(config.node.id);
    let cluster = &config.cluster.id;
    let at = admin.map(|admin| admin.to_string());
    tracing::info!(%node, %public, %peer, admin = at, cluster, "listening");
    let Some(path) = &options.ready_file else { return Ok(()) };
    let scheme = if config.gateway.is_tls() { "https" } else { "http" };
    write_ready(path, node, &format!("{scheme}://{public}"), (peer, admin))
}

/// What a node keeps on disk, but for what is made from it.
pub(crate) struct Disks {
    pub(crate) stores: LogStores,
    pub(crate) journal: Journal,
    pub(crate) blobs: Blobs,
}

/// Opens all of it.
///
/// # Errors
/// [`StartError`].
pub(crate) fn disks(config: &Config, data: &DataDir) -> Result<Disks, StartError> {
    let (fatal, disk) = (Fatal::exit(), build::disk(data.path())?);
    let stores = stores(config, data, &disk, fatal.clone())?;
    let journal = JournalOptions { fatal, ..JournalOptions::default() };
    let journal = Journal::open(disk.clone(), &data.journal_path(), journal)?;
    let blobs = blobs(config, data, disk)?;
    Ok(Disks { stores, journal, blobs })
}

/// Opens what the shards keep on disk.
fn stores(
    config: &Config,
    data: &DataDir,
    disk: &Arc<dyn Disk>,
    fatal: Fatal,
) -> Result<LogStores, StartError> {
    let path = data.log_path();
    let log: Arc<dyn LogStore> = match config.log.engine {
        LogEngine::Segments => {
            let options = SegmentLogOptions {
                log_id: data.identity().log_id(),
                free_bytes_min: config.log.free_bytes_min,
                reserve_bytes: config.log.reserve_bytes,
                fatal: fatal.clone(),
                ..SegmentLogOptions::default()
            };
            Arc::new(SegmentLog::open(Timed::of(disk.clone()), path, options)?)
        }
        LogEngine::Fjall => {
            let options = FjallLogOptions { fatal: fatal.clone(), ..FjallLogOptions::default() };
            let opened = FjallLog::open(&path, options);
            Arc::new(opened.map_err(|source| StartError::Store { path, source })?)
        }
    };
    let notes = Notes::open(disk.clone(), &data.notes_path())
        .map_err(|source| StartError::Store { path: data.notes_path(), source })?;
    let snapshots = Snapshots::open(disk.clone(), &data.snapshots_path(), fatal)?;
    Ok(LogStores { log, snapshots, notes })
}

/// Opens what messages name. The log has its room before blobs do: they leave twice as much free as
/// the log wants to be free.
fn blobs(config: &Config, data: &DataDir, disk: Arc<dyn Disk>) -> Result<Blobs, StartError> {
    let free_bytes_min = config.log.free_bytes_min.saturating_mul(2);
    let room = BlobRoom {
        bytes_max: config.blobs.disk_bytes_max,
        owner_bytes_max: config.blobs.tenant_disk_bytes_max(),
        free_bytes_min,
    };
    let path = data.blobs_path();
    let opened = Blobs::open(disk, &path, room, Fatal::exit());
    opened.map_err(|error| StartError::Store { path, source: std::io::Error::other(error) })
}

/// Writes which addresses were taken; whole or not at all.
fn write_ready(
    path: &PathBuf,
    node: NodeId,
    public: &str,
    (peer, admin): (SocketAddr, Option<SocketAddr>),
) -> Result<(), StartError> {
    let ready = serde_json::json!({
        "node": node,
        "pid": std::process::id(),
        "public": public,
        "peer": peer.to_string(),
        "admin": admin.map(|admin| format!("http://{admin}")),
    });
    let draft = path.with_extension("new");
    let written = std::fs::write(&draft, format!("{ready}\n"));
    written
        .and_then(|()| std::fs::rename(&draft, path))
        .map_err(|source| StartError::ReadyFile { path: path.clone(), source })
}

/// Waits for a reason to stop, and names it.
async fn until_stopped(with_stdin: bool) -> &'static str {
    let interrupt = tokio::signal::ctrl_c();
    let stdin = async {
        if !with_stdin {
            return std::future::pending().await;
        }
        // On a thread that nobody waits for: a read of standard input cannot be given up.
        let (ends, ended) = tokio::sync::oneshot::channel();
        let read = move || {
            // Whatever ends it, it has ended.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = ends.send(());
        };
        if std::thread::Builder::new().name("stdin".to_owned()).spawn(read).is_ok() {
            let _ = ended.await;
        } else {
            std::future::pending().await
        }
    };
    tokio::select! {
        biased;
        _ = interrupt => "interrupt",
        () = terminate() => "terminate",
        () = stdin => "standard input ended",
    }
}

#[cfg(unix)]
async fn terminate() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending().await
}
