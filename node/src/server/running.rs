//! A node that runs: its parts started in order, and stopped in reverse.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use rotary_directory::{Directory, DirectoryAnswer, DirectoryCommand, DirectoryEntry};
use rotary_log::{Blocking, History, Log, LogConfig, LogStores, Members, WallClock};
use rotary_proto::{GatewayId, NodeId, ShardId};

use rotary_storage::{Blobs as BlobStore, Journal, Lookup, Notes as NodeNotes};
use rotary_transport::Transport;
use tokio::sync::watch;

use crate::actor::Registry;
use crate::admission::Admission;
use crate::archive::Indexer;
use crate::backup::schedule::{self, Standing};
use crate::balance;
use crate::blobs::{Blobs, keeper};
use crate::config::{Config, PeerNode};
use crate::debug::About;
use crate::founder::Founder;
use crate::gateway::audit::Notes;
use crate::gateway::doors::{Doors, Inner, Peer};
use crate::gateway::login::Logins;
use crate::gateway::password::Passwords;
use crate::gateway::router::{self, router};
use crate::gateway::session::behind::{self, Behind};
use crate::gateway::session::{Sessions, start_leases, strays};
use crate::hint::{Freshness, Hints, keep_beating};
use crate::machine::fence::Fences;
use crate::marks;
use crate::nodes::announce::{self, announce_self};
use crate::nodes::hosting::{self, Hosting};
use crate::nodes::roster::Roster;
use crate::nodes::{self, Gateways, assembler, drain, mover, roster, seats, upgrade};
use crate::replica::{DIRECTORY, Replica};
use crate::retention::Retention;
use crate::server::admin::AdminDoor;
#[cfg(feature = "simulated")]
use crate::server::doorstep::BackDoor;
use crate::server::doorstep::{Address, Doorstep};
use crate::server::handler::NodeHandler;
use crate::server::log_spine::LogSpine;
use crate::server::{Ground, Kept, StartError};
use crate::view;

/// Pause between attempts to found the cluster.
const FOUND_AGAIN: Duration = Duration::from_millis(200);

/// How often the free space on the disk is looked at.
const LOOK_AT_SPACE: Duration = Duration::from_secs(1);

/// A node that runs.
pub(crate) struct Running {
    doors: Doors,
    log: Arc<Log>,
    transport: Arc<Transport>,
    registry: Arc<Registry>,
    closing: watch::Sender<bool>,
    indexer: Indexer,
    #[cfg(feature = "simulated")]
    back_door: BackDoor,
    _kept: Option<Kept>,
}

/// Starts everything on the ground that was laid.
pub(crate) async fn start(
    config: &Config,
    ground: Ground,
    metrics: PrometheusHandle,
) -> Result<Running, StartError> {
    let fences = fences(&ground)?;
    let (fatal, journal) = (&ground.log.fatal, ground.journal.clone());
    let replica = empty_replica(config, &ground.stores.notes, journal, ground.lookup)?;
    let indexer = Indexer::start(replica.clone(), fatal.clone()).map_err(StartError::Io)?;
    let registry = Registry::start(replica.clone()).await?;
    ground.handler.set_records(registry.clone(), ground.journal.clone());
    let hosting = Hosting::new((ground.node, ground.witness), &replica, &registry, &fences);
    let roster = Roster::of(config);
    let (wall, blocking) = (ground.log.wall.clone(), ground.log.blocking);
    let between = (&ground.transport, &ground.handler);
    let hosts = (&hosting, config.cluster.shards);
    let log = start_log(ground.log, ground.stores, between, hosts).await?;
    let sessions = Arc::new(Sessions::new());
    let parts = (ground.journal, sessions.clone());
    let freshness = Freshness::new(roster.clone(), parts, ground.runs.logic);
    ground.handler.set_freshness(freshness.clone());
    keep_together(ground.node, &roster, &replica, &log, &freshness, &ground.transport);
    let history = history(&replica, &ground.transport, log.clone(), blocking);
    ground.handler.set_sessions(sessions.clone());
    let blobs = blobs(config, ground.blobs, &ground.transport, (&roster, &replica, &log));
    ground.handler.set_blobs(blobs.clone());
    let doors = Doors::new(Inner {
        node: ground.node,
        gateway: GatewayId { node: ground.node, run: ground.run },
        heartbeat_ms: config.session.heartbeat_ms,
        runs: ground.runs,
        cluster: config.cluster.id.clone(),
        roster: roster.clone(),
        replica,
        spine: Arc::new(LogSpine::new(log.clone(), ground.node, freshness.clone())),
        blobs,
        admission: Admission::new(config.admission.bounds()),
        seats: Arc::default(),
        registry: registry.clone(),
        sessions,
        behind: Behind::default(),
        hints: Hints::new(ground.transport.clone(), roster, freshness),
        gateways: Gateways::default(),
        tokens: ground.tokens,
        passwords: Passwords::new(),
        logins: Logins::new(),
        notes: Notes::new(),
        metrics,
        about: About::of(config),
        backups: Standing::of(&config.backup),
    });
    ground.handler.set_doors(doors.clone());
    keep_up(config, &doors, &log, (wall, fences));
    tokio::spawn(found(doors.clone(), config.clone(), ground.founder));
    tokio::spawn(history.keep_whole());
    tokio::spawn(hosting.keep(doors.clone(), log.clone(), Arc::new(ground.tools)));
    let back_door = ground.doorstep.back_door();
    ground.handler.set_back_door(back_door.clone());
    Ok(Running {
        closing: open(ground.admin, ground.doorstep, &doors),
        doors,
        log,
        transport: ground.transport,
        registry,
        indexer,
        #[cfg(feature = "simulated")]
        back_door,
        _kept: ground.kept,
    })
}

/// Opens the doors, for those who run the node and for clients, and gives what closes them.
fn open(admin: Option<AdminDoor>, doorstep: Doorstep, doors: &Doors) -> watch::Sender<bool> {
    let (closing, closed) = watch::channel(false);
    if let Some(admin) = admin {
        admin.open(router::admin(doors.clone()), closed.clone());
    }
    tokio::spawn(serve(doorstep, router(doors.clone()), closed));
    closing
}

/// Hears the other nodes, learns which they are, and brings the members of shards that this node
/// leads to where they are wanted.
fn keep_together(
    node: NodeId,
    roster: &Arc<Roster>,
    replica: &Arc<Replica>,
    log: &Arc<Log>,
    freshness: &Arc<Freshness>,
    transport: &Arc<Transport>,
) {
    let (freshness, transport) = (freshness.clone(), transport.clone());
    tokio::spawn(keep_beating(log.clone(), transport.clone(), freshness.clone()));
    tokio::spawn(roster::follow(roster.clone(), replica.clone(), log.clone(), transport));
    tokio::spawn(seats::keep(node, replica.clone(), log.clone(), freshness));
}

/// What keeps the shards from being applied by a build that cannot, which is looked at before this
/// node takes part in anything.
fn fences(ground: &Ground) -> Result<Fences, StartError> {
    let (notes, fatal) = (ground.stores.notes.clone(), ground.log.fatal.clone());
    let fences = Fences::new(ground.runs.logic, notes, fatal);
    fences.check()?;
    Ok(fences)
}

/// Starts the shards, and gives each of those that the cluster begins with its first members, where
/// it has none.
async fn start_log(
    config: LogConfig,
    stores: LogStores,
    (transport, handler): (&Arc<Transport>, &Arc<NodeHandler>),
    (hosting, shards): (&Hosting, u32),
) -> Result<Arc<Log>, StartError> {
    let (door, machines) = (&handler.door, hosting.machines());
    let started = Log::start(config, stores, transport.clone(), door, machines).await?;
    let log = Arc::new(started);
    handler.set_log(log.clone());
    for shard in (0..=shards).map(ShardId) {
        log.initialize(shard).await?;
    }
    hosting.catch_up(&log).await?;
    Ok(log)
}

/// Starts what a node does for its shards beside what it is asked.
fn keep_up(config: &Config, doors: &Doors, log: &Arc<Log>, (wall, fences): (WallClock, Fences)) {
    tokio::spawn(upgrade::keep(doors.clone(), log.clone(), fences));
    start_leases(doors.clone());
    keeper::start(doors);
    schedule::start(config, doors);
    tokio::spawn(strays::watch(doors.clone()));
    tokio::spawn(behind::watch(doors.clone()));
    tokio::spawn(announce::watch(doors.clone()));
    tokio::spawn(drain::follow(doors.clone()));
    tokio::spawn(mover::keep(doors.clone()));
    tokio::spawn(assembler::keep(doors.replica.clone()));
    tokio::spawn(marks::keep_logged(doors.clone()));
    tokio::spawn(view::keep_logged(doors.clone(), log.clone()));
    if config.log.balance_leaders {
        tokio::spawn(balance::keep(doors.clone(), log.clone()));
    }
    tokio::spawn(watch_space(log.clone()));
    keep_young(config, doors, log, wall);
}

/// Drops what is old of the journal, where it does not keep everything.
fn keep_young(config: &Config, doors: &Doors, log: &Arc<Log>, wall: WallClock) {
    if let Some(retention) = config.journal.retention.0.map(Retention::of) {
        tokio::spawn(retention.keep(doors.replica.clone(), log.clone(), wall));
    }
}

/// How the shards are kept.
pub(crate) fn log_config(config: &Config) -> LogConfig {
    let members = config.cluster.peers.iter().map(|peer| NodeId(peer.id));
    let mut log = LogConfig::new(NodeId(config.node.id), members);
    (log.heartbeat_ms, log.election_min_ms, log.election_max_ms) =
        (config.log.heartbeat_ms, config.log.election_min_ms, config.log.election_max_ms);
    log.snapshot_bytes_min = config.log.snapshot_bytes_min;
    log.snapshot_entries_kept = config.log.snapshot_entries_kept;
    log.snapshot_bytes_per_second = config.log.snapshot_bytes_per_second;
    log
}

/// Replicas of what this node keeps, with nothing in them yet.
fn empty_replica(
    config: &Config,
    notes: &NodeNotes,
    journal: Arc<Journal>,
    lookup: Lookup,
) -> Result<Arc<Replica>, StartError> {
    let kept = hosting::kept(config.cluster.shards, notes).map_err(StartError::Io)?;
    Ok(Arc::new(Replica::new(kept, journal, lookup)))
}

/// The blobs of this node; those of a site count where its shard has voters.
fn blobs(
    config: &Config,
    store: BlobStore,
    transport: &Arc<Transport>,
    (roster, replica, log): (&Arc<Roster>, &Arc<Replica>, &Arc<Log>),
) -> Arc<Blobs> {
    let (replica, log) = (replica.clone(), log.clone());
    let voters = Box::new(move |site| {
        let shard = replica.shard_of(site);
        shard.and_then(|shard| log.members(shard.id)).unwrap_or_default().voters
    });
    Blobs::new(store, transport.clone(), roster.clone(), voters, config.blobs.clone())
}

fn history(
    replica: &Arc<Replica>,
    transport: &Arc<Transport>,
    log: Arc<Log>,
    blocking: Blocking,
) -> History {
    let shards = replica.clone();
    let members = move |shard| log.members(shard).iter().flat_map(Members::all).collect();
    History {
        journal: replica.journal().clone(),
        transport: transport.clone(),
        members: Box::new(members),
        shards: Box::new(move || shards.shard_ids()),
        blocking,
    }
}

/// Looks at the disk again and again: others may fill it while this node writes nothing.
async fn watch_space(log: Arc<Log>) {
    loop {
        log.look_at_space();
        tokio::time::sleep(LOOK_AT_SPACE).await;
    }
}

/// Says how many data shards there are and who keeps them, and who the first administrator is,
/// until the directory knows; then who this node is.
async fn found(doors: Doors, config: Config, founder: Option<Founder>) {
    let of = |command| DirectoryEntry { origin: None, asked: None, command };
    let (shards, members) = (config.cluster.shards, config.cluster.peers.iter());
    let members = members.map(|peer| NodeId(peer.id)).collect();
    let entry = of(DirectoryCommand::Found { shards, members });
    keep_telling(&doors, &entry, |directory| directory.shards() > 0).await;
    if let Some(Founder { login, hash }) = founder {
        let entry = of(DirectoryCommand::FoundUser { login, hash });
        keep_telling(&doors, &entry, Directory::has_own_users).await;
    }
    let own = nodes::announced(&config, config.listen.peer, doors.runs.clone());
    announce_self(doors, own, shards).await;
}

/// Tells the directory something from wherever it is led, until it is so.
async fn keep_telling(doors: &Doors, entry: &DirectoryEntry, done: impl Fn(&Directory) -> bool) {
    while !done(&doors.replica.directory()) {
        let leads_here = doors.spine.status(DIRECTORY).is_some_and(|status| status.leads_here);
        if leads_here {
            let patience = Duration::from_secs(2);
            let told = doors.propose::<_, DirectoryAnswer>(DIRECTORY, entry, patience).await;
            if let Err(error) = told {
                tracing::debug!(%error, "the cluster is not founded yet");
            }
            if done(&doors.replica.directory()) {
                break;
            }
        }
        tokio::time::sleep(FOUND_AGAIN).await;
    }
}

/// Serves what comes in until the doors are closed.
pub(super) async fn serve(
    mut doorstep: Doorstep,
    doors: Router,
    mut closed: watch::Receiver<bool>,
) {
    doorstep.open();
    let service = doors.into_make_service_with_connect_info::<Address>();
    let serving = axum::serve(doorstep, service);
    let serving = serving.with_graceful_shutdown(async move {
        // An error is an end as well.
        let _ = closed.wait_for(|closed| *closed).await;
    });
    if let Err(error) = serving.await {
        tracing::error!(code = "doors-closed", %error, "the doors are closed");
    }
}

impl Running {
    /// The core nodes, as this one knows them at the moment.
    pub(super) fn peers(&self) -> impl Fn() -> Vec<PeerNode> + Send + use<> {
        let roster = self.doors.roster.clone();
        let of = |peer: &Peer| {
            let (id, public) = (peer.node.0, peer.url.clone());
            Some(PeerNode { id, peer: peer.peer.parse().ok()?, public })
        };
        move || roster.peers().values().filter_map(of).collect()
    }

    /// Whether another node answers this one, as far as it should: who is no core node any more
    /// need not.
    pub(super) fn reaches(&self) -> impl Fn(NodeId) -> bool + Send + use<> {
        let doors = self.doors.clone();
        move |node| !doors.roster.has(node) || doors.hints.reaches(node)
    }

    /// Where connections come in that are not of this machine's network.
    #[cfg(feature = "simulated")]
    pub(crate) fn back_door(&self) -> &BackDoor {
        &self.back_door
    }

    /// What the doors share.
    #[cfg(feature = "simulated")]
    pub(crate) fn doors(&self) -> &Doors {
        &self.doors
    }

    /// The log.
    #[cfg(feature = "simulated")]
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Asks sessions to leave, hands leadership on, flushes, and tells the peers good-bye.
    pub(crate) async fn stop(self, leave: Duration) {
        self.doors.sessions.stop(leave).await;
        self.closing.send_replace(true);
        if let Err(error) = self.log.stop().await {
            tracing::warn!(%error, "the log did not stop as it should");
        }
        self.registry.stop();
        let (journal, indexer) = (self.doors.replica.journal().clone(), self.indexer);
        let flush = move || {
            drop(indexer);
            journal.flush()
        };
        let flushed = crate::blocking::run(flush).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the journal was not flushed; it is made again from the log");
        }
        self.transport.close().await;
    }
}
