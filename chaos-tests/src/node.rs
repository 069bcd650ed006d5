//! One node: a process that starts, runs, stops being polled, crashes and starts again, and the
//! disk and wall clock that outlive it.
//!
//! A process is a runtime of its own, whose clock stands until the world moves it. Dropping the
//! runtime is a crash: no task gets to do anything more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rotary_log::{
    Blocking, Door, Fatal, Log, LogConfig, LogStores, Machine, ProposeError, Proposed, WallClock,
};
use rotary_proto::{NodeId, ShardId, Wall};
use rotary_transport::{
    Certificates, ClusterAuthority, Handler, Lane, NodePem, Transport, TransportConfig,
    seed_secrets,
};
use tokio::runtime::{Builder, RngSeed, Runtime};
use tokio::time::Instant;

use crate::bugs::{Bug, PlantedDoor, PlantedMachine};
use crate::history::Ms;
use crate::machine::ShardMachine;
use crate::network::{Network, address};
use crate::node_disk::{Engine, NodeDisk};
use crate::observer::Observer;
use crate::random::Random;
use crate::store::{Shadow, Shadowed};

/// The time of day at which every world begins: an ordinary day in 2023, in ms since 1970.
pub(crate) const DAWN_MS: u64 = 1_700_000_000_000;
/// A client gives one attempt so long.
const ATTEMPT: Duration = Duration::from_secs(3);

/// What the nodes of a world share.
pub(crate) struct Cluster {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) shards: usize,
    pub(crate) bug: Option<Bug>,
    /// Bytes of entries that make a snapshot due.
    snapshot_bytes_min: u64,
    /// Entries kept behind a snapshot.
    snapshot_entries_kept: u64,
    pub(crate) network: Network,
    pub(crate) observer: Observer,
    authority: ClusterAuthority,
    certificates: Vec<NodePem>,
    now_ms: Arc<AtomicU64>,
}

impl Cluster {
    pub(crate) fn new(seed: u64, nodes: usize, shards: usize, bug: Option<Bug>) -> Self {
        seed_secrets(Random::salted(seed, "secrets").next());
        let authority = ClusterAuthority::create("simulated").expect("a good id");
        let issue = |node| authority.issue(id_of(node)).expect("the authority signs");
        let certificates = (0..nodes).map(issue).collect();
        let mut random = Random::salted(seed, "snapshots");
        Self {
            seed,
            nodes,
            shards,
            bug,
            snapshot_bytes_min: random.between(8, 256) * 1024,
            snapshot_entries_kept: random.between(0, 200),
            network: Network::new(seed, nodes),
            observer: Observer::new(nodes, shards),
            authority,
            certificates,
            now_ms: Arc::default(),
        }
    }

    /// Moves the time that wall clocks and the observer read.
    pub(crate) fn move_to(&self, now_ms: Ms) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        self.observer.lock().now_ms = now_ms;
        self.network.deliver(now_ms);
    }
}

/// The id of the node at that place.
pub(crate) fn id_of(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

/// A node.
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) disk: NodeDisk,
    pub(crate) shadow: Shadow,
    /// What its wall clock is off by, in ms, and how often it was read.
    pub(crate) wall_off_ms: Arc<AtomicI64>,
    pub(crate) wall_reads: Arc<AtomicU64>,
    /// Its disk's random choices: how long a sync takes.
    random: Random,
    /// What a sync takes at most.
    pub(crate) sync_ms_max: Ms,
    starts: u64,
    running: Option<Running>,
}

struct Running {
    runtime: Runtime,
    base: Instant,
    started_ms: Ms,
    /// The process is not given the processor before that time.
    paused_until: Ms,
    log: Arc<OnceLock<Arc<Log>>>,
    engine: Engine,
    pump_at: Option<Ms>,
    pumps: u64,
    ended: Arc<Mutex<Option<String>>>,
    door: Arc<PlantedDoor>,
}

/// What a client's attempt came to.
pub(crate) struct Reply {
    pub(crate) operation: usize,
    pub(crate) node: usize,
    pub(crate) sent_ms: Ms,
    /// None if the connection was lost.
    pub(crate) told: Option<Result<Proposed, ProposeError>>,
}

/// Where replies gather.
pub(crate) type Replies = Arc<Mutex<Vec<Reply>>>;

/// Says that the connection was lost, unless there is an answer first.
struct Attempt {
    replies: Replies,
    reply: Option<Reply>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut replies = self.replies.lock().expect("no code panics while it holds this lock");
        replies.extend(self.reply.take());
    }
}

impl Node {
    pub(crate) fn new(cluster: &Cluster, index: usize) -> Self {
        let mut random = Random::salted(cluster.seed, &format!("disk {index}"));
        Self {
            index,
            disk: NodeDisk::new(&mut random, cluster.bug),
            shadow: Shadow::default(),
            wall_off_ms: Arc::default(),
            wall_reads: Arc::default(),
            random,
            sync_ms_max: 2,
            starts: 0,
            running: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Whether its log is there for clients.
    pub(crate) fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.log.get().is_some())
    }

    /// Its runs so far; the number of the present one.
    pub(crate) fn starts(&self) -> u64 {
        self.starts
    }

    /// Starts a process on what the disk holds.
    ///
    /// # Errors
    /// Why the log cannot be opened.
    pub(crate) fn start(&mut self, cluster: &Cluster, now_ms: Ms) -> Result<(), String> {
        self.starts += 1;
        cluster.observer.lock().invariants.started(self.index);
        let ended: Arc<Mutex<Option<String>>> = Arc::default();
        let fatal = fatal_into(ended.clone());
        let (engine, store) = self.disk.open(fatal.clone()).map_err(|error| error.to_string())?;
        let groups: Vec<u32> = (0..cluster.shards as u32).collect();
        self.shadow.recover(&groups, &*store).map_err(|error| error.to_string())?;
        let (snapshots, notes) = self.disk.open_beside().map_err(|error| error.to_string())?;
        let store = Arc::new(Shadowed::new(self.shadow.clone(), store));
        let store = LogStores { log: store, snapshots, notes };
        let seed =
            Random::salted(cluster.seed, &format!("run {}.{}", self.index, self.starts)).next();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
            .build()
            .expect("a runtime without a network needs nothing");
        let base = runtime.block_on(async { Instant::now() });
        let log = Arc::new(OnceLock::new());
        let door = Arc::new(PlantedDoor::new(cluster.bug));
        let boot = self.boot(cluster, seed, fatal, store, log.clone(), door.clone());
        let failed = ended.clone();
        runtime.spawn(async move {
            if let Err(error) = boot.await {
                failed.lock().expect("not poisoned").get_or_insert(error);
            }
        });
        let (paused_until, pump_at, pumps) = (0, None, 0);
        let started_ms = now_ms;
        self.running = Some(Running {
            runtime,
            base,
            started_ms,
            paused_until,
            log,
            engine,
            pump_at,
            pumps,
            ended,
            door,
        });
        Ok(())
    }

    fn boot(
        &self,
        cluster: &Cluster,
        seed: u64,
        fatal: Fatal,
        store: LogStores,
        log: Arc<OnceLock<Arc<Log>>>,
        door: Arc<PlantedDoor>,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let id = id_of(self.index);
        let config = LogConfig {
            fatal,
            wall: self.wall(cluster),
            seed: Some(seed),
            blocking: Blocking::Inline,
            snapshot_bytes_min: cluster.snapshot_bytes_min,
            snapshot_entries_kept: cluster.snapshot_entries_kept,
            ..LogConfig::new(id, (0..cluster.nodes).map(id_of))
        };
        let machines: Vec<(ShardId, Box<dyn Machine>)> =
            (0..cluster.shards as u32).map(|shard| self.machine(cluster, shard)).collect();
        let socket = cluster.network.socket(self.index, seed);
        let (ca, pem) = (&cluster.authority, &cluster.certificates[self.index]);
        let certificates = Certificates::from_pem(ca.certificate_pem(), &pem.certificate, &pem.key);
        let peers: BTreeMap<_, _> =
            (0..cluster.nodes).map(|node| (id_of(node), address(node))).collect();
        async move {
            let certificates = certificates.map_err(|error| error.to_string())?;
            let listen = socket.local_address();
            let transport = TransportConfig { node: id, listen, peers, certificates };
            let shards = Door::new();
            let hall = Arc::new(Hall { shards: shards.clone(), door });
            let transport = Transport::start_over(socket, transport, hall);
            let transport = Arc::new(transport.map_err(|error| error.to_string())?);
            let started = Log::start(config, store, transport, &shards, machines).await;
            let started = Arc::new(started.map_err(|error| error.to_string())?);
            drop(log.set(started.clone()));
            for shard in started.shards() {
                started.initialize(shard).await.map_err(|error| error.to_string())?;
            }
            Ok(())
        }
    }

    fn machine(&self, cluster: &Cluster, shard: u32) -> (ShardId, Box<dyn Machine>) {
        let planted = PlantedMachine { node: self.index, bug: cluster.bug };
        let machine = ShardMachine::new(shard, cluster.observer.clone(), planted);
        (ShardId(shard), Box::new(machine))
    }

    fn wall(&self, cluster: &Cluster) -> WallClock {
        let (now, off) = (cluster.now_ms.clone(), self.wall_off_ms.clone());
        let reads = self.wall_reads.clone();
        WallClock::with(move || {
            reads.fetch_add(1, Ordering::Relaxed);
            let now = DAWN_MS + now.load(Ordering::Relaxed);
            Wall(now.saturating_add_signed(off.load(Ordering::Relaxed)))
        })
    }

    /// Lets the process run until that time; then says why it has ended, if it has.
    pub(crate) fn run_to(&mut self, now_ms: Ms) -> Option<String> {
        let (random, sync_ms_max) = (&mut self.random, self.sync_ms_max);
        let running = self.running.as_mut()?;
        if now_ms < running.paused_until {
            return None;
        }
        if running.pump_is_due(now_ms, || random.below(sync_ms_max + 1)) {
            self.disk.note_cold();
            running.pump();
        }
        let target = running.base + Duration::from_millis(now_ms - running.started_ms);
        let late = std::mem::take(&mut running.paused_until) > 0;
        running.runtime.block_on(async {
            if late {
                // Whatever became due meanwhile is due at once, as after a process was stopped.
                tokio::time::advance(target - Instant::now()).await;
            }
            tokio::time::sleep_until(target).await;
        });
        running.ended.lock().expect("not poisoned").take()
    }

    /// Keeps the process from running until that time, or no longer than it is late already.
    /// Whether there was one.
    pub(crate) fn pause_until(&mut self, ms: Ms) -> bool {
        let Some(running) = &mut self.running else { return false };
        running.paused_until = if ms == 0 { running.paused_until.min(1) } else { ms };
        true
    }

    /// Whether the process is kept from running.
    pub(crate) fn is_paused(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.paused_until > 0)
    }

    /// Batches that its process has written.
    pub(crate) fn pumps(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.pumps)
    }

    /// Ends the process where it stands. Whether there was one.
    pub(crate) fn crash(&mut self, cluster: &Cluster) -> bool {
        cluster.network.close(self.index);
        let Some(running) = self.running.take() else { return false };
        drop(running.runtime);
        true
    }

    /// Asks the node for a client.
    pub(crate) fn ask(&self, shard: u32, payload: &[u8], reply: Reply, replies: &Replies) {
        let attempt = Attempt { replies: replies.clone(), reply: Some(reply) };
        let Some(running) = &self.running else { return };
        let Some(log) = running.log.get().cloned() else { return };
        let (payload, door) = (Bytes::copy_from_slice(payload), running.door.clone());
        running.runtime.spawn(async move {
            let mut attempt = attempt;
            let deadline = Instant::now() + ATTEMPT;
            let told = log.propose_with_retry(ShardId(shard), payload, deadline, true).await;
            if let Some(reply) = &mut attempt.reply {
                reply.told = Some(door.told(told));
            }
        });
    }
}

impl Running {
    /// Whether a sync that was asked for is to be done by now.
    fn pump_is_due(&mut self, now_ms: Ms, latency: impl FnOnce() -> Ms) -> bool {
        if self.pump_at.is_none() && self.engine.asks() {
            self.pump_at = Some(now_ms + latency());
        }
        self.pump_at.is_some_and(|at| at <= now_ms)
    }

    fn pump(&mut self) {
        let _entered = self.runtime.enter();
        self.pump_at = None;
        self.pumps += u64::from(self.engine.pump());
    }
}

fn fatal_into(ended: Arc<Mutex<Option<String>>>) -> Fatal {
    Fatal::with(move |code, reason| {
        let mut ended = ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ended.get_or_insert_with(|| format!("exit code {code}: {reason}"));
    })
}

/// The node's door to other nodes.
struct Hall {
    shards: Door,
    door: Arc<PlantedDoor>,
}

impl Handler for Hall {
    fn handle(
        &self,
        _: NodeId,
        _: Lane,
        service: u8,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let (shards, door) = (self.shards.clone(), self.door.clone());
        Box::pin(async move {
            shards.handle(service, payload).await.map(|answer| door.answer(service, answer))
        })
    }
}
