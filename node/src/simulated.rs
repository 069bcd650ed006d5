//! A whole node in a world that somebody else makes: its network, its disks, its clocks.
//!
//! ```text
//!   world --> Node::admit (a client's connection) --> doors --> spine --> log --> machines
//!             Parts (sockets, stores, journal)                            |
//!   world <-- Parts::outside (webhooks' messages) <-----------------------+
//!   world <-- Witness (every entry) <-------------------------------------+
//! ```
//!
//! Everything from the doors inwards is what serves in production. What is not: the listener and
//! its TLS, the threads (work that blocks is done in place), the index on disk (it is in memory and
//! made again), the doctor. It wants a current-thread runtime with a paused clock, and repeats only
//! if the operating system's clocks and random numbers repeat as well: std and libraries ask it.
//!
//! For tests of the product only, behind the feature `simulated`, which no binary that serves has.

mod gateway;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use rotary_client::Network;
use rotary_client::network::Dial;
use rotary_directory::{DirectoryAnswer, DirectoryCommand, DirectoryEntry, SiteRow, Upgrade};
use rotary_log::{Blocking, Log, LogConfig, LogStores};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{EventRecord, LogicVersions, NodeId, ShardId, SiteId};
use rotary_storage::{BlobRoom, Blobs, Disk, Fatal, Journal, Lookup};
use rotary_transport::{Datagrams, Handler, Transport, TransportConfig};

use crate::cluster;
use crate::config::{Config, PeerNode};
use crate::effects::{Endpoint, Tools};
use crate::founder::Founder;
use crate::gateway::token::Tokens;
pub use crate::machine::{Application, Witness};
use crate::nodes::Runs;
use crate::server::Ground;
pub use crate::server::doorstep::AnyStream;
use crate::server::doorstep::Doorstep;
use crate::server::handler::NodeHandler;
use crate::server::running::{self, Running};
pub use gateway::{Gateway, GatewayParts};

/// The shard of the directory; data shards follow it.
pub const DIRECTORY: ShardId = crate::replica::DIRECTORY;
/// How long the administrator's token is good for: clocks jump.
const TOKEN_TTL_S: u64 = 50 * 365 * 24 * 3_600;
/// How long an entry of the directory may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of blobs that a node keeps.
const BLOB_BYTES_MAX: u64 = 64 * 1024 * 1024;

static ON: AtomicBool = AtomicBool::new(false);

/// Whether this process simulates nodes.
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// What a world gives to a node that starts.
pub struct Parts {
    /// Data shards of the cluster.
    pub shards: u32,
    /// How its shards are kept; `founders` are the cluster's core nodes.
    pub log: LogConfig,
    /// Its end of the network between nodes.
    pub network: Arc<dyn Datagrams>,
    /// Whom it speaks to there, and as whom.
    pub transport: TransportConfig,
    /// Where its shards are kept.
    pub stores: LogStores,
    /// Its journal.
    pub journal: Arc<Journal>,
    /// What it reaches others over who are no nodes: webhooks.
    pub outside: Arc<dyn Dial>,
    /// What its blobs are kept on.
    pub disk: Arc<dyn Disk>,
    /// What stands between it and the other nodes' requests, perhaps.
    pub between: Option<Between>,
    /// The secret of the cluster's tokens.
    pub secret: Vec<u8>,
    /// Which run of the node: another number at each start.
    pub run: u64,
    /// How long its journal keeps records; none for ever.
    pub retention: Option<Duration>,
    /// Which versions of the logic its build can apply.
    pub logic: LogicVersions,
    /// Sees what its machines do.
    pub witness: Arc<dyn Witness>,
}

/// Wraps what answers other nodes.
pub type Between = Box<dyn FnOnce(Arc<dyn Handler>) -> Arc<dyn Handler> + Send>;

/// A node that runs.
pub struct Node(Running);

/// Has done what looks at the processor's own clock, and waits for that of the operating system to
/// move. To be called before a thread's clock stands.
pub fn prepare() {
    drop(PrometheusBuilder::new().build_recorder());
}

/// A token of an administrator above tenants, of a cluster with that secret.
pub fn administrator(secret: &[u8]) -> String {
    cluster::first_token(secret, TOKEN_TTL_S)
}

/// The event in a record of the journal.
pub fn event(bytes: &[u8]) -> Option<EventRecord> {
    codec::decode(bytes, Limit::Entry).ok()
}

/// Where a site is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Which.
    pub site: SiteId,
    /// The shard that it is in.
    pub shard: ShardId,
    /// Its way to another one.
    pub moving: Option<Moving>,
}

/// A site's way to another shard.
#[derive(Debug, Clone)]
pub struct Moving {
    /// Where it is to live.
    pub to: ShardId,
    /// Why it does not.
    pub failed: Option<String>,
}

impl Node {
    /// Starts a node. Dropping the runtime is the end of its process.
    ///
    /// # Errors
    /// What a node that serves would end with.
    pub async fn start(parts: Parts) -> Result<Self, String> {
        ON.store(true, Ordering::Relaxed);
        let config = config(&parts);
        let handler = Arc::new(NodeHandler::default());
        let heard: Arc<dyn Handler> = match parts.between {
            Some(between) => between(handler.clone()),
            None => handler.clone(),
        };
        let transport = Transport::start_over(parts.network, parts.transport, heard);
        let transport = Arc::new(transport.map_err(|error| error.to_string())?);
        let fatal = parts.log.fatal.clone();
        let blobs = blobs(parts.disk, fatal)?;
        let outside = Network::Other(parts.outside);
        let endpoint = Endpoint::new(false, &outside).map_err(|error| error.to_string())?;
        let ground = Ground {
            node: parts.log.node,
            run: parts.run,
            runs: Runs { logic: parts.logic, ..Runs::this_build() },
            doorstep: Doorstep::behind(config.listen.public),
            admin: None,
            transport,
            handler,
            stores: parts.stores,
            log: LogConfig { blocking: Blocking::Inline, ..parts.log },
            journal: parts.journal,
            lookup: Lookup::in_memory(),
            blobs,
            tokens: Tokens::new(&parts.secret),
            founder: Some(founder()),
            tools: Tools::new(endpoint, None),
            witness: Some(parts.witness),
            kept: None,
        };
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let running = running::start(&config, ground, metrics).await;
        running.map(Self).map_err(|error| error.to_string())
    }

    /// Lets a client's connection in.
    pub async fn admit(&self, stream: Box<dyn AnyStream>, address: SocketAddr) {
        self.0.back_door().admit_any(stream, address).await;
    }

    /// Whether its directory wants a node to be empty.
    pub fn is_draining(&self, node: NodeId) -> bool {
        self.0.doors().replica.directory().is_draining(node)
    }

    /// Has a node emptied, or lets it serve again, as an operator's command does. It may come to
    /// nothing, without a word.
    pub async fn set_draining(&self, node: NodeId, drains: bool) {
        self.ask(DirectoryCommand::SetDraining { node, drains }).await;
    }

    async fn ask(&self, command: DirectoryCommand) {
        let entry = DirectoryEntry { origin: None, asked: None, command };
        let asked = self.0.doors().propose::<_, DirectoryAnswer>(DIRECTORY, &entry, PATIENCE);
        if let Err(error) = asked.await {
            tracing::debug!(%error, "nobody takes the change");
        }
    }

    /// How many data shards its directory has.
    pub fn shards(&self) -> u32 {
        self.0.doors().replica.directory().shards()
    }

    /// Has data shards made until there are so many, as an operator's command does. It may come to
    /// nothing, without a word.
    pub async fn want_shards(&self, shards: u32) {
        self.ask(DirectoryCommand::AddShards { shards }).await;
    }

    /// Where its directory has the sites.
    pub fn places(&self) -> Vec<Place> {
        let directory = self.0.doors().replica.directory();
        let moving = |site| {
            let moving = directory.moving_of(site);
            moving.map(|moving| Moving { to: moving.to, failed: moving.failed.clone() })
        };
        let place = |row: SiteRow| {
            let (site, shard) = (row.site, row.shard);
            Place { site, shard, moving: moving(site) }
        };
        directory.sites(None).map(place).collect()
    }

    /// Has a site live in another shard, as an operator's command does. It may come to nothing,
    /// without a word.
    pub async fn move_site(&self, site: SiteId, to: ShardId) {
        self.ask(DirectoryCommand::MoveSite { site, to }).await;
    }

    /// Which version of the logic its directory acts by, and wants.
    pub fn upgrade(&self) -> Upgrade {
        self.0.doors().replica.directory().upgrade()
    }

    /// The versions that its replicas act by, the directory's first.
    pub fn logic_versions(&self) -> Vec<u32> {
        let replica = &self.0.doors().replica;
        let data = replica.shards().into_iter().map(|shard| shard.read().logic_version());
        std::iter::once(self.upgrade().acts_by).chain(data).collect()
    }

    /// Has the cluster act by a version of the logic, as an operator's command does; or takes that
    /// back. It may come to nothing, without a word.
    pub async fn want_logic(&self, version: Option<u32>) {
        let command = match version {
            Some(version) => DirectoryCommand::Finalize { version },
            None => DirectoryCommand::AbortUpgrade,
        };
        self.ask(command).await;
    }

    /// Its log.
    pub fn log(&self) -> &Arc<Log> {
        self.0.log()
    }
}

fn config(parts: &Parts) -> Config {
    let mut config = Config::default();
    config.node.id = parts.log.node.0;
    config.cluster.shards = parts.shards;
    config.cluster.id = "simulated".to_owned();
    let of = |id: &NodeId| {
        let peer = parts.transport.peers.get(id).copied();
        let peer = peer.expect("every member has an address on the network");
        PeerNode { id: id.0, peer, public: url(*id) }
    };
    config.cluster.peers = parts.log.founders.iter().map(of).collect();
    config.journal.retention = crate::config::Keep(parts.retention);
    config
}

/// The base of a node's API, as clients of the world know it.
pub fn url(node: NodeId) -> String {
    format!("http://node-{}:80", node.0)
}

fn blobs(disk: Arc<dyn Disk>, fatal: Fatal) -> Result<Blobs, String> {
    let (bytes_max, owner_bytes_max) = (BLOB_BYTES_MAX, BLOB_BYTES_MAX / 2);
    let room = BlobRoom { bytes_max, owner_bytes_max, free_bytes_min: 0 };
    Blobs::open(disk, Path::new("/node/blobs"), room, fatal).map_err(|error| error.to_string())
}

/// The first administrator, whose password nobody knows: the world signs in by token.
fn founder() -> Founder {
    let login = rotary_proto::Name::new("admin").expect("a fixed name is valid");
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    Founder { login, hash: hash.to_owned() }
}
